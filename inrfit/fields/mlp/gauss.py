"""Perceptron with Gaussian activations (Ramasinghe and Lucey, ECCV 2022, arXiv:2111.15135)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from ...kernel.perceptron import Activation
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import SWEPT_RATES, Hyperparameters
from . import mlp

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ..spec import FieldSpec


@dataclass(frozen=True)
class Gauss:
    """A multilayer perceptron with the activation exp(-(s z)^2), z = W x + b, as in the comparisons of WIRE and FINER.

    The scale s is included in W and b, as omega is in SIREN: the activation is exp(-u^2). With the papers' scale of 30
    in the hidden layers, the initial field of a deep network is noise. The default was chosen together with the depth
    (docs/architectures.md)."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        initialization_options=frozenset({"scale", "first_scale"}),
        frequency_scaling={"first_scale": {"audio": 1.0, "shape": 1 / 4, "points": 1 / 2}},
        paper_options={"scale": 30.0},
        unreliable_on=frozenset({"audio"}),
        hyperparameters=Hyperparameters(adam_rate=1.5e-3, muon_rate=7.5e-3, source=SWEPT_RATES, paper_rate=5e-3),
    )

    scale: float = setting(5.0, "scale of the hidden layers", 1e-3, 1e4)
    first_scale: float = setting(30.0, "scale of the first layer (per unit of an axis)", 1e-3, 1e6)

    encoding_size, encode = mlp.no_encoding_size, mlp.no_encoding
    sized, shapes, macs, sines = mlp.sized, mlp.shapes, mlp.macs, mlp.one_sine_per_unit
    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, mlp.first_layer
    forward, gradients = mlp.forward, mlp.gradients
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """PyTorch's ranges, as in the code of WIRE and FINER, times the scales."""
        bounds = mlp.pytorch_bounds(spec.inputs, spec.width, self.first_scale, self.scale)
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def activate(self, phase: Float[Tensor, "n w"], first: bool, inplace: bool) -> Float[Tensor, "n w"]:
        """exp(-u^2), with the exponent clamped to MIN_EXPONENT."""
        square = phase.square_() if inplace else phase.square()
        return square.neg_().clamp_(min=mlp.MIN_EXPONENT).exp_()

    def activate_backward(
        self, phase: Float[Tensor, "n w"], activation: Float[Tensor, "n w"], grad: Float[Tensor, "n w"], first: bool
    ) -> Float[Tensor, "n w"]:
        """-2 u exp(-u^2) grad."""
        return phase.mul_(activation).mul_(-2).mul_(grad)

    def kernel_activation(self, axes: int) -> Activation:
        """exp(-u^2)."""
        return Activation("gauss")

    def rates(self) -> dict[str, float]:
        """Tensors that include a scale have a rate that is larger by this factor."""
        return mlp.layer_rates(self.first_scale, self.scale)
