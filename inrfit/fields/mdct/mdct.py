"""Sounds as coefficients of a lapped cosine transform, which are found in closed form and coded with contexts."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

from ...errors import UsageError
from ...io.options import from_mapping, setting
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import Hyperparameters
from . import lapped

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

HOPS = (64, 128, 256, 512, 1024, 2048, 4096)
"""Samples from one frame to the next."""

ANGLE, SPECTRUM = "angle", "spectrum"
"""The tensors: the angle by which the channels of a stereo sound are rotated, and the coefficients."""

ANGLE_STEP = 1 / 128
"""Angles are multiples of this, in radians."""


def _closed_form(spec: FieldSpec, values: Float[Tensor, "n c"]) -> dict[str, Tensor]:
    """The coefficients of the sound that has these ``values`` at its samples."""
    formula, signal = cast("Mdct", spec.formula), values.double().T
    found: dict[str, Tensor] = {}
    if spec.outputs == 2:
        found[ANGLE] = _decorrelating(signal)
        signal = _rotated(signal, found[ANGLE])
    return found | {SPECTRUM: lapped.analysis(signal, formula.hop).float().contiguous()}


def _decorrelating(signal: Float[Tensor, "2 n"]) -> Float[Tensor, "1"]:
    """The angle of the direction in which the two channels vary most, a multiple of ANGLE_STEP."""
    import torch

    (left, both), (_, right) = (signal @ signal.T).tolist()
    return torch.tensor([round(math.atan2(2 * both, left - right) / 2 / ANGLE_STEP) * ANGLE_STEP])


def _rotated(signal: Tensor, angle: Tensor, back: bool = False) -> Tensor:
    """Two channels (2, ...) rotated by ``angle`` (1,), or ``back``."""
    import torch

    cosine, sine = torch.cos(angle.to(signal.dtype)), torch.sin(angle.to(signal.dtype))
    sine = -sine if back else sine
    return torch.stack([cosine * signal[0] + sine * signal[1], cosine * signal[1] - sine * signal[0]])


@dataclass(frozen=True)
class Mdct:
    """value(t) = the sum of windowed cosines of two frames, times their coefficients (MDCT, Princen and Bradley 1986).

    The functions are orthonormal, so that the coefficients of a sound are found without training, and rounding them to
    multiples of one step is nearly the best that a number of bits can do. The two channels of a stereo sound are
    rotated so that they do not go together. Coefficients are coded with contexts (``artifact.spectra``)."""

    TRAITS: ClassVar[Traits] = Traits(
        width=1,
        depth=1,
        hyperparameters=Hyperparameters(adam_rate=1e-3, muon_rate=0.0, source="not used: found in closed form"),
        grid_axes=1,
        derivatives=1,
        own_gradients=False,
        closed_form=_closed_form,
        coefficients="spectrum",
        decode_chunk=1 << 20,
        planned_bits=0.005,
    )

    samples: int = setting(0, "number of samples (from the sound)", 0, 1 << 40)
    hop: int = setting(1024, "samples from one frame to the next (chosen while coding): a power of two", 64, 4096)

    gradients = architecture.autograd_gradients
    raster, block, notes = architecture.no_raster, architecture.no_blocks, architecture.no_notes
    fp32_tensors = architecture.no_fp32_tensors
    options_for, reason = architecture.frequency_options, architecture.no_reason
    kernel_activation = architecture.no_kernel

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """The spec for a sound of ``shape``, which fixes the number of weights."""
        assert shape is not None
        options = from_mapping(type(self), spec.options)
        if options.samples not in (0, shape[0]):
            raise UsageError(f"-O samples={options.samples}: this signal has {shape[0]:,}", "option")
        if options.hop not in HOPS:
            raise UsageError(f"-O hop={options.hop}: choose from {', '.join(map(str, HOPS))}", "option")
        sized = replace(spec, width=1, depth=1, options={"samples": shape[0], "hop": options.hop})
        if parameters is not None and parameters < sized.parameters:
            raise UsageError(
                f"{spec.architecture} has as many weights as the signal has values, here {sized.parameters:,}, more "
                f"than {parameters:,}; --bytes limits the bytes of the file",
                "option",
            )
        return sized

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The angle of stereo channels, and the coefficients (channels, frames, frequencies)."""
        if self.samples < 1 or self.hop not in HOPS:
            raise UsageError(f"-O samples={self.samples} -O hop={self.hop}: no sound has these", "option")
        angle: dict[str, tuple[int, ...]] = {ANGLE: (1,)} if spec.outputs == 2 else {}
        return angle | {SPECTRUM: (spec.outputs, lapped.frame_count(self.samples, self.hop), self.hop)}

    def rounding_groups(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Every tensor is one group."""
        return {name: (math.prod(shape),) for name, shape in self.shapes(spec).items()}

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates of the inverse transform at the sound's own samples; 2 hop at any other place."""
        return (4 * round(math.log2(self.hop)) + 8) * spec.outputs

    def sines(self, spec: FieldSpec) -> int:
        """Zero at the sound's own samples."""
        return 0

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """The coefficients of the mean."""
        return _closed_form(spec, mean[None].expand(self.samples, -1))

    def constant(self, weights: Mapping[str, Tensor], value: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """The coefficients of a sound that has one value."""
        signal = value.cpu().double()[:, None].expand(-1, self.samples)
        angles = {ANGLE: weights[ANGLE].detach().cpu()} if ANGLE in weights else {}
        signal = _rotated(signal, angles[ANGLE]) if angles else signal
        return angles | {SPECTRUM: lapped.analysis(signal, self.hop).float().contiguous()}

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``; beyond the ends of the sound those of its ends."""
        positions = ((coords[:, 0].double() + 1) * (self.samples / 2) - 0.5).clamp(-0.5, self.samples - 0.5)
        values = lapped.values_at(weights[SPECTRUM], positions)
        return _rotated(values.T, weights[ANGLE], back=True).T if ANGLE in weights else values

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values on a grid: those of the sound's samples, or between them."""
        if tuple(grid.shape) == (self.samples,):
            return self.synthesised(weights, start, stop)
        import torch

        spectrum = weights[SPECTRUM]
        cells = torch.arange(start, stop, dtype=torch.float64, device=spectrum.device)
        values = lapped.values_on_line(spectrum, (cells + 0.5) * (self.samples / grid.n) - 0.5)
        return _rotated(values.T, weights[ANGLE], back=True).T if ANGLE in weights else values

    def synthesised(self, weights: Mapping[str, Tensor], start: int, stop: int) -> Float[Tensor, "n c"]:
        """The values at the sound's samples from ``start`` to ``stop``."""
        values = lapped.synthesis(weights[SPECTRUM], start, stop)
        return (_rotated(values, weights[ANGLE], back=True) if ANGLE in weights else values).T.contiguous()

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate: 1 for every tensor."""
        return {ANGLE: 1.0, SPECTRUM: 1.0}

    def muon_tensors(self) -> frozenset[str]:
        """None."""
        return frozenset()
