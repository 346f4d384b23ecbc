"""Scales of samples: chosen by their range, and checked in a header."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedInput
from ..signal import PerChannel, Scale

CHANNEL_RATIO = 4.0
"""Each channel is fitted over its own range if the widest range is more than this times the narrowest one."""

MAX_LABELS = 64
"""A single channel of integers with at most so many different values is taken for labels."""


def type_range(dtype: str, bits: int) -> tuple[float, float]:
    """Smallest and largest sample of an integer type of which ``bits`` bits are used."""
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if dtype.startswith("int") else (0.0, 2.0**bits - 1)


def differ(spans: npt.NDArray[np.float64]) -> bool:
    """Whether channels with these ranges are fitted over ranges of their own."""
    spans = spans[spans > 0]
    return bool(spans.size and spans.max() > CHANNEL_RATIO * spans.min())


def over_each(dtype: str, lows: npt.NDArray[np.float64], highs: npt.NDArray[np.float64], step: float) -> Scale:
    """A linear scale over the range of each channel."""
    spans = np.where(highs > lows, highs - lows, 1.0)
    factors, offsets = 2 / spans, -1 - 2 * lows / spans
    return Scale(dtype, _numbers(factors), _numbers(offsets), _numbers(lows), _numbers(highs), step)


def linear(dtype: str, low: float, high: float, step: float) -> Scale:
    """A scale that maps ``low`` to -1 and ``high`` to 1."""
    span = (high - low) or 1.0
    return Scale(dtype, 2 / span, -1 - 2 * low / span, low, high, step)


def over_range(samples: npt.NDArray[Any]) -> Scale:
    """The scale of samples (n, c): linear over their range, or over that of each channel if these differ much. Raises
    ``UnsupportedInput`` if a range is beyond float64."""
    lows, highs = samples.min(axis=0).astype(np.float64), samples.max(axis=0).astype(np.float64)
    if not np.isfinite(highs - lows).all():
        raise UnsupportedInput("the samples lie further apart than 64-bit numbers can say", "samples")
    step = 0.0 if samples.dtype.kind == "f" else 1.0
    if differ(highs - lows):
        return over_each(samples.dtype.name, lows, highs, step)
    return linear(samples.dtype.name, float(lows.min()), float(highs.max()), step)


def is_labels(raster: npt.NDArray[Any], bits: int) -> bool:
    """Whether a single channel of integers (h, w, 1) looks like labels: few different values."""
    if raster.shape[2] != 1 or raster.dtype.kind not in "iu" or bits < 8:
        return False
    sample = raster[:: max(1, raster.shape[0] // 512), :: max(1, raster.shape[1] // 512)]
    span = int(sample.max()) - int(sample.min())
    if span < 2 or (bits == 8 and span >= MAX_LABELS):
        return False
    return len(np.unique(sample)) <= min(MAX_LABELS, sample.size // 12)


def _numbers(numbers: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)


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
