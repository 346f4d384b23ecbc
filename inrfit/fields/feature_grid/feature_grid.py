"""Feature grids of several resolutions and a small network (Instant-NGP: Müller et al. 2022, arXiv:2201.05989)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import UsageError
from ...io.options import setting
from ..mlp import mlp
from ..sizing import largest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...signal import Grid
    from .. import FieldSpec

PRIMES = (1, 2_654_435_761, 805_459_861, 3_674_653_429)
"""Factors of the hash, the last axis first: Instant-NGP, eq. 4 and its code, whose x is our last axis."""

MOST_FINEST = 1024
"""Nodes per axis of the finest grid for signals of points, which have no resolution of their own."""

MOST_NODES = 1 << 24
"""Along one axis: float32 positions are exact to there."""

SMALL_BOUND = 1e-4
"""Features start in U(-1e-4, 1e-4), as in the paper; starting at 0.1 lost 0.7 dB and at 0.5 6 dB (first experiments,
one picture, one seed)."""

PARAMETERS = 264_000
"""What a field has at most unless told otherwise: in half precision as many bytes as a SIREN 5x256."""

LEAST_PARAMETERS = 1_000
"""What even the smallest signal gets."""

NETWORK_SHARE = 0.25
"""Largest share of the weights in the network, unless its width was asked for."""

MOST_FEATURES, MOST_ROWS = 4096, 1 << 26

MOST_LOST = 0.4
"""Share of the finest grid's nodes given up at most for one more feature. With fewer given up, a field has 0.8 of the
weights asked for; with more, the grid of a raster of four samples becomes a constant."""

LINE = {"levels": 8}
"""Of sounds: 2 dB above 4 levels after the same 300 steps, which take a quarter longer (gt_bach, one seed)."""

POINTS = {"levels": 5, "growth": 1.6}
NODES_PER_ROW = 14
"""Of shapes: the finest grid has so many nodes to a row, for a surface passes few of them. Armadillo, 700 steps of
4,096 points, at most 264,000 weights, IoU: 0.985 dense (60^3), 0.991 hashed (96^3 in 65,536 rows), 0.984 with 128^3 in
as many (one seed)."""


@dataclass(frozen=True)
class Level:
    """One grid: nodes per axis, where its rows in the table begin, and how many they are; fewer than nodes if they are
    hashed."""

    nodes: tuple[int, ...]
    start: int
    rows: int

    @property
    def hashed(self) -> bool:
        """Whether nodes share rows."""
        return math.prod(self.nodes) > self.rows

    @property
    def strides(self) -> tuple[int, ...]:
        """By axis: what its node number is multiplied with, to be summed (row-major) or, if hashed, combined."""
        axes = len(self.nodes)
        if self.hashed:
            return PRIMES[:axes][::-1]
        return tuple(math.prod(self.nodes[axis + 1 :]) for axis in range(axes))


@dataclass(frozen=True)
class FeatureGrid:
    """x = the features of all levels at the point, interpolated; x = relu(W_i x + b_i); value = W x + b.

    Level i has ceil(finest / growth^(levels - 1 - i)) nodes along an axis, and a row of features for each node in one
    table of all levels. Departures from the paper: nodes are cell centres like samples, not corners, so the finest
    level may be the raster itself, and beyond the outermost nodes the field goes on level; resolutions follow the
    signal's aspect; features are few and levels fine (docs/architectures.md). ``gradients`` can be given
    PIECE points, for it goes through them in parts."""

    WIDTH: ClassVar[int] = 64
    DEPTH: ClassVar[int] = 2
    RASTER: ClassVar[bool] = False
    PIECE: ClassVar[int] = 1 << 18

    levels: int = setting(4, "grids, each finer than the one before", 1, 32)
    features: int = setting(1, "numbers kept at each node of a grid", 1, MOST_FEATURES)
    finest: str = setting("64", "nodes per axis of the finest grid, first axis first: 128, or 96x128")
    growth: float = setting(2.0, "how many times finer a grid is than the one before", 1.0, 16.0)
    table: int = setting(1 << 24, "rows a grid may have: the nodes of a finer one are hashed", 1, MOST_ROWS)

    constant, matrices = mlp.constant, mlp.matrices

    def __post_init__(self) -> None:
        parts = self.finest.split("x")
        sound = len(parts) <= 4 and all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)
        if not sound or not all(1 <= int(part) <= MOST_NODES for part in parts):
            raise UsageError(f"-O finest={self.finest[:40]}: write nodes per axis, like 128 or 96x128", "option")

    def grids(self, axes: int) -> tuple[Level, ...]:
        """The levels, coarsest first."""
        parts = [int(part) for part in self.finest.split("x")]
        finest = parts * axes if len(parts) == 1 else parts
        if len(finest) != axes:
            raise UsageError(f"-O finest={self.finest}: the signal has {axes} axes", "option")
        scales = [1.0]
        while len(scales) < self.levels:
            scales.append(scales[-1] * self.growth)
        found: list[Level] = []
        start = 0
        for scale in reversed(scales):
            nodes = tuple(math.ceil(most / scale) for most in finest)
            found.append(Level(nodes, start, min(math.prod(nodes), self.table)))
            start += found[-1].rows
        return tuple(found)

    def sized(self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
        """The finest grid that fits, in the signal's aspect and no finer than the signal, with more features where that
        leaves weights over. The network has at most NETWORK_SHARE of the weights: of its usual width, it is made
        narrower; of another, which was asked for, it adds what it has beyond that share."""
        target = default_parameters(shape, spec.outputs) if parameters is None else parameters
        asked = dict(spec.options)
        limit = (MOST_FINEST,) * spec.inputs if shape is None else shape
        usual = POINTS if shape is None else LINE if spec.inputs == 1 else {}
        chosen = {**asdict(self), **usual, **asked}

        def made(width: int, features: int, nodes: int) -> FieldSpec:
            sizes = {"features": features, "finest": aspect(limit, nodes)}
            if shape is None:
                dense = min(node_count(str(finest), spec.inputs) for finest in (nodes, asked.get("finest", nodes)))
                sizes["table"] = min(max(1, dense // NODES_PER_ROW), MOST_ROWS)
            return replace(spec, width=width, options={**chosen, **sizes, **asked})

        def fits(width: int, features: int, nodes: int) -> bool:
            return made(width, features, nodes).parameters <= target

        def network(width: int) -> int:
            return sum(math.prod(shape) for key, shape in made(width, features, 1).shapes.items() if key != "table")

        width, features, most = spec.width, chosen["features"], max(limit)
        if width != self.WIDTH and parameters is None:
            target = max(target, math.ceil((1 - NETWORK_SHARE) * target) + network(width))
        while spec.width == self.WIDTH and width > 1:
            if network(width) <= NETWORK_SHARE * target and (parameters is None or fits(width, features, 1)):
                break
            width //= 2
        finest = largest(most, lambda nodes: fits(width, features, nodes))
        if finest == most and not {"features", "finest"} & set(asked):
            features = largest(MOST_FEATURES, lambda many: fits(width, many, most))
            more = min(MOST_FEATURES, features + 1)
            coarser = largest(most, lambda nodes: fits(width, more, nodes))
            kept = node_count(aspect(limit, coarser), spec.inputs) if coarser else 0
            if kept >= (1 - MOST_LOST) * math.prod(limit):
                features, finest = more, coarser
        if not finest and parameters is not None:
            least = made(width, features, 1).parameters
            raise UsageError(f"grid with {chosen['levels']} levels has at least {least:,} parameters", "option")
        return made(width, features, max(1, finest))

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The table has the rows of the coarsest level first; the network's weights are (out, in)."""
        last = self.grids(spec.inputs)[-1]
        table = {"table": (last.start + last.rows, self.features)}
        return table | mlp.layers(self.levels * self.features, spec.width, spec.depth - 1, spec.outputs)

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
        mass: Tensor,
        precision: torch.dtype,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The backward pass written out, in parts of PIECE points that stay in a CPU's caches, into one table."""
        from .interpolation import backward

        return backward(weights, self.grids(coords.shape[1]), coords, values, mass, precision, extra)

    def rates(self) -> dict[str, float]:
        """One for all."""
        return {"table": 1.0} | mlp.folded(1.0, 1.0)


def default_parameters(shape: tuple[int, ...] | None, outputs: int) -> int:
    """PARAMETERS, but for a small signal no more than it has numbers."""
    return PARAMETERS if shape is None else max(LEAST_PARAMETERS, min(PARAMETERS, math.prod(shape) * outputs))


def node_count(finest: str, axes: int) -> int:
    """Nodes of the grid that ``finest`` describes."""
    parts = [int(part) for part in finest.split("x")]
    return math.prod(parts * axes if len(parts) == 1 else parts)


def aspect(limit: tuple[int, ...], nodes: int) -> str:
    """``finest`` with ``nodes`` along the longest axis of a raster of shape ``limit``."""
    return "x".join(str(max(1, round(nodes * length / max(limit)))) for length in limit)
