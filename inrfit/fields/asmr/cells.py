"""The cells of each level that a batch of points needs, each listed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

    from .hierarchy import Hierarchy

MAX_FLOAT32_CELLS = 1 << 22
"""Maximum number of cells for which float32 represents all positions, and positions plus one half, exactly. Larger
rasters use float64."""

MAX_SPARSE_MASK = 1 << 24
"""Maximum length of the mask over all cells of a level when only a few of them are needed. For more cells, a few
indices are sorted instead."""


@dataclass(frozen=True)
class ActiveCells:
    """The cells that n points need, level by level.

    ``top_positions``: positions of the cells of level 0. ``steps``: for levels 1 to the last but one, the index of each
    cell's parent in the list above and the cell's number among its siblings. ``point_parent`` and ``point_child``: the
    same for the points, which are cells of the last level. Both are None if the points are all the children of all the
    cells in the last list, in order.
    """

    top_positions: Int[Tensor, "top d"]
    steps: tuple[tuple[Int[Tensor, " _k"], Int[Tensor, " _k"]], ...]
    point_parent: Int[Tensor, " n"] | None
    point_child: Int[Tensor, " n"] | None

    @property
    def count(self) -> int:
        """Number of cells of the last level but one."""
        return (self.steps[-1][0] if self.steps else self.top_positions).shape[0]


def active_cells(hierarchy: Hierarchy, coords: Float[Tensor, "n d"]) -> ActiveCells:
    """The cells needed for the points at ``coords``, each of which stands for the cell with the nearest centre."""
    import torch

    blocks = hierarchy.shape(hierarchy.levels - 2)
    exact = max(prod(blocks), *hierarchy.padded) <= MAX_FLOAT32_CELLS
    axes = coords.detach() if exact else coords.detach().double()
    cell, child = torch.zeros_like(axes[:, 0]), torch.zeros_like(axes[:, 0])
    for axis, (length, side, count) in enumerate(zip(hierarchy.grid, hierarchy.block, blocks, strict=True)):
        # From cell centres in [-1, 1] (signal.Grid) back to integer positions.
        position = axes[:, axis].add(1.0).mul_(length / 2).sub_(0.5).round_().clamp_(0, length - 1)
        parent_position = position.add(0.5).mul_(1 / side).floor_()
        cell.mul_(count).add_(parent_position)
        child.mul_(side).add_(position).sub_(parent_position, alpha=side)
    whole = whole_blocks(cell, child, hierarchy.children(hierarchy.levels - 1))
    if whole is not None:
        return ActiveCells(*ancestors(hierarchy, whole), None, None)
    listed, index = unique_indices(cell.long(), prod(blocks))
    return ActiveCells(*ancestors(hierarchy, listed), index, child.long())


def whole_blocks(cell: Float[Tensor, " n"], child: Float[Tensor, " n"], children: int) -> Int[Tensor, " k"] | None:
    """The parent cells, if the points are all ``children`` of cells with increasing indices, in order; else None.

    ``cell`` is the index of each point's parent and ``child`` its number among its siblings.
    """
    import torch

    if cell.shape[0] % children:
        return None
    by_block, parents = cell.view(-1, children), cell[::children]
    increasing = bool((parents[1:] > parents[:-1]).all())
    order = torch.arange(children, dtype=child.dtype, device=child.device)
    in_order = increasing and bool((child.view(-1, children) == order).all())
    return parents.long() if in_order and bool((by_block == parents[:, None]).all()) else None


def ancestors(
    hierarchy: Hierarchy, cells: Int[Tensor, " k"]
) -> tuple[Int[Tensor, "top d"], tuple[tuple[Tensor, Tensor], ...]]:
    """``ActiveCells.top_positions`` and ``steps`` for distinct flat ``cells`` of the last level but one."""
    steps = []
    for level in range(hierarchy.levels - 2, 0, -1):
        parents, child = _parents(cells, hierarchy.shape(level), hierarchy.factors[level])
        cells, index = unique_indices(parents, prod(hierarchy.shape(level - 1)))
        steps.append((index, child))
    return _positions(cells, hierarchy.shape(0)), tuple(steps[::-1])


def unique_indices(indices: Int[Tensor, " n"], total: int) -> tuple[Int[Tensor, " k"], Int[Tensor, " n"]]:
    """The distinct ``indices`` in increasing order, and for each of ``indices`` its place among them.

    Indices are below ``total``. Same as ``Tensor.unique``, but marks them in a mask instead of sorting.
    """
    import torch

    if total > max(MAX_SPARSE_MASK, 8 * indices.shape[0]):
        listed, place = indices.unique(return_inverse=True)
        return listed, place
    mask = torch.zeros(total, dtype=torch.bool, device=indices.device)
    mask[indices] = True
    listed = mask.nonzero().squeeze(1)
    places = torch.empty(total, dtype=torch.int64, device=indices.device)  # only those of marked indices are read
    places[listed] = torch.arange(listed.shape[0], device=indices.device)
    return listed, places[indices]


def _parents(
    cells: Int[Tensor, " k"], shape: Sequence[int], factors: Sequence[int]
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """For flat ``cells`` of a level of ``shape``: their parents' flat indices and their numbers among siblings."""
    parents, child = cells * 0, cells * 0
    for position, length, factor in zip(_positions(cells, shape).unbind(1), shape, factors, strict=True):
        parents = parents * (length // factor) + position // factor
        child = child * factor + position % factor
    return parents, child


def _positions(cells: Int[Tensor, " k"], shape: Sequence[int]) -> Int[Tensor, "k d"]:
    """Positions of flat row-major ``cells``."""
    import torch

    axes = []
    for length in reversed(shape):
        axes.append(cells % length)
        cells = cells // length
    return torch.stack(axes[::-1], dim=1)


def child_coordinates(factors: tuple[int, ...], device: torch.device) -> Float[Tensor, "children d"]:
    """The paper's coordinates, from 0 to 1, of the children of a cell that is split by ``factors``."""
    import torch

    return relative_coordinates(_positions(torch.arange(prod(factors), device=device), factors), factors)


def relative_coordinates(positions: Int[Tensor, "k d"], factors: tuple[int, ...]) -> Float[Tensor, "k d"]:
    """The paper's coordinates of ``positions`` among siblings: 0 to 1 along each axis, 0 where there is one sibling."""
    import torch

    return positions / (torch.tensor(factors, device=positions.device) - 1).clamp_min(1)
