"""Gradients and values of a perceptron by the compiled kernel (``inrfit.kernel``) instead of its formula in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ..kernel import perceptron
from ..kernel.library import instruction_set

if TYPE_CHECKING:
    from .architecture import Architecture
    from .mlp.mlp import Perceptron
    from .spec import FieldSpec


def instructions_of(spec: FieldSpec, precision: torch.dtype) -> str | None:
    """The instruction set that computes a field with hidden layers in ``precision``; None if there is none."""
    return _instructions(spec.formula, spec.shapes, precision)


def instructions_for(net: Architecture, weights: Mapping[str, Tensor], precision: torch.dtype) -> str | None:
    """The same for the field of these weights."""
    return _instructions(net, {name: tuple(weight.shape) for name, weight in weights.items()}, precision)


def _instructions(net: Architecture, shapes: Mapping[str, tuple[int, ...]], precision: torch.dtype) -> str | None:
    if net.kernel_activation() is None:
        return None
    (width, inputs), (outputs,) = shapes["first.weight"], shapes["last.bias"]
    return instruction_set(precision == torch.bfloat16) if perceptron.fits(width, inputs, outputs) else None


def gradients(
    net: Architecture,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    name: str,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """``Architecture.gradients`` by the instruction set ``name``. Tensors that belong to no layer have gradient 0."""
    activation = net.kernel_activation()
    assert activation is not None
    encoded = _encoded(net, weights, coords)
    residuals, found = perceptron.gradients(activation, weights, encoded, values.float(), loss_weights.float(), name)
    return residuals, {n: found[n] if n in found else torch.zeros_like(weight) for n, weight in weights.items()}


def values(
    net: Architecture, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], name: str
) -> Float[Tensor, "n c"]:
    """``Architecture.forward`` by the instruction set ``name``."""
    activation = net.kernel_activation()
    assert activation is not None
    return perceptron.values(activation, weights, _encoded(net, weights, coords), name)


def evaluate(net: Architecture, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
    """Values in float32 at ``coords``, which nothing differentiates: by the kernel where it can."""
    name = instructions_for(net, weights, torch.float32) if coords.device.type == "cpu" else None
    return net.forward(weights, coords, torch.float32) if name is None else values(net, weights, coords, name)


def _encoded(net: Architecture, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
    """The input of the first layer, in float32."""
    return cast("Perceptron", net).encode(weights, coords, torch.float32).float()
