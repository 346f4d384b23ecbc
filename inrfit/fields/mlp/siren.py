"""SIREN (Sitzmann et al., NeurIPS 2020, arXiv:2006.09661): a multilayer perceptron with sines between the layers."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import UsageError
from ...io.options import setting
from ...kernel.perceptron import Activation
from .. import architecture
from ..architecture import OptionContext, Traits
from ..hyperparameters import Hyperparameters
from . import mlp
from .fast_sine import cosine_, sine

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ..spec import FieldSpec


@dataclass(frozen=True)
class Siren:
    """x_0 = coords; x_{i+1} = sin(W_i x_i + b_i); value = W x + b.

    The paper's activation is sin(omega (W x + b)). Here omega is included in W and b from the initialization on, which
    saves one multiplication per activation, and decoding needs no omega. The learning rates of these tensors are
    multiplied by omega, so that the optimisation is the same. ``first_omega`` is the highest initial frequency of the
    first layer, in radians per unit of an axis from -1 to 1."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=5,
        initialization_options=frozenset({"omega", "first_omega", "axis_factors"}),
        frequency_scaling={"first_omega": {"image": 1.0, "audio": 1.0, "shape": 1.0, "points": 1.0}},
        class_options={"points": {"omega": 10.0}},
        class_widths={"points": 128},
        hyperparameters=Hyperparameters(
            adam_rate=1.5e-4,
            muon_rate=1.8e-3,
            source="best of those tried on pictures, sounds and meshes in 80 to 2,500 steps (tests/bench/recipe.py)",
            measured_width=256,
            muon_momentum=0.9,
            muon_momentum_source="0.95 loses 2 to 6 dB on sounds (tests/bench/recipe.py)",
            batch_source="best in seconds (tests/bench/recipe.py)",
        ),
    )

    omega: float = setting(30.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(
        30.0, "frequency factor of the first layer (radians per unit); follows the signal unless given", 1e-3, 1e6
    )

    axis_factors: str = setting(
        "1", "factors on first_omega, axis by axis, as in 1x4; follow the sides of the signal unless given"
    )

    encoding_size, encode = mlp.no_encoding_size, mlp.no_encoding
    shapes, macs, sines = mlp.shapes, mlp.macs, mlp.one_sine_per_unit
    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, mlp.first_layer
    forward, gradients = mlp.forward, mlp.gradients
    on_grid, raster, block = architecture.forward_in_chunks, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, reason = architecture.no_notes, architecture.no_reason

    def __post_init__(self) -> None:
        _axis_factors(self.axis_factors)

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """The widest field with at most ``parameters`` weights."""
        if len(_axis_factors(self.axis_factors)) not in (1, spec.inputs):
            raise UsageError(f"-O axis_factors={self.axis_factors}: the signal has {spec.inputs} axes", "option")
        return mlp.sized(self, spec, shape, parameters, asked)

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """The paper's ranges times omega: U(+-first_omega/d) times the factor of the axis in the first layer,
        U(+-sqrt(6/w)) in the hidden layers, U(+-sqrt(6/w)/omega) in the last. Biases have PyTorch's range
        U(+-1/sqrt(fan in)) times omega; the last bias is ``mean``."""
        width = spec.width
        bounds = {
            "first.weight": self.first_omega / spec.inputs,
            "first.bias": self.omega / math.sqrt(spec.inputs),
            "hidden.weight": math.sqrt(6 / width),
            "hidden.bias": self.omega / math.sqrt(width),
            "last.weight": math.sqrt(6 / width) / self.omega,
        }
        weights = mlp.draw(self.shapes(spec), bounds, generator, mean)
        factors = _axis_factors(self.axis_factors)
        if factors != (1.0,):
            weights["first.weight"] *= weights["first.weight"].new_tensor(factors)
        return weights

    def options_for(self, context: OptionContext) -> dict[str, float | str]:
        """The lowest of the axes' frequencies, and the factors of the axes if those differ. A frequency that was asked
        for is that of all axes."""
        if context.paper_frequency_scale is not None or "first_omega" in context.asked:
            return architecture.frequency_options(self, context)
        omegas = context.first_omega()
        options = architecture.frequency_options(self, replace(context, first_omega=lambda: omegas))
        factors = [f"{omega / min(omegas):.3g}" for omega in omegas]
        return options if set(factors) == {"1"} else {**options, "axis_factors": "x".join(factors)}

    def activate(self, phase: Float[Tensor, "n w"], first: bool, inplace: bool) -> Float[Tensor, "n w"]:
        """sin(u)."""
        return sine(phase, inplace)

    def activate_backward(
        self, phase: Float[Tensor, "n w"], activation: Float[Tensor, "n w"], grad: Float[Tensor, "n w"], first: bool
    ) -> Float[Tensor, "n w"]:
        """grad cos(u)."""
        return cosine_(phase).mul_(grad)

    def kernel_activation(self, axes: int) -> Activation:
        """sin(u)."""
        return Activation("sine")

    def rates(self) -> dict[str, float]:
        """Tensors that include omega have omega times the rate."""
        return mlp.layer_rates(self.first_omega, self.omega) | {"first.bias": self.omega}


def _axis_factors(text: str) -> tuple[float, ...]:
    """The factors that ``text`` holds, as in "1x4". Raises ``UsageError`` for others than numbers from 0.001 to
    1000."""
    parts = text.split("x")
    if len(parts) <= 4 and all(re.fullmatch(r"\d{1,6}(\.\d{1,6})?", part) for part in parts):
        factors = tuple(float(part) for part in parts)
        if all(1e-3 <= factor <= 1e3 for factor in factors):
            return factors
    raise UsageError(
        f"-O axis_factors={text[:40]}: write a factor for each axis, from 0.001 to 1000, as in 1x4", "option"
    )
