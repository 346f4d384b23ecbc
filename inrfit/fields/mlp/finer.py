"""FINER (Liu et al., CVPR 2024, arXiv:2312.02434): sines whose frequency grows with their argument."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import Hyperparameters
from . import mlp
from .fast_sine import cosine_, sine

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..spec import FieldSpec


@dataclass(frozen=True)
class Finer:
    """A SIREN with sin(omega (|z| + 1) z) for sin(omega z), z = W x + b.

    Omega is folded into W and b as in SIREN: u = omega z gives sin(u + u |u| / omega). As in the authors' code the
    factor |z| + 1 counts as a constant when gradients with respect to weights are taken; otherwise it was much the
    same: 43.4 for 43.3 dB (first experiments, one seed, a crop of kodim05). Gradients with respect to coordinates are
    those of the decoded function (``forward``). Biases of the first layer from a wide range put its units where their
    frequency is high (the paper's k)."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        initialization_options=frozenset({"first_bias"}),
        frequency_scaling={"first_omega": {"audio": 2 / 9, "shape": 1 / 2}},
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
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """SIREN's ranges, but for the first biases: U(+-k), times omega."""
        width = spec.width
        bounds = {
            "first.weight": self.first_omega / spec.inputs,
            "first.bias": self.first_omega * (self.first_bias or 1 / math.sqrt(spec.inputs)),
            "hidden.weight": math.sqrt(6 / width),
            "hidden.bias": self.omega / math.sqrt(width),
            "last.weight": math.sqrt(6 / width) / self.omega,
        }
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """Values at ``coords``. Where these are differentiated (backward or forward mode) so is the factor |z| + 1, in
        all gradients of that pass; without this, slopes were up to 38 % off."""
        from torch.autograd import forward_ad

        differentiated = coords.requires_grad or forward_ad.unpack_dual(coords).tangent is not None
        return mlp.forward(self, weights, coords, precision, self.differentiable if differentiated else None)

    def activate(self, phase: Tensor, first: bool, inplace: bool) -> Tensor:
        """sin(u + u |u| / omega), whose factor |u| / omega + 1 has no derivative."""
        return self._bent(phase, phase.detach().abs(), first)

    def differentiable(self, phase: Tensor, first: bool, inplace: bool) -> Tensor:
        """The same numbers, with the derivative that they have."""
        return self._bent(phase, phase.abs(), first)

    def _bent(self, phase: Tensor, size: Tensor, first: bool) -> Tensor:
        import torch

        omega = self.first_omega if first else self.omega
        return sine(torch.addcmul(phase, phase, size, value=1 / omega), inplace=True)

    def activate_backward(self, phase: Tensor, activation: Tensor, grad: Tensor, first: bool) -> Tensor:
        """Times cos(u + u |u| / omega) (1 + |u| / omega)."""
        import torch

        omega = self.first_omega if first else self.omega
        size = phase.abs().div_(omega)
        cosine = cosine_(torch.addcmul(phase, phase, size))
        return size.add_(1).mul_(cosine).mul_(grad)

    def kernel_coefficients(self) -> tuple[float, float]:
        """1 / omega."""
        return 1 / self.first_omega, 1 / self.omega

    def rates(self) -> dict[str, float]:
        """Folded tensors move omega times as fast."""
        return mlp.layer_rates(self.first_omega, self.omega)
