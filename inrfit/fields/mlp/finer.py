"""FINER (Liu et al., CVPR 2024, arXiv:2312.02434): a perceptron with sines whose frequency grows with the argument."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from ...kernel.perceptron import Activation
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import Hyperparameters
from . import mlp
from .fast_sine import cosine_, sine

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ..spec import FieldSpec


MAX_KERNEL_PHASE = 1e5
"""Largest phase of the first layer, at the start of a fit, for which the compiled kernel is used. Float32 numbers are
then 0.008 apart."""


@dataclass(frozen=True)
class Finer:
    """A SIREN with the activation sin(omega (|z| + 1) z) instead of sin(omega z), z = W x + b.

    Omega is included in W and b as in SIREN: with u = omega z the activation is sin(u + u |u| / omega). As in the
    authors' code, the factor |z| + 1 is a constant for the gradients with respect to weights; differentiating it has
    little effect on the quality. Gradients with respect to coordinates are those of the decoded function (``forward``).
    A wide range ``first_bias`` (the paper's k) of the first layer's biases shifts units to where their frequency is
    high."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        unit_bytes=16,
        depth=5,
        initialization_options=frozenset({"first_bias"}),
        frequency_scaling={"first_omega": {"audio": 2 / 9, "shape": 1 / 2, "points": 1.0}},
        class_options={"points": {"omega": 10.0}},
        class_widths={"points": 128},
        hyperparameters=Hyperparameters(
            adam_rate=5e-4, muon_rate=1.2e-3, source="the best of four (docs/architectures.md)", paper_rate=5e-4
        ),
    )

    omega: float = setting(30.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(30.0, "frequency factor of the first layer (radians per unit)", 1e-3, 1e6)
    first_bias: float = setting(0.0, "range k of the first layer's biases (0: 1/sqrt(dimensions))", 0.0, 1e3)

    encoding_size, encode = mlp.no_encoding_size, mlp.no_encoding
    sized, shapes, macs, sines = mlp.sized, mlp.shapes, mlp.macs, mlp.one_sine_per_unit
    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, mlp.first_layer
    gradients = mlp.gradients
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """SIREN's ranges; the biases of the first layer have the range U(+-first_bias) times omega."""
        width = spec.width
        bounds = {
            "first.weight": self.first_omega / spec.inputs,
            "first.bias": self.first_omega * (self.first_bias or 1 / math.sqrt(spec.inputs)),
            "hidden.weight": math.sqrt(6 / width),
            "hidden.bias": self.omega / math.sqrt(width),
            "last.weight": math.sqrt(6 / width) / self.omega,
        }
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``. If ``coords`` are differentiated (backward or forward mode), the factor |z| + 1 is
        differentiated too, in all gradients of that pass: otherwise slopes would be wrong."""
        from torch.autograd import forward_ad

        differentiated = coords.requires_grad or forward_ad.unpack_dual(coords).tangent is not None
        return mlp.forward(self, weights, coords, precision, self.activate_differentiably if differentiated else None)

    def activate(self, phase: Float[Tensor, "n w"], first: bool, inplace: bool) -> Float[Tensor, "n w"]:
        """sin(u + u |u| / omega), with the factor |u| / omega + 1 as a constant."""
        return self._sine(phase, phase.detach().abs(), first)

    def activate_differentiably(self, phase: Float[Tensor, "n w"], first: bool, inplace: bool) -> Float[Tensor, "n w"]:
        """sin(u + u |u| / omega), with its exact derivative."""
        return self._sine(phase, phase.abs(), first)

    def _sine(self, phase: Float[Tensor, "n w"], size: Float[Tensor, "n w"], first: bool) -> Float[Tensor, "n w"]:
        """sin(u + u size / omega)."""
        import torch

        omega = self.first_omega if first else self.omega
        return sine(torch.addcmul(phase, phase, size, value=1 / omega), inplace=True)

    def activate_backward(
        self, phase: Float[Tensor, "n w"], activation: Float[Tensor, "n w"], grad: Float[Tensor, "n w"], first: bool
    ) -> Float[Tensor, "n w"]:
        """grad cos(u + u |u| / omega) (1 + |u| / omega)."""
        import torch

        omega = self.first_omega if first else self.omega
        size = phase.abs().div_(omega)
        cosine = cosine_(torch.addcmul(phase, phase, size))
        return size.add_(1).mul_(cosine).mul_(grad)

    def kernel_activation(self, axes: int) -> Activation | None:
        """sin(u + u |u| / omega) with the omega of the layer; None for phases that float32 hardly resolves, which the
        kernel and torch would round differently."""
        if self.first_omega * (1 + self.first_bias) ** 2 > MAX_KERNEL_PHASE:
            return None
        return Activation("finer", 1 / self.first_omega, 1 / self.omega)

    def rates(self) -> dict[str, float]:
        """Tensors that include omega have omega times the rate."""
        return mlp.layer_rates(self.first_omega, self.omega)
