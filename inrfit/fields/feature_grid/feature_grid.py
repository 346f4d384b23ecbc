"""Feature grids of several resolutions with a small network (Instant-NGP: Müller et al. 2022, arXiv:2201.05989)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ...errors import UsageError
from ...io.options import setting
from ...kernel.perceptron import Activation
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import Hyperparameters
from ..mlp import mlp
from . import sizes
from .levels import (
    MAX_FEATURES,
    MAX_ROWS,
    SPANS,
    Level,
    check_nodes,
    grid_nodes,
    level_count,
    node_counts,
    plane_nodes,
    stacked,
)

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

INITIAL_FEATURE_BOUND = 1e-4
"""Features start in U(-1e-4, 1e-4), as in the paper. Larger bounds fit worse (docs/architectures.md)."""


@dataclass(frozen=True)
class FeatureGrid:
    """x = the interpolated features of all levels at the point; x = relu(W_i x + b_i); value = W x + b.

    Level i has ceil(finest / growth^(levels - 1 - i)) nodes along an axis. The features of all nodes of all levels are
    rows of one table. Signals on three axes or more have planes besides, which follow the levels in the table and in x:
    for each pair of axes a grid that is constant along the other axes, as in K-planes (Fridovich-Keil et al. 2023,
    arXiv:2301.10241). Departures from the paper: nodes are cell centres, as samples are, and not corners, so that the
    finest level can coincide with the raster; beyond the outermost nodes the field is constant along the axis; the
    resolutions follow the aspect of the signal; there are fewer features per node and finer levels; rasters are
    interpolated by quadratic B-splines, which are smooth (docs/architectures.md). ``gradients`` processes its points in
    parts and accepts any number of them.
    """

    TRAITS: ClassVar[Traits] = Traits(
        width=64,
        depth=4,
        derivatives=1,
        gradient_chunk=1 << 18,
        decode_bytes=sizes.decode_bytes,
        planned_bits=4.5,  # better than 3 to 8 (docs/benchmarks.md)
        hyperparameters=Hyperparameters(
            adam_rate=1e-2,
            muon_rate=2e-2,
            source="Adam's is the paper's; Muon's is the best of 1e-3 to 4e-2 (docs/architectures.md)",
            batch_source="better than 8,192 and 16,384 at equal points (docs/architectures.md)",
            weights_per_point=64,
            short_run_boost=False,
            paper_rate=1e-2,
            epsilon=1e-15,
            epsilon_source="the paper's, for rows that few points reach",
            point_drawing_seconds=10.0,  # features that few points reach overfit these points
            free_space_share=1.0,  # and would otherwise place specks of surface in free space
        ),
    )

    levels: int = setting(4, "grids, each finer than the one before; chosen for the signal", 1, 32)
    features: int = setting(1, "numbers per node of a grid; chosen for the signal", 1, MAX_FEATURES)
    finest: str = setting(
        "64", "nodes per axis of the finest grid, first axis first: 128, or 96x128; chosen for the signal"
    )
    planes: str = setting(
        "", "nodes per axis of planes, one for each pair of three or more axes, as in 64x144x176; chosen for the signal"
    )
    growth: float = setting(2.0, "how many times finer a grid is than the one before", 1.0, 16.0)
    interpolation: Literal["linear", "quadratic"] = setting(
        "linear", "between nodes; pictures and sounds: quadratic, by B-splines, which is smooth"
    )
    table: int = setting(1 << 24, "maximum rows of a grid; the nodes of a finer one are hashed", 1, MAX_ROWS)

    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, architecture.no_fp32_tensors
    raster, block, notes = architecture.no_raster, architecture.no_blocks, architecture.no_notes
    options_for, reason = architecture.frequency_options, architecture.no_reason

    def __post_init__(self) -> None:
        check_nodes("finest", self.finest)
        if self.planes:
            check_nodes("planes", self.planes)

    def grids(self, axes: int) -> tuple[Level, ...]:
        """The levels, coarsest first, and the planes. Raises ``UsageError`` for planes of less than three axes."""
        nodes = grid_nodes(node_counts("finest", self.finest, axes), self.levels, self.growth)
        if self.planes:
            if axes < 3:
                raise UsageError(
                    f"-O planes={self.planes}: the signal has {axes} axes, and planes need three", "option"
                )
            nodes += plane_nodes(node_counts("planes", self.planes, axes))
        return stacked(nodes, self.table, SPANS[self.interpolation])

    def gathered(self, axes: int) -> int:
        """The number of features of a point: those of all levels and planes."""
        return level_count(self.levels, self.planes, axes) * self.features

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """The spec with the finest grid that fits, in the aspect of the signal and no finer than the signal.

        Weights left over become further features. The network has at most ``sizes.MAX_NETWORK_SHARE`` of the weights:
        a network that would have more gets fewer layers, or else fewer units, unless those were asked for. The weights
        of a width that was asked for, beyond that share, are added to the default number of weights.
        """
        return sizes.choose_sizes(spec, asdict(self), shape, parameters, asked)

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The table, with the rows of the coarsest level first, and the layers of the network as (out, in)."""
        last = self.grids(spec.inputs)[-1]
        table = {"table": (last.start + last.rows, self.features)}
        return table | mlp.layer_shapes(self.gathered(spec.inputs), spec.width, spec.depth - 1, spec.outputs)

    def rounding_groups(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The features of each level, and the layers of the network."""
        levels = tuple(level.rows * self.features for level in self.grids(spec.inputs))
        return architecture.layer_groups(self, spec) | {"table": levels}

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates per point: those of the network, and one per feature of the 2^d or 3^d nodes of a
        level around the point (4 or 9 of a plane).

        The computation of rows and weights is not counted, nor what axis-by-axis interpolation of a raster saves.
        """
        gathered = self.gathered(spec.inputs)
        around = sum(level.around for level in self.grids(spec.inputs))
        return self.features * around + spec.width * (gathered + (spec.depth - 1) * spec.width + spec.outputs)

    def sines(self, spec: FieldSpec) -> int:
        """Zero: there are no sines."""
        return 0

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """Features from U(+-1e-4), as in the paper. Matrices of the network from He et al.'s U(+-sqrt(6 / fan in)),
        those of its last layer from U(+-sqrt(3 / fan in)). Biases are 0, those of the last layer the mean value."""
        into_first, into_hidden = self.gathered(spec.inputs), spec.width
        bounds = {
            "table": INITIAL_FEATURE_BOUND,
            "first.weight": math.sqrt(6 / into_first),
            "first.bias": 0.0,
            "hidden.weight": math.sqrt(6 / into_hidden),
            "hidden.bias": 0.0,
            "last.weight": math.sqrt(3 / into_hidden),
        }
        return mlp.draw(self.shapes(spec), bounds, generator, mean)

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``. Interpolation and the last layer are float32; the other layers have ``precision``."""
        from .interpolation import interpolate_at, network

        return network(weights, interpolate_at(weights["table"], self.grids(coords.shape[1]), coords), precision)

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values on a grid: by the compiled kernel, or interpolated along one axis after another, with 2 or 3
        rows a level, axis and sample."""
        from ..kernel_passes import evaluates
        from .raster_decode import on_grid

        if evaluates(self, weights, len(grid.shape)):
            return architecture.forward_in_chunks(self, weights, grid, start, stop)
        return on_grid(weights, self.grids(len(grid.shape)), grid, start, stop)

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Float[Tensor, "n d"],
        values: Float[Tensor, "n c"],
        loss_weights: Float[Tensor, "n 1"],
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
        """The analytic backward pass, in parts of ``interpolation.POINTS_IN_CACHE`` points."""
        from .interpolation import gradients

        levels = self.grids(coords.shape[1])
        return gradients(weights, levels, coords, values, loss_weights, precision, extra_gradient)

    def kernel_activation(self, axes: int) -> Activation:
        """ReLU layers on the features of the levels."""
        return Activation("relu", levels=self.grids(axes))

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate: 1 for every tensor."""
        return {"table": 1.0} | mlp.layer_rates(1.0, 1.0)
