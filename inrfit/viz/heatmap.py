"""How visits become a heat map: the width of the smoothing, and the value of the brightest colour."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from .drawing import Floats

PANEL_SIDE, MIN_PANEL_SIDE = 384, 240
"""Longest side of a panel of a video, and the side up to which small images are enlarged, in pixels."""

COLOUR_QUANTILE = 0.995
"""The brightest colour stands for this quantile of the visits, so that a few outliers do not darken the rest, or for
twice their mean if that is more, so that uniform sampling gives a medium colour without the contrast of its noise."""

VISITS_PER_WINDOW = 24
"""Fewest visits, on average, that a dot of a heat map is computed from; with fewer visits per dot it is smoothed over
a larger window, because the counts of single samples are noise."""


def colour_limit(visits: Floats) -> float:
    """The number of visits that the brightest colour stands for."""
    return max(float(np.quantile(visits, COLOUR_QUANTILE)), 2 * float(visits.mean())) or 1.0


def smoothing_width(visits_per_dot: float, side: int) -> int:
    """Odd width of a square of dots that has VISITS_PER_WINDOW visits; at most about an eighth of ``side``, the shorter
    side of the image."""
    width = ceil(sqrt(VISITS_PER_WINDOW / max(visits_per_dot, 1e-9)))
    return min(width, max(1, side // 8)) // 2 * 2 + 1


def smooth(values: Floats, width: int) -> Floats:
    """Means of ``values`` (..., h, w) over windows of ``width`` x ``width`` dots, clipped at the edges of the image.
    They are taken twice, because after one pass the windows are visible."""
    if width == 1:
        return values
    image, half = torch.from_numpy(values.astype(np.float32))[None], width // 2
    for size, pad in (((width, 1), (half, 0)), ((1, width), (0, half))) * 2:
        image = avg_pool2d(image, size, 1, pad, count_include_pad=False)
    return image[0].numpy()
