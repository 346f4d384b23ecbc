"""How samples of every number type become values of a field: range, rounding and curve, and the peak of PSNR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnreadableFile
from ...signal import PerChannel, Scale
from .picture import Raster

UINT8_SCALE = Scale("uint8", 2 / 255, -1.0, 0, 255, 1.0)
"""The scale of 8-bit images."""

FULL_RANGE_SHARE = 0.5
"""Integer samples that fill at least this share of the range of their type are fitted over that range, others over
their own."""

CHANNEL_RATIO = 4.0
"""Each channel is fitted over its own range if the widest range is more than this times the narrowest one."""

CURVE_RATIO = 16.0
"""Floating-point samples of at least 0 are fitted through a logarithmic curve if the largest is more than this times
the median."""

CURVE_QUANTILE = 0.001
"""Share of the positive samples that lie below the knee of the curve."""

MAX_LABELS = 64
"""A single channel of integers with at most so many different values is taken for labels."""


def type_range(dtype: str, bits: int) -> tuple[float, float]:
    """Smallest and largest sample of an integer type of which ``bits`` bits are used."""
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if dtype.startswith("int") else (0.0, 2.0**bits - 1)


def choose_scale(raster: Raster, bits: int, alpha: bool, bands: bool) -> Scale:
    """The scale of an image. ``alpha``: whether the last channel is alpha. ``bands``: whether the channels may have
    ranges of their own, because they are not colours. Raises ``UnreadableFile`` if a sample is not finite."""
    dtype = raster.dtype.name
    if dtype == "uint8" and bits == 8 and not bands and _fills_range(raster):
        return UINT8_SCALE
    lows, highs = _channel_ranges(raster)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        raise UnreadableFile("the image has samples that are not finite (NaN or infinity)", "nonfinite")
    if bands and _differ(highs - lows):
        return _over_each(dtype, lows, highs, 0.0 if raster.dtype.kind == "f" else 1.0)
    if raster.dtype.kind in "iu":
        low, high = type_range(dtype, bits)
        if highs.max() - lows.min() < FULL_RANGE_SHARE * (high - low) and bits >= 8:
            low, high = float(lows.min()), float(highs.max())
        return _linear(dtype, low, high, 1.0)
    knee = 0.0 if alpha and raster.shape[2] == 1 else find_knee(raster[..., :-1] if alpha else raster)
    if not knee:
        return _linear(dtype, float(lows.min()), float(highs.max()), 0.0)
    low, high = np.arcsinh(np.array([lows.min(), highs.max()]) / knee)
    factor = 2 / (high - low)
    return Scale(dtype, factor, -1 - low * factor, float(lows.min()), float(highs.max()), 0.0, knee)


def _fills_range(raster: Raster) -> bool:
    """Whether every 97th sample of an 8-bit image shows that it fills its range, which makes a search superfluous."""
    samples = raster.reshape(-1)[::97]
    return int(samples.max()) - int(samples.min()) >= FULL_RANGE_SHARE * 255


def _channel_ranges(raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest sample of each channel, as float64 (c,)."""
    with np.errstate(invalid="ignore"):  # of a signalling NaN, which is refused later
        return raster.min(axis=(0, 1)).astype(np.float64), raster.max(axis=(0, 1)).astype(np.float64)


def _differ(spans: np.ndarray) -> bool:
    """Whether channels with these ranges are fitted over ranges of their own."""
    spans = spans[spans > 0]
    return bool(spans.size and spans.max() > CHANNEL_RATIO * spans.min())


def _over_each(dtype: str, lows: np.ndarray, highs: np.ndarray, step: float) -> Scale:
    """A linear scale over the range of each channel."""
    spans = np.where(highs > lows, highs - lows, 1.0)
    factors, offsets = 2 / spans, -1 - 2 * lows / spans
    return Scale(dtype, _tuple(factors), _tuple(offsets), _tuple(lows), _tuple(highs), step)


def _linear(dtype: str, low: float, high: float, step: float) -> Scale:
    """A scale that maps ``low`` to -1 and ``high`` to 1."""
    span = (high - low) or 1.0
    return Scale(dtype, 2 / span, -1 - 2 * low / span, low, high, step)


def _tuple(numbers: np.ndarray) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)


def find_knee(raster: Raster) -> float:
    """The knee of the curve for floating-point samples; 0 if a linear scale will do."""
    samples = raster.reshape(-1)
    samples = samples[:: max(1, samples.size // 1_000_000)]
    positive = samples[samples > 0].astype(np.float64)
    if not positive.size or samples.min() < -0.01 * positive.max():
        return 0.0
    if positive.max() <= CURVE_RATIO * np.median(positive):
        return 0.0
    return max(float(np.quantile(positive, CURVE_QUANTILE)), float(positive.max()) * 2.0**-24)


def peak(scale: Scale, bits: int) -> float:
    """The peak of PSNR in raw units: the range of an integer type; of floating-point samples 1 if they lie in [0, 1],
    else their own range."""
    if not scale.dtype.startswith("float"):
        low, high = type_range(scale.dtype, bits)
        return high - low
    low, high = lowest(scale.low), highest(scale.high)
    return 1.0 if low >= 0 and high <= 1 else high - low


def lowest(numbers: PerChannel) -> float:
    """The smallest of one or several numbers."""
    return min(numbers) if isinstance(numbers, tuple) else numbers


def highest(numbers: PerChannel) -> float:
    """The largest of one or several numbers."""
    return max(numbers) if isinstance(numbers, tuple) else numbers


def opaque(meta: Mapping[str, Any]) -> float:
    """The raw alpha of an opaque pixel."""
    return 1.0 if meta["scale"]["dtype"].startswith("float") else type_range(meta["scale"]["dtype"], meta["bits"])[1]


def is_labels(raster: Raster, bits: int) -> bool:
    """Whether a single channel of integers looks like labels: few different values."""
    if raster.shape[2] != 1 or raster.dtype.kind not in "iu" or bits < 8:
        return False
    sample = raster[:: max(1, raster.shape[0] // 512), :: max(1, raster.shape[1] // 512)]
    span = int(sample.max()) - int(sample.min())
    if span < 2 or (bits == 8 and span >= MAX_LABELS):
        return False
    return len(np.unique(sample)) <= min(MAX_LABELS, sample.size // 12)
