"""Which architecture ``--arch auto`` stands for, and the reasons for what was decided without torch.

Architectures are chosen by the rules of the modality (``Modality.architecture_rules``), which are data and name the
measurement behind them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..artifact import weight_dtypes
from ..fields import FieldSpec
from ..fit.budget import Budget
from ..modalities import MODALITIES
from ..modalities.modality import ArchitectureRule, Modality
from ..signal import Signal
from .settings import Settings, count
from .sizing import store


def rule_inputs(settings: Settings, signal: Signal, budget: Budget) -> dict[str, float]:
    """What rules go by: samples, seconds of budget, weights asked for (about); infinite where nothing limits them."""
    weights = math.inf
    if settings.params is not None:
        weights = count("params", settings.params)
    elif settings.bytes is not None:
        weights = count("bytes", settings.bytes) / weight_dtypes.STORES[store(settings)].size
    seconds = math.inf if budget.seconds is None else budget.seconds
    return {"samples": signal.n, "seconds": seconds, "weights": weights}


def matching_rule(modality: Modality, found: Mapping[str, float]) -> ArchitectureRule:
    """The modality's first rule that holds."""
    return next(
        r
        for r in modality.architecture_rules
        if all(low <= found[key] <= high for key, (low, high) in r.within.items())
    )


def candidates(modality: Modality) -> list[str]:
    """All that ``auto`` can be for a modality, each once."""
    return list(dict.fromkeys(rule.arch for rule in modality.architecture_rules))


def choose_architecture(settings: Settings, signal: Signal, budget: Budget) -> tuple[str, str]:
    """Its name, and why."""
    if settings.arch != "auto":
        return settings.arch, "as --arch says"
    found = matching_rule(MODALITIES[signal.modality], rule_inputs(settings, signal, budget))
    return found.arch, f"auto: {found.why}"


def explain_choices(settings: Settings, spec: FieldSpec, why: str) -> tuple[tuple[str, str, str], ...]:
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
