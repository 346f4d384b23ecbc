"""Which architecture ``--arch auto`` stands for, and the reasons for what was decided without torch.

Architectures are chosen by ``RULES``, data that name the measurement behind them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..artifact import weight_dtypes
from ..fields import FieldSpec
from ..fit.budget import Budget
from ..signal import Signal
from .settings import Settings, count
from .sizing import store

Range = tuple[float, float]
"""From, to: both belong to it."""


@dataclass(frozen=True)
class Rule:
    """``arch`` for a signal of kind ``modality`` where every number of ``situation`` named in ``within`` lies in its
    range; ``why`` names the measurement."""

    modality: str
    arch: str
    why: str
    within: Mapping[str, Range] = field(default_factory=dict)


RULES: tuple[Rule, ...] = (
    Rule("image", "grid", "the best at equal bytes and seconds on photographs (docs/architectures.md)"),
    Rule("audio", "grid", "the best at equal bytes and seconds on sounds (docs/architectures.md)"),
    Rule("shape", "grid", "the best on meshes in 20 s (docs/architectures.md)", {"seconds": (0, 45)}),
    Rule("shape", "siren", "ahead of grids on meshes after a minute (docs/architectures.md)"),
)
"""What ``--arch auto`` stands for: the first that holds. The last of every modality holds everywhere."""


def situation(settings: Settings, signal: Signal, budget: Budget) -> dict[str, float]:
    """What rules go by: samples, seconds of budget, weights asked for (about); infinite where nothing limits them."""
    weights = math.inf
    if settings.params is not None:
        weights = count("params", settings.params)
    elif settings.bytes is not None:
        weights = count("bytes", settings.bytes) / weight_dtypes.STORES[store(settings)].size
    seconds = math.inf if budget.seconds is None else budget.seconds
    return {"samples": signal.n, "seconds": seconds, "weights": weights}


def rule(modality: str, found: Mapping[str, float]) -> Rule:
    """The rule that holds."""
    return next(
        rule
        for rule in RULES
        if rule.modality == modality and all(low <= found[key] <= high for key, (low, high) in rule.within.items())
    )


def candidates(modality: str) -> list[str]:
    """All that ``auto`` can be for a modality, each once."""
    return list(dict.fromkeys(rule.arch for rule in RULES if rule.modality == modality))


def architecture(settings: Settings, signal: Signal, budget: Budget) -> tuple[str, str]:
    """Its name, and why."""
    if settings.arch != "auto":
        return settings.arch, "as --arch says"
    found = rule(signal.modality, situation(settings, signal, budget))
    return found.arch, f"auto: {found.why}"


def reasons(settings: Settings, spec: FieldSpec, why: str) -> tuple[tuple[str, str, str], ...]:
    """(what, value, why) of what was decided here; ``why`` is that of the architecture."""
    if settings.params is not None or settings.bytes is not None:
        size = f"as many as --{'params' if settings.bytes is None else 'bytes'} has room for"
    else:
        given = [f"--{name}" for name in ("width", "depth") if getattr(settings, name) is not None]
        says = f"as {' and '.join(given)} {'say' if given[1:] else 'says'}"
        size = says if given else "the architecture's usual size"
        if spec.width != (settings.width or spec.formula.TRAITS.width):
            size += "; narrower, to leave weights for the rest of the field"
    if settings.store != "auto":
        stored = "as --store says"
    elif settings.bytes is not None:
        stored = "twice as many weights as fp32 in as many bytes (docs/architectures.md)"
    else:
        stored = "as they were fitted"
    return (
        ("architecture", f"{spec.architecture} {spec.depth}x{spec.width}", why),
        ("parameters", f"{spec.parameters:,}", size),
        ("store", store(settings), stored),
    )
