"""Gradients and values of a perceptron by the compiled kernel (``inrfit.kernel``) instead of its formula in torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ..kernel import perceptron, tiles
from ..kernel.library import instruction_set
from ..kernel.perceptron import Activation

if TYPE_CHECKING:
    from .architecture import Architecture
    from .mlp.mlp import Perceptron
    from .spec import FieldSpec


def instructions_of(spec: FieldSpec, precision: torch.dtype) -> str | None:
    """The instruction set that computes a field with hidden layers in ``precision``; None if there is none."""
    return _instructions(spec.formula, spec.shapes, spec.inputs, precision)


def _instructions(
    net: Architecture, shapes: Mapping[str, tuple[int, ...]], axes: int, precision: torch.dtype
) -> str | None:
    if net.kernel_activation(axes) is None:
        return None
    (width, inputs), outputs = shapes["first.weight"][-2:], shapes["last.bias"][-1]
    fits = perceptron.fits(width, inputs, outputs, math.prod(shapes.get("table", (0,))))
    return instruction_set(precision == torch.bfloat16) if fits else None


def gradients(
    net: Architecture,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    name: str,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """``Architecture.gradients`` by the instruction set ``name``. Tensors that belong to no layer have gradient 0."""
    activation, inputs = _input(net, weights, coords)
    compute = tiles.gradients if activation.tiles else perceptron.gradients
    residuals, found = compute(activation, weights, inputs, values.float(), loss_weights.float(), name)
    return residuals, {n: found[n] if n in found else torch.zeros_like(weight) for n, weight in weights.items()}


def gradients_of_many(
    net: Architecture,
    weights: Sequence[Mapping[str, Tensor]],
    points: Sequence[tuple[Float[Tensor, "n d"], Float[Tensor, "n c"], Float[Tensor, "n 1"]]],
    name: str,
) -> tuple[list[Float[Tensor, "n c"]], list[dict[str, Tensor]]]:
    """The same for several fields of ``net`` at once, each with coordinates, values and loss weights of its own."""
    activation, given = None, []
    for own, (coords, values, loss_weights) in zip(weights, points, strict=True):
        activation, inputs = _input(net, own, coords)
        given.append((inputs, values.float(), loss_weights.float()))
    assert activation is not None
    residuals, found = perceptron.gradients_of_many(activation, weights, given, name)
    return residuals, [
        {n: layers[n] if n in layers else torch.zeros_like(weight) for n, weight in own.items()}
        for layers, own in zip(found, weights, strict=True)
    ]


def values(
    net: Architecture, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], name: str
) -> Float[Tensor, "n c"]:
    """``Architecture.forward`` by the instruction set ``name``."""
    activation, inputs = _input(net, weights, coords)
    compute = tiles.values if activation.tiles else perceptron.values
    return compute(activation, weights, inputs, name)


def evaluate(net: Architecture, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
    """Values in float32 at ``coords``, which nothing differentiates: by the kernel where it can."""
    name = _evaluation_set(net, weights, coords.shape[1])
    return net.forward(weights, coords, torch.float32) if name is None else values(net, weights, coords, name)


def evaluates(net: Architecture, weights: Mapping[str, Tensor], axes: int) -> bool:
    """Whether ``evaluate`` uses the kernel for coordinates of so many axes."""
    return _evaluation_set(net, weights, axes) is not None


def _evaluation_set(net: Architecture, weights: Mapping[str, Tensor], axes: int) -> str | None:
    if any(weight.device.type != "cpu" for weight in weights.values()):
        return None
    return _instructions(net, {n: tuple(weight.shape) for n, weight in weights.items()}, axes, torch.float32)


def _input(
    net: Architecture, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"]
) -> tuple[Activation, Float[Tensor, "n e"]]:
    """The activation, and what the kernel takes in float32: the encoded coordinates; of grids and tiles those given."""
    activation = net.kernel_activation(coords.shape[1])
    assert activation is not None
    if activation.levels or activation.tiles:
        return activation, coords.float()
    return activation, cast("Perceptron", net).encode(weights, coords, torch.float32).float()
