"""How samples of every number type become values of a field: range, rounding and curve, and the peak of PSNR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnreadableFile
from ...signal import PerChannel, Scale
from .. import scales
from .picture import Raster

UINT8_SCALE = Scale("uint8", 2 / 255, -1.0, 0, 255, 1.0)
"""The scale of 8-bit images."""

FULL_RANGE_SHARE = 0.5
"""Integer samples that fill at least this share of the range of their type are fitted over that range, others over
their own."""

CURVE_RATIO = 16.0
"""Floating-point samples of at least 0 are fitted through a logarithmic curve if the largest is more than this times
the median."""

CURVE_QUANTILE = 0.001
"""Share of the positive samples that lie below the knee of the curve."""


def choose_scale(raster: Raster, bits: int, alpha: bool, bands: bool) -> Scale:
    """The scale of an image. ``alpha``: whether the last channel is alpha. ``bands``: whether the channels may have
    ranges of their own, because they are not colours. Raises ``UnreadableFile`` if a sample is not finite."""
    dtype = raster.dtype.name
    if dtype == "uint8" and bits == 8 and not bands and _fills_range(raster):
        return UINT8_SCALE
    lows, highs = _channel_ranges(raster)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        raise UnreadableFile("the image has samples that are not finite (NaN or infinity)", "nonfinite")
    if bands and scales.differ(highs - lows):
        return scales.over_each(dtype, lows, highs, 0.0 if raster.dtype.kind == "f" else 1.0)
    if raster.dtype.kind in "iu":
        low, high = scales.type_range(dtype, bits)
        if highs.max() - lows.min() < FULL_RANGE_SHARE * (high - low) and bits >= 8:
            low, high = float(lows.min()), float(highs.max())
        return scales.linear(dtype, low, high, 1.0)
    knee = 0.0 if alpha and raster.shape[2] == 1 else find_knee(raster[..., :-1] if alpha else raster)
    if not knee:
        return scales.linear(dtype, float(lows.min()), float(highs.max()), 0.0)
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
        low, high = scales.type_range(scale.dtype, bits)
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
    return (
        1.0
        if meta["scale"]["dtype"].startswith("float")
        else scales.type_range(meta["scale"]["dtype"], meta["bits"])[1]
    )
