"""The layers of all tiles as batched products, by torch: rows of points, each row of one tile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

Layer = tuple["Tensor", "Tensor"]
"""Matrices (r, out, in) and biases (r, 1, out) of one layer, for each of r rows."""


def layers_of(weights: Mapping[str, Tensor], precision: torch.dtype, tiles: Int[Tensor, " rows"] | None) -> list[Layer]:
    """The layers of all tiles, or of the tile of each row."""
    count = weights["last.bias"].shape[0]
    layers = [(weights["first.weight"], weights["first.bias"])]
    if "hidden.weight" in weights:
        matrices = weights["hidden.weight"].to(precision).split(count)
        layers += zip(matrices, weights["hidden.bias"].to(precision).split(count), strict=True)
    layers.append((weights["last.weight"], weights["last.bias"]))
    if tiles is not None:
        layers = [(matrix.index_select(0, tiles), bias.index_select(0, tiles)) for matrix, bias in layers]
    return [(matrix, bias[:, None, :]) for matrix, bias in layers]


def evaluate(
    layers: list[Layer], local: Float[Tensor, "rows length d"], precision: torch.dtype
) -> Float[Tensor, "rows length c"]:
    """Values at rows of local coordinates; the first and the last layer are float32."""
    import torch

    sine = torch.sin if torch.is_grad_enabled() else torch.sin_
    x = local
    for matrix, bias in layers[:-1]:
        x = sine(torch.baddbmm(bias, x.to(matrix.dtype), matrix.mT))
    matrix, bias = layers[-1]
    return torch.baddbmm(bias, x.float(), matrix.mT)


def sum_by_tile(grads: list[Tensor], weight: Tensor, tiles: Int[Tensor, " rows"] | None) -> Tensor:
    """The gradient with respect to ``weight`` from the gradients of each row, one tensor per layer."""
    import torch

    if tiles is not None:
        count = weight.shape[0] // len(grads)
        grads = [by_row.new_zeros(count, *by_row.shape[1:]).index_add_(0, tiles, by_row) for by_row in grads]
    return grads[0] if len(grads) == 1 else torch.cat(grads)
