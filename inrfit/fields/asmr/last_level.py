"""The last level of ASMR and its analytic backward pass, in two equivalent ways.

Folded: sin(p + m) = sin p cos m + cos p sin m, so the values W sin(p + m) of all children of a cell are the product of
[sin p, cos p] with one matrix, W cos m above W sin m, that all cells share. Gathered: sin(p + m) for each point alone.
The equation numbers below are those of docs/architectures.md, "The analytic backward pass of ASMR".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

    from .cells import ActiveCells

ExtraGradient = Callable[["Tensor"], "Tensor"]
"""Maps residuals (n, c) to the gradient of further loss terms with respect to them."""


def folded_matrix(
    weights: Mapping[str, Tensor], modulation: Float[Tensor, "children w"]
) -> Float[Tensor, "2*w children_c"]:
    """The matrix F of equation (1): W cos m above W sin m."""
    import torch

    waves = torch.stack([modulation.cos(), modulation.sin()])  # (2, children, w)
    return torch.einsum("twh,ch->thwc", waves, weights["last.weight"]).reshape(2 * modulation.shape[1], -1)


def forward_folded(
    weights: Mapping[str, Tensor],
    phases: Float[Tensor, "k w"],
    modulation: Float[Tensor, "children w"],
    precision: torch.dtype,
) -> Float[Tensor, "k*children c"]:
    """Values, float32, of all children of the cells with the given phases."""
    import torch

    waves = torch.cat([phases.sin(), phases.cos()], dim=1).to(precision)
    values = (waves @ folded_matrix(weights, modulation).to(precision)).float()
    return values.view(-1, weights["last.bias"].shape[0]) + weights["last.bias"]


def forward_gathered(
    weights: Mapping[str, Tensor],
    phases: Float[Tensor, "k w"],
    modulation: Float[Tensor, "children w"],
    parent: Int[Tensor, " n"],
    child: Int[Tensor, " n"],
) -> Float[Tensor, "n c"]:
    """Values, float32, of n points given by their parents among the cells and their numbers among siblings."""
    import torch
    from torch.nn.functional import linear

    phase = phases.index_select(0, parent) + modulation.index_select(0, child)
    return linear(torch.sin(phase), weights["last.weight"], weights["last.bias"])


def backward_folded(
    weights: Mapping[str, Tensor],
    phases: Float[Tensor, "k w"],
    modulation: Float[Tensor, "children w"],
    active: ActiveCells,
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    precision: torch.dtype,
    extra_gradient: ExtraGradient | None,
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "k w"], Float[Tensor, "children w"], dict[str, Tensor]]:
    """Residuals, and the gradients with respect to phases, modulation and the tensors of the last layer, from
    ``forward_folded``."""
    import torch

    count, width = phases.shape
    children, channels = modulation.shape[0], values.shape[1]
    float_waves = phases.new_empty(count, 2 * width)
    sine, cosine = float_waves[:, :width], float_waves[:, width:]
    torch.sin(phases, out=sine)
    torch.cos(phases, out=cosine)
    waves, matrix = float_waves.to(precision), folded_matrix(weights, modulation).to(precision)
    predicted = (waves @ matrix).float().view(-1, channels)  # (k * children, c), equation (1)
    cell = None
    if active.point_parent is not None and active.point_child is not None:
        cell = active.point_parent * children + active.point_child
        predicted = predicted.index_select(0, cell)
    residuals = predicted.add_(weights["last.bias"]).sub_(values)
    grad = _output_gradient(residuals, loss_weights, extra_gradient)
    grad_bias = grad.sum(0)
    if cell is not None:
        grad = grad.new_zeros(count * children, channels).index_add_(0, cell, grad)
    grad = grad.view(count, -1).to(precision)
    grad_matrix = (waves.mT @ grad).float().view(2, width, children, channels)  # equation (2)
    grad_waves = (grad @ matrix.mT).float()
    grad_phases = grad_waves[:, :width].mul_(cosine).sub_(grad_waves[:, width:].mul_(sine))  # equation (3)
    cos, sin = modulation.cos(), modulation.sin()
    grad_weight = torch.einsum("thwc,twh->ch", grad_matrix, torch.stack([cos, sin]))  # equation (4)
    grad_cos_sin = torch.einsum("thwc,ch->twh", grad_matrix, weights["last.weight"])
    grad_modulation = grad_cos_sin[1].mul_(cos).sub_(grad_cos_sin[0].mul_(sin))  # equation (5)
    return residuals, grad_phases, grad_modulation, {"last.weight": grad_weight, "last.bias": grad_bias}


def backward_gathered(
    weights: Mapping[str, Tensor],
    phases: Float[Tensor, "k w"],
    modulation: Float[Tensor, "children w"],
    active: ActiveCells,
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    precision: torch.dtype,
    extra_gradient: ExtraGradient | None,
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "k w"], Float[Tensor, "children w"], dict[str, Tensor]]:
    """The results of ``backward_folded`` from ``forward_gathered``; ``precision`` is ignored, all is float32."""
    import torch
    from torch.nn.functional import linear

    assert active.point_parent is not None
    assert active.point_child is not None
    phase = phases.index_select(0, active.point_parent).add_(modulation.index_select(0, active.point_child))
    sines = phase.sin()
    residuals = linear(sines, weights["last.weight"], weights["last.bias"]).sub_(values)
    grad = _output_gradient(residuals, loss_weights, extra_gradient)
    grad_last = {"last.weight": grad.mT @ sines, "last.bias": grad.sum(0)}
    grad = (grad @ weights["last.weight"]).mul_(phase.cos_())  # equation (6)
    grad_phases = torch.zeros_like(phases).index_add_(0, active.point_parent, grad)
    grad_modulation = torch.zeros_like(modulation).index_add_(0, active.point_child, grad)
    return residuals, grad_phases, grad_modulation, grad_last


def _output_gradient(
    residuals: Float[Tensor, "n c"], loss_weights: Float[Tensor, "n 1"], extra_gradient: ExtraGradient | None
) -> Float[Tensor, "n c"]:
    """The gradient of the loss with respect to the predicted values."""
    grad = 2 * loss_weights * residuals
    return grad if extra_gradient is None else grad + extra_gradient(residuals)
