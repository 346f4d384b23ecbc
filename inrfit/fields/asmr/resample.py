"""A raster resampled to another size: linear interpolation between cell centres along an axis that grows, area means
along an axis that shrinks."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ...signal import Grid

    ReadRows = Callable[[int, int], Float[Tensor, "rows *axes c"]]
    """Reads positions first to last (excluded) of the first axis of a raster."""

CELLS_PER_PART = 1 << 18
"""Cells of the source or of the result that are processed at a time."""


def resample(read_rows: ReadRows, source: tuple[int, ...], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
    """The cells start..stop (flat) of ``grid``, float32, from the raster of shape ``source`` read by ``read_rows``."""
    import torch

    row_cells = prod(grid.shape[1:])
    first, last = start // row_cells, -(-stop // row_cells)
    step = max(1, CELLS_PER_PART // max(row_cells, prod(source[1:])))
    parts = []
    for low in range(first, last, step):
        part = _resample_first_axis(read_rows, source[0], grid.shape[0], low, min(low + step, last), step)
        # Axes that shrink come first, so that no intermediate array is larger than both the source and the result.
        for axis in sorted(range(1, len(source)), key=lambda axis: grid.shape[axis] / source[axis]):
            length, target = source[axis], grid.shape[axis]
            if target > length:
                part = interpolate(part, axis, length, target, 0, target)
            elif target < length:
                part = area_means(part, axis, length, target, 0, 0, target).float()
        parts.append(part.flatten(0, -2))
    return torch.cat(parts)[start - first * row_cells : stop - first * row_cells]


def _resample_first_axis(
    read_rows: ReadRows, length: int, target: int, low: int, high: int, max_rows: int
) -> Float[Tensor, "rows *axes c"]:
    """Rows low..high of ``target`` rows, from a source of ``length`` rows of which at most about ``max_rows`` are read
    at a time."""
    if target >= length:
        base = max(0, floor((low + 0.5) * length / target - 0.5))
        rows = read_rows(base, min(length, base + high - low + 2))
        return interpolate(rows, 0, length, target, low, high, base)
    base, end = low * length // target, -(-high * length // target)
    total = area_means(read_rows(base, min(base + max_rows, end)), 0, length, target, base, low, high)
    for begin in range(base + max_rows, end, max_rows):
        total += area_means(read_rows(begin, min(begin + max_rows, end)), 0, length, target, begin, low, high)
    return total.float()


def interpolate(
    values: Float[Tensor, "*source"], axis: int, length: int, target: int, first: int, last: int, base: int = 0
) -> Float[Tensor, "*result"]:
    """Cells first..last of the ``target`` cells along ``axis``, interpolated linearly between ``length`` source cells.

    ``values`` holds the source cells from ``base`` on, as many as are needed.
    """
    import torch

    cells = torch.arange(first, last, dtype=torch.float64, device=values.device)
    position = ((cells + 0.5) * length / target - 0.5).clamp(0, length - 1)
    left = position.floor()
    fraction = (position - left).float().view([-1 if k == axis else 1 for k in range(values.dim())])
    right = (left + 1).clamp(max=length - 1).long() - base
    return values.index_select(axis, left.long() - base) * (1 - fraction) + values.index_select(axis, right) * fraction


def area_means(
    values: Float[Tensor, "*source"], axis: int, length: int, target: int, base: int, first: int, last: int
) -> Float[Tensor, "*result"]:
    """The contribution of ``values`` to the cells first..last of the ``target`` cells along ``axis``, float64.

    ``values`` holds source cells from ``base`` on, of ``length`` cells in all. The source cells are the smaller ones,
    so each of them overlaps at most two cells of the result.
    """
    import torch

    cells = torch.arange(base, base + values.shape[axis], dtype=torch.float64, device=values.device)
    begin, end = cells * target / length, (cells + 1) * target / length
    own = begin.floor()
    total = values.new_zeros([*values.shape[:axis], last - first, *values.shape[axis + 1 :]], dtype=torch.float64)
    for into, overlap in ((own, end.minimum(own + 1) - begin), (own + 1, end - own - 1)):
        within = ((into >= first) & (into < last) & (overlap > 0)).nonzero().squeeze(1)
        weights = overlap[within].view([-1 if k == axis else 1 for k in range(values.dim())])
        total.index_add_(axis, into[within].long() - first, values.index_select(axis, within) * weights)
    return total
