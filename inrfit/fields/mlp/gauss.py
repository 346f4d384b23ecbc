"""Gaussian activations (Ramasinghe and Lucey, ECCV 2022, arXiv:2111.15135), as WIRE and FINER compare with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import SWEPT, Hyperparameters
from . import mlp

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..spec import FieldSpec


@dataclass(frozen=True)
class Gauss:
    """A multilayer perceptron with exp(-(s z)^2), z = W x + b. The scale s is folded into W and b, as omega is in
    SIREN: the activation is exp(-u^2).

    The papers' scale of 30 makes a deep field begin as noise: of the hidden layers' scales 2 to 30 at depths 3 to 5
    the best was 5 at depth 5, 36.4 dB; 30 gave 13.0 there and 23.2 at depth 3 (first experiments, 500 steps, one seed,
    a crop of kodim05; docs/architectures.md)."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        initialization_options=frozenset({"scale", "first_scale"}),
        frequency_scaling={"first_scale": {"audio": 1.0, "shape": 1 / 4}},
        paper_options={"scale": 30.0},
        unreliable_on=frozenset({"audio"}),
        hyperparameters=Hyperparameters(adam_rate=1.5e-3, muon_rate=7.5e-3, source=SWEPT, paper_rate=5e-3),
    )

    scale: float = setting(5.0, "scale of the hidden layers", 1e-3, 1e4)
    first_scale: float = setting(30.0, "scale of the first layer (per unit of an axis)", 1e-3, 1e6)

    encoding_size, encode = mlp.no_encoding_size, mlp.no_encoding
    sized, shapes, macs, sines = mlp.sized, mlp.shapes, mlp.macs, mlp.one_sine_per_unit
    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, mlp.first_layer
    forward, gradients = mlp.forward, mlp.gradients
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason
    kernel_coefficients = architecture.no_kernel

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """PyTorch's ranges, as in the codes of WIRE and FINER, times the scales."""
        bounds = mlp.pytorch_bounds(spec.inputs, spec.width, self.first_scale, self.scale)
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def activate(self, phase: Tensor, first: bool, inplace: bool) -> Tensor:
        """exp(-u^2), never less than a number that is next to nothing."""
        square = phase.square_() if inplace else phase.square()
        return square.neg_().clamp_(min=mlp.LEAST_EXPONENT).exp_()

    def activate_backward(self, phase: Tensor, activation: Tensor, grad: Tensor, first: bool) -> Tensor:
        """Times -2 u exp(-u^2)."""
        return phase.mul_(activation).mul_(-2).mul_(grad)

    def rates(self) -> dict[str, float]:
        """Folded tensors move as many times as fast."""
        return mlp.layer_rates(self.first_scale, self.scale)
