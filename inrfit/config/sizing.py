"""The size of a field for a number of parameters or bytes, without torch.

This module converts the bytes of a file to a number of weights. ``Architecture.sized`` decides how they are distributed
over the layers.
"""

from __future__ import annotations

from ..artifact.file_size import FileContents
from ..errors import UsageError
from ..fields import MAX_PARAMETERS, FieldSpec
from ..signal import Signal
from .settings import Settings, parsed_count

Shape = tuple[int, ...] | None
"""Shape of the signal's grid; None if it has none."""


def sized(spec: FieldSpec, settings: Settings, signal: Signal, contents: FileContents) -> FieldSpec:
    """``spec`` with the sizes that the settings ``params`` or ``bytes`` allow. Raises ``UsageError`` if even the
    smallest field is too large."""
    shape = None if signal.grid is None else signal.grid.shape
    if settings.bytes is None:
        return spec.formula.sized(
            spec, shape, None if settings.params is None else parsed_count("params", settings.params)
        )
    limit = parsed_count("bytes", settings.bytes)
    largest = smallest_field(spec, shape)
    if (needed := contents.file_bytes(largest)) > limit:
        raise UsageError(
            f"--bytes {settings.bytes}: the smallest {spec.architecture} for this file ({largest.parameters:,} "
            f"parameters) takes up to {needed:,} bytes with its header",
            "option",
        )
    low, high = largest.parameters, int((limit - contents.header_bytes(largest)) / contents.bytes_per_weight(spec))
    while high > low:
        middle = (low + high + 1) // 2
        candidate = spec.formula.sized(spec, shape, middle)
        if contents.file_bytes(candidate) > limit:
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
