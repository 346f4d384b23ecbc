"""WIRE (Saragadam et al., CVPR 2023, arXiv:2301.05187): Gabor wavelets as activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ...io.options import setting
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import SWEPT, Hyperparameters
from . import mlp

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..spec import FieldSpec

MAPS = {"complex": 1, "real": 2, "2d": 2}
"""Linear maps per layer."""


@dataclass(frozen=True)
class Wire:
    """With z = W x + b and z' = V x + c, a layer of the ``variant``

    complex   exp(i omega z - |sigma z|^2), W, b and x complex (the paper's equation 3)
    2d        exp(i omega z - |sigma z|^2 - |sigma z'|^2), all complex
    real      cos(omega z) exp(-(sigma z')^2), all real

    The coordinates are real, so the first layer's maps are; the value is the real part of a last complex map.
    Complex arithmetic is written out in real numbers, so bfloat16, compilation and Muon are as elsewhere: activations
    are (real parts, imaginary parts), and a complex matrix W = A + iB, which multiplies them as ((A, -B), (B, A)), is
    stored as A above B. Omega is folded into all maps as in SIREN: u = omega z gives exp(i u - rho |u|^2), rho =
    (sigma / omega)^2.

    ``width`` is that of a real perceptron with about as many weights, as in the authors' code: a layer has width /
    sqrt(2) units, or width / 2 in 2d. The papers' omega 20 and sigma 10 make a deep field begin as noise: 5 and 2.5
    gave 32.4 dB at depth 3 where these gave 20.5 (first experiments as in gauss.py). Departures: ``first_omega``
    changes the first layer's window along with its frequency, as stretched coordinates do; the last bias is real, for
    its imaginary part does nothing."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=3,
        initialization_options=frozenset({"first_omega"}),
        frequency_scaling={"first_omega": {"audio": 2 / 3, "shape": 1 / 3}},
        paper_options={"omega": 20.0, "sigma": 10.0},
        unreliable_on=frozenset({"audio"}),
        hyperparameters=Hyperparameters(adam_rate=2e-3, muon_rate=8e-3, source=SWEPT, paper_rate=5e-3),
    )

    variant: Literal["complex", "2d", "real"] = setting("complex", "complex, 2d or real")
    omega: float = setting(5.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    sigma: float = setting(2.5, "inverse width of the window of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(20.0, "frequency factor of the first layer (radians per unit)", 1e-3, 1e6)

    encode, sized = mlp.no_encoding, mlp.sized
    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, mlp.first_layer
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason
    kernel_coefficients = architecture.no_kernel

    @property
    def parts(self) -> int:
        """Real numbers per unit: 2 for a complex one."""
        return 1 if self.variant == "real" else 2

    def units(self, spec: FieldSpec) -> int:
        """Wavelets per layer."""
        return max(1, int(spec.width / (2 if self.variant == "2d" else math.sqrt(2))))

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Maps above one another, of each the real part above the imaginary part; the last layer takes real and
        imaginary parts of the activations side by side."""
        units, maps, hidden = self.units(spec), MAPS[self.variant], spec.depth - 1
        rows = units * maps * self.parts
        found: dict[str, tuple[int, ...]] = {"first.weight": (units * maps, spec.inputs), "first.bias": (units * maps,)}
        if hidden:
            found |= {"hidden.weight": (hidden, rows, units), "hidden.bias": (hidden, rows)}
        return found | {"last.weight": (spec.outputs, units * self.parts), "last.bias": (spec.outputs,)}

    def macs(self, spec: FieldSpec) -> int:
        """In real numbers: four to a complex multiplication, two where only its real part is wanted."""
        units, maps = self.units(spec), MAPS[self.variant]
        hidden = (spec.depth - 1) * units * maps * self.parts**2
        return units * (maps * spec.inputs + hidden + self.parts * spec.outputs)

    def sines(self, spec: FieldSpec) -> int:
        """A cosine and an exponential per unit, of a complex one a sine besides."""
        return (1 + self.parts) * self.units(spec) * spec.depth

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """PyTorch's ranges, as in the authors' code, for real and imaginary parts alike, times omega."""
        bounds = mlp.pytorch_bounds(spec.inputs, self.units(spec), self.first_omega, self.omega)
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """First and last layer float32, hidden layers in ``precision``."""
        return mlp.forward(self, self._expanded(weights), coords, precision)

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The perceptron's, of the matrices written out; both places of a number pull at it."""
        residuals, found = mlp.gradients(
            self, self._expanded(weights), coords, values, loss_weights, precision, extra_gradient
        )
        if self.parts == 2 and "hidden.weight" in found:
            left, right = found["hidden.weight"].chunk(2, -1)
            found["hidden.weight"] = left - self._turned(right)
        return residuals, found

    def _expanded(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """With the hidden matrices as they multiply (real parts, imaginary parts)."""
        import torch

        if self.parts == 1 or "hidden.weight" not in weights:
            return weights
        stored = weights["hidden.weight"]
        return {**weights, "hidden.weight": torch.cat([stored, self._turned(stored)], -1)}

    def _turned(self, stored: Tensor) -> Tensor:
        """i W for every complex map W of (l, rows, units): -B above A."""
        import torch

        pieces = stored.chunk(2 * MAPS[self.variant], -2)
        turned = [piece for k in range(0, len(pieces), 2) for piece in (-pieces[k + 1], pieces[k])]
        return torch.cat(turned, -2)

    def activate(self, phase: Tensor, first: bool, inplace: bool) -> Tensor:
        """The wavelets."""
        import torch

        angle, size = self._wavelet(phase, first)
        if self.parts == 1:
            return angle.cos().mul_(size)
        return torch.cat([angle.cos() * size, angle.sin() * size], -1)

    def _wavelet(self, phase: Tensor, first: bool) -> tuple[Tensor, Tensor]:
        """Angle and absolute value of every unit. A complex u = a + ib has angle a and exp(-b - rho |u|^2)."""
        rho = (self.sigma / self.omega) ** 2
        if self.variant == "real":
            angle, other = phase.chunk(2, -1)
            return angle, _exponential(other.square() * -rho)
        if first:
            angle = phase.chunk(MAPS[self.variant], -1)[0]
            square = _sum_of_squares(phase, MAPS[self.variant])
            return angle, _exponential(square * -rho)
        maps = 2 * MAPS[self.variant]
        angle, rise = phase.chunk(maps, -1)[:2]
        return angle, _exponential(_sum_of_squares(phase, maps) * -rho - rise)

    def activate_backward(self, phase: Tensor, activation: Tensor, grad: Tensor, first: bool) -> Tensor:
        """With t = gradient * activation, summed over a unit's parts: -2 rho t u for what only the window sees, and
        what the angle and the rise add."""
        import torch

        rho = (self.sigma / self.omega) ** 2
        if self.variant == "real":
            angle, size = self._wavelet(phase, first)
            sine = angle.sin() * size
            other = phase.chunk(2, -1)[1]
            return torch.cat([sine.mul_(grad).neg_(), other * activation * grad * (-2 * rho)], -1)
        real, imaginary = activation.chunk(2, -1)
        by_real, by_imaginary = grad.chunk(2, -1)
        radial = by_real * real + by_imaginary * imaginary
        around = by_imaginary * real - by_real * imaginary
        pieces = phase.chunk((1 if first else 2) * MAPS[self.variant], -1)
        found = [piece * radial * (-2 * rho) for piece in pieces]
        found[0] += around
        if not first:
            found[1] -= radial
        return torch.cat(found, -1)

    def rates(self) -> dict[str, float]:
        """Folded tensors move omega times as fast."""
        return mlp.layer_rates(self.first_omega, self.omega)


def _sum_of_squares(phase: Tensor, pieces: int) -> Tensor:
    """Of the corresponding columns of so many equal pieces."""
    square = phase.square()
    found = square.chunk(pieces, -1)
    total = found[0]
    for piece in found[1:]:
        total = total + piece
    return total


def _exponential(exponent: Tensor) -> Tensor:
    """In place."""
    return exponent.clamp_(min=mlp.LEAST_EXPONENT).exp_()
