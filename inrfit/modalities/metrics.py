"""Measures of quality. fit/evaluation.py decides when and on what they are computed; docs/glossary.md defines them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def decibels(power: float, noise: float) -> float:
    """10 log10(power / noise) in dB: inf if only ``noise`` is 0, -inf if only ``power`` is 0 or ``noise`` is infinite,
    nan if both are, or one is not a number."""
    if noise == 0:
        return math.inf if power > 0 else math.nan
    if power == 0 or math.isnan(power) or math.isnan(noise) or math.isinf(power) or math.isinf(noise):
        return -math.inf if power == 0 or (math.isinf(noise) and math.isfinite(power)) else math.nan
    ratio = power / noise
    return 10 * (math.log10(ratio) if 0 < ratio < math.inf else math.log10(power) - math.log10(noise))


def psnr(decoded: Array, source: Array, peak: float) -> float:
    """Peak signal-to-noise ratio in dB over all samples and channels; inf if they are equal. ``peak`` is in raw
    units."""
    return decibels(peak * peak, mean_square(decoded, source))


def mean_square(decoded: Array, source: Array) -> float:
    """Mean squared difference in squared raw units, accumulated in float64."""
    a, b = decoded.reshape(-1), source.reshape(-1)
    total = 0.0
    for start in range(0, a.size, 1 << 20):
        difference = a[start : start + (1 << 20)].astype(np.float64) - b[start : start + (1 << 20)]
        total += float(difference @ difference)
    return total / max(a.size, 1)


def snr(decoded: Array, source: Array) -> float:
    """Signal-to-noise ratio in dB: the energy of ``source`` over that of the error; nan if both are silent."""
    return decibels(mean_square(source, np.zeros_like(source)), mean_square(decoded, source))


def si_snr(decoded: Array, source: Array) -> float:
    """Scale-invariant SNR in dB (Le Roux et al., ICASSP 2019) of samples (n, c): means are removed per channel, and the
    channels' values are averaged. nan if a channel is silent."""
    values = []
    for a, b in zip(decoded.reshape(len(decoded), -1).T, source.reshape(len(source), -1).T, strict=True):
        estimate, target = a.astype(np.float64) - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
        energy = float(target @ target)
        if energy == 0:
            return math.nan
        projection = (float(estimate @ target) / energy) * target
        noise = estimate - projection
        values.append(decibels(float(projection @ projection), float(noise @ noise)))
    return sum(values) / len(values)


def iou(inside: Array, reference: Array) -> float:
    """Intersection over union, 0 to 1, of two boolean arrays; 1 if both are empty."""
    union = int(np.count_nonzero(inside | reference))
    return int(np.count_nonzero(inside & reference)) / union if union else 1.0


SSIM_ROWS = 256
"""Rows of the image for which SSIM is computed at a time. This bounds the memory."""

SSIM_RADIUS = 5
"""Radius of SSIM's window in pixels: 3.5 sigma, rounded."""


def ssim(
    decoded: Array,
    source: Array,
    on_progress: Callable[[float], None] = lambda fraction: None,
    data_range: float = 255,
) -> float:
    """Structural similarity (Wang et al. 2004) of images (h, w, c): Gaussian window, sigma 1.5, K1 = 0.01, K2 = 0.03,
    ``data_range`` in raw units, population covariance, channels averaged; nan for an image below 11 pixels on a side,
    where the window does not fit, and for a range of 0. Computed in blocks of rows that overlap by the window, with the
    same result as in one piece; ``on_progress(fraction)`` is called after each block."""
    from skimage.metrics import structural_similarity

    height = decoded.shape[0]
    if min(decoded.shape[:2]) < 2 * SSIM_RADIUS + 1 or not data_range:
        return math.nan
    total = 0.0
    for start in range(SSIM_RADIUS, height - SSIM_RADIUS, SSIM_ROWS):
        stop = min(start + SSIM_ROWS, height - SSIM_RADIUS)
        rows = slice(start - SSIM_RADIUS, stop + SSIM_RADIUS)
        value = structural_similarity(
            source[rows],
            decoded[rows],
            channel_axis=2,
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        total += float(value) * (stop - start)
        on_progress(stop / height)
    mean: float = total / (height - 2 * SSIM_RADIUS)
    return mean
