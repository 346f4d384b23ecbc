"""The rotation of colours that separates what varies most from the rest, as three angles."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ANGLE = 1 / 128
"""Angles are multiples of this, in radians."""


def rotation(angles: Tensor) -> Tensor:
    """The rotation (3, 3) of angles (3,) about the third, the second and the first axis."""
    import torch

    product = torch.eye(3)
    for angle, (first, second) in zip(angles.tolist(), ((0, 1), (0, 2), (1, 2)), strict=True):
        turn = torch.eye(3)
        cosine, sine = torch.tensor(angle).cos(), torch.tensor(angle).sin()
        turn[first, first] = turn[second, second] = cosine
        turn[first, second], turn[second, first] = -sine, sine
        product = product @ turn
    return product


def decorrelating(raster: Tensor) -> Tensor:
    """Angles (3,) of the rotation whose rows are the principal directions of the differences between neighbours in the
    first three channels of a raster (c, rows, columns)."""
    import torch

    colours = raster[:3].double()
    differences = [(colours[:, 1:] - colours[:, :-1]).flatten(1), (colours[:, :, 1:] - colours[:, :, :-1]).flatten(1)]
    joined = torch.cat(differences, 1)
    directions = torch.linalg.eigh(joined @ joined.T).eigenvectors.flip(1).T
    directions = directions * torch.where(directions.sum(1, keepdim=True) < 0, -1.0, 1.0)
    if torch.det(directions) < 0:
        directions[2] = -directions[2]
    second = torch.asin(directions[2, 0].clamp(-1, 1))
    first = torch.atan2(directions[1, 0], directions[0, 0])
    third = torch.atan2(directions[2, 1], directions[2, 2])
    return (torch.stack([first, second, third]) / ANGLE).round().float() * ANGLE


def rotated(raster: Tensor, angles: Tensor | None, back: bool = False) -> Tensor:
    """A raster (c, rows, columns) with its first three channels rotated, or rotated ``back``."""
    import torch

    if angles is None:
        return raster
    matrix = rotation(angles).to(raster)
    turned = torch.einsum("ij,jhw->ihw", matrix.T if back else matrix, raster[:3])
    return torch.cat([turned, raster[3:]])
