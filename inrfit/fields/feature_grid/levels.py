"""The levels of a feature grid, which are grids and planes: their nodes, and their rows in the table of features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

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
    quadratic B-spline). Along an axis of one node the grid is constant: a plane has one node on all axes but two."""

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

    @property
    def around(self) -> int:
        """The number of different nodes that interpolation weighs for a point."""
        return int(self.span ** sum(count > 1 for count in self.nodes))


def check_nodes(option: str, value: str) -> None:
    """Raise ``UsageError`` unless the ``value`` of ``option`` holds nodes per axis, as in "128" or "96x128"."""
    parts = value.split("x")
    numbers = len(parts) <= 4 and all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)
    if not numbers or not all(1 <= int(part) <= MAX_NODES_PER_AXIS for part in parts):
        raise UsageError(f"-O {option}={value[:40]}: write the nodes per axis, as in 128 or 96x128", "option")


def node_counts(option: str, value: str, axes: int) -> tuple[int, ...]:
    """Nodes per axis described by the ``value`` of ``option``; a single number stands for every axis. Raises
    ``UsageError`` for another number of axes."""
    parts = [int(part) for part in value.split("x")]
    counts = tuple(parts * axes if len(parts) == 1 else parts)
    if len(counts) != axes:
        raise UsageError(f"-O {option}={value}: the signal has {axes} axes", "option")
    return counts


def grid_nodes(finest: tuple[int, ...], count: int, growth: float) -> list[tuple[int, ...]]:
    """The nodes of ``count`` grids up to ``finest``, coarsest first, each ``growth`` times as fine as the one
    before."""
    scales = [1.0]
    while len(scales) < count:
        scales.append(scales[-1] * growth)
    return [tuple(math.ceil(most / scale) for most in finest) for scale in reversed(scales)]


def plane_nodes(sides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The nodes of a plane for each pair of axes, in the order (0, 1), (0, 2), (1, 2): ``sides`` along the two axes and
    one node along the others."""
    pairs = combinations(range(len(sides)), 2)
    return [tuple(side if axis in pair else 1 for axis, side in enumerate(sides)) for pair in pairs]


def level_count(grids: int, planes: str, axes: int) -> int:
    """The number of grids, and of planes if there are any."""
    return grids + (math.comb(axes, 2) if planes else 0)


def stacked(nodes: list[tuple[int, ...]], max_rows: int, span: int) -> tuple[Level, ...]:
    """The levels with these nodes, whose rows follow each other in the table."""
    levels: list[Level] = []
    start = 0
    for each in nodes:
        levels.append(Level(each, start, min(math.prod(each), max_rows), span))
        start += levels[-1].rows
    return tuple(levels)
