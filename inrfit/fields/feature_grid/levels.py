"""The levels of a feature grid: their nodes, and their rows in the table of features."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import UsageError

HASH_PRIMES = (1, 2_654_435_761, 805_459_861, 3_674_653_429)
"""Factors of the spatial hash, for the last axis first (Instant-NGP, eq. 4; x of its code is the last axis here)."""

MAX_NODES_PER_AXIS = 1 << 24
"""Maximum number of nodes along an axis: float32 positions are exact up to there."""

SPANS = {"linear": 2, "quadratic": 3}
"""Nodes along an axis that interpolation weighs, by its name."""

MAX_FEATURES, MAX_ROWS = 4096, 1 << 26
"""Maximum number of features per node, and of rows per level."""


@dataclass(frozen=True)
class Level:
    """One grid: its nodes per axis, its first row in the table and its number of rows, which is smaller than the number
    of nodes if they are hashed. ``span``: the nodes along an axis that interpolation weighs, 2 (linear) or 3 (a
    quadratic B-spline)."""

    nodes: tuple[int, ...]
    start: int
    rows: int
    span: int = 2

    @property
    def hashed(self) -> bool:
        """Whether nodes share rows."""
        return math.prod(self.nodes) > self.rows

    @property
    def strides(self) -> tuple[int, ...]:
        """Factor of the node index along each axis. The products are added to the row-major index of a dense node, and
        combined by exclusive or for a hashed one."""
        axes = len(self.nodes)
        if self.hashed:
            return HASH_PRIMES[:axes][::-1]
        return tuple(math.prod(self.nodes[axis + 1 :]) for axis in range(axes))


def check_finest(finest: str) -> None:
    """Raise ``UsageError`` unless ``finest`` holds nodes per axis, as in "128" or "96x128"."""
    parts = finest.split("x")
    numbers = len(parts) <= 4 and all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)
    if not numbers or not all(1 <= int(part) <= MAX_NODES_PER_AXIS for part in parts):
        raise UsageError(f"-O finest={finest[:40]}: write the nodes per axis, as in 128 or 96x128", "option")


def node_counts(finest: str, axes: int) -> tuple[int, ...]:
    """Nodes per axis described by ``finest``; a single number stands for every axis."""
    parts = [int(part) for part in finest.split("x")]
    return tuple(parts * axes if len(parts) == 1 else parts)


def build_levels(finest: str, axes: int, count: int, growth: float, max_rows: int, span: int) -> tuple[Level, ...]:
    """``count`` levels up to ``finest``, coarsest first, each ``growth`` times as fine as the one before."""
    finest_nodes = node_counts(finest, axes)
    if len(finest_nodes) != axes:
        raise UsageError(f"-O finest={finest}: the signal has {axes} axes", "option")
    scales = [1.0]
    while len(scales) < count:
        scales.append(scales[-1] * growth)
    levels: list[Level] = []
    start = 0
    for scale in reversed(scales):
        nodes = tuple(math.ceil(most / scale) for most in finest_nodes)
        levels.append(Level(nodes, start, min(math.prod(nodes), max_rows), span))
        start += levels[-1].rows
    return tuple(levels)
