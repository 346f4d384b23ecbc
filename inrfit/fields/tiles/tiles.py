"""Many small SIRENs, each on a tile of the domain, blended where they meet.

After KiloNeRF (Reiser et al., ICCV 2021, arXiv:2103.13744), which evaluates thousands of small networks in batched
products, and MINER (Saragadam et al., ECCV 2022, arXiv:2202.03532), which tiles large pictures. Both leave the seams
between tiles to the fit. Here neighbouring tiles overlap, and the field is as smooth across a border as within a tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from ...kernel.perceptron import Activation
from .. import architecture
from ..architecture import OptionContext, Traits
from ..hyperparameters import Hyperparameters
from ..mlp import mlp
from ..sizing import widest
from . import partition
from .layers import Layer, evaluate, layers_of, sum_by_tile
from .partition import Box

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

SAMPLES_PER_TILE, MIN_SAMPLES_PER_TILE = 4096, 256
"""Samples of a raster per tile if no number of parameters is asked for, and the minimum if one is."""

MAX_DEFAULT_TILES, MAX_SIZED_TILES = 256, 1024
"""Maximum number of tiles if no number of parameters is asked for, and if one is."""

WIDTH_STEP = 16
"""Numbers in a vector of the compiled kernel, which fills the last vector of a layer with zeros."""

ASSUMED_SIDE = 64
"""Samples per axis assumed for a signal of points, which has no raster."""


def _decode_bytes(spec: FieldSpec, shape: tuple[int, ...], cells: int) -> int:
    """The activations of one tile, the coordinates and values of its cells, and the values of all cells twice."""
    rows = min(cells, architecture.points_at_a_time(spec.width))
    return rows * 8 * spec.width + 4 * cells * (3 * spec.outputs + 2 * spec.inputs + 2)


def _in_whole_vectors(spec: FieldSpec) -> FieldSpec:
    """The spec without the few units by which its layers exceed a multiple of WIDTH_STEP."""
    excess = spec.width % WIDTH_STEP
    return replace(spec, width=spec.width - excess) if excess <= spec.width // WIDTH_STEP else spec


@dataclass(frozen=True)
class Tiles:
    """value = sum over tiles t of weight_t(coords) * siren_t(local coords).

    ``tiles`` are numbered row-major, first axis first. A tile's local coordinates run from -1 to 1 between its borders,
    and beyond them where it overlaps a neighbour. Frequencies are folded into the weights, as in ``Siren``.
    ``first_omega`` is in radians per unit of a tile's own axis, so the initial frequency band follows the tile's size.
    For shapes it is low, since high frequencies invent surfaces where few points are drawn (docs/architectures.md).
    """

    TRAITS: ClassVar[Traits] = Traits(
        width=32,
        depth=4,
        same_shapes=False,  # the number of points per tile changes from batch to batch
        decode_bytes=_decode_bytes,
        initialization_options=frozenset({"omega", "first_omega"}),
        frequency_scaling={"first_omega": {"audio": 1.0, "shape": 1 / 12, "points": 1.0}},
        class_options={"points": {"omega": 10.0}},
        hyperparameters=Hyperparameters(
            adam_rate=8e-4,
            muon_rate=0.0,
            source="better than 6.5e-4 and 1e-3 on kodim05 and kodim23 (docs/architectures.md)",
            batch=8192,
            batch_source="better than 4,096 and as good as 16,384 in seconds (docs/architectures.md)",
            short_run_boost=False,
        ),
    )

    tiles: str = setting("2", "tiles per axis, as in 8x12; one number stands for every axis; chosen for the signal")
    overlap: float = setting(0.05, "share of a tile's side in which neighbours are blended", 0.01, 1.0)
    omega: float = setting(30.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(20.0, "frequency factor of the first layer (radians per unit of a tile)", 1e-3, 1e6)

    # A constant field has constant tiles, since their weights sum to 1.
    constant, muon_tensors, fp32_tensors = mlp.constant, mlp.muon_tensors, mlp.first_layer
    raster, block, notes = architecture.no_raster, architecture.no_blocks, architecture.no_notes
    rounding_groups = architecture.layer_groups
    reason = architecture.no_reason

    def __post_init__(self) -> None:
        if "x" not in self.tiles:
            partition.parse_tiles(self.tiles, 1)

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """The spec with tiles for a raster of ``shape``, unless they were asked for.

        Without a number of ``parameters``, tiles have SAMPLES_PER_TILE samples, up to MAX_DEFAULT_TILES tiles. With
        one, there are as many tiles of the spec's width as it permits, up to MAX_SIZED_TILES tiles of at least
        MIN_SAMPLES_PER_TILE samples; the networks are then as wide as the remaining parameters permit, in whole vectors
        where that costs at most a sixteenth of the width.
        """
        if "tiles" not in spec.options:
            axes = shape if shape is not None else (ASSUMED_SIDE,) * spec.inputs
            samples, one_tile = math.prod(axes), replace(spec, options={**spec.options, "tiles": "1"})
            if parameters is None:
                count = min(samples // SAMPLES_PER_TILE, MAX_DEFAULT_TILES)
            else:
                count = min(parameters // one_tile.parameters, samples // MIN_SAMPLES_PER_TILE, MAX_SIZED_TILES)
            tiles = "x".join(map(str, partition.near_cubic_tiles(axes, max(1, count))))
            spec = replace(spec, options={**spec.options, "tiles": tiles})
        return spec if parameters is None else _in_whole_vectors(widest(spec, parameters))

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Networks are stacked along the first axis; hidden matrices by layer, and within a layer by tile."""
        tiles, hidden, width = math.prod(self._counts(spec)), spec.depth - 1, spec.width
        shapes: dict[str, tuple[int, ...]] = {
            "first.weight": (tiles, width, spec.inputs),
            "first.bias": (tiles, width),
        }
        if hidden:
            shapes["hidden.weight"] = (hidden * tiles, width, width)
            shapes["hidden.bias"] = (hidden * tiles, width)
        return shapes | {"last.weight": (tiles, spec.outputs, width), "last.bias": (tiles, spec.outputs)}

    def _counts(self, spec: FieldSpec) -> tuple[int, ...]:
        """Tiles per axis."""
        return partition.parse_tiles(self.tiles, spec.inputs)

    def _tiles_per_sample(self, spec: FieldSpec) -> float:
        """Average number of tiles evaluated per sample: 1, and more because of the overlap."""
        return math.prod(1 + self.overlap * (count - 1) / count for count in self._counts(spec))

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates of one network, times the average tiles per sample; blending is not counted."""
        one = spec.width * (spec.inputs + (spec.depth - 1) * spec.width + spec.outputs)
        return round(self._tiles_per_sample(spec) * one)

    def sines(self, spec: FieldSpec) -> int:
        """One sine per unit of a network, times the average tiles per sample."""
        return round(self._tiles_per_sample(spec) * spec.width * spec.depth)

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """Every tile starts as a ``Siren``."""
        shapes, width = self.shapes(spec), spec.width
        bounds = {
            "first.weight": self.first_omega / spec.inputs,
            "first.bias": self.omega / math.sqrt(spec.inputs),
            "hidden.weight": math.sqrt(6 / width),
            "hidden.bias": self.omega / math.sqrt(width),
            "last.weight": math.sqrt(6 / width) / self.omega,
        }
        return mlp.draw(shapes, bounds, generator, mean.expand(shapes["last.bias"]))

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``. Points are sorted by tile, and each layer of all tiles is one batched product."""
        rows = partition.arrange(coords, partition.parse_tiles(self.tiles, coords.shape[1]), self.overlap)
        layers = layers_of(weights, precision, rows.tiles)
        return rows.blend(evaluate(layers, rows.local, precision), coords.shape[0])

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Float[Tensor, "n d"],
        values: Float[Tensor, "n c"],
        loss_weights: Float[Tensor, "n 1"],
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
        """The analytic backward pass, as in ``mlp.gradients``."""
        import torch

        rows = partition.arrange(coords, partition.parse_tiles(self.tiles, coords.shape[1]), self.overlap)
        layers = layers_of(weights, precision, rows.tiles)
        (matrix, bias), *hidden, (last_matrix, last_bias) = layers
        first = torch.baddbmm(bias, rows.local, matrix.mT)
        activations, phases = [first.sin().to(precision) if hidden else first.sin()], []
        for matrix, bias in hidden:
            phases.append(torch.baddbmm(bias, activations[-1], matrix.mT))
            activations.append(phases[-1].sin())
        last = activations[-1].float()
        residuals = rows.blend(torch.baddbmm(last_bias, last, last_matrix.mT), coords.shape[0]) - values
        grad = 2 * loss_weights * residuals
        if extra_gradient is not None:
            grad += extra_gradient(residuals)
        grad = rows.blend_backward(grad)
        grads = {"last.weight": [grad.mT @ last], "last.bias": [grad.sum(1)]}
        grad = (grad @ last_matrix).to(precision if hidden else torch.float32)
        grad_matrices, grad_biases = [], []
        for (matrix, _), phase, before in zip(hidden[::-1], phases[::-1], activations[-2::-1], strict=True):
            grad = phase.cos_().mul_(grad)
            grad_matrices.append(torch.bmm(grad.mT, before).float())
            grad_biases.append(grad.sum(1).float())
            grad = torch.bmm(grad, matrix)
        grad = first.cos_().mul_(grad)
        grads |= {"first.weight": [grad.mT @ rows.local], "first.bias": [grad.sum(1)]}
        grads |= {"hidden.weight": grad_matrices[::-1], "hidden.bias": grad_biases[::-1]}
        return residuals, {name: sum_by_tile(grads[name], weight, rows.tiles) for name, weight in weights.items()}

    def kernel_activation(self, axes: int) -> Activation:
        """Sine layers for each tile; their frequencies are folded into the weights."""
        return Activation("sine", tiles=partition.parse_tiles(self.tiles, axes), overlap=self.overlap)

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values on a grid: by the compiled kernel, or box by box and tile by tile, so that nothing is sorted."""
        import torch

        from ..kernel_passes import evaluates

        if evaluates(self, weights, len(grid.shape)):
            return architecture.forward_in_chunks(self, weights, grid, start, stop)
        layers = layers_of(weights, torch.float32, None)
        empty = layers[-1][1].new_zeros(0, layers[-1][1].shape[-1])
        boxes = partition.split_into_boxes(grid.shape, start, stop)
        return torch.cat([empty, *(self._on_box(layers, grid, box) for box in boxes)])

    def _on_box(self, layers: list[Layer], grid: Grid, box: Box) -> Float[Tensor, "n c"]:
        """Values of the cells of ``box``, flat: every tile is evaluated on the part of the box that it reaches."""
        import torch

        counts = partition.parse_tiles(self.tiles, len(grid.shape))
        device, channels = layers[0][0].device, layers[-1][1].shape[-1]
        spans_per_axis = []
        for (low, high), length, count in zip(box, grid.shape, counts, strict=True):
            coords = type(grid)((length,)).coords(torch.arange(low, high, device=device))[:, 0]
            spans_per_axis.append(partition.tile_spans(coords, count, self.overlap))
        values = torch.zeros(*(high - low for low, high in box), channels, device=device)
        for spans in itertools.product(*spans_per_axis):
            tile = 0
            for count, span in zip(counts, spans, strict=True):
                tile = tile * count + span.tile
            tile_layers = [(matrix[tile : tile + 1], bias[tile : tile + 1]) for matrix, bias in layers]
            local = torch.cartesian_prod(*(span.local for span in spans)).view(-1, len(counts))
            together = architecture.points_at_a_time(layers[0][1].shape[-1])
            parts = [evaluate(tile_layers, part[None], torch.float32)[0] for part in local.split(together)]
            reached = values[tuple(slice(span.start, span.start + len(span.local)) for span in spans)]
            weight = torch.ones((), device=device)
            for span in spans:
                weight = weight[..., None] * span.weight
            reached += torch.cat(parts).view(reached.shape) * weight[..., None]
        return values.view(-1, channels)

    def options_for(self, context: OptionContext) -> dict[str, float | str]:
        """Options from the signal's frequencies. Those of a sound are divided by the number of tiles, since
        ``first_omega`` is per unit of one tile."""
        if context.signal_class != "audio":
            return architecture.frequency_options(self, context)
        tiles, scale = int(self.tiles), context.paper_frequency_scale
        per_tile = replace(
            context,
            first_omega=lambda: (context.first_omega()[0] / tiles,),
            paper_frequency_scale=None if scale is None else scale / tiles,
        )
        return architecture.frequency_options(self, per_tile)

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate: those that are folded into each weight tensor."""
        return {
            "first.weight": self.first_omega,
            "first.bias": self.omega,
            "hidden.weight": self.omega,
            "hidden.bias": self.omega,
            "last.weight": 1.0,
            "last.bias": 1.0,
        }
