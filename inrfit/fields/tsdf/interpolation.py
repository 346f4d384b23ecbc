"""Cubic convolution (Keys 1981) between the nodes of a cube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wavelet.interpolation import cubic_weights

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ...signal import Grid

_TOGETHER = 1 << 16
"""Points that are interpolated at a time."""


def at_points(nodes: Float[Tensor, "x y z"], coords: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """The values at ``coords`` (-1 to 1 over the cube); beyond the outermost nodes these go on."""
    import torch

    return torch.cat([_at_points(nodes, part) for part in coords.split(_TOGETHER)])


def _at_points(nodes: Tensor, coords: Tensor) -> Tensor:
    import torch

    places = [_along(coords[:, axis], nodes.shape[axis]) for axis in range(3)]
    (x, of_x), (y, of_y), (z, of_z) = places
    around = nodes[x[:, :, None, None], y[:, None, :, None], z[:, None, None, :]]
    return torch.einsum("nijk,ni,nj,nk->n", around, of_x, of_y, of_z)


def _along(coords: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Four nodes (n, 4) around each coordinate along an axis, and their weights."""
    import torch

    position = (coords + 1) * (count / 2) - 0.5
    first = position.detach().floor()
    cells = (first.long()[:, None] + torch.arange(-1, 3, device=coords.device)).clamp(0, count - 1)
    return cells, cubic_weights(position - first)


def on_grid(nodes: Float[Tensor, "x y z"], grid: Grid, start: int, stop: int) -> Float[Tensor, " n"]:
    """The values of the cells from ``start`` to ``stop`` of a grid, along one axis after the other."""
    import torch

    plane = grid.shape[1] * grid.shape[2]
    first, last = start // plane, max(-(-stop // plane), start // plane + 1)
    values = torch.einsum("ri,ijk->rjk", _matrix(grid.shape[0], first, last, nodes, 0), nodes)
    values = torch.einsum("sj,rjk->rsk", _matrix(grid.shape[1], 0, grid.shape[1], nodes, 1), values)
    values = torch.einsum("tk,rsk->rst", _matrix(grid.shape[2], 0, grid.shape[2], nodes, 2), values)
    return values.flatten()[start - first * plane : stop - first * plane]


def _matrix(cells: int, first: int, last: int, nodes: Tensor, axis: int) -> Tensor:
    """The weights (last - first, nodes) of all nodes along an axis for cells of a grid."""
    import torch

    numbers = torch.arange(first, last, dtype=torch.float64, device=nodes.device)
    around, weights = _along((2 * numbers + 1) / cells - 1, nodes.shape[axis])
    matrix = torch.zeros(last - first, nodes.shape[axis], dtype=torch.float64, device=nodes.device)
    return matrix.scatter_add_(1, around, weights).to(nodes.dtype)
