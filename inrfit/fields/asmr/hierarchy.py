"""The hierarchy of cells over a raster: each side of the grid written as a product of one factor per level."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import ceil, log, prod

from ...errors import UsageError

MAX_CELLS = 1 << 40
"""Maximum number of cells of a raster: the length of the longest signal that an artifact may describe."""

MAX_CHILDREN = 4096
"""Maximum number of children of a cell. Each of them has a row of modulations and, in the last level, its own columns
of the folded matrix."""

FINEST_SIDE = {1: 20, 2: 8, 3: 4}
"""Preferred side of the finest blocks by number of dimensions: that of the ASMR paper for sounds and images."""

MAX_PADDING = 1 / 32
"""Maximum padding of an axis as a share of its length. More is accepted only if no factors need as little."""


@dataclass(frozen=True)
class Hierarchy:
    """The levels of cells over a raster, coarsest first.

    ``grid`` holds the cells per axis. ``factors`` (levels, d) holds for each level the number of parts along each axis
    into which it splits every cell of the level above. If the product of an axis' factors exceeds the grid, the excess
    is padding. Cells entirely within the padding are not evaluated, except in the last level, whose blocks are always
    evaluated whole.
    """

    grid: tuple[int, ...]
    factors: tuple[tuple[int, ...], ...]

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.factors)

    @property
    def block(self) -> tuple[int, ...]:
        """Sides of the finest blocks, which are the cells of the last level but one."""
        return self.factors[-1]

    @property
    def padded(self) -> tuple[int, ...]:
        """Cells per axis including padding."""
        return self.shape(self.levels - 1)

    def shape(self, level: int) -> tuple[int, ...]:
        """Cells per axis at ``level``, including padding."""
        return tuple(prod(axis) for axis in zip(*self.factors[: level + 1], strict=True))

    def evaluated(self, level: int) -> tuple[int, ...]:
        """Cells per axis at ``level`` that overlap the grid: those that a decode evaluates."""
        finer = self.factors[level + 1 :]
        return tuple(-(-side // prod(f[axis] for f in finer)) for axis, side in enumerate(self.grid))

    def children(self, level: int) -> int:
        """Cells of ``level`` in one cell of the level above."""
        return prod(self.factors[level])


def parse_hierarchy(grid: str, factors: str, dimensions: int, levels: int) -> Hierarchy:
    """The hierarchy described by texts such as "512x768" and "4x4,4x4,4x6,8x8".

    Raises ``UsageError`` for malformed texts, other numbers of ``dimensions`` or ``levels``, factors that do not cover
    the grid or leave a coarsest cell empty, and sizes beyond the limits.
    """
    if not grid or not factors:
        raise UsageError("asmr is defined on one raster: the options grid and factors are missing", "option")
    parsed = hierarchy_from_options(grid, factors)
    if len(parsed.grid) != dimensions or any(len(level) != dimensions for level in parsed.factors):
        raise UsageError(
            f"grid={grid}, factors={factors}: the grid and each level need {dimensions} numbers joined by x", "option"
        )
    if parsed.levels != levels:
        raise UsageError(f"factors={factors}: depth {levels - 1} has {levels} levels, not {parsed.levels}", "option")
    if prod(parsed.grid) > MAX_CELLS or prod(parsed.padded) > 2 * MAX_CELLS:
        raise UsageError(f"grid={grid}, factors={factors}: at most {MAX_CELLS:,} cells are supported", "option")
    if any(padded < side for padded, side in zip(parsed.padded, parsed.grid, strict=True)):
        raise UsageError(
            f"factors={factors} cover {format_shape(parsed.padded)} cells, fewer than the grid's {grid}", "option"
        )
    axes = zip(zip(*parsed.factors, strict=True), parsed.grid, strict=True)
    smallest = _format_factors([trim_padding(axis, side) for axis, side in axes])
    if smallest != factors:
        raise UsageError(
            f"factors={factors} cover {format_shape(parsed.padded)} cells, and some of the coarsest cells lie outside "
            f"grid={grid}; use factors={smallest}",
            "option",
        )
    if max(parsed.children(level) for level in range(1, levels)) > MAX_CHILDREN:
        raise UsageError(f"factors={factors}: a level splits a cell into at most {MAX_CHILDREN:,} cells", "option")
    return parsed


@lru_cache(maxsize=64)
def hierarchy_from_options(grid: str, factors: str) -> Hierarchy:
    """The hierarchy of two options whose consistency was checked before; raises ``UsageError`` for other syntax."""
    number = "[1-9][0-9]{0,12}"
    sides = rf"{number}(x{number}){{0,3}}"
    if not re.fullmatch(sides, grid):
        raise UsageError(f"grid={grid[:60]}: write the cells per axis, as in 512x768", "option")
    if len(factors) > 1000 or not re.fullmatch(rf"{sides}(,{sides}){{0,99}}", factors):
        raise UsageError(f"factors={factors[:60]}: write level after level, as in 4x4,4x4,4x6,8x8", "option")
    return Hierarchy(_parse_shape(grid), tuple(_parse_shape(level) for level in factors.split(",")))


def _parse_shape(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def format_shape(sides: Sequence[int]) -> str:
    """The sides joined by x, as in "512x768"."""
    return "x".join(map(str, sides))


def _format_factors(axes: Iterable[Sequence[int]]) -> str:
    """The option ``factors``, which is written level by level, from the factors of each axis."""
    return ",".join(format_shape(level) for level in zip(*axes, strict=True))


def choose_factors(shape: Sequence[int], levels: int) -> str:
    """The option ``factors`` for a grid of ``shape``.

    The finest blocks have sides near ``FINEST_SIDE``, and the coarser levels split what remains as evenly as possible,
    smaller factors first and with the least padding that this permits. For Kodak pictures and the paper's sounds these
    are the paper's factors.
    """
    side = FINEST_SIDE.get(len(shape), 4)
    return _format_factors(split_axis(length, levels, side) for length in shape)


@lru_cache(maxsize=256)
def split_axis(length: int, levels: int, finest: int) -> tuple[int, ...]:
    """``levels`` factors, the last near ``finest``, whose product is ``length`` or slightly more."""
    lasts = sorted(range(1, 2 * finest + 1), key=lambda last: (abs(log(last / finest)), -last))
    most = length * (1 + MAX_PADDING)
    candidates = [(*_even_factors(ceil(length / last), levels - 1, most / last), last) for last in lasts]
    little_padding = [factors for factors in candidates if prod(factors) <= most]
    return trim_padding(little_padding[0] if little_padding else min(candidates, key=prod), length)


def trim_padding(factors: Sequence[int], length: int) -> tuple[int, ...]:
    """The ``factors`` of an axis with the fewest coarsest cells that cover ``length``; their product is then less than
    twice the length."""
    trimmed = list(factors)
    for level in range(len(trimmed)):
        trimmed[level] = -(-length // prod(trimmed[level + 1 :]))
        if trimmed[level] > 1:
            break
    return tuple(trimmed)


def _even_factors(count: int, parts: int, most: float) -> tuple[int, ...]:
    """``parts`` non-decreasing factors whose product is from ``count`` to ``most``, with the smallest sum and then the
    smallest product; if there are none, those of the smallest product that is at least ``count``."""
    fitting = [(sum(f), prod(f), f) for f in _near_even(count, parts) if count <= prod(f) <= most]
    fitting = fitting or [(prod(f), sum(f), f) for f in _near_even(count, parts) if prod(f) >= count]
    return min(fitting)[2]


def _near_even(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Non-decreasing tuples of numbers near the ``parts``-th root of ``count``; a narrower range for longer tuples."""
    root = count ** (1 / parts)
    spread = 4 if parts <= 6 else 2 if parts <= 12 else 1
    low, high = max(1, int(root) - spread), ceil(root) + spread
    return combinations_with_replacement(range(low, high + 1), parts)
