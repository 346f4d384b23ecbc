"""Derivatives of a field with respect to its coordinates, by automatic differentiation.

Shapes: n points, d coordinates, c values per point. ``jacobian`` (d, d) has the derivatives of the field's own
coordinates (rows) with respect to those in which the result is wanted (columns)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Function = Callable[[Tensor], Tensor]
"""Maps coordinates (n, d) to values (n, c), differentiably."""


def gradient(
    function: Function, coords: Float[Tensor, "n d"], jacobian: Float[Tensor, "d d"]
) -> Float[Tensor, "n c d"]:
    """The first derivatives of each value, in float64."""
    with torch.enable_grad():
        places = coords.detach().requires_grad_()
        values = function(places)
        rows = [_of_sum(values[:, k], places, keep=True) for k in range(values.shape[1])]
    return torch.stack(rows, 1).double() @ jacobian


def laplacian(function: Function, coords: Float[Tensor, "n d"], jacobian: Float[Tensor, "d d"]) -> Float[Tensor, "n c"]:
    """The sum of the second derivatives along each axis of the wanted coordinates, of each value, in float64."""
    with torch.enable_grad():
        places = coords.detach().requires_grad_()
        values = function(places)
        columns = []
        for k in range(values.shape[1]):
            slopes = _of_sum(values[:, k], places, keep=True, again=True).double() @ jacobian
            total = torch.zeros_like(slopes[:, 0])
            for axis in range(slopes.shape[1]):
                second = _of_sum(slopes[:, axis], places, keep=True).double() @ jacobian
                total = total + second[:, axis].detach()
            columns.append(total)
    return torch.stack(columns, 1)


def _of_sum(values: Float[Tensor, " n"], places: Float[Tensor, "n d"], keep: bool, again: bool = False) -> Tensor:
    """The derivatives (n, d) of each of ``values`` with respect to its own place; zero where it does not depend on
    it."""
    if not values.requires_grad:
        return torch.zeros_like(places)
    return torch.autograd.grad(
        values.sum(), places, retain_graph=keep, create_graph=again, materialize_grads=True, allow_unused=True
    )[0]
