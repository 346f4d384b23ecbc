"""A raster at another size: linear between cell centres along an axis that grows, the area's mean along one that
shrinks."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..signal import Grid

READ = 1 << 18
"""Cells of the source read at a time."""


def taps(length: int, target: int, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Which of ``length`` cells (k, t), and with what weights, make the cells first..last of ``target`` on the same
    axis."""
    import torch

    cells = torch.arange(first, last, dtype=torch.float64)
    if target >= length:
        place = ((cells + 0.5) * length / target - 0.5).clamp(0, length - 1)
        left = place.floor()
        share = place - left
        return torch.stack([left, (left + 1).clamp(max=length - 1)], 1).long(), torch.stack([1 - share, share], 1)
    begin, end = cells * length / target, (cells + 1) * length / target
    reach = torch.arange(ceil(length / target) + 1, dtype=torch.float64)
    source = begin.floor()[:, None] + reach
    covered = (source + 1).minimum(end[:, None]) - source.maximum(begin[:, None])
    return source.clamp(max=length - 1).long(), covered.clamp_min(0) * target / length


def resampled(rows: Callable[[int, int], Tensor], source: tuple[int, ...], grid: Grid, start: int, stop: int) -> Tensor:
    """Cells start..stop (flat) of ``grid``, (stop - start, c), float32, of the raster ``source`` that ``rows`` reads:
    positions first..last of its first axis."""
    import torch

    beside = prod(grid.shape[1:])
    first, last = start // beside, -(-stop // beside)
    made = []
    step = max(1, READ * grid.shape[0] // (source[0] * max(beside, prod(source[1:]))))
    for low in range(first, last, step):
        which, weights = taps(source[0], grid.shape[0], low, min(low + step, last))
        base = int(which.min())
        read = rows(base, int(which.max()) + 1)
        part = _mixed(read, 0, which - base, weights)
        for axis, (length, target) in enumerate(zip(source, grid.shape, strict=True)):
            if axis and length != target:
                part = _mixed(part, axis, *taps(length, target, 0, target))
        made.append(part.flatten(0, -2))
    return torch.cat(made)[start - first * beside : stop - first * beside]


def _mixed(values: Tensor, axis: int, which: Tensor, weights: Tensor) -> Tensor:
    """Sums of ``values`` along ``axis``: entries ``which`` (k, t) times ``weights`` (k, t)."""
    shape = [-1 if k == axis else 1 for k in range(values.dim())]
    which, weights = which.to(values.device), weights.float().to(values.device)
    total = values.index_select(axis, which[:, 0]) * weights[:, 0].view(shape)
    for tap in range(1, which.shape[1]):
        total += values.index_select(axis, which[:, tap]) * weights[:, tap].view(shape)
    return total
