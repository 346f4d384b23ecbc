"""From counts to what a heat map shows: how much is smoothed, and what the hottest colour stands for."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from .drawing import Numbers

PANEL, SMALLEST = 384, 240
"""Longest side of a video's panel, and the side from which on small pictures are not enlarged, pixels."""

HOTTEST = 0.995
"""The hottest colour is for this quantile of the counts, so that a few outliers do not darken the rest, or for twice
the mean, so that an even teaching is of a middling colour and not of chance's contrasts."""

STEADY = 24
"""Teachings that a dot of a heat map should rest on: where they are fewer, a larger window is smoothed over, for
what single samples show then is chance."""


def hottest(times: Numbers) -> float:
    """What the hottest colour stands for."""
    return max(float(np.quantile(times, HOTTEST)), 2 * float(times.mean())) or 1.0


def window(teachings: float, side: int) -> int:
    """Width, odd, of the square of dots with STEADY teachings, where a dot has ``teachings``; bounded by the picture's
    shorter ``side``."""
    wanted = ceil(sqrt(STEADY / max(teachings, 1e-9)))
    return min(wanted, max(1, side // 8)) // 2 * 2 + 1


def smoothed(values: Numbers, width: int) -> Numbers:
    """Means of (..., h, w) over windows of ``width`` x ``width``, cut off at the edges; twice, or the windows show."""
    if width == 1:
        return values
    image, half = torch.from_numpy(values.astype(np.float32))[None], width // 2
    for size, pad in (((width, 1), (half, 0)), ((1, width), (0, half))) * 2:
        image = avg_pool2d(image, size, 1, pad, count_include_pad=False)
    return image[0].numpy()
