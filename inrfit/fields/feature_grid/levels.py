"""The grids of a feature grid: their nodes, and where their rows lie in the table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import UsageError

PRIMES = (1, 2_654_435_761, 805_459_861, 3_674_653_429)
"""Factors of the hash, the last axis first: Instant-NGP, eq. 4 and its code, whose x is our last axis."""

MOST_NODES = 1 << 24
"""Along one axis: float32 positions are exact to there."""

MOST_FEATURES, MOST_ROWS = 4096, 1 << 26


@dataclass(frozen=True)
class Level:
    """One grid: nodes per axis, where its rows in the table begin, and how many they are; fewer than nodes if they are
    hashed."""

    nodes: tuple[int, ...]
    start: int
    rows: int

    @property
    def hashed(self) -> bool:
        """Whether nodes share rows."""
        return math.prod(self.nodes) > self.rows

    @property
    def strides(self) -> tuple[int, ...]:
        """By axis: what its node number is multiplied with, to be summed (row-major) or, if hashed, combined."""
        axes = len(self.nodes)
        if self.hashed:
            return PRIMES[:axes][::-1]
        return tuple(math.prod(self.nodes[axis + 1 :]) for axis in range(axes))


def check(finest: str) -> None:
    """Raises ``UsageError`` unless ``finest`` is nodes per axis: 128, or 96x128."""
    parts = finest.split("x")
    sound = len(parts) <= 4 and all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)
    if not sound or not all(1 <= int(part) <= MOST_NODES for part in parts):
        raise UsageError(f"-O finest={finest[:40]}: write nodes per axis, like 128 or 96x128", "option")


def node_counts(finest: str, axes: int) -> tuple[int, ...]:
    """Nodes per axis that ``finest`` describes; one number stands for every axis."""
    parts = [int(part) for part in finest.split("x")]
    return tuple(parts * axes if len(parts) == 1 else parts)


def pyramid(finest: str, axes: int, count: int, growth: float, most_rows: int) -> tuple[Level, ...]:
    """``count`` levels up to ``finest``, coarsest first, each ``growth`` times as fine as the one before."""
    nodes_of_finest = node_counts(finest, axes)
    if len(nodes_of_finest) != axes:
        raise UsageError(f"-O finest={finest}: the signal has {axes} axes", "option")
    scales = [1.0]
    while len(scales) < count:
        scales.append(scales[-1] * growth)
    found: list[Level] = []
    start = 0
    for scale in reversed(scales):
        nodes = tuple(math.ceil(most / scale) for most in nodes_of_finest)
        found.append(Level(nodes, start, min(math.prod(nodes), most_rows)))
        start += found[-1].rows
    return tuple(found)
