"""How large a field becomes for the parameters or the bytes of file that were asked for, without torch.

The sizes of an architecture are its own affair (``Architecture.sized``): here a file's bytes become a number of weights
and nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..artifact import weight_dtypes
from ..artifact.file_size import max_file_bytes, max_header_bytes
from ..errors import UsageError
from ..fields import MAX_PARAMETERS, FieldSpec
from ..signal import Signal
from .settings import Settings, count

Shape = tuple[int, ...] | None
"""Of the signal's grid, if it has one."""


def store(settings: Settings) -> str:
    """How the weights are stored."""
    if settings.store != "auto":
        return settings.store
    return "fp32" if settings.bytes is None else "fp16"


def sized(spec: FieldSpec, settings: Settings, signal: Signal, known: Mapping[str, Any]) -> FieldSpec:
    """``spec`` as large as was asked for. Raises ``UsageError``, for ``--bytes`` one that names the least."""
    shape = None if signal.grid is None else signal.grid.shape
    if settings.bytes is None:
        return spec.formula.sized(spec, shape, None if settings.params is None else count("params", settings.params))
    limit, kind = count("bytes", settings.bytes), store(settings)
    header = (signal.modality, signal.meta, known)
    least = smallest_field(spec, shape)
    if (needed := max_file_bytes(least, kind, *header)) > limit:
        raise UsageError(
            f"--bytes {settings.bytes}: the smallest {spec.architecture} for this file ({least.parameters:,} "
            f"parameters) takes up to {needed:,} bytes with its header",
            "option",
        )
    low, high = least.parameters, (limit - max_header_bytes(least, kind, *header)) // weight_dtypes.STORES[kind].size
    while high > low:
        middle = (low + high + 1) // 2
        found = spec.formula.sized(spec, shape, middle)
        if max_file_bytes(found, kind, *header) > limit:
            high = middle - 1
        else:
            least, low = found, middle
    return least


def smallest_field(spec: FieldSpec, shape: Shape) -> FieldSpec:
    """The smallest field that ``spec`` can be sized to; raises its ``UsageError`` if there is none."""
    low, high = 0, 1
    while _try_sized(spec, shape, high) is None and high < MAX_PARAMETERS:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _try_sized(spec, shape, middle) is None else (low, middle)
    return spec.formula.sized(spec, shape, high)


def _try_sized(spec: FieldSpec, shape: Shape, parameters: int) -> FieldSpec | None:
    try:
        return spec.formula.sized(spec, shape, parameters)
    except UsageError:
        return None
