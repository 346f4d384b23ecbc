"""Which cells of a raster's hierarchy given points touch: lists without repetition, by marking and counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .hierarchy import Radix

EXACT = 1 << 22
"""Up to this number positions and cells are exact in float32 arithmetic, halves included; above, float64 is used."""

SPARSE = 1 << 24
"""Longest list of marks made for however few points; of more cells than that, few points are sorted instead."""


@dataclass(frozen=True)
class Touched:
    """The cells that n points touch, level by level. ``first`` (k_0, d): positions of those of level 0. ``steps``: for
    the levels up to the last but one, each cell's (parent's place in the list before, number among its siblings).
    ``slot``, ``child`` (n,): the same of the points, or None where these are all the children of the cells listed last,
    in their order."""

    first: Tensor
    steps: tuple[tuple[Tensor, Tensor], ...]
    slot: Tensor | None
    child: Tensor | None

    @property
    def count(self) -> int:
        """Cells in the last list."""
        return (self.steps[-1][0] if self.steps else self.first).shape[0]


def touched(radix: Radix, coords: Tensor) -> Touched:
    """By the points at ``coords`` (n, d), each at the cell whose centre is nearest."""
    import torch

    across = radix.shape(radix.levels - 2)
    exact = max(prod(across), *radix.padded) <= EXACT
    axes = coords.detach() if exact else coords.detach().double()
    cell, child = torch.zeros_like(axes[:, 0]), torch.zeros_like(axes[:, 0])
    for axis, (length, side, cells) in enumerate(zip(radix.grid, radix.block, across, strict=True)):
        # Cell centres in [-1, 1] (signal.Grid), back to whole positions.
        position = axes[:, axis].add(1.0).mul_(length / 2).sub_(0.5).round_().clamp_(0, length - 1)
        upper = position.add(0.5).mul_(1 / side).floor_()
        cell.mul_(cells).add_(upper)
        child.mul_(side).add_(position).sub_(upper, alpha=side)
    heads = whole_blocks(cell, child, radix.children(radix.levels - 1))
    if heads is not None:
        return Touched(*ancestors(radix, heads), None, None)
    listed, slot = distinct(cell.long(), prod(across))
    return Touched(*ancestors(radix, listed), slot, child.long())


def whole_blocks(cell: Tensor, child: Tensor, children: int) -> Tensor | None:
    """The cells, if the points of ``cell`` and ``child`` (n,) are all the children of rising ones, in their order."""
    import torch

    if cell.shape[0] % children:
        return None
    rows, heads = cell.view(-1, children), cell[::children]
    rising = bool((heads[1:] > heads[:-1]).all())
    order = torch.arange(children, dtype=child.dtype, device=child.device)
    if rising and bool((child.view(-1, children) == order).all()) and bool((rows == heads[:, None]).all()):
        return heads.long()
    return None


def ancestors(radix: Radix, cells: Tensor) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
    """``Touched.first`` and ``steps`` for the flat ``cells`` (k,) of the last level but one, none twice."""
    steps = []
    for level in range(radix.levels - 2, 0, -1):
        upper, child = _parent(cells, radix.shape(level), radix.factors[level])
        cells, slot = distinct(upper, prod(radix.shape(level - 1)))
        steps.append((slot, child))
    return _positions(cells, radix.shape(0)), tuple(steps[::-1])


def distinct(found: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """The different ones of ``found`` (n,), each from 0 to ``total`` - 1, rising, and where each of ``found`` is among
    them."""
    import torch

    if total > max(SPARSE, 8 * found.shape[0]):
        listed, slot = found.unique(return_inverse=True)
        return listed, slot
    marks = torch.zeros(total, dtype=torch.bool, device=found.device)
    marks[found] = True
    listed = marks.nonzero().squeeze(1)
    places = torch.empty(total, dtype=torch.int64, device=found.device)  # only the marked ones are read
    places[listed] = torch.arange(listed.shape[0], device=found.device)
    return listed, places[found]


def _parent(cells: Tensor, shape: Sequence[int], factors: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Flat cells of the level above, and numbers among siblings, of flat ``cells`` in a level of ``shape``."""
    upper, child = cells * 0, cells * 0
    for position, length, factor in zip(_positions(cells, shape).unbind(1), shape, factors, strict=True):
        upper = upper * (length // factor) + position // factor
        child = child * factor + position % factor
    return upper, child


def _positions(cells: Tensor, shape: Sequence[int]) -> Tensor:
    """Positions (k, d) of flat row-major ``cells`` (k,)."""
    import torch

    axes = []
    for length in reversed(shape):
        axes.append(cells % length)
        cells = cells // length
    return torch.stack(axes[::-1], dim=1)


def slots(factors: tuple[int, ...], device: torch.device) -> Tensor:
    """The paper's coordinates (children, d) of a cell's children."""
    import torch

    return unit(_positions(torch.arange(prod(factors), device=device), factors), factors)


def unit(positions: Tensor, factors: tuple[int, ...]) -> Tensor:
    """The paper's coordinates (k, d) of ``positions`` among ``factors`` cells: 0 to 1, 0 where there is but one."""
    import torch

    return positions / (torch.tensor(factors, device=positions.device) - 1).clamp_min(1)
