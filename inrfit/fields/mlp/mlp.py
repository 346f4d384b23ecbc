"""What multilayer perceptrons share: their shapes, their formula, and its backward pass written out.

An architecture of this kind says how coordinates are encoded, what the activation is and how a gradient is passed back
through it (``Perceptron``); the functions here take it as their first argument and serve as its methods. First layer,
hidden layers and last layer are linear maps with biases; the equal hidden ones are stacked in one tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ..sizing import widest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..spec import FieldSpec

LEAST_EXPONENT = -40.0
"""Where exponentials of large squares are cut off, at 4e-18: numbers near the end of float32's range (subnormals) made
steps of gauss in float32 seven times as slow (first experiments, a Xeon)."""

NARROW = 32
"""A product with fewer columns is not worth dividing, and takes a third of the time the other way round (``outer``)."""


class Perceptron(Protocol):
    """What tells one perceptron from another."""

    def encode(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """What the first layer sees (n, e): float32 where a rounded value would be a wrong phase, else in
        ``precision``."""

    def activate(self, phase: Tensor, first: bool, inplace: bool) -> Tensor:
        """The activation of a layer; ``inplace``: nobody needs ``phase`` any more, which may be overwritten."""

    def activate_backward(self, phase: Tensor, activation: Tensor, grad: Tensor, first: bool) -> Tensor:
        """The gradient at ``phase``, from that at the activation; all three may be overwritten."""


class Encoding(Protocol):
    """A perceptron that knows how wide its encoding is."""

    def encoding_size(self, inputs: int) -> int:
        """Numbers that stand for ``inputs`` coordinates."""


def no_encoding(net: Perceptron, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
    """No encoding: float32, for a phase rounded to bfloat16 is off by 1/512 of itself."""
    return coords


def no_encoding_size(net: Encoding, inputs: int) -> int:
    """No encoding."""
    return inputs


def sized(net: object, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
    """The widest that fits."""
    return spec if parameters is None else widest(spec, parameters)


def shapes(net: Encoding, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
    """Weights are (out, in) per layer; the equal hidden layers are stacked in one tensor."""
    return layer_shapes(net.encoding_size(spec.inputs), spec.width, spec.depth - 1, spec.outputs)


def layer_shapes(encoded: int, width: int, hidden: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of all layers."""
    found: dict[str, tuple[int, ...]] = {"first.weight": (width, encoded), "first.bias": (width,)}
    if hidden:
        found |= {"hidden.weight": (hidden, width, width), "hidden.bias": (hidden, width)}
    return found | {"last.weight": (outputs, width), "last.bias": (outputs,)}


def macs(net: Encoding, spec: FieldSpec) -> int:
    """One multiply-accumulate per weight of a layer; activations, encoding and biases are not counted."""
    return spec.width * (net.encoding_size(spec.inputs) + (spec.depth - 1) * spec.width + spec.outputs)


def one_sine_per_unit(net: object, spec: FieldSpec) -> int:
    """One per unit."""
    return spec.width * spec.depth


def draw(
    shapes: Mapping[str, tuple[int, ...]], bounds: Mapping[str, float], generator: torch.Generator, mean: Tensor
) -> dict[str, Tensor]:
    """Uniform weights within +-``bounds``; the last bias starts at the mean value."""
    import torch

    drawn = {
        name: (torch.rand(shape, generator=generator) * 2 - 1) * bounds[name]
        for name, shape in shapes.items()
        if name in bounds
    }
    return drawn | {"last.bias": mean.clone()}


def pytorch_bounds(encoded: int, width: int, first: float = 1.0, hidden: float = 1.0) -> dict[str, float]:
    """PyTorch's own ranges, U(+-1/sqrt(fan in)) for weights and biases, times the factors folded into them."""
    into_first, into_hidden = 1 / math.sqrt(encoded), 1 / math.sqrt(width)
    return {
        "first.weight": first * into_first,
        "first.bias": first * into_first,
        "hidden.weight": hidden * into_hidden,
        "hidden.bias": hidden * into_hidden,
        "last.weight": into_hidden,
    }


def layer_rates(first: float, hidden: float) -> dict[str, float]:
    """Rates of the layers: folded tensors move as many times as fast."""
    return {
        "first.weight": first,
        "first.bias": first,
        "hidden.weight": hidden,
        "hidden.bias": hidden,
        "last.weight": 1.0,
        "last.bias": 1.0,
    }


def constant(net: object, weights: Mapping[str, Tensor], value: Tensor) -> dict[str, Tensor]:
    """The same field made constant: only the last bias, or those of all its networks, speaks."""
    bias = value.expand(weights["last.bias"].shape).clone()
    silenced = {"last.weight": weights["last.weight"] * 0, "last.bias": bias}
    return {name: silenced.get(name, weight) for name, weight in weights.items()}


def first_layer(net: object) -> frozenset[str]:
    """The first layer, which makes the phases: rounded to fp16 a SIREN's costs a sound 23 dB, rounded to bf16 a picture
    1 dB; the other layers 0.02 dB (docs/architectures.md)."""
    return frozenset({"first.weight", "first.bias"})


def muon_tensors(net: object) -> frozenset[str]:
    """The stacked hidden layers."""
    return frozenset({"hidden.weight"})


def forward(
    net: Perceptron,
    weights: Mapping[str, Tensor],
    coords: Tensor,
    precision: torch.dtype,
    activate: Callable[[Tensor, bool, bool], Tensor] | None = None,
) -> Tensor:
    """First layer in the precision of the encoding, hidden layers in ``precision``, last layer float32. ``activate``
    replaces ``net.activate``."""
    import torch
    from torch.nn.functional import linear

    # Where no gradient is wanted the phase is not needed again: in place, half the memory is touched.
    inplace = not torch.is_grad_enabled()
    activate = activate or net.activate
    x = net.encode(weights, coords, precision)
    x = linear(x, weights["first.weight"].to(x.dtype), weights["first.bias"].to(x.dtype))
    x = activate(x, True, inplace)
    if "hidden.weight" in weights:
        x = x.to(precision)
        matrices = weights["hidden.weight"].to(precision).unbind(0)
        biases = weights["hidden.bias"].to(precision).unbind(0)
        for matrix, bias in zip(matrices, biases, strict=True):
            x = activate(linear(x, matrix, bias), False, inplace)
    return linear(x.float(), weights["last.weight"], weights["last.bias"])


def gradients(
    net: Perceptron,
    weights: Mapping[str, Tensor],
    coords: Tensor,
    values: Tensor,
    loss_weights: Tensor,
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The backward pass written out: autograd's result to rounding, with fewer passes over the activations, and one
    graph to compile or to capture. Tensors that are no layer's have gradient 0."""
    import torch
    from torch.nn.functional import linear

    matrices = weights["hidden.weight"].to(precision).unbind(0) if "hidden.weight" in weights else ()
    biases = weights["hidden.bias"].to(precision).unbind(0) if matrices else ()
    encoded = net.encode(weights, coords, precision)
    first = linear(encoded, weights["first.weight"].to(encoded.dtype), weights["first.bias"].to(encoded.dtype))
    opened = net.activate(first, True, False)
    activations, phases = [opened.to(precision) if matrices else opened], []
    for matrix, bias in zip(matrices, biases, strict=True):
        phases.append(linear(activations[-1], matrix, bias))
        activations.append(net.activate(phases[-1], False, False))
    last = activations[-1].float()
    residuals = (weights["last.weight"] @ last.mT).mT + weights["last.bias"] - values
    grad = 2 * loss_weights * residuals
    if extra_gradient is not None:
        grad += extra_gradient(residuals)
    found = {"last.weight": grad.mT @ last, "last.bias": grad.sum(0)}
    grad = (grad @ weights["last.weight"]).to(activations[-1].dtype)
    grad, hidden = _backward_hidden(net, matrices, phases, activations, grad)
    grad = net.activate_backward(first, opened, grad, True).to(encoded.dtype)
    found |= {"first.weight": outer(grad, encoded), "first.bias": grad.sum(0).float()}
    found |= hidden
    fixed = {name: torch.zeros_like(weight) for name, weight in weights.items() if name not in found}
    return residuals, found | fixed


def _backward_hidden(
    net: Perceptron,
    matrices: Sequence[Tensor],
    phases: Sequence[Tensor],
    activations: Sequence[Tensor],
    grad: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient at the first layer's activation, from that at the last hidden layer's (``activations`` are of both
    and all between, ``phases`` of the hidden layers), and those of the hidden layers' tensors, if there are any."""
    import torch

    by_matrix, by_bias = [], []
    for i in reversed(range(len(matrices))):
        grad = net.activate_backward(phases[i], activations[i + 1], grad, False)
        by_matrix.append(outer(grad, activations[i]))
        by_bias.append(grad.sum(0).float())
        grad = grad @ matrices[i]
    if not by_matrix:
        return grad, {}
    return grad, {"hidden.weight": torch.stack(by_matrix[::-1]), "hidden.bias": torch.stack(by_bias[::-1])}


def outer(left: Tensor, right: Tensor) -> Tensor:
    """left^T right (a, b), float32, of (n, a) and (n, b); on the CPU in four parts, which oneDNN multiplies a quarter
    faster than one long product."""
    import torch

    n, parts = left.shape[0], 4
    if right.shape[1] < NARROW:
        return (right.mT @ left).mT.float()
    if left.device.type != "cpu" or n % parts or n < 1024:
        return (left.mT @ right).float()
    pieces = torch.bmm(left.reshape(parts, n // parts, -1).mT, right.reshape(parts, n // parts, -1))
    return pieces.sum(0, dtype=torch.float32)
