"""The bands of a wavelet transform of a raster, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass

ORIENTATIONS = ("h", "v", "d")
"""What a detail band has: variation along the rows (horizontal), along the columns (vertical), or along both."""

MAX_LEVELS = 6
LEAST_SIDE = 8
"""A band of at most this many samples along an axis is not divided again."""


@dataclass(frozen=True)
class Band:
    """A band: ``name`` of its tensor, ``level`` (0 is the finest), ``orientation`` (index in ORIENTATIONS; -1 for the
    low band) and ``shape`` (rows, columns)."""

    name: str
    level: int
    orientation: int
    shape: tuple[int, int]


def level_count(shape: tuple[int, int]) -> int:
    """How often a raster (rows, columns) is divided."""
    levels, least = 0, min(shape)
    while levels < MAX_LEVELS and least > LEAST_SIDE:
        levels, least = levels + 1, (least + 1) // 2
    return levels


def low_shapes(shape: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """The shape of the raster and of the low band of each level."""
    shapes = [shape]
    for _ in range(levels):
        rows, columns = shapes[-1]
        shapes.append(((rows + 1) // 2, (columns + 1) // 2))
    return shapes


def bands(shape: tuple[int, int], levels: int) -> tuple[Band, ...]:
    """All bands in the order in which they are coded: the low band, then the detail of each level, coarsest first."""
    shapes = low_shapes(shape, levels)
    found = [Band("low", levels, -1, shapes[-1])]
    for level in reversed(range(levels)):
        (rows, columns), (low_rows, low_columns) = shapes[level], shapes[level + 1]
        high_rows, high_columns = rows - low_rows, columns - low_columns
        sides = ((low_rows, high_columns), (high_rows, low_columns), (high_rows, high_columns))
        found += [Band(f"{ORIENTATIONS[k]}{level}", level, k, side) for k, side in enumerate(sides)]
    return tuple(found)
