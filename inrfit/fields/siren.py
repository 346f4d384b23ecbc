"""SIREN (Sitzmann et al., NeurIPS 2020, arXiv:2006.09661): a multilayer perceptron with sines between the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..options import setting
from .sizing import widest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from . import FieldSpec


@dataclass(frozen=True)
class Siren:
    """x_0 = coords; x_{i+1} = sin(W_i x_i + b_i); value = W x + b.

    The paper writes sin(omega (W x + b)). Here omega is folded into W and b, when they are drawn and ever after: one
    multiplication fewer per activation, and a decoder needs no omega. The learning rate of a folded tensor is omega
    times that of the paper's, which is the same optimisation. ``first_omega`` sets the band of the first layer:
    the highest frequency it starts with, in radians per unit of a coordinate axis that runs from -1 to 1."""

    WIDTH: ClassVar[int] = 256
    DEPTH: ClassVar[int] = 5
    RASTER: ClassVar[bool] = False
    FOLDED: ClassVar[frozenset[str]] = frozenset({"omega", "first_omega"})  # only the first weights depend on these

    omega: float = setting(30.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(30.0, "frequency factor of the first layer (radians per unit)", 1e-3, 1e6)

    def sized(self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
        """The widest that fits."""
        return spec if parameters is None else widest(spec, parameters)

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Weights are (out, in) per layer; the equal hidden layers are stacked in one tensor."""
        hidden = spec.depth - 1
        shapes: dict[str, tuple[int, ...]] = {
            "first.weight": (spec.width, spec.inputs),
            "first.bias": (spec.width,),
        }
        if hidden:
            shapes["hidden.weight"] = (hidden, spec.width, spec.width)
            shapes["hidden.bias"] = (hidden, spec.width)
        return shapes | {"last.weight": (spec.outputs, spec.width), "last.bias": (spec.outputs,)}

    def macs(self, spec: FieldSpec) -> int:
        """One multiply-accumulate per weight of a matrix; sines and biases are not counted."""
        return spec.width * (spec.inputs + (spec.depth - 1) * spec.width + spec.outputs)

    def sines(self, spec: FieldSpec) -> int:
        """One per unit."""
        return spec.width * spec.depth

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """The paper's ranges times omega: first layer U(+-omega_0/d), hidden U(+-sqrt(6/h)), last U(+-sqrt(6/h)/omega);
        biases PyTorch's default U(+-1/sqrt(fan in)), likewise times omega; the last bias starts at the mean value."""
        import torch

        def uniform(shape: tuple[int, ...], bound: float) -> Tensor:
            return (torch.rand(shape, generator=generator) * 2 - 1) * bound

        shapes, width = self.shapes(spec), spec.width
        bounds = {
            "first.weight": self.first_omega / spec.inputs,
            "first.bias": self.omega / math.sqrt(spec.inputs),
            "hidden.weight": math.sqrt(6 / width),
            "hidden.bias": self.omega / math.sqrt(width),
            "last.weight": math.sqrt(6 / width) / self.omega,
        }
        drawn = {name: uniform(shape, bounds[name]) for name, shape in shapes.items() if name in bounds}
        return drawn | {"last.bias": mean.clone()}

    def constant(self, weights: Mapping[str, Tensor], value: Tensor) -> dict[str, Tensor]:
        """The same field made constant: only the last bias speaks."""
        silenced = {"last.weight": weights["last.weight"] * 0, "last.bias": value.clone()}
        return {name: silenced.get(name, weight) for name, weight in weights.items()}

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """First and last layer always float32: a phase rounded to bfloat16 is off by 1/512 of itself."""
        import torch
        from torch.nn.functional import linear

        # Where no gradient is wanted the phase is not needed again: in place, half the memory is touched.
        sine = torch.sin if torch.is_grad_enabled() else torch.sin_
        x = sine(linear(coords, weights["first.weight"], weights["first.bias"]))
        if "hidden.weight" in weights:
            x = x.to(precision)
            matrices = weights["hidden.weight"].to(precision).unbind(0)
            biases = weights["hidden.bias"].to(precision).unbind(0)
            for matrix, bias in zip(matrices, biases, strict=True):
                x = sine(linear(x, matrix, bias))
            x = x.float()
        return linear(x, weights["last.weight"], weights["last.bias"])

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        mass: Tensor,
        precision: torch.dtype,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The backward pass written out: autograd's result to rounding, with fewer passes over the activations, and one
        graph to compile or to capture."""
        import torch
        from torch.nn.functional import linear

        matrices = weights["hidden.weight"].to(precision).unbind(0) if "hidden.weight" in weights else ()
        biases = weights["hidden.bias"].to(precision).unbind(0) if matrices else ()
        first = linear(coords, weights["first.weight"], weights["first.bias"])
        activations, phases = [first.sin().to(precision) if matrices else first.sin()], []
        for matrix, bias in zip(matrices, biases, strict=True):
            phases.append(linear(activations[-1], matrix, bias))
            activations.append(phases[-1].sin())
        last = activations[-1].float()
        residuals = linear(last, weights["last.weight"], weights["last.bias"]) - values
        pulled = 2 * mass * residuals
        if extra is not None:
            pulled += extra(residuals)
        found = {"last.weight": pulled.mT @ last, "last.bias": pulled.sum(0)}
        pulled = pulled @ weights["last.weight"]
        pulled = pulled.to(precision) if matrices else pulled
        by_matrix, by_bias = [], []
        for matrix, phase, before in zip(matrices[::-1], phases[::-1], activations[-2::-1], strict=True):
            pulled = phase.cos_().mul_(pulled)
            by_matrix.append(_outer(pulled, before))
            by_bias.append(pulled.sum(0).float())
            pulled = pulled @ matrix
        pulled = first.cos_().mul_(pulled)
        found |= {"first.weight": pulled.mT @ coords, "first.bias": pulled.sum(0)}
        if matrices:
            found |= {"hidden.weight": torch.stack(by_matrix[::-1]), "hidden.bias": torch.stack(by_bias[::-1])}
        return residuals, found

    def rates(self) -> dict[str, float]:
        """Folded tensors move omega times as fast."""
        return {
            "first.weight": self.first_omega,
            "first.bias": self.omega,
            "hidden.weight": self.omega,
            "hidden.bias": self.omega,
            "last.weight": 1.0,
            "last.bias": 1.0,
        }

    def exact(self) -> frozenset[str]:
        """The first layer, which makes the phases: rounded to fp16 it costs a sound 23 dB of PSNR, rounded to bf16 a
        picture 1 dB; the other layers 0.02 dB (docs/architectures.md)."""
        return frozenset({"first.weight", "first.bias"})

    def matrices(self) -> frozenset[str]:
        """The stacked hidden layers."""
        return frozenset({"hidden.weight"})


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """left^T right (a, b), float32, of (n, a) and (n, b); on the CPU in four parts, which oneDNN multiplies a quarter
    faster than one long product."""
    import torch

    n, parts = left.shape[0], 4
    if left.device.type != "cpu" or n % parts or n < 1024:
        return (left.mT @ right).float()
    pieces = torch.bmm(left.reshape(parts, n // parts, -1).mT, right.reshape(parts, n // parts, -1))
    return pieces.sum(0, dtype=torch.float32)
