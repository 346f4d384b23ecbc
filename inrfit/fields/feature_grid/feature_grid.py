"""Feature grids of several resolutions and a small network (Instant-NGP: Müller et al. 2022, arXiv:2201.05989)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import Hyperparameters
from ..mlp import mlp
from . import sizes
from .levels import MOST_FEATURES, MOST_ROWS, Level, check, pyramid

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

SMALL_BOUND = 1e-4
"""Features start in U(-1e-4, 1e-4), as in the paper; starting at 0.1 lost 0.7 dB and at 0.5 6 dB (first experiments,
one picture, one seed)."""


@dataclass(frozen=True)
class FeatureGrid:
    """x = the features of all levels at the point, interpolated; x = relu(W_i x + b_i); value = W x + b.

    Level i has ceil(finest / growth^(levels - 1 - i)) nodes along an axis, and a row of features for each node in one
    table of all levels. Departures from the paper: nodes are cell centres like samples, not corners, so the finest
    level may be the raster itself, and beyond the outermost nodes the field goes on level; resolutions follow the
    signal's aspect; features are few and levels fine (docs/architectures.md). ``gradients`` can be given
    many points, for it goes through them in parts."""

    TRAITS: ClassVar[Traits] = Traits(
        width=64,
        depth=2,
        gradient_chunk=1 << 18,
        hyperparameters=Hyperparameters(
            adam_rate=1e-2,
            muon_rate=0.0,
            source="the paper's; twice as much was no better (first experiments, one seed)",
            batch_source="at equal points 41.4 dB, with 8,192 40.7, with 16,384 39.6 (first experiments, one seed)",
            weights_per_point=64,
            short_run_boost=False,
            paper_rate=1e-2,
            epsilon=1e-15,
            epsilon_source="the paper's, for rows that few points reach: 1e-8 lost 0.001 IoU on a mesh",
            point_drawing_seconds=10.0,  # features that few points reach overfit these points
            free_space_share=1.0,  # and put specks of surface where there are none (docs/benchmarks.md)
        ),
    )

    levels: int = setting(4, "grids, each finer than the one before", 1, 32)
    features: int = setting(1, "numbers kept at each node of a grid", 1, MOST_FEATURES)
    finest: str = setting("64", "nodes per axis of the finest grid, first axis first: 128, or 96x128")
    growth: float = setting(2.0, "how many times finer a grid is than the one before", 1.0, 16.0)
    table: int = setting(1 << 24, "rows a grid may have: the nodes of a finer one are hashed", 1, MOST_ROWS)

    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, architecture.no_fp32_tensors
    raster, block, notes = architecture.no_raster, architecture.no_blocks, architecture.no_notes
    options_for, reason = architecture.frequency_options, architecture.no_reason
    kernel_coefficients = architecture.no_kernel

    def __post_init__(self) -> None:
        check(self.finest)

    def grids(self, axes: int) -> tuple[Level, ...]:
        """The levels, coarsest first."""
        return pyramid(self.finest, axes, self.levels, self.growth, self.table)

    def sized(self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
        """The finest grid that fits, in the signal's aspect and no finer than the signal, with more features where that
        leaves weights over. The network has at most NETWORK_SHARE of the weights: of its usual width, it is made
        narrower; of another, which was asked for, it adds what it has beyond that share."""
        return sizes.sized(spec, asdict(self), self.TRAITS.width, shape, parameters)

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The table has the rows of the coarsest level first; the network's weights are (out, in)."""
        last = self.grids(spec.inputs)[-1]
        table = {"table": (last.start + last.rows, self.features)}
        return table | mlp.layer_shapes(self.levels * self.features, spec.width, spec.depth - 1, spec.outputs)

    def macs(self, spec: FieldSpec) -> int:
        """Of the network, and one for each of a level's 2^d corners and features; not what finds rows and weights, and
        not what interpolating a raster axis by axis saves."""
        gathered = self.levels * self.features
        return (gathered << spec.inputs) + spec.width * (gathered + (spec.depth - 1) * spec.width + spec.outputs)

    def sines(self, spec: FieldSpec) -> int:
        """None."""
        return 0

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """Features U(+-1e-4), as in the paper; the network He et al.'s U(+-sqrt(6 / fan in)), its last layer
        U(+-sqrt(3 / fan in)); biases 0, the last the mean value."""
        into_first, into_hidden = self.levels * self.features, spec.width
        bounds = {
            "table": SMALL_BOUND,
            "first.weight": math.sqrt(6 / into_first),
            "first.bias": 0.0,
            "hidden.weight": math.sqrt(6 / into_hidden),
            "hidden.bias": 0.0,
            "last.weight": math.sqrt(3 / into_hidden),
        }
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """Interpolation and the last layer always float32."""
        from .interpolation import at_points, network

        return network(weights, at_points(weights["table"], self.grids(coords.shape[1]), coords), precision)

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Tensor:
        """Interpolated along one axis after another: a sample's part is 2 rows a level, not 2^d."""
        from .interpolation import on_raster

        return on_raster(weights, self.grids(len(grid.shape)), grid, start, stop)

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The backward pass written out, in parts of PIECE points that stay in a CPU's caches, into one table."""
        from .interpolation import backward

        return backward(weights, self.grids(coords.shape[1]), coords, values, loss_weights, precision, extra_gradient)

    def rates(self) -> dict[str, float]:
        """One for all."""
        return {"table": 1.0} | mlp.layer_rates(1.0, 1.0)
