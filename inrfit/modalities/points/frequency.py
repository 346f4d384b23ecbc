"""How fast scattered samples change."""

from __future__ import annotations

import numpy as np

from ...signal import Signal

NEIGHBOURS, MAX_COMPARED, MAX_AROUND = 8, 4096, 1 << 18
"""Neighbours of a sample that it is compared with, most samples that are, and most samples among which neighbours are
looked for, which takes a third of a second."""

LOWEST_OMEGA, HIGHEST_OMEGA = 3.0, 120.0
"""Bounds of ``first_omega``. The lower one is the best for a smooth function (docs/architectures.md), the upper one
that of images."""


def first_omega(signal: Signal) -> float:
    """Frequency factor of a SIREN's first layer: the frequency, in radians per unit of the field's axes, whose slopes
    are those of the samples in the mean.

    Values differ between neighbours by their slope times the distance, and by noise. A line through the squared
    differences over the squared distances tells one from the other: its slope is the frequency squared if the values
    have a variance of 1, and its intercept is twice the variance of the noise."""
    from scipy.spatial import cKDTree

    assert signal.points is not None
    some = np.random.default_rng(0).permutation(signal.n)[:MAX_AROUND]
    points, raw = signal.points[some], signal.samples[some].astype(np.float64)
    count = min(NEIGHBOURS, len(some) - 1)
    if not count:
        return LOWEST_OMEGA
    distances, neighbours = cKDTree(points).query(points[:MAX_COMPARED], count + 1)
    spread = raw.std(axis=0)
    values = raw / np.where(spread > 0, spread, 1.0)
    differences = ((values[:MAX_COMPARED, None] - values[neighbours]) ** 2).mean(axis=-1)[:, 1:].ravel()
    squares = distances[:, 1:].ravel() ** 2
    moved = squares - squares.mean()
    variance = float((moved**2).sum())
    slope = float((moved * differences).sum()) / variance if variance else 0.0
    return float(np.clip(np.sqrt(max(slope, 0.0)), LOWEST_OMEGA, HIGHEST_OMEGA))
