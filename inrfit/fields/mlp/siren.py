"""SIREN (Sitzmann et al., NeurIPS 2020, arXiv:2006.09661): a multilayer perceptron with sines between the layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from . import mlp
from .fast_sine import cosine_, sine

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .. import FieldSpec


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
    BAND: ClassVar[mlp.Band] = {"first_omega": {"image": 1.0, "audio": 1.0, "shape": 1.0}}
    FOLDED: ClassVar[frozenset[str]] = frozenset({"omega", "first_omega"})  # only the first weights depend on these

    omega: float = setting(30.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(
        30.0, "frequency factor of the first layer (radians per unit); follows the signal unless given", 1e-3, 1e6
    )

    encoded, encode = mlp.as_many, mlp.itself
    sized, shapes, macs, sines = mlp.sized, mlp.shapes, mlp.macs, mlp.one_per_unit
    constant, matrices, exact = mlp.constant, mlp.matrices, mlp.phases
    forward, gradients = mlp.forward, mlp.gradients

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """The paper's ranges times omega: first layer U(+-omega_0/d), hidden U(+-sqrt(6/h)), last U(+-sqrt(6/h)/omega);
        biases PyTorch's default U(+-1/sqrt(fan in)), likewise times omega; the last bias starts at the mean value."""
        width = spec.width
        bounds = {
            "first.weight": self.first_omega / spec.inputs,
            "first.bias": self.omega / math.sqrt(spec.inputs),
            "hidden.weight": math.sqrt(6 / width),
            "hidden.bias": self.omega / math.sqrt(width),
            "last.weight": math.sqrt(6 / width) / self.omega,
        }
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def activate(self, phase: Tensor, first: bool, spent: bool) -> Tensor:
        """Its sine."""
        return sine(phase, spent)

    def pull(self, phase: Tensor, activation: Tensor, pulled: Tensor, first: bool) -> Tensor:
        """Times its cosine."""
        return cosine_(phase).mul_(pulled)

    def rates(self) -> dict[str, float]:
        """Folded tensors move omega times as fast."""
        return mlp.folded(self.first_omega, self.omega) | {"first.bias": self.omega}
