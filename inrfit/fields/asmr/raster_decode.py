"""Rows of a decoded raster, assembled from the values of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from operator import mul
from typing import TYPE_CHECKING

from .hierarchy import hierarchy_from_options
from .resample import CELLS_PER_PART

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from ..spec import FieldSpec
    from .hierarchy import Hierarchy

MAX_BLOCKS = 8192
"""Maximum number of blocks evaluated at a time. Their sines and cosines take 17 MB at a width of 256."""

MAX_VALUES = 1 << 23
"""Maximum number of values decoded at a time."""


def decode_bytes(spec: FieldSpec, shape: tuple[int, ...], cells: int) -> int:
    """Bytes that ``Asmr.on_grid`` takes for ``cells`` cells of a grid of ``shape``: the modulations, the matrix of the
    last level, the phases and waves of the blocks decoded together, and the values of all blocks in a row of them."""
    options = spec.formula
    hierarchy = hierarchy_from_options(*(getattr(options, name) for name in ("grid", "factors")))
    children = [hierarchy.children(level) for level in range(1, hierarchy.levels)]
    block, channels = prod(hierarchy.block), spec.outputs
    row_blocks = prod(hierarchy.evaluated(hierarchy.levels - 2)[1:])
    together = max(1, min(MAX_BLOCKS, MAX_VALUES // (block * channels)))
    wanted = cells if shape == hierarchy.grid else max(cells, 2 * CELLS_PER_PART)
    rows = max(1, min(together // row_blocks, -(-wanted // (block * row_blocks))))
    blocks = min(together, rows * row_blocks)
    values = 4 * channels * (2 * rows * row_blocks * block + wanted + cells)
    resampled = 0 if shape == hierarchy.grid else 16 * channels * CELLS_PER_PART
    folded = 16 * spec.width * children[-1] * channels
    return 8 * spec.width * sum(children) + folded + 20 * spec.width * blocks + values + resampled


def decode_rows(
    hierarchy: Hierarchy,
    decode_blocks: Callable[[Int[Tensor, " k"]], Float[Tensor, "k*children c"]],
    first: int,
    last: int,
    like: Float[Tensor, " c"],
) -> Float[Tensor, "rows *axes c"]:
    """Values at positions ``first`` up to but excluding ``last`` of the raster's first axis.

    ``decode_blocks`` maps flat blocks to the values of all their cells. Blocks that extend beyond these rows or beyond
    the raster are evaluated whole; blocks outside are not evaluated. The result has the type and device of ``like``.
    """
    import torch

    side, d, blocks_per_axis = hierarchy.block[0], len(hierarchy.grid), hierarchy.evaluated(hierarchy.levels - 2)[1:]
    blocks_per_row, channels = prod(blocks_per_axis), like.shape[0]
    max_blocks = max(1, min(MAX_BLOCKS, MAX_VALUES // (prod(hierarchy.block) * channels)))
    begin, end, step = first // side, -(-last // side), max(1, max_blocks // blocks_per_row)
    decoded = like.new_empty(last - first, *hierarchy.grid[1:], channels)
    # From (blocks along each axis, positions in a block along each axis, c) to (block, position) axis by axis, then c.
    order = [k for axis in range(d) for k in (axis, d + axis)] + [2 * d]
    for low in range(begin, end, step):
        blocks = torch.arange(low, min(low + step, end), device=like.device)
        for count, padded in zip(blocks_per_axis, hierarchy.shape(hierarchy.levels - 2)[1:], strict=True):
            blocks = (blocks[:, None] * padded + torch.arange(count, device=like.device)).flatten()
        values = torch.cat([decode_blocks(part) for part in blocks.split(max_blocks)])
        values = values.view(-1, *blocks_per_axis, *hierarchy.block, channels).permute(order)
        values = values.reshape(-1, *map(mul, blocks_per_axis, hierarchy.block[1:]), channels)
        inside = values[(slice(None), *(slice(0, length) for length in hierarchy.grid[1:]))]
        lower, upper = max(low * side, first), min(low * side + inside.shape[0], last)
        decoded[lower - first : upper - first] = inside[lower - low * side : upper - low * side]
    return decoded
