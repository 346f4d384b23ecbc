"""Cubic convolution (Keys 1981, "Cubic convolution interpolation for digital image processing") between cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def cubic(raster: Float[Tensor, "c rows columns"], coords: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """The values of a raster at ``coords`` (-1 to 1 over it); beyond the centres of the outermost cells these go on."""
    import torch

    places = []
    for axis in (0, 1):
        position = (coords[:, axis] + 1) * (raster.shape[axis + 1] / 2) - 0.5
        first = position.detach().floor()
        cells = (first.long()[:, None] + torch.arange(-1, 3, device=coords.device)).clamp(0, raster.shape[axis + 1] - 1)
        places.append((cells, cubic_weights(position - first)))
    (rows, of_rows), (columns, of_columns) = places
    around = raster[:, rows[:, :, None], columns[:, None, :]]  # (c, n, 4, 4)
    return torch.einsum("cnij,ni,nj->nc", around, of_rows, of_columns)


def cubic_weights(fraction: Tensor) -> Tensor:
    """The weights (n, 4) of four cells at a place ``fraction`` (n,) of the way from the second to the third."""
    import torch

    t = fraction
    return torch.stack(
        [
            ((2 - t) * t - 1) * t / 2,
            ((3 * t - 5) * t * t + 2) / 2,
            ((4 - 3 * t) * t + 1) * t / 2,
            (t - 1) * t * t / 2,
        ],
        1,
    )
