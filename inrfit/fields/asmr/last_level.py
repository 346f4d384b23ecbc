"""The last level of ASMR and its backward pass: folded into one product a cell, or point by point.

sin(p + m) = sin p cos m + cos p sin m, so that W sin(p + m) of all children of a cell is [sin p, cos p] times a matrix
that holds W cos m over W sin m, which is made once for all cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .cells import Touched

ExtraGradient = Callable[["Tensor"], "Tensor"]
Pulled = tuple["Tensor", "Tensor", "Tensor", dict[str, "Tensor"]]
"""Residuals (n, c); derivatives by the phases (k, h) and by the modulations (children, h); those of the last layer."""


def folding(weights: Mapping[str, Tensor], modulation: Tensor) -> Tensor:
    """W cos m over W sin m (2 h, children * c) of ``modulation`` (children, h)."""
    import torch

    waves = torch.stack([modulation.cos(), modulation.sin()])  # (2, children, h)
    return torch.einsum("twh,ch->thwc", waves, weights["last.weight"]).reshape(2 * modulation.shape[1], -1)


def folded(weights: Mapping[str, Tensor], phases: Tensor, modulation: Tensor, precision: torch.dtype) -> Tensor:
    """Values (k * children, c), float32, of all children of the cells with ``phases`` (k, h)."""
    import torch

    waves = torch.cat([phases.sin(), phases.cos()], dim=1).to(precision)
    table = (waves @ folding(weights, modulation).to(precision)).float()
    return table.view(-1, weights["last.bias"].shape[0]) + weights["last.bias"]


def late(weights: Mapping[str, Tensor], phases: Tensor, modulation: Tensor, slot: Tensor, child: Tensor) -> Tensor:
    """Values (n, c) of the points alone."""
    import torch
    from torch.nn.functional import linear

    phase = phases.index_select(0, slot) + modulation.index_select(0, child)
    return linear(torch.sin(phase), weights["last.weight"], weights["last.bias"])


def backward_folded(
    weights: Mapping[str, Tensor],
    phases: Tensor,
    modulation: Tensor,
    found: Touched,
    values: Tensor,
    loss_weights: Tensor,
    precision: torch.dtype,
    extra_gradient: ExtraGradient | None,
) -> Pulled:
    """Residuals and derivatives of sum(loss_weights * residual^2) and ``extra_gradient`` through ``folded``."""
    import torch

    count, width = phases.shape
    children, channels = modulation.shape[0], values.shape[1]
    waves = phases.new_empty(count, 2 * width)
    sine, cosine = waves[:, :width], waves[:, width:]
    torch.sin(phases, out=sine)
    torch.cos(phases, out=cosine)
    half, matrix = waves.to(precision), folding(weights, modulation).to(precision)
    table = (half @ matrix).float().view(-1, channels)
    flat = None if found.slot is None or found.child is None else found.slot * children + found.child
    predicted = table if flat is None else table.index_select(0, flat)
    residuals = predicted.add_(weights["last.bias"]).sub_(values)
    grad = _output_gradient(residuals, loss_weights, extra_gradient)
    by_bias = grad.sum(0)
    if flat is not None:
        grad = grad.new_zeros(count * children, channels).index_add_(0, flat, grad)
    grad = grad.view(count, -1).to(precision)
    by_matrix = (half.mT @ grad).float().view(2, width, children, channels)
    by_waves = (grad @ matrix.mT).float()
    by_phase = by_waves[:, :width].mul_(cosine).sub_(by_waves[:, width:].mul_(sine))
    cos, sin = modulation.cos(), modulation.sin()
    by_weight = torch.einsum("thwc,twh->ch", by_matrix, torch.stack([cos, sin]))
    by_wave = torch.einsum("thwc,ch->twh", by_matrix, weights["last.weight"])
    by_modulation = by_wave[1].mul_(cos).sub_(by_wave[0].mul_(sin))
    return residuals, by_phase, by_modulation, {"last.weight": by_weight, "last.bias": by_bias}


def backward_late(
    weights: Mapping[str, Tensor],
    phases: Tensor,
    modulation: Tensor,
    found: Touched,
    values: Tensor,
    loss_weights: Tensor,
    precision: torch.dtype,
    extra_gradient: ExtraGradient | None,
) -> Pulled:
    """The same through ``late``, float32 throughout."""
    import torch
    from torch.nn.functional import linear

    assert found.slot is not None
    assert found.child is not None
    phase = phases.index_select(0, found.slot).add_(modulation.index_select(0, found.child))
    units = phase.sin()
    residuals = linear(units, weights["last.weight"], weights["last.bias"]).sub_(values)
    grad = _output_gradient(residuals, loss_weights, extra_gradient)
    own = {"last.weight": grad.mT @ units, "last.bias": grad.sum(0)}
    grad = (grad @ weights["last.weight"]).mul_(phase.cos_())
    by_modulation = torch.zeros_like(modulation).index_add_(0, found.child, grad)
    return residuals, torch.zeros_like(phases).index_add_(0, found.slot, grad), by_modulation, own


def _output_gradient(residuals: Tensor, loss_weights: Tensor, extra_gradient: ExtraGradient | None) -> Tensor:
    grad = 2 * loss_weights * residuals
    return grad if extra_gradient is None else grad + extra_gradient(residuals)
