"""ASMR (Li et al., ICLR 2024, "ASMR: Activation-Sharing Multi-Resolution Coordinate Networks For Efficient Inference",
arXiv:2405.12398): a SIREN whose early layers are computed once for many neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ...errors import UsageError
from ...io.options import from_mapping, setting
from .. import architecture
from ..architecture import OptionContext, Traits
from ..hyperparameters import Hyperparameters
from ..sizing import widest
from . import hierarchy, modulators, passes, raster_decode, resample
from .hierarchy import Radix, words

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

LARGEST_TABLE = 1 << 26
"""Entries of the folded last layer's matrix at most."""

PIECE = 1 << 17
"""Points taught or evaluated at a time."""

LARGE_RASTER, LARGE_MODULATOR_OMEGA = 1 << 22, 1.0
"""Above so many samples the modulators start this small, not at the paper's 30: a cell is taught too seldom to be
learned alone, and neighbours must start alike. 24.1 against 18.5 dB (a constant's) on 58 megapixels after 22 and 30 s
(first experiments, one seed; sizes between were not tried)."""


@dataclass(frozen=True)
class Asmr:
    """A raster is a hierarchy of L = depth + 1 levels (``factors``); x_l in [0, 1]^d is where a cell lies among its
    siblings. With one sine layer a level,

        p_0 = W_0 x_0 + b_0;   a_i = sin(p_i + m_i(x_{i+1})),  p_{i+1} = W_{i+1} a_i + b_{i+1};   value = W a + b

    p_i is computed once a cell of level i and belongs to all the cells below it. ``modulation`` is linear, m_i = M_i x,
    or a small SIREN. As in ``siren`` the paper's factors are folded into what is stored: omega into W and b, omega
    times ``modulator_omega`` (900) into M. That is what makes a child's place a phase code rather than a coordinate:
    nothing is known between the cells of the raster, and coordinates are those of its cells.

    The last level is folded besides: sin(p + m) = sin p cos m + cos p sin m, so that its sines and the output layer are
    one product of [sin p, cos p], once a cell of the level above, with a matrix (2 width, children * channels). Where
    few children of a cell are asked for, their rows are gathered and their sines taken instead (``passes.LATE``).

    Departures: the released path for three dimensions repeats the modulation of the first axis in blocks where
    it must be tiled, and so disagrees with its own evaluation point by point; here both are the same."""

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=3,
        raster_only=True,
        same_shapes=False,  # which cells a batch touches changes from batch to batch
        gradient_chunk=PIECE,
        decode_chunk=PIECE,
        shares_blocks=True,
        single_point_cost=25.0,
        default_sampler="full",
        initialization_options=frozenset({"omega", "modulator_omega"}),
        hyperparameters=Hyperparameters(
            adam_rate=8e-4,
            muon_rate=3e-3,
            source="first experiments on kodim03 and kodim05, one seed (docs/architectures.md)",
            batch=98_304,
            batch_source="a quarter of a Kodak picture, in whole blocks (docs/architectures.md)",
            short_run_boost=False,
        ),
    )

    grid: str = setting("", "cells of the raster per axis (from the signal), as in 512x768")
    factors: str = setting("", "how it splits, level after level (chosen for the signal): 4x4,4x4,8x8 or 4x4/4x4/8x8")
    modulation: Literal["linear", "nonlinear"] = setting("linear", "how a cell's place among its siblings enters")
    omega: float = setting(30.0, "frequency factor of all layers", 1e-3, 1e4)
    modulator_omega: float = setting(30.0, "further frequency factor of the modulators", 1e-3, 1e4)

    kernel_coefficients = architecture.no_kernel

    def sized(self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
        """For the raster ``shape``, its factors chosen unless they are given; the widest that fits."""
        if shape is None:
            raise UsageError(f"{spec.architecture} knows the cells of a raster, and this signal has none", "option")
        grid, asked = words(shape), from_mapping(type(self), spec.options)
        if asked.grid not in ("", grid):
            raise UsageError(f"-O grid={asked.grid[:60]}: the signal's is {grid}", "option")
        factors = asked.factors.replace("/", ",") or hierarchy.chosen(shape, spec.depth + 1)
        spec = replace(spec, options={**spec.options, "grid": grid, "factors": factors})
        if parameters is None:
            self._radix(spec)
            return spec
        made = self._radix(replace(spec, width=1))
        return widest(spec, parameters, LARGEST_TABLE // (2 * made.children(spec.depth) * spec.outputs))

    def _radix(self, spec: FieldSpec) -> Radix:
        """The hierarchy, checked."""
        given = from_mapping(type(self), spec.options)
        made = hierarchy.parse(given.grid, given.factors, spec.inputs, spec.depth + 1)
        if 2 * spec.width * made.children(spec.depth) * spec.outputs > LARGEST_TABLE:
            raise UsageError(
                f"factors={given.factors}: the last level's matrix would have {2 * spec.width} rows and "
                f"{made.children(spec.depth) * spec.outputs:,} columns; choose a finer last level",
                "option",
            )
        return made

    @property
    def radix(self) -> Radix:
        """The hierarchy of a field that exists."""
        return hierarchy.known(self.grid, self.factors)

    def raster(self) -> tuple[int, ...]:
        """The grid that the field knows."""
        return self.radix.grid

    def block(self) -> tuple[int, ...]:
        """Sides of the blocks whose cells share their work."""
        return self.radix.block

    def notes(self) -> tuple[str, ...]:
        """What was done to the raster."""
        made = self.radix
        if made.padded == made.grid:
            return ()
        return (
            f"the raster {words(made.grid)} is padded to {words(made.padded)} cells, to be split in {self.factors}",
        )

    def fp32_tensors(self) -> frozenset[str]:
        """All that makes large phases."""
        return frozenset({"first.weight", "first.bias", *modulators.shapes(self.modulation, 1, 1, 1)})

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Those of ``siren``, and the modulators of the ``depth`` layers in stacks."""
        self._radix(spec)
        d, h, layers = spec.inputs, spec.width, spec.depth
        shapes: dict[str, tuple[int, ...]] = {"first.weight": (h, d), "first.bias": (h,)}
        if layers > 1:
            shapes |= {"hidden.weight": (layers - 1, h, h), "hidden.bias": (layers - 1, h)}
        shapes |= modulators.shapes(self.modulation, layers, h, d)
        return shapes | {"last.weight": (spec.outputs, h), "last.bias": (spec.outputs,)}

    def macs(self, spec: FieldSpec) -> int:
        """A sample's part of all products of a decode, the folded last level included: fewer sines, more MACs than
        ``paper_macs`` counts."""
        made, h = self._radix(spec), spec.width
        cells_of = [math.prod(made.reach(level)) for level in range(made.levels)]
        layers = cells_of[0] * spec.inputs * h + sum(cells_of[1:-1]) * h * h
        last = cells_of[-2] * 2 * h * made.children(made.levels - 1) * spec.outputs
        return round((layers + last + modulators.macs(self.modulation, made, spec)) / math.prod(made.grid))

    def paper_macs(self, spec: FieldSpec) -> int:
        """The authors' count for the same field, its last level not folded and padding computed with the rest: biases
        and the additions of modulations count as MACs, sines do not."""
        made, h = self._radix(spec), spec.width
        cells_of = [math.prod(made.shape(level)) for level in range(made.levels)]
        layers = cells_of[0] * (spec.inputs + 1) * h + sum(cells_of[1:-1]) * (h + 1) * h
        layers += cells_of[-1] * (h + 1) * spec.outputs + sum(cells_of[:-1]) * h
        return round((layers + modulators.macs(self.modulation, made, spec)) / math.prod(made.grid))

    def sines(self, spec: FieldSpec) -> int:
        """A sample's part of those of a decode: in the last level a sine and a cosine a cell of the level above, and of
        each child's modulation."""
        made, h = self._radix(spec), spec.width
        cells_of = [math.prod(made.reach(level)) for level in range(made.levels)]
        found = h * (sum(cells_of[1:-1]) + 2 * cells_of[-2] + 2 * made.children(made.levels - 1))
        found += modulators.sines(self.modulation, made)
        return round(found / math.prod(made.grid))

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """``siren``'s ranges; modulators PyTorch's default U(+-1/sqrt(d)) times 900, nonlinear ones a SIREN's, its last
        layer times 900; the last bias starts at the mean value."""
        import torch

        h, d = spec.width, spec.inputs
        bounds = {
            "first.weight": self.omega / d,
            "first.bias": self.omega / math.sqrt(d),
            "hidden.weight": math.sqrt(6 / h),
            "hidden.bias": self.omega / math.sqrt(h),
            "last.weight": math.sqrt(6 / h) / self.omega,
        } | modulators.bounds(d, self.omega, self.modulator_omega)
        drawn = {
            name: (torch.rand(shape, generator=generator) * 2 - 1) * bounds[name]
            for name, shape in self.shapes(spec).items()
            if name in bounds
        }
        return drawn | {"last.bias": mean.clone()}

    def constant(self, weights: Mapping[str, Tensor], value: Tensor) -> dict[str, Tensor]:
        """The same field made constant: only the last bias speaks."""
        silenced = {"last.weight": weights["last.weight"] * 0, "last.bias": value.clone()}
        return {name: silenced.get(name, weight) for name, weight in weights.items()}

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """``coords`` are cell centres of the raster (elsewhere: the nearest cell's value). Phases are float32 always:
        they reach 900 / sqrt(2), where bfloat16 knows steps of 2 radians."""
        return passes.at_points(self.radix, self.modulation, weights, coords, precision)

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Tensor:
        """Whole bands of cells on the raster; on another grid, the decoded raster resampled."""
        import torch

        radix, bias, length = self.radix, weights["last.bias"], grid.n // grid.shape[0]
        if grid.shape == radix.grid and stop - start < length:
            parts = torch.arange(start, stop, device=bias.device).split(PIECE)
            return torch.cat([self.forward(weights, grid.coords(part), torch.float32) for part in parts])
        table = passes.decoder(radix, self.modulation, weights)

        def rows(first: int, last: int) -> Tensor:
            """Positions first..last of the first axis of the raster, (rows, ..., channels)."""
            return raster_decode.rows(radix, table, first, last, bias)

        if grid.shape != radix.grid:
            return resample.resampled(rows, radix.grid, grid, start, stop)
        first, last = start // length, -(-stop // length)
        return rows(first, last).flatten(0, -2)[start - first * length : stop - first * length]

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The backward pass written out: autograd's result to rounding."""
        return passes.gradients(
            self.radix, self.modulation, weights, coords, values, loss_weights, precision, extra_gradient
        )

    def rates(self) -> dict[str, float]:
        """Folded tensors move as much faster."""
        return {
            "first.weight": self.omega,
            "first.bias": self.omega,
            "hidden.weight": self.omega,
            "hidden.bias": self.omega,
            "last.weight": 1.0,
            "last.bias": 1.0,
        } | modulators.rates(self.omega, self.modulator_omega)

    def options_for(self, context: OptionContext) -> dict[str, float]:
        """Modulators start small on a large raster."""
        small = context.paper_frequency_scale is None and context.samples > LARGE_RASTER
        return {"modulator_omega": LARGE_MODULATOR_OMEGA} if small else {}

    def reason(self, option: str) -> str:
        """Why the modulators start small, and what factors that need padding did to the raster."""
        if option == "modulator_omega":
            return "small on a large raster"
        return "; ".join(self.notes()) if option == "factors" else ""

    def muon_tensors(self) -> frozenset[str]:
        """The stacked hidden layers."""
        return frozenset({"hidden.weight"})
