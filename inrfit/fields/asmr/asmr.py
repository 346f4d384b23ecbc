"""ASMR: a SIREN whose early layers are computed once for many neighbouring cells of a raster.

Li et al., ICLR 2024, "ASMR: Activation-Sharing Multi-Resolution Coordinate Networks For Efficient Inference",
arXiv:2405.12398.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ...errors import UsageError
from ...io.options import from_mapping, setting
from .. import architecture
from ..architecture import OptionContext, Traits
from ..hyperparameters import Hyperparameters
from ..mlp import mlp
from ..sizing import widest
from . import modulators, passes, raster_decode
from .hierarchy import Hierarchy, choose_factors, format_shape, hierarchy_from_options, parse_hierarchy
from .resample import resample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

MAX_FOLDED_ENTRIES = 1 << 26
"""Maximum number of entries of the folded last layer's matrix."""

POINTS_PER_PASS = 1 << 17
"""Points that are trained on or evaluated at a time."""

LARGE_RASTER, LARGE_RASTER_MODULATOR_OMEGA = 1 << 22, 1.0
"""Number of samples above which ``modulator_omega`` starts at this value instead of the paper's 30. A fit of a large
raster visits each cell too seldom to learn it alone, so neighbouring cells must start alike (docs/architectures.md)."""


@dataclass(frozen=True)
class Asmr:
    """A SIREN over a hierarchy of L = depth + 1 levels of cells (``factors``).

    x_l in [0, 1]^d is the position of a level-l cell among its siblings. With one sine layer per level,

        p_0 = W_0 x_0 + b_0;   a_i = sin(p_i + m_i(x_{i+1})),  p_{i+1} = W_{i+1} a_i + b_{i+1};   value = W a + b

    p_i is computed once per cell of level i and shared by all cells below it. The modulator m_i (``modulation``) is
    linear, m_i(x) = M_i x, or a small SIREN. As in ``Siren``, the paper's frequency factors are folded into the stored
    weights: omega into W and b, and omega times ``modulator_omega`` (900) into M. With a factor that large, a cell's
    position among its siblings is a phase code rather than a coordinate, so the field is defined on the cells of its
    raster only.

    The last level is folded as well: sin(p + m) = sin p cos m + cos p sin m turns its sines and the output layer into
    the product of [sin p, cos p], one row per cell of the level above, with a matrix (2 width, children * channels).
    Where a batch has few children per cell, their sines are computed one by one (``passes.MAX_FOLDED_MACS``).

    Departure from the authors' code: for three dimensions, its shared evaluation repeats the modulation of the first
    axis in blocks instead of tiling it, and so disagrees with its evaluation point by point. Here the two agree.
    """

    TRAITS: ClassVar[Traits] = Traits(
        width=256,
        depth=3,
        raster_only=True,
        derivatives=0,
        same_shapes=False,  # the number of active cells changes from batch to batch
        gradient_chunk=POINTS_PER_PASS,
        decode_chunk=POINTS_PER_PASS,
        decode_bytes=raster_decode.decode_bytes,
        shares_blocks=True,
        single_point_cost=25.0,
        default_sampler="full",
        initialization_options=frozenset({"omega", "modulator_omega"}),
        hyperparameters=Hyperparameters(
            adam_rate=8e-4,
            muon_rate=3e-3,
            source="fits of kodim03 and kodim05 (docs/architectures.md)",
            batch=98_304,
            batch_source="a quarter of a Kodak picture, in whole blocks (docs/architectures.md)",
            short_run_boost=False,
        ),
    )

    grid: str = setting("", "cells of the raster per axis (from the signal), as in 512x768")
    factors: str = setting("", "parts per axis at each level (chosen for the signal): 4x4,4x4,8x8 or 4x4/4x4/8x8")
    modulation: Literal["linear", "nonlinear"] = setting("linear", "modulators, a linear map or a small SIREN")
    omega: float = setting(30.0, "frequency factor of all layers", 1e-3, 1e4)
    modulator_omega: float = setting(30.0, "further frequency factor of the modulators", 1e-3, 1e4)

    constant, muon_tensors, kernel_activation = mlp.constant, mlp.muon_tensors, architecture.no_kernel
    rounding_groups = architecture.layer_groups

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """The spec for a raster of ``shape``, with factors chosen unless given, and the largest width that fits."""
        if shape is None:
            raise UsageError(f"{spec.architecture} needs a raster, and this signal has none", "option")
        grid, options = format_shape(shape), from_mapping(type(self), spec.options)
        if options.grid not in ("", grid):
            raise UsageError(f"-O grid={options.grid[:60]}: the raster of this signal is {grid}", "option")
        factors = options.factors.replace("/", ",") or choose_factors(shape, spec.depth + 1)
        spec = replace(spec, options={**spec.options, "grid": grid, "factors": factors})
        if parameters is None:
            self._checked_hierarchy(spec)
            return spec
        children = self._checked_hierarchy(replace(spec, width=1)).children(spec.depth)
        return widest(spec, parameters, MAX_FOLDED_ENTRIES // (2 * children * spec.outputs))

    def _checked_hierarchy(self, spec: FieldSpec) -> Hierarchy:
        """The hierarchy of a spec; raises ``UsageError`` if its options are invalid or too large."""
        options = from_mapping(type(self), spec.options)
        hierarchy = parse_hierarchy(options.grid, options.factors, spec.inputs, spec.depth + 1)
        rows, columns = 2 * spec.width, hierarchy.children(spec.depth) * spec.outputs
        if rows * columns > MAX_FOLDED_ENTRIES:
            raise UsageError(
                f"factors={options.factors}: the last level's matrix would have {rows} rows and {columns:,} columns, "
                f"more than {MAX_FOLDED_ENTRIES:,} entries; choose a finer last level",
                "option",
            )
        return hierarchy

    @property
    def hierarchy(self) -> Hierarchy:
        """The hierarchy of an existing field, whose options were checked before."""
        return hierarchy_from_options(self.grid, self.factors)

    def raster(self) -> tuple[int, ...]:
        """Shape of the raster on which the field is defined."""
        return self.hierarchy.grid

    def block(self) -> tuple[int, ...]:
        """Sides of the finest blocks, whose cells share all layers but the last."""
        return self.hierarchy.block

    def notes(self) -> tuple[str, ...]:
        """A note if the raster is padded."""
        hierarchy = self.hierarchy
        if hierarchy.padded == hierarchy.grid:
            return ()
        grid, padded = format_shape(hierarchy.grid), format_shape(hierarchy.padded)
        return (f"the raster {grid} is padded to {padded} cells, the product of the factors {self.factors}",)

    def fp32_tensors(self) -> frozenset[str]:
        """The tensors that produce large phases: those of the first layer and of the modulators."""
        return frozenset({"first.weight", "first.bias", *modulators.shapes(self.modulation, 1, 1, 1)})

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The shapes of ``Siren``, and those of ``depth`` stacked modulators."""
        self._checked_hierarchy(spec)
        d, w, layers = spec.inputs, spec.width, spec.depth
        shapes: dict[str, tuple[int, ...]] = {"first.weight": (w, d), "first.bias": (w,)}
        if layers > 1:
            shapes |= {"hidden.weight": (layers - 1, w, w), "hidden.bias": (layers - 1, w)}
        shapes |= modulators.shapes(self.modulation, layers, w, d)
        return shapes | {"last.weight": (spec.outputs, w), "last.bias": (spec.outputs,)}

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates of a decode per sample, with the last level folded: more than ``paper_macs``, and fewer
        sines."""
        hierarchy, w = self._checked_hierarchy(spec), spec.width
        cells = [math.prod(hierarchy.evaluated(level)) for level in range(hierarchy.levels)]
        layers = cells[0] * spec.inputs * w + sum(cells[1:-1]) * w * w
        last = cells[-2] * 2 * w * hierarchy.children(hierarchy.levels - 1) * spec.outputs
        modulations = modulators.macs(self.modulation, hierarchy, spec)
        return round((layers + last + modulations) / math.prod(hierarchy.grid))

    def paper_macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates per sample as the authors count them: the last level is not folded, padding is computed,
        and additions of biases and modulations count as MACs."""
        hierarchy, w = self._checked_hierarchy(spec), spec.width
        cells = [math.prod(hierarchy.shape(level)) for level in range(hierarchy.levels)]
        layers = cells[0] * (spec.inputs + 1) * w + sum(cells[1:-1]) * (w + 1) * w
        layers += cells[-1] * (w + 1) * spec.outputs + sum(cells[:-1]) * w
        return round((layers + modulators.macs(self.modulation, hierarchy, spec)) / math.prod(hierarchy.grid))

    def sines(self, spec: FieldSpec) -> int:
        """Sines and cosines of a decode per sample. The folded last level takes a sine and a cosine per unit for each
        cell of the level above and for each row of modulations."""
        hierarchy, w = self._checked_hierarchy(spec), spec.width
        cells = [math.prod(hierarchy.evaluated(level)) for level in range(hierarchy.levels)]
        sines = w * (sum(cells[1:-1]) + 2 * cells[-2] + 2 * hierarchy.children(hierarchy.levels - 1))
        sines += modulators.sines(self.modulation, hierarchy)
        return round(sines / math.prod(hierarchy.grid))

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """The ranges of ``Siren``, and ``modulators.initial_bounds`` for the modulators; the last bias is ``mean``."""
        w, d = spec.width, spec.inputs
        bounds = {
            "first.weight": self.omega / d,
            "first.bias": self.omega / math.sqrt(d),
            "hidden.weight": math.sqrt(6 / w),
            "hidden.bias": self.omega / math.sqrt(w),
            "last.weight": math.sqrt(6 / w) / self.omega,
        } | modulators.initial_bounds(d, self.omega, self.modulator_omega)
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``, which are cell centres of the raster; elsewhere the value of the nearest cell.

        Phases are always float32: they reach 900 / sqrt(2), where bfloat16 numbers are 2 radians apart.
        """
        return passes.evaluate_points(self.hierarchy, self.modulation, weights, coords, precision)

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values on the raster, decoded in bands of whole blocks; on another grid, the decoded raster resampled."""
        import torch

        hierarchy, bias, row_cells = self.hierarchy, weights["last.bias"], grid.n // grid.shape[0]
        if grid.shape == hierarchy.grid and stop - start < row_cells:
            parts = torch.arange(start, stop, device=bias.device).split(POINTS_PER_PASS)
            return torch.cat([self.forward(weights, grid.coords(part), torch.float32) for part in parts])
        decode_blocks = passes.block_decoder(hierarchy, self.modulation, weights)

        def read_rows(first: int, last: int) -> Float[Tensor, "rows *axes c"]:
            return raster_decode.decode_rows(hierarchy, decode_blocks, first, last, bias)

        if grid.shape != hierarchy.grid:
            return resample(read_rows, hierarchy.grid, grid, start, stop)
        first, last = start // row_cells, -(-stop // row_cells)
        return read_rows(first, last).flatten(0, -2)[start - first * row_cells : stop - first * row_cells]

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Float[Tensor, "n d"],
        values: Float[Tensor, "n c"],
        loss_weights: Float[Tensor, "n 1"],
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
        """The analytic backward pass (docs/architectures.md); equal to automatic differentiation up to rounding."""
        return passes.gradients(
            self.hierarchy, self.modulation, weights, coords, values, loss_weights, precision, extra_gradient
        )

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate: those that are folded into each weight tensor."""
        return mlp.layer_rates(self.omega, self.omega) | modulators.rates(self.omega, self.modulator_omega)

    def options_for(self, context: OptionContext) -> dict[str, float | str]:
        """A small ``modulator_omega`` for a large raster, except with ``--regime paper``."""
        large = context.paper_frequency_scale is None and context.samples > LARGE_RASTER
        return {"modulator_omega": LARGE_RASTER_MODULATOR_OMEGA} if large else {}

    def reason(self, option: str) -> str:
        """Why ``modulator_omega`` is small, and the padding that ``factors`` cause."""
        if option == "modulator_omega":
            return "small on a large raster"
        return "; ".join(self.notes()) if option == "factors" else ""
