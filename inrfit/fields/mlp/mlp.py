"""The shapes, the formula and the analytic backward pass that multilayer perceptrons share.

A perceptron defines how coordinates are encoded (``encode``), its activation (``activate``) and the backward pass of
the activation (``activate_backward``). The functions here take it as their first argument and serve as its methods. All
layers are linear maps with biases. The layers between the first and the last have equal shapes and are stacked in one
tensor.

Shapes: n points, d input dimensions, e size of the encoding, w width, c output channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..sizing import widest

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ..spec import FieldSpec

MIN_EXPONENT = -40.0
"""Exponents are clamped to this value (4e-18). Smaller exponentials may be subnormal numbers, which are several times
as slow on CPUs."""

MIN_DIVIDED_COLUMNS = 32
"""Products with fewer columns are not divided in ``outer``, but computed transposed, which is faster."""


@runtime_checkable  # for the type checks in tests (beartype)
class Perceptron(Protocol):
    """What distinguishes one perceptron from another."""

    def encode(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n e"]:
        """The input of the first layer. It is in ``precision``, or in float32 if a rounded value would make a wrong
        phase."""

    def activate(self, phase: Float[Tensor, "n u"], first: bool, inplace: bool) -> Float[Tensor, "n w"]:
        """The activation of a layer; ``first`` is true for the first layer. With ``inplace``, ``phase`` may be
        overwritten."""


@runtime_checkable  # for the type checks in tests (beartype)
class AnalyticPerceptron(Perceptron, Protocol):
    """A perceptron with an analytic backward pass."""

    def activate_backward(
        self, phase: Float[Tensor, "n u"], activation: Float[Tensor, "n w"], grad: Float[Tensor, "n w"], first: bool
    ) -> Float[Tensor, "n u"]:
        """The gradient with respect to ``phase``, from ``grad``, that with respect to ``activation``. All three may be
        overwritten."""


@runtime_checkable  # for the type checks in tests (beartype)
class Encoding(Protocol):
    """A perceptron whose encoding has a known size."""

    def encoding_size(self, inputs: int) -> int:
        """Size of the encoding of ``inputs`` coordinates."""


def no_encoding(
    net: Perceptron, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
) -> Float[Tensor, "n d"]:
    """The coordinates in float32. In bfloat16 the phases of the first layer would be off by 1/512 of their size."""
    return coords


def no_encoding_size(net: Encoding, inputs: int) -> int:
    """The number of coordinates."""
    return inputs


def sized(
    net: object, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
) -> FieldSpec:
    """The widest field with at most ``parameters`` weights."""
    return spec if parameters is None else widest(spec, parameters)


def shapes(net: Encoding, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
    """Weights are (out, in) per layer. The equal hidden layers are stacked in one tensor."""
    return layer_shapes(net.encoding_size(spec.inputs), spec.width, spec.depth - 1, spec.outputs)


def layer_shapes(encoding_size: int, width: int, hidden: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of all weight tensors; ``hidden`` is the number of stacked layers."""
    shapes: dict[str, tuple[int, ...]] = {"first.weight": (width, encoding_size), "first.bias": (width,)}
    if hidden:
        shapes |= {"hidden.weight": (hidden, width, width), "hidden.bias": (hidden, width)}
    return shapes | {"last.weight": (outputs, width), "last.bias": (outputs,)}


def macs(net: Encoding, spec: FieldSpec) -> int:
    """One multiply-accumulate per weight of a layer. Activations, encoding and biases are not counted."""
    return spec.width * (net.encoding_size(spec.inputs) + (spec.depth - 1) * spec.width + spec.outputs)


def one_sine_per_unit(net: object, spec: FieldSpec) -> int:
    """One sine per unit of the first and the hidden layers."""
    return spec.width * spec.depth


def draw(
    shapes: Mapping[str, tuple[int, ...]],
    bounds: Mapping[str, float],
    generator: torch.Generator,
    mean: Float[Tensor, "... c"],
) -> dict[str, Tensor]:
    """Weights from U(-bound, bound), in the order of ``shapes``. The last bias is ``mean``."""
    import torch

    drawn = {
        name: (torch.rand(shape, generator=generator) * 2 - 1) * bounds[name]
        for name, shape in shapes.items()
        if name in bounds
    }
    return drawn | {"last.bias": mean.clone()}


def pytorch_bounds(
    encoding_size: int, width: int, first_factor: float = 1.0, hidden_factor: float = 1.0
) -> dict[str, float]:
    """Bounds of PyTorch's initialization, 1/sqrt(fan in) for weights and biases, times the factors that the tensors of
    the first and the hidden layers include."""
    first, hidden = 1 / math.sqrt(encoding_size), 1 / math.sqrt(width)
    return {
        "first.weight": first_factor * first,
        "first.bias": first_factor * first,
        "hidden.weight": hidden_factor * hidden,
        "hidden.bias": hidden_factor * hidden,
        "last.weight": hidden,
    }


def layer_rates(first_factor: float, hidden_factor: float) -> dict[str, float]:
    """Factors on the learning rates: those that the tensors of the first and the hidden layers include."""
    return {
        "first.weight": first_factor,
        "first.bias": first_factor,
        "hidden.weight": hidden_factor,
        "hidden.bias": hidden_factor,
        "last.weight": 1.0,
        "last.bias": 1.0,
    }


def constant(net: object, weights: Mapping[str, Tensor], value: Float[Tensor, " c"]) -> dict[str, Tensor]:
    """Weights of a field that is ``value`` everywhere: the output layer is zero except for its bias."""
    bias = value.expand(weights["last.bias"].shape).clone()
    replaced = {"last.weight": weights["last.weight"] * 0, "last.bias": bias}
    return {name: replaced.get(name, weight) for name, weight in weights.items()}


def first_layer(net: object) -> frozenset[str]:
    """The tensors of the first layer, whose rounding errors become phase errors (docs/architectures.md)."""
    return frozenset({"first.weight", "first.bias"})


def muon_tensors(net: object) -> frozenset[str]:
    """The stacked matrices of the hidden layers."""
    return frozenset({"hidden.weight"})


def forward(
    net: Perceptron,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    precision: torch.dtype,
    activate: Callable[[Tensor, bool, bool], Tensor] | None = None,
) -> Float[Tensor, "n c"]:
    """Values at ``coords``. The first layer is computed in the precision of the encoding, the hidden layers in
    ``precision`` and the last layer in float32. ``activate`` replaces ``net.activate``."""
    import torch
    from torch.nn.functional import linear

    # Without gradients the phase is not needed again. Overwriting it halves the memory traffic.
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
    net: AnalyticPerceptron,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """The analytic backward pass. It equals autograd's up to rounding, makes fewer passes over the activations, and is
    one graph that can be compiled or captured. Tensors that belong to no layer have gradient 0."""
    import torch
    from torch.nn.functional import linear

    matrices = weights["hidden.weight"].to(precision).unbind(0) if "hidden.weight" in weights else ()
    biases = weights["hidden.bias"].to(precision).unbind(0) if matrices else ()
    encoded = net.encode(weights, coords, precision)
    first_phase = linear(encoded, weights["first.weight"].to(encoded.dtype), weights["first.bias"].to(encoded.dtype))
    first_activation = net.activate(first_phase, True, False)
    activations, phases = [first_activation.to(precision) if matrices else first_activation], []
    for matrix, bias in zip(matrices, biases, strict=True):
        phases.append(linear(activations[-1], matrix, bias))
        activations.append(net.activate(phases[-1], False, False))
    last = activations[-1].float()
    residuals = (weights["last.weight"] @ last.mT).mT + weights["last.bias"] - values
    grad = 2 * loss_weights * residuals
    if extra_gradient is not None:
        grad += extra_gradient(residuals)
    by_tensor = {"last.weight": grad.mT @ last, "last.bias": grad.sum(0)}
    grad = (grad @ weights["last.weight"]).to(activations[-1].dtype)
    grad, hidden = _backward_hidden(net, matrices, phases, activations, grad)
    grad = net.activate_backward(first_phase, first_activation, grad, True).to(encoded.dtype)
    by_tensor |= {"first.weight": outer(grad, encoded), "first.bias": grad.sum(0).float()}
    by_tensor |= hidden
    fixed = {name: torch.zeros_like(weight) for name, weight in weights.items() if name not in by_tensor}
    return residuals, by_tensor | fixed


def _backward_hidden(
    net: AnalyticPerceptron,
    matrices: Sequence[Tensor],
    phases: Sequence[Tensor],
    activations: Sequence[Tensor],
    grad: Float[Tensor, "n w"],
) -> tuple[Float[Tensor, "n w"], dict[str, Tensor]]:
    """The gradient with respect to the activation of the first layer, and the gradients of the hidden layers' tensors,
    from ``grad``, the gradient with respect to the last activation. ``activations`` are those of the first and all
    hidden layers, ``phases`` and ``matrices`` those of the hidden layers."""
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


def outer(left: Float[Tensor, "n a"], right: Float[Tensor, "n b"]) -> Float[Tensor, "a b"]:
    """left^T right in float32. On the CPU it is the sum of four products, which oneDNN computes faster than one long
    product."""
    import torch

    n, parts = left.shape[0], 4
    if right.shape[1] < MIN_DIVIDED_COLUMNS:
        return (right.mT @ left).mT.float()
    if left.device.type != "cpu" or n % parts or n < 1024:
        return (left.mT @ right).float()
    products = torch.bmm(left.reshape(parts, n // parts, -1).mT, right.reshape(parts, n // parts, -1))
    return products.sum(0, dtype=torch.float32)
