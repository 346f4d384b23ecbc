"""What the user may leave open, decided without torch: which architecture, of how many weights, stored how.

Architectures are chosen by the rules of the modality (``Modality.auto``), which are data and name the measurement
behind them. The sizes of each are its own affair (``Architecture.sized``), so that here a file's bytes become a number
of weights and nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..artifact import weight_dtypes
from ..artifact.file_size import file_bytes, header_bytes
from ..errors import UsageError
from ..fields import FIELDS, MAX_PARAMETERS, FieldSpec
from ..fit.budget import Budget
from ..modalities import MODALITIES
from ..modalities.modality import ArchitectureRule, Modality
from ..signal import Signal
from .settings import Settings, count

Shape = tuple[int, ...] | None
"""Of the signal's grid, if it has one."""


def situation(settings: Settings, signal: Signal, budget: Budget) -> dict[str, float]:
    """What rules go by: samples, seconds of budget, weights asked for (about); infinite where nothing limits them."""
    weights = math.inf
    if settings.params is not None:
        weights = count("params", settings.params)
    elif settings.bytes is not None:
        weights = count("bytes", settings.bytes) / weight_dtypes.STORES[store(settings)].size
    seconds = math.inf if budget.seconds is None else budget.seconds
    return {"samples": signal.n, "seconds": seconds, "weights": weights}


def rule(modality: Modality, found: Mapping[str, float]) -> ArchitectureRule:
    """The modality's first rule that holds."""
    return next(r for r in modality.auto if all(low <= found[key] <= high for key, (low, high) in r.within.items()))


def candidates(modality: Modality) -> list[str]:
    """All that ``auto`` can be for a modality, each once."""
    return list(dict.fromkeys(rule.arch for rule in modality.auto))


def architecture(settings: Settings, signal: Signal, budget: Budget) -> tuple[str, str]:
    """Its name, and why."""
    if settings.arch != "auto":
        return settings.arch, "as --arch says"
    found = rule(MODALITIES[signal.modality], situation(settings, signal, budget))
    return found.arch, f"auto: {found.why}"


def store(settings: Settings) -> str:
    """How the weights are stored."""
    if settings.store != "auto":
        return settings.store
    return "fp32" if settings.bytes is None else "fp16"


def sized(spec: FieldSpec, settings: Settings, signal: Signal, known: Mapping[str, Any]) -> FieldSpec:
    """``spec`` as large as was asked for. Raises ``UsageError``, for ``--bytes`` one that names the least."""
    shape = None if signal.grid is None else signal.grid.shape
    if settings.bytes is None:
        return spec.settings.sized(spec, shape, None if settings.params is None else count("params", settings.params))
    limit, kind = count("bytes", settings.bytes), store(settings)
    header = (signal.modality, signal.meta, known)
    least = smallest(spec, shape)
    if (needed := file_bytes(least, kind, *header)) > limit:
        raise UsageError(
            f"--bytes {settings.bytes}: the smallest {spec.architecture} for this file ({least.parameters:,} "
            f"parameters) takes up to {needed:,} bytes with its header",
            "option",
        )
    low, high = least.parameters, (limit - header_bytes(least, kind, *header)) // weight_dtypes.STORES[kind].size
    while high > low:
        middle = (low + high + 1) // 2
        found = spec.settings.sized(spec, shape, middle)
        if file_bytes(found, kind, *header) > limit:
            high = middle - 1
        else:
            least, low = found, middle
    return least


def smallest(spec: FieldSpec, shape: Shape) -> FieldSpec:
    """The smallest field that ``spec`` can be sized to; raises its ``UsageError`` if there is none."""
    low, high = 0, 1
    while _attempt(spec, shape, high) is None and high < MAX_PARAMETERS:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _attempt(spec, shape, middle) is None else (low, middle)
    return spec.settings.sized(spec, shape, high)


def _attempt(spec: FieldSpec, shape: Shape, parameters: int) -> FieldSpec | None:
    try:
        return spec.settings.sized(spec, shape, parameters)
    except UsageError:
        return None


def reasons(settings: Settings, spec: FieldSpec, why: str) -> tuple[tuple[str, str, str], ...]:
    """(what, value, why) of what was decided here; ``why`` is that of the architecture."""
    if settings.params is not None or settings.bytes is not None:
        size = f"as many as --{'params' if settings.bytes is None else 'bytes'} has room for"
    else:
        given = [f"--{name}" for name in ("width", "depth") if getattr(settings, name) is not None]
        says = f"as {' and '.join(given)} {'say' if given[1:] else 'says'}"
        size = says if given else "the architecture's usual size"
        if spec.width != (settings.width or FIELDS[spec.architecture].WIDTH):
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
