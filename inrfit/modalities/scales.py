"""Checks that the scale in a header can be one of samples."""

from __future__ import annotations

import numpy as np

from ..signal import PerChannel, Scale


def check_scale(scale: Scale, outputs: int) -> None:
    """Raises ``ValueError`` if parts of ``scale`` contradict each other, or the number type of the samples.

    There is one number for all outputs of the field or one for each, no factor is 0, every ``low`` is at most its
    ``high``, and both lie within the number type."""
    for name in ("factor", "offset", "low", "high"):
        numbers = getattr(scale, name)
        if isinstance(numbers, tuple) and len(numbers) != outputs:
            raise ValueError(f"scale.{name} has {len(numbers)} numbers for {outputs} outputs")
    if 0 in _each(scale.factor, outputs):
        raise ValueError("scale.factor is 0")
    dtype = np.dtype(scale.dtype)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    smallest, largest = float(limits.min), float(limits.max)
    for low, high in zip(_each(scale.low, outputs), _each(scale.high, outputs), strict=True):
        if low > high:
            raise ValueError(f"scale.low {low:g} is above scale.high {high:g}")
        if low < smallest or high > largest:
            raise ValueError(f"scale goes beyond {dtype}")


def _each(numbers: PerChannel, outputs: int) -> tuple[float, ...]:
    """The number for each output."""
    return numbers if isinstance(numbers, tuple) else (numbers,) * outputs
