"""The distances of the nodes beside the surface: those with a neighbour along an axis on the other side.

They come in two phases: nodes whose indices have an even sum, then the others. A distance is predicted by a weighted
sum of the signs around, and in the second phase of the distances of the first. All is computed in integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..latents.integer_wavelets import Ints
from ..latents.laplace import PARTS, SCALES
from .signs import Signs

LEVELS = 6
"""Distances are multiples of 1 / LEVELS of the distance of two nodes, plus a half."""

ONE = 2 * LEVELS
"""The distance of two nodes, in the integers that predictions are made of."""

WEIGHT = 256
"""A weight is a whole number of 1 / WEIGHT."""

CLASSES = 8
"""Classes of predictions, each with a scale of its own."""

_STEPS = tuple((x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) != (0, 0, 0))
_ODD = tuple(step for step in _STEPS if sum(step) % 2)


class Part(NamedTuple):
    """The parameters of a phase: the weights (k,), and the scale of each class (``laplace``)."""

    weights: Ints
    scales: Ints


def weight_count(phase: int) -> int:
    """Number of weights of a phase."""
    return 1 + len(_STEPS) + (len(_ODD) if phase else 0)


def beside_surface(signs: Signs) -> npt.NDArray[np.bool_]:
    """The nodes with a neighbour along an axis on the other side."""
    found = np.zeros(signs.shape, np.bool_)
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        changes = signs[tuple(low)] != signs[tuple(high)]
        found[tuple(low)] |= changes
        found[tuple(high)] |= changes
    return found


def places(beside: npt.NDArray[np.bool_], phase: int) -> tuple[Ints, Ints, Ints]:
    """The nodes of a phase."""
    x, y, z = np.nonzero(beside)
    own = (x + y + z) % 2 == phase
    return x[own], y[own], z[own]


def surroundings(at: tuple[Ints, Ints, Ints], phase: int, signs: Signs, known: Ints) -> Ints:
    """What predictions are made of (k, n): ONE, then signs, and in the second phase the ``known`` signed distances in
    1 / ONE, 0 where there are none. All are relative to the sign of the node."""
    size = signs.shape[0] - 1
    own = signs[at].astype(np.int64)
    found = [np.full(len(own), ONE, np.int64)]

    def neighbours(step: tuple[int, int, int]) -> tuple[Ints, Ints, Ints]:
        x, y, z = ((index + move).clip(0, size) for index, move in zip(at, step, strict=True))
        return x, y, z

    found += [ONE * signs[neighbours(step)] * own for step in _STEPS]
    if phase:
        for step in _ODD:
            there = neighbours(step)
            distance = known[there].astype(np.int64)
            found.append(np.where(distance == 0, ONE * signs[there], distance) * own)
    return np.stack(found)


def distributions(sums: Ints, part: Part) -> tuple[Ints, Ints]:
    """The means, in ``laplace.PARTS`` of a level, and the scales of the numbers of the levels."""
    total = part.weights @ sums  # in 1 / (ONE WEIGHT) of the distance of two nodes
    means = (PARTS * total // (2 * WEIGHT) - PARTS // 2).clip(-PARTS, PARTS * LEVELS)
    classes = (means * CLASSES // (PARTS * LEVELS)).clip(0, CLASSES - 1)
    return means, part.scales[classes]


def fitted(sums: Ints, numbers: Ints) -> Part:
    """The parameters for the ``numbers`` (n,) of the levels."""
    if not len(numbers):
        return Part(np.zeros(len(sums), np.int64), np.zeros(CLASSES, np.int64))
    exact = np.linalg.lstsq(sums.T.astype(np.float64), 2.0 * numbers + 1, rcond=1e-6)[0]
    weights = np.rint(WEIGHT * exact).clip(-(1 << 15), (1 << 15) - 1).astype(np.int64)
    means, _ = distributions(sums, Part(weights, np.zeros(CLASSES, np.int64)))
    classes = (means * CLASSES // (PARTS * LEVELS)).clip(0, CLASSES - 1)
    errors = np.abs(numbers - means / PARTS)
    scales = [
        float(errors[classes == number].mean()) if (classes == number).any() else 1.0 for number in range(CLASSES)
    ]
    return Part(weights, np.rint(4 * np.log2(32 * np.array(scales) + 1e-9)).clip(0, SCALES - 1).astype(np.int64))
