"""A raster at another size: linear between cell centres along an axis that grows, the area's mean along one that
shrinks."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ...signal import Grid

READ = 1 << 18
"""Cells of the source, or of what is made, at a time."""


def resampled(rows: Callable[[int, int], Tensor], source: tuple[int, ...], grid: Grid, start: int, stop: int) -> Tensor:
    """Cells start..stop (flat) of ``grid``, (stop - start, c), float32, of the raster ``source`` that ``rows`` reads:
    positions first..last of its first axis."""
    import torch

    beside = prod(grid.shape[1:])
    first, last = start // beside, -(-stop // beside)
    step = max(1, READ // max(beside, prod(source[1:])))
    made = []
    for low in range(first, last, step):
        part = _first_axis(rows, source[0], grid.shape[0], low, min(low + step, last), step)
        # What shrinks comes first, so that no array between is larger than the ends.
        for axis in sorted(range(1, len(source)), key=lambda axis: grid.shape[axis] / source[axis]):
            length, target = source[axis], grid.shape[axis]
            if target > length:
                part = grown(part, axis, length, target, 0, target)
            elif target < length:
                part = shrunk(part, axis, length, target, 0, 0, target).float()
        made.append(part.flatten(0, -2))
    return torch.cat(made)[start - first * beside : stop - first * beside]


def _first_axis(rows: Callable[[int, int], Tensor], length: int, target: int, low: int, high: int, most: int) -> Tensor:
    """Rows low..high of ``target`` made of the ``length`` that ``rows`` reads, of at most ``most`` at a time where they
    may be many more than those made."""
    if target >= length:
        base = max(0, floor((low + 0.5) * length / target - 0.5))
        return grown(rows(base, min(length, base + high - low + 2)), 0, length, target, low, high, base)
    base, end = low * length // target, -(-high * length // target)
    total = shrunk(rows(base, min(base + most, end)), 0, length, target, base, low, high)
    for begin in range(base + most, end, most):
        total += shrunk(rows(begin, min(begin + most, end)), 0, length, target, begin, low, high)
    return total.float()


def grown(values: Tensor, axis: int, length: int, target: int, first: int, last: int, base: int = 0) -> Tensor:
    """Cells first..last of the ``target`` on an ``axis`` of ``length``, as many or fewer, of which ``values`` has those
    from ``base`` on."""
    import torch

    cells = torch.arange(first, last, dtype=torch.float64, device=values.device)
    place = ((cells + 0.5) * length / target - 0.5).clamp(0, length - 1)
    left = place.floor()
    share = (place - left).float().view([-1 if k == axis else 1 for k in range(values.dim())])
    right = (left + 1).clamp(max=length - 1).long() - base
    return values.index_select(axis, left.long() - base) * (1 - share) + values.index_select(axis, right) * share


def shrunk(values: Tensor, axis: int, length: int, target: int, base: int, first: int, last: int) -> Tensor:
    """What ``values``, the cells from ``base`` on of an ``axis`` of ``length``, add to the cells first..last of the
    ``target``, float64. A cell has a part in two of them at most, as they are the larger."""
    import torch

    cells = torch.arange(base, base + values.shape[axis], dtype=torch.float64, device=values.device)
    begin, end = cells * target / length, (cells + 1) * target / length
    own = begin.floor()
    total = values.new_zeros([*values.shape[:axis], last - first, *values.shape[axis + 1 :]], dtype=torch.float64)
    for into, part in ((own, end.minimum(own + 1) - begin), (own + 1, end - own - 1)):
        within = ((into >= first) & (into < last) & (part > 0)).nonzero().squeeze(1)
        weights = part[within].view([-1 if k == axis else 1 for k in range(values.dim())])
        total.index_add_(axis, into[within].long() - first, values.index_select(axis, within) * weights)
    return total
