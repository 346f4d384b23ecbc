"""ReLU perceptrons: of the coordinates, of their positional encoding, and of random Fourier features."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


def _activate(net: object, phase: Float[Tensor, "n w"], first: bool, inplace: bool) -> Float[Tensor, "n w"]:
    """max(u, 0). It always overwrites the phase, which the gradient does not need."""
    return phase.relu_()


def _activate_backward(
    net: object,
    phase: Float[Tensor, "n w"],
    activation: Float[Tensor, "n w"],
    grad: Float[Tensor, "n w"],
    first: bool,
) -> Float[Tensor, "n w"]:
    """grad where the activation is positive, otherwise 0."""
    import torch

    grad_phase: Tensor = torch.ops.aten.threshold_backward(grad, activation.to(grad.dtype), 0)
    return grad_phase


def _kernel_activation(net: object, axes: int) -> Activation:
    """max(u, 0)."""
    return Activation("relu")


def _initial(
    net: mlp.Encoding, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]
) -> dict[str, Tensor]:
    """PyTorch's ranges, as in the released code of the papers."""
    bounds = mlp.pytorch_bounds(net.encoding_size(spec.inputs), spec.width)
    return mlp.draw(mlp.shapes(net, spec), bounds, generator, mean)


def _rates(net: object) -> dict[str, float]:
    """All tensors have the same rates."""
    return mlp.layer_rates(1.0, 1.0)


@dataclass(frozen=True)
class Mlp:
    """x_{i+1} = max(W_i x_i + b_i, 0); value = W x + b. It fits coarse structure only (Tancik et al., NeurIPS 2020,
    arXiv:2006.10739) and serves as a baseline."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        derivatives=1,
        unreliable_on=frozenset({"audio"}),
        hyperparameters=Hyperparameters(adam_rate=5e-3, muon_rate=5e-2, source=SWEPT_RATES, paper_rate=1e-3),
    )

    encoding_size, encode = mlp.no_encoding_size, mlp.no_encoding
    sized, shapes, macs = mlp.sized, mlp.shapes, mlp.macs
    constant, muon_tensors = mlp.constant, mlp.muon_tensors
    forward, gradients = mlp.forward, mlp.gradients
    initial, activate, activate_backward, rates = _initial, _activate, _activate_backward, _rates
    kernel_activation = _kernel_activation
    fp32_tensors = architecture.no_fp32_tensors
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason

    def sines(self, spec: FieldSpec) -> int:
        """No sines."""
        return 0


@dataclass(frozen=True)
class PeMlp:
    """A ReLU perceptron of x, sin(2^k f x) and cos(2^k f x) for k = 0 ... ``frequencies`` - 1 (NeRF: Mildenhall et al.,
    ECCV 2020, arXiv:2003.08934, equation 4). The lowest frequency f is 1, as in FINER's code, instead of NeRF's pi."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        derivatives=1,
        frequency_scaling={"lowest": {"audio": 1 / 450, "shape": 1 / 60, "points": 1 / 100}},
        hyperparameters=Hyperparameters(adam_rate=4e-3, muon_rate=4e-2, source=SWEPT_RATES, paper_rate=1e-3),
    )

    frequencies: int = setting(10, "frequencies of the encoding, each twice the one before", 1, 24)
    lowest: float = setting(1.0, "the lowest of them (radians per unit)", 1e-4, 1e6)

    sized, shapes, macs = mlp.sized, mlp.shapes, mlp.macs
    constant, muon_tensors = mlp.constant, mlp.muon_tensors
    forward, gradients = mlp.forward, mlp.gradients
    initial, activate, activate_backward, rates = _initial, _activate, _activate_backward, _rates
    kernel_activation = _kernel_activation
    fp32_tensors = architecture.no_fp32_tensors
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason

    def encoding_size(self, inputs: int) -> int:
        """The coordinates, and one sine and one cosine per coordinate and frequency."""
        return inputs * (1 + 2 * self.frequencies)

    def encode(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n e"]:
        """Coordinates, then all sines, then all cosines, by frequency. Phases are computed in float32."""
        import torch

        octaves = torch.arange(self.frequencies, device=coords.device).exp2() * self.lowest
        phase = (coords[:, None] * octaves[:, None]).flatten(1)
        return torch.cat([coords, phase.sin(), phase.cos()], 1).to(precision)

    def sines(self, spec: FieldSpec) -> int:
        """Sines and cosines of the encoding."""
        return 2 * self.frequencies * spec.inputs


@dataclass(frozen=True)
class Ffn:
    """A ReLU perceptron of sin(2 pi B x) and cos(2 pi B x), where the entries of B are from N(0, sigma^2) (random
    Fourier features: Tancik et al., NeurIPS 2020, arXiv:2006.10739, equation 5).

    B is drawn once and not trained. 2 pi B is stored with the weights and counted as weights, because decoding needs
    it."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        derivatives=1,
        initialization_options=frozenset({"sigma"}),
        frequency_scaling={"sigma": {"audio": 2 / 9, "shape": 1 / 30, "points": 1 / 10}},
        hyperparameters=Hyperparameters(adam_rate=3e-3, muon_rate=3e-2, source=SWEPT_RATES, paper_rate=1e-3),
    )

    features: int = setting(128, "random frequencies (a sine and a cosine each)", 1, 8192)
    sigma: float = setting(10.0, "standard deviation of the frequencies, in cycles per unit of an axis", 1e-3, 1e6)

    sized, macs = mlp.sized, mlp.macs
    constant, muon_tensors = mlp.constant, mlp.muon_tensors
    forward, gradients = mlp.forward, mlp.gradients
    activate, activate_backward, kernel_activation = _activate, _activate_backward, _kernel_activation
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason

    def encoding_size(self, inputs: int) -> int:
        """One sine and one cosine per feature."""
        return 2 * self.features

    def fp32_tensors(self) -> frozenset[str]:
        """The frequencies, whose rounding errors become phase errors."""
        return frozenset({"features"})

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The frequencies, then the layers of a perceptron."""
        return {"features": (self.features, spec.inputs)} | mlp.shapes(self, spec)

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """Normally distributed frequencies, and PyTorch's ranges for the layers."""
        import torch

        drawn = torch.randn((self.features, spec.inputs), generator=generator) * (2 * math.pi * self.sigma)
        return {"features": drawn} | _initial(self, spec, generator, mean)

    def encode(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n e"]:
        """All sines, then all cosines. Phases are computed in float32."""
        import torch

        phase = coords @ weights["features"].detach().mT
        return torch.cat([phase.sin(), phase.cos()], 1).to(precision)

    def sines(self, spec: FieldSpec) -> int:
        """Sines and cosines of the encoding."""
        return 2 * self.features

    def rates(self) -> dict[str, float]:
        """The frequencies are not trained."""
        return {"features": 0.0} | _rates(self)
