"""WIRE (Saragadam et al., CVPR 2023, arXiv:2301.05187): a perceptron with Gabor wavelets as activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ...io.options import setting
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import SWEPT_RATES, Hyperparameters
from . import mlp

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ..spec import FieldSpec

MAPS = {"complex": 1, "real": 2, "2d": 2}
"""Number of linear maps per layer, by variant."""


@dataclass(frozen=True)
class Wire:
    """With z = W x + b and z' = V x + c, a layer of the ``variant``

    complex   exp(i omega z - |sigma z|^2), W, b and x complex (the paper's equation 3)
    2d        exp(i omega z - |sigma z|^2 - |sigma z'|^2), all complex
    real      cos(omega z) exp(-(sigma z')^2), all real

    The maps of the first layer are real, because the coordinates are. The value is the real part of a complex last map.
    Complex arithmetic is expressed in real numbers, so that bfloat16, compilation and Muon work as elsewhere.
    Activations are stored as (real parts, imaginary parts). A complex matrix W = A + iB, which multiplies them as
    ((A, -B), (B, A)), is stored as A above B. Omega is included in all maps as in SIREN: with u = omega z the
    activation is exp(i u - rho |u|^2), rho = (sigma / omega)^2.

    ``width`` is the width of a real perceptron with about the same number of weights, as in the authors' code: a layer
    has width / sqrt(2) units, in 2d width / 2.

    Departures from the paper: omega and sigma of the hidden layers are smaller by default, because with the paper's 20
    and 10 the initial field of a deep network is noise (docs/architectures.md). ``first_omega`` scales the window of
    the first layer together with its frequency, as stretched coordinates do. The last bias is real, because its
    imaginary part has no effect."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        unit_bytes=28,
        depth=3,
        initialization_options=frozenset({"first_omega"}),
        frequency_scaling={"first_omega": {"audio": 2 / 3, "shape": 1 / 3, "points": 1 / 3}},
        paper_options={"omega": 20.0, "sigma": 10.0},
        unreliable_on=frozenset({"audio"}),
        hyperparameters=Hyperparameters(adam_rate=2e-3, muon_rate=8e-3, source=SWEPT_RATES, paper_rate=5e-3),
    )

    variant: Literal["complex", "2d", "real"] = setting("complex", "complex, 2d or real")
    omega: float = setting(5.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    sigma: float = setting(2.5, "inverse width of the window of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(20.0, "frequency factor of the first layer (radians per unit)", 1e-3, 1e6)

    encode, sized = mlp.no_encoding, mlp.sized
    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, mlp.first_layer
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason
    kernel_activation = architecture.no_kernel

    @property
    def parts(self) -> int:
        """Real numbers per unit: 2 for a complex unit."""
        return 1 if self.variant == "real" else 2

    def units(self, spec: FieldSpec) -> int:
        """Number of wavelets per layer."""
        return max(1, int(spec.width / (2 if self.variant == "2d" else math.sqrt(2))))

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The maps of a layer are stacked along the output axis, each as its real part above its imaginary part. The
        input of the last layer are the real parts followed by the imaginary parts."""
        units, maps, hidden = self.units(spec), MAPS[self.variant], spec.depth - 1
        rows = units * maps * self.parts
        shapes: dict[str, tuple[int, ...]] = {
            "first.weight": (units * maps, spec.inputs),
            "first.bias": (units * maps,),
        }
        if hidden:
            shapes |= {"hidden.weight": (hidden, rows, units), "hidden.bias": (hidden, rows)}
        return shapes | {"last.weight": (spec.outputs, units * self.parts), "last.bias": (spec.outputs,)}

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates of real numbers: four per complex product, two in the last layer, which needs only the
        real part."""
        units, maps = self.units(spec), MAPS[self.variant]
        hidden = (spec.depth - 1) * units * maps * self.parts**2
        return units * (maps * spec.inputs + hidden + self.parts * spec.outputs)

    def sines(self, spec: FieldSpec) -> int:
        """A cosine and an exponential per unit, and a sine per complex unit."""
        return (1 + self.parts) * self.units(spec) * spec.depth

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """PyTorch's ranges times omega, for real and imaginary parts alike, as in the authors' code."""
        bounds = mlp.pytorch_bounds(spec.inputs, self.units(spec), self.first_omega, self.omega)
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``. Hidden layers are computed in ``precision``, the others in float32."""
        return mlp.forward(self, self._expand(weights), coords, precision)

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Float[Tensor, "n d"],
        values: Float[Tensor, "n c"],
        loss_weights: Float[Tensor, "n 1"],
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
        """The backward pass of the expanded matrices. The gradient of a stored number is the sum of those of its two
        places in the expanded matrix."""
        residuals, gradients = mlp.gradients(
            self, self._expand(weights), coords, values, loss_weights, precision, extra_gradient
        )
        if self.parts == 2 and "hidden.weight" in gradients:
            left, right = gradients["hidden.weight"].chunk(2, -1)
            gradients["hidden.weight"] = left - self._times_i(right)
        return residuals, gradients

    def _expand(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``weights`` with the hidden matrices as ((A, -B), (B, A))."""
        import torch

        if self.parts == 1 or "hidden.weight" not in weights:
            return weights
        stored = weights["hidden.weight"]
        return {**weights, "hidden.weight": torch.cat([stored, self._times_i(stored)], -1)}

    def _times_i(self, stored: Float[Tensor, "l rows units"]) -> Float[Tensor, "l rows units"]:
        """i W for every complex map W = A + iB: -B above A."""
        import torch

        parts = stored.chunk(2 * MAPS[self.variant], -2)
        rotated = [part for k in range(0, len(parts), 2) for part in (-parts[k + 1], parts[k])]
        return torch.cat(rotated, -2)

    def activate(self, phase: Float[Tensor, "n u"], first: bool, inplace: bool) -> Float[Tensor, "n w"]:
        """The wavelets, as (real parts, imaginary parts)."""
        import torch

        angle, size = self._wavelet(phase, first)
        if self.parts == 1:
            return angle.cos().mul_(size)
        return torch.cat([angle.cos() * size, angle.sin() * size], -1)

    def _wavelet(
        self, phase: Float[Tensor, "n u"], first: bool
    ) -> tuple[Float[Tensor, "n units"], Float[Tensor, "n units"]]:
        """Angle and absolute value of every unit: a and exp(-b - rho |u|^2) for a complex u = a + ib."""
        rho = (self.sigma / self.omega) ** 2
        if self.variant == "real":
            angle, other = phase.chunk(2, -1)
            return angle, _exponential(other.square() * -rho)
        if first:
            angle = phase.chunk(MAPS[self.variant], -1)[0]
            square = _sum_of_squares(phase, MAPS[self.variant])
            return angle, _exponential(square * -rho)
        maps = 2 * MAPS[self.variant]
        angle, imaginary = phase.chunk(maps, -1)[:2]
        return angle, _exponential(_sum_of_squares(phase, maps) * -rho - imaginary)

    def activate_backward(
        self, phase: Float[Tensor, "n u"], activation: Float[Tensor, "n w"], grad: Float[Tensor, "n w"], first: bool
    ) -> Float[Tensor, "n u"]:
        """The gradient with respect to the parts of u. For a complex unit and t = Re(conj(activation) grad), every part
        of u gets -2 rho t u from the window. In addition, its real part gets Im(conj(activation) grad) from the angle
        and, except in the first layer, its imaginary part gets -t."""
        import torch

        rho = (self.sigma / self.omega) ** 2
        if self.variant == "real":
            angle, size = self._wavelet(phase, first)
            sine = angle.sin() * size
            other = phase.chunk(2, -1)[1]
            return torch.cat([sine.mul_(grad).neg_(), other * activation * grad * (-2 * rho)], -1)
        real, imaginary = activation.chunk(2, -1)
        grad_real, grad_imaginary = grad.chunk(2, -1)
        radial = grad_real * real + grad_imaginary * imaginary
        angular = grad_imaginary * real - grad_real * imaginary
        phases = phase.chunk((1 if first else 2) * MAPS[self.variant], -1)
        grad_phases = [part * radial * (-2 * rho) for part in phases]
        grad_phases[0] += angular
        if not first:
            grad_phases[1] -= radial
        return torch.cat(grad_phases, -1)

    def rates(self) -> dict[str, float]:
        """Tensors that include omega have omega times the rate."""
        return mlp.layer_rates(self.first_omega, self.omega)


def _sum_of_squares(phase: Float[Tensor, "n u"], parts: int) -> Float[Tensor, "n units"]:
    """The squares of ``phase``, summed over its ``parts`` equal groups of columns."""
    squares = phase.square().chunk(parts, -1)
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return total


def _exponential(exponent: Float[Tensor, "n units"]) -> Float[Tensor, "n units"]:
    """exp(exponent), computed in place, with the exponent clamped to MIN_EXPONENT."""
    return exponent.clamp_(min=mlp.MIN_EXPONENT).exp_()
