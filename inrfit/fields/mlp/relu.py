"""ReLU perceptrons: of the bare coordinates, of their positional encoding, and of random Fourier features."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


def _activate(net: object, phase: Tensor, first: bool, inplace: bool) -> Tensor:
    """max(u, 0); the phase is not needed for the gradient."""
    return phase.relu_()


def _activate_backward(net: object, phase: Tensor, activation: Tensor, grad: Tensor, first: bool) -> Tensor:
    """Where the unit is on."""
    import torch

    found: Tensor = torch.ops.aten.threshold_backward(grad, activation.to(grad.dtype), 0)
    return found


def _initial(net: mlp.Encoding, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
    """PyTorch's ranges, as in the released codes."""
    bounds = mlp.pytorch_bounds(net.encoding_size(spec.inputs), spec.width)
    return mlp.draw(mlp.shapes(net, spec), bounds, generator, mean)


def _rates(net: object) -> dict[str, float]:
    """Nothing is folded."""
    return mlp.layer_rates(1.0, 1.0)


@dataclass(frozen=True)
class Mlp:
    """x_{i+1} = max(W_i x_i + b_i, 0); value = W x + b. Known to learn coarse structure only (Tancik et al. 2020): the
    measure of what the others gain."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        unreliable_on=frozenset({"audio"}),
        hyperparameters=Hyperparameters(adam_rate=5e-3, muon_rate=5e-2, source=SWEPT, paper_rate=1e-3),
    )

    encoding_size, encode = mlp.no_encoding_size, mlp.no_encoding
    sized, shapes, macs = mlp.sized, mlp.shapes, mlp.macs
    constant, muon_tensors = mlp.constant, mlp.muon_tensors
    forward, gradients = mlp.forward, mlp.gradients
    initial, activate, activate_backward, rates = _initial, _activate, _activate_backward, _rates
    fp32_tensors = architecture.no_fp32_tensors
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason
    kernel_coefficients = architecture.no_kernel

    def sines(self, spec: FieldSpec) -> int:
        """None."""
        return 0


@dataclass(frozen=True)
class PeMlp:
    """A ReLU perceptron of x, sin(2^k f x), cos(2^k f x), k = 0 ... ``frequencies`` - 1 (NeRF: Mildenhall et al., ECCV
    2020, arXiv:2003.08934, equation 4). The lowest frequency f is 1, as in FINER's code, for NeRF's pi."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        frequency_scaling={"lowest": {"audio": 1 / 150, "shape": 1 / 60}},
        hyperparameters=Hyperparameters(adam_rate=4e-3, muon_rate=4e-2, source=SWEPT, paper_rate=1e-3),
    )

    frequencies: int = setting(10, "frequencies of the encoding, each twice the one before", 1, 24)
    lowest: float = setting(1.0, "the lowest of them (radians per unit)", 1e-4, 1e6)

    sized, shapes, macs = mlp.sized, mlp.shapes, mlp.macs
    constant, muon_tensors = mlp.constant, mlp.muon_tensors
    forward, gradients = mlp.forward, mlp.gradients
    initial, activate, activate_backward, rates = _initial, _activate, _activate_backward, _rates
    fp32_tensors = architecture.no_fp32_tensors
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason
    kernel_coefficients = architecture.no_kernel

    def encoding_size(self, inputs: int) -> int:
        """The coordinates, a sine and a cosine of each per frequency."""
        return inputs * (1 + 2 * self.frequencies)

    def encode(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """Coordinates, then all sines, then all cosines, in the order of the frequencies; rounded after the sines."""
        import torch

        octaves = torch.arange(self.frequencies, device=coords.device).exp2() * self.lowest
        phase = (coords[:, None] * octaves[:, None]).flatten(1)
        return torch.cat([coords, phase.sin(), phase.cos()], 1).to(precision)

    def sines(self, spec: FieldSpec) -> int:
        """Those of the encoding."""
        return 2 * self.frequencies * spec.inputs


@dataclass(frozen=True)
class Ffn:
    """A ReLU perceptron of sin(2 pi B x), cos(2 pi B x), the entries of B from N(0, sigma^2) (random Fourier features:
    Tancik et al., NeurIPS 2020, arXiv:2006.10739, equation 5).

    B is drawn once and never taught; it is stored, 2 pi folded into it, and counted, for a decoder needs it."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        initialization_options=frozenset({"sigma"}),
        frequency_scaling={"sigma": {"audio": 1 / 3, "shape": 1 / 30}},
        hyperparameters=Hyperparameters(adam_rate=3e-3, muon_rate=3e-2, source=SWEPT, paper_rate=1e-3),
    )

    features: int = setting(128, "random frequencies (a sine and a cosine each)", 1, 8192)
    sigma: float = setting(10.0, "standard deviation of the frequencies, in cycles per unit of an axis", 1e-3, 1e6)

    sized, macs = mlp.sized, mlp.macs
    constant, muon_tensors = mlp.constant, mlp.muon_tensors
    forward, gradients = mlp.forward, mlp.gradients
    activate, activate_backward = _activate, _activate_backward
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason
    kernel_coefficients = architecture.no_kernel

    def encoding_size(self, inputs: int) -> int:
        """A sine and a cosine per feature."""
        return 2 * self.features

    def fp32_tensors(self) -> frozenset[str]:
        """The frequencies, which make phases."""
        return frozenset({"features"})

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The layers', behind the frequencies."""
        return {"features": (self.features, spec.inputs)} | mlp.shapes(self, spec)

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """Frequencies from the normal distribution; PyTorch's ranges for the layers."""
        import torch

        drawn = torch.randn((self.features, spec.inputs), generator=generator) * (2 * math.pi * self.sigma)
        return {"features": drawn} | _initial(self, spec, generator, mean)

    def encode(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """All sines, then all cosines; rounded only then."""
        import torch

        phase = coords @ weights["features"].detach().mT
        return torch.cat([phase.sin(), phase.cos()], 1).to(precision)

    def sines(self, spec: FieldSpec) -> int:
        """Those of the encoding."""
        return 2 * self.features

    def rates(self) -> dict[str, float]:
        """The frequencies stay what they are."""
        return {"features": 0.0} | _rates(self)
