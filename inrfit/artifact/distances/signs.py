"""Which nodes of a cube are inside, level by level: first every 2^k-th node along each axis, then those between them.

The nodes of a level come in seven phases. Where all known neighbours have one sign, so has a node, but for exceptions,
which are listed. Elsewhere the logarithm of the odds is a weighted sum of the signs of the known neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..latents.integer_wavelets import Ints
from ..rans import TOTAL, Tables

Signs = npt.NDArray[np.int8]
"""-1 inside and 1 outside."""


PHASES = ((1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
"""The first node of each phase, along the three axes; every second one follows."""

COARSEST = 3
"""Most nodes along an axis of the first level, in which all signs are coded as they are."""

WEIGHT = 16
"""A weight is a whole number of 1 / WEIGHT."""

_CLASSES = 76
"""Tables of the odds: number k + _CLASSES is that of exp(k / 8)."""


@cache
def tables() -> Tables:
    """The tables of the symbols 0, a sign of -1, and 1."""
    ones = [round(TOTAL / (1 + math.exp(-k / 8))) for k in range(-_CLASSES, _CLASSES + 1)]
    return Tables([np.array([TOTAL - one, one]) for one in ones])


@cache
def neighbours(phase: int) -> tuple[tuple[int, int, int], ...]:
    """The steps to those of the 26 neighbours that are known in a phase."""
    known = {(0, 0, 0), *PHASES[:phase]}
    around = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    own = PHASES[phase]
    return tuple(step for step in around if tuple((a + b) % 2 for a, b in zip(own, step, strict=True)) in known)


class Phase(NamedTuple):
    """The nodes of one phase of one level: ``number`` of the phase; the ``signs`` of their known neighbours (k, n); and
    ``own`` (x, y, z), a view of the signs of the nodes themselves."""

    number: int
    signs: Signs
    own: Signs

    def uniform(self) -> tuple[npt.NDArray[np.bool_], Signs]:
        """Whether all known neighbours of a node have one sign (n,), and the sign of their sum."""
        total = self.signs.sum(0, dtype=np.int32)
        return np.abs(total) == len(self.signs), np.sign(total).astype(np.int8)


def strides(nodes: int) -> list[int]:
    """The distances of the nodes of each level, from the coarsest on."""
    stride = 1
    while -(-nodes // stride) > COARSEST:
        stride *= 2
    found = [stride]
    while stride > 1:
        stride //= 2
        found.append(stride)
    return found


def phases(signs: Signs) -> Iterator[Phase]:
    """Every phase of all levels but the coarsest. ``signs`` (n, n, n) are read, or filled in, in this order."""
    for stride in strides(len(signs))[1:]:
        level = signs[::stride, ::stride, ::stride]
        for number, (x, y, z) in enumerate(PHASES):
            own = level[x::2, y::2, z::2]
            if own.size:
                padded = np.pad(level, 1, constant_values=1)
                around = [
                    padded[
                        1 + x + a : 1 + x + a + 2 * own.shape[0] : 2,
                        1 + y + b : 1 + y + b + 2 * own.shape[1] : 2,
                        1 + z + c : 1 + z + c + 2 * own.shape[2] : 2,
                    ][: own.shape[0], : own.shape[1], : own.shape[2]].reshape(-1)
                    for a, b, c in neighbours(number)
                ]
                yield Phase(number, np.stack(around), own)


def table_numbers(signs: Signs, weights: Sequence[int]) -> Ints:
    """The table of each node (n,), from the signs of its neighbours (k, n)."""
    total = np.array(weights, np.int32) @ signs.astype(np.int32)
    found: Ints = (8 * total // WEIGHT).clip(-_CLASSES, _CLASSES) + _CLASSES
    return found


def fitted(signs: Signs, own: Signs) -> list[int]:
    """The weights for which the signs ``own`` (n,) take the fewest bits beside those of their neighbours (k, n)."""
    from scipy.optimize import minimize

    around, target = signs.T.astype(np.float64), own.astype(np.float64)
    if not len(target):
        return [0] * len(signs)

    def bits(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margin = target * (around @ weights)
        slope = -(around.T @ (target / (1 + np.exp(margin)))) / len(target)
        return float(np.logaddexp(0, -margin).mean() + 1e-4 * weights @ weights), slope + 2e-4 * weights

    start = np.full(len(signs), 0.1)
    found = minimize(bits, start, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x
    return [int(weight) for weight in np.rint(WEIGHT * found).clip(-127, 127)]
