"""Rows of a decoded raster from tables of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from operator import mul
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .hierarchy import Radix

BAND = 8192
"""Blocks evaluated at a time: 17 MB for a width of 256, besides their values."""

LARGEST = 1 << 23
"""Values made at a time."""


def rows(made: Radix, table: Callable[[Tensor], Tensor], first: int, last: int, like: Tensor) -> Tensor:
    """Positions first..last of the raster's first axis, (last - first, ..., c), of the type and on the device of
    ``like`` (c,). ``table`` gives the values (k * children, c) of the blocks (k,) it is asked for; blocks that lie
    across an end of the rows or of the raster are evaluated whole, those beyond it not at all."""
    import torch

    side, d, reach = made.block[0], len(made.grid), made.reach(made.levels - 2)[1:]
    beside, channels = prod(reach), like.shape[0]
    most_blocks = max(1, min(BAND, LARGEST // (prod(made.block) * channels)))
    begin, end, most = first // side, -(-last // side), max(1, most_blocks // beside)
    found = like.new_empty(last - first, *made.grid[1:], channels)
    # From (blocks along each axis, places in a block along each axis, c) to (block, place) axis by axis.
    order = [k for axis in range(d) for k in (axis, d + axis)] + [2 * d]
    for low in range(begin, end, most):
        blocks = torch.arange(low, min(low + most, end), device=like.device)
        for count, across in zip(reach, made.shape(made.levels - 2)[1:], strict=True):
            blocks = (blocks[:, None] * across + torch.arange(count, device=like.device)).flatten()
        values = torch.cat([table(part) for part in blocks.split(most_blocks)])
        values = values.view(-1, *reach, *made.block, channels).permute(order)
        values = values.reshape(-1, *map(mul, reach, made.block[1:]), channels)
        inside = values[(slice(None), *(slice(0, length) for length in made.grid[1:]))]
        lower, upper = max(low * side, first), min(low * side + inside.shape[0], last)
        found[lower - first : upper - first] = inside[lower - low * side : upper - low * side]
    return found
