"""A raster as a hierarchy of cells: how the sides of a grid are written as products of a few factors, without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import ceil, log, prod

from ...errors import UsageError

LONGEST = 1 << 40
"""Cells of a raster at most: as many as the longest signal that an artifact may describe."""

MOST_CHILDREN = 4096
"""Cells below one cell, at most: each of them has a row of modulations, and in the last level columns of a product."""

FINEST = {1: 20, 2: 8, 3: 4}
"""Side of the finest blocks that is aimed at, by dimensions: the ASMR paper's for sounds and images."""

PADDING = 1 / 32
"""An axis may be padded by this share of its length (and must be by more where nothing fits better)."""


@dataclass(frozen=True)
class Radix:
    """``grid``: cells per axis; ``factors`` (levels, d): each level splits every cell of the one before into so many
    along each axis. What their products exceed the grid by is padding. No cell that lies in it whole is evaluated, of
    any level but the last: the blocks across the grid's end are evaluated whole."""

    grid: tuple[int, ...]
    factors: tuple[tuple[int, ...], ...]

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.factors)

    @property
    def block(self) -> tuple[int, ...]:
        """Sides of the finest blocks: the cells below one cell of the last level but one."""
        return self.factors[-1]

    def shape(self, level: int) -> tuple[int, ...]:
        """Cells per axis at ``level``, padding included."""
        return tuple(prod(axis) for axis in zip(*self.factors[: level + 1], strict=True))

    def reach(self, level: int) -> tuple[int, ...]:
        """Cells per axis at ``level`` that have a part in the grid: all that are evaluated."""
        below = self.factors[level + 1 :]
        return tuple(-(-side // prod(f[axis] for f in below)) for axis, side in enumerate(self.grid))

    def children(self, level: int) -> int:
        """Cells at ``level`` below one cell of the level before."""
        return prod(self.factors[level])

    @property
    def padded(self) -> tuple[int, ...]:
        """Cells per axis that the factors make."""
        return self.shape(self.levels - 1)


def parse(grid: str, factors: str, dimensions: int, levels: int) -> Radix:
    """From texts such as "512x768" and "4x4,4x4,4x6,8x8"; raises ``UsageError`` for anything that is no such raster."""
    if not grid or not factors:
        raise UsageError("asmr needs the raster that it is for: options grid and factors", "option")
    made = Radix(*_parsed(grid, factors))
    if len(made.grid) != dimensions or any(len(level) != dimensions for level in made.factors):
        raise UsageError(f"grid={grid}, factors={factors}: want {dimensions} numbers joined by x each", "option")
    if made.levels != levels:
        raise UsageError(f"factors={factors}: depth {levels - 1} has {levels} levels, not {made.levels}", "option")
    if prod(made.grid) > LONGEST or prod(made.padded) > 2 * LONGEST:
        raise UsageError(f"grid={grid}, factors={factors}: at most {LONGEST:,} cells are supported", "option")
    if any(whole < side for whole, side in zip(made.padded, made.grid, strict=True)):
        raise UsageError(f"factors={factors} make {words(made.padded)} cells, fewer than the grid's {grid}", "option")
    fewer = _joined(
        [trimmed(axis, side) for axis, side in zip(zip(*made.factors, strict=True), made.grid, strict=True)]
    )
    if fewer != factors:
        raise UsageError(
            f"factors={factors} make {words(made.padded)} cells, of which grid={grid} leaves whole parts empty; "
            f"{fewer} will do",
            "option",
        )
    if max(made.children(level) for level in range(1, levels)) > MOST_CHILDREN:
        raise UsageError(f"factors={factors}: a level splits a cell into at most {MOST_CHILDREN:,}", "option")
    return made


@lru_cache(maxsize=64)
def known(grid: str, factors: str) -> Radix:
    """The same of texts that were checked before."""
    return Radix(*_parsed(grid, factors))


@lru_cache(maxsize=64)
def _parsed(grid: str, factors: str) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    number = "[1-9][0-9]{0,12}"
    one = rf"{number}(x{number}){{0,3}}"
    if not re.fullmatch(one, grid):
        raise UsageError(f"grid={grid[:60]}: write the cells per axis, as in 512x768", "option")
    if len(factors) > 1000 or not re.fullmatch(rf"{one}(,{one}){{0,99}}", factors):
        raise UsageError(f"factors={factors[:60]}: write level after level, as in 4x4,4x4,4x6,8x8", "option")
    return _numbers(grid), tuple(_numbers(level) for level in factors.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def trimmed(factors: Sequence[int], length: int) -> tuple[int, ...]:
    """An axis' ``factors`` with as few of the coarsest cells as cover ``length``: less than its double then."""
    made = list(factors)
    for level in range(len(made)):
        made[level] = -(-length // prod(made[level + 1 :]))
        if made[level] > 1:
            break
    return tuple(made)


def _joined(axes: Iterable[Sequence[int]]) -> str:
    """Factors as they are written, level after level, from those of each axis."""
    return ",".join(words(level) for level in zip(*axes, strict=True))


def words(sides: Sequence[int]) -> str:
    """``512x768``."""
    return "x".join(map(str, sides))


def chosen(shape: Sequence[int], levels: int) -> str:
    """Factors for a grid of ``shape``: the finest blocks near ``FINEST``, what is left split as evenly as can be, the
    smaller factors first, every axis padded by as little as that allows. The ASMR paper's for Kodak and its sounds."""
    side = FINEST.get(len(shape), 4)
    return _joined(split(length, levels, side) for length in shape)


@lru_cache(maxsize=256)
def split(length: int, levels: int, finest: int) -> tuple[int, ...]:
    """``levels`` factors, the last near ``finest``, whose product is ``length`` or little more."""
    lasts = sorted(range(1, 2 * finest + 1), key=lambda last: (abs(log(last / finest)), -last))
    made = [(*_even(ceil(length / last), levels - 1, length * (1 + PADDING) / last), last) for last in lasts]
    near = [factors for factors in made if prod(factors) <= length * (1 + PADDING)]
    return trimmed(near[0] if near else min(made, key=prod), length)


def _even(count: int, parts: int, most: float) -> tuple[int, ...]:
    """Rising factors with a product from ``count`` to ``most``, if there are any such: those of the smallest sum, and
    of the smallest product among these."""
    fitting = [(sum(f), prod(f), f) for f in _candidates(count, parts) if count <= prod(f) <= most]
    fitting = fitting or [(prod(f), sum(f), f) for f in _candidates(count, parts) if prod(f) >= count]
    return min(fitting)[2]


def _candidates(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Rising tuples around the even split: fewer of them the longer they are."""
    root = count ** (1 / parts)
    spread = 4 if parts <= 6 else 2 if parts <= 12 else 1
    low, high = max(1, int(root) - spread), ceil(root) + spread
    return combinations_with_replacement(range(low, high + 1), parts)
