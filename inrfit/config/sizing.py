"""The size of a field for a number of parameters or bytes, without torch.

This module converts the bytes of a file to a number of weights. ``Architecture.sized`` decides how they are distributed
over the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..artifact import weight_dtypes
from ..artifact.file_size import max_file_bytes, max_header_bytes
from ..errors import UsageError
from ..fields import MAX_PARAMETERS, FieldSpec
from ..signal import Signal
from .settings import Settings, parsed_count

Shape = tuple[int, ...] | None
"""Shape of the signal's grid; None if it has none."""


def resolve_store(settings: Settings) -> str:
    """The number type of the stored weights, with "auto" resolved."""
    if settings.store != "auto":
        return settings.store
    return "fp32" if settings.bytes is None else "fp16"


def sized(spec: FieldSpec, settings: Settings, signal: Signal, provenance: Mapping[str, Any]) -> FieldSpec:
    """``spec`` with the sizes that the settings ``params`` or ``bytes`` allow. ``provenance`` holds what is known
    before the fit. Raises ``UsageError`` if even the smallest field is too large."""
    shape = None if signal.grid is None else signal.grid.shape
    if settings.bytes is None:
        return spec.formula.sized(
            spec, shape, None if settings.params is None else parsed_count("params", settings.params)
        )
    limit, kind = parsed_count("bytes", settings.bytes), resolve_store(settings)
    header = (signal.modality, signal.meta, signal.attachments, provenance)
    largest = smallest_field(spec, shape)
    if (needed := max_file_bytes(largest, kind, *header)) > limit:
        raise UsageError(
            f"--bytes {settings.bytes}: the smallest {spec.architecture} for this file ({largest.parameters:,} "
            f"parameters) takes up to {needed:,} bytes with its header",
            "option",
        )
    low, high = (
        largest.parameters,
        (limit - max_header_bytes(largest, kind, *header)) // weight_dtypes.STORES[kind].size,
    )
    while high > low:
        middle = (low + high + 1) // 2
        candidate = spec.formula.sized(spec, shape, middle)
        if max_file_bytes(candidate, kind, *header) > limit:
            high = middle - 1
        else:
            largest, low = candidate, middle
    return largest


def smallest_field(spec: FieldSpec, shape: Shape) -> FieldSpec:
    """The smallest field that ``spec`` can be sized to. Raises the architecture's ``UsageError`` if there is none."""
    low, high = 0, 1
    while _try_sized(spec, shape, high) is None and high < MAX_PARAMETERS:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _try_sized(spec, shape, middle) is None else (low, middle)
    return spec.formula.sized(spec, shape, high)


def _try_sized(spec: FieldSpec, shape: Shape, parameters: int) -> FieldSpec | None:
    """``spec`` sized to ``parameters`` weights; None if it has no field of so few."""
    try:
        return spec.formula.sized(spec, shape, parameters)
    except UsageError:
        return None
