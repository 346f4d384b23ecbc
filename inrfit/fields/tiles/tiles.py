"""Many small SIRENs, each on a tile of the domain, blended where they meet.

After KiloNeRF (Reiser et al., ICCV 2021, arXiv:2103.13744), whose thousands of small networks are evaluated in batched
products, and MINER (Saragadam et al., ECCV 2022, arXiv:2202.03532), which tiles large pictures. Both leave seams at the
borders to the fit; here neighbours overlap, and the field is as smooth across a border as within a tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...io.options import setting
from .. import architecture
from ..architecture import OptionContext, Traits
from ..hyperparameters import Hyperparameters
from ..mlp.mlp import constant, draw, first_layer, muon_tensors
from ..sizing import widest
from . import partition
from .partition import Box, boxes, rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

SAMPLES, LEAST = 4096, 256
"""Samples of a raster to a tile where no number of parameters is asked for, and the least."""

USUAL, MOST = 256, 1024
"""Most tiles where no number of parameters is asked for, and where one is."""

SIDE = 64
"""Samples along an axis that points in no raster count for."""

PIECE = 8192
"""Cells of a raster evaluated at a time: what a CPU's caches hold."""


Layer = tuple["Tensor", "Tensor"]
"""Matrices (r, out, in) and biases (r, 1, out) of one layer, of r tiles."""


@dataclass(frozen=True)
class Tiles:
    """value = sum over tiles t of share_t(coords) * siren_t(local coords).

    ``tiles`` are numbered row-major, first axis first. A tile's local coordinates run from -1 to 1 between its borders
    and beyond them where it overlaps a neighbour. Frequencies are folded into the weights, as in ``Siren``;
    ``first_omega`` is in radians per unit of a tile's own axis, so the band a tile starts with follows its size. That
    of a shape is 5 (bunny, 4x4x4 tiles, 15 s: IoU 0.9931 at 5 and 0.9935 at 10, where far from the surface bits of
    another appear)."""

    TRAITS: ClassVar[Traits] = Traits(
        width=32,
        depth=4,
        same_shapes=False,  # how many points a tile gets changes from batch to batch
        initialization_options=frozenset({"omega", "first_omega"}),
        frequency_scaling={"first_omega": {"audio": 1.0, "shape": 1 / 12}},
        hyperparameters=Hyperparameters(
            adam_rate=6.5e-4,
            muon_rate=0.0,
            source="twice as much loses 1.4 dB on kodim05 and 0.4 on kodim03 in 700 steps (first figures, one seed)",
            batch_source="at equal points 2,048 is as good and slower, 8,192 0.7 dB worse (first figures, one seed)",
            short_run_boost=False,
        ),
    )

    tiles: str = setting("2", "tiles per axis, as in 8x12; one number stands for every axis")
    overlap: float = setting(0.05, "share of a tile's side in which neighbours are blended", 0.01, 1.0)
    omega: float = setting(30.0, "frequency factor of the hidden layers", 1e-3, 1e4)
    first_omega: float = setting(20.0, "frequency factor of the first layer (radians per unit of a tile)", 1e-3, 1e6)

    constant, muon_tensors, fp32_tensors = (
        constant,
        muon_tensors,
        first_layer,
    )  # of all tiles at once: their shares sum to 1
    raster, block, notes = architecture.no_raster, architecture.no_blocks, architecture.no_notes
    reason, kernel_coefficients = architecture.no_reason, architecture.no_kernel

    def __post_init__(self) -> None:
        if "x" not in self.tiles:
            partition.parse(self.tiles, 1)

    def sized(self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
        """Tiles of SAMPLES each, USUAL at most; or, told the number of ``parameters``, as many of the width it has as
        that allows, MOST at most and none smaller than LEAST: the networks become wider instead."""
        if "tiles" not in spec.options:
            axes = shape if shape is not None else (SIDE,) * spec.inputs
            samples, one = math.prod(axes), replace(spec, options={**spec.options, "tiles": "1"})
            if parameters is None:
                wanted = min(samples // SAMPLES, USUAL)
            else:
                wanted = min(parameters // one.parameters, samples // LEAST, MOST)
            wanted = max(1, wanted)
            tiles = "x".join(map(str, partition.proportioned(axes, wanted)))
            spec = replace(spec, options={**spec.options, "tiles": tiles})
        return spec if parameters is None else widest(spec, parameters)

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """One network after another along the first axis; hidden matrices layer by layer, within a layer by tile."""
        tiles, hidden, width = self._count(spec), spec.depth - 1, spec.width
        shapes: dict[str, tuple[int, ...]] = {
            "first.weight": (tiles, width, spec.inputs),
            "first.bias": (tiles, width),
        }
        if hidden:
            shapes["hidden.weight"] = (hidden * tiles, width, width)
            shapes["hidden.bias"] = (hidden * tiles, width)
        return shapes | {"last.weight": (tiles, spec.outputs, width), "last.bias": (tiles, spec.outputs)}

    def _counts(self, spec: FieldSpec) -> tuple[int, ...]:
        return partition.parse(self.tiles, spec.inputs)

    def _count(self, spec: FieldSpec) -> int:
        return math.prod(self._counts(spec))

    def _evaluations(self, spec: FieldSpec) -> float:
        """Tiles evaluated per sample: 1 and what the bands add."""
        return math.prod(1 + self.overlap * (count - 1) / count for count in self._counts(spec))

    def macs(self, spec: FieldSpec) -> int:
        """Of one network, times the tiles a sample lies in on average; blending is not counted."""
        one = spec.width * (spec.inputs + (spec.depth - 1) * spec.width + spec.outputs)
        return round(self._evaluations(spec) * one)

    def sines(self, spec: FieldSpec) -> int:
        """One per unit, times the tiles a sample lies in on average."""
        return round(self._evaluations(spec) * spec.width * spec.depth)

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """Every tile as a ``Siren``."""
        shapes, width = self.shapes(spec), spec.width
        bounds = {
            "first.weight": self.first_omega / spec.inputs,
            "first.bias": self.omega / math.sqrt(spec.inputs),
            "hidden.weight": math.sqrt(6 / width),
            "hidden.bias": self.omega / math.sqrt(width),
            "last.weight": math.sqrt(6 / width) / self.omega,
        }
        return draw(shapes, bounds, generator, mean.expand(shapes["last.bias"]))

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """Points sorted by tile, every layer of all tiles in one batched product."""
        placed = rows(coords, partition.parse(self.tiles, coords.shape[1]), self.overlap)
        layers = _layers(weights, precision, placed.tiles)
        return placed.gather(_evaluate(layers, placed.local, precision), coords.shape[0])

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The backward pass written out, as ``Siren.gradients``."""
        import torch

        placed = rows(coords, partition.parse(self.tiles, coords.shape[1]), self.overlap)
        layers = _layers(weights, precision, placed.tiles)
        (matrix, bias), *hidden, (last_matrix, last_bias) = layers
        first = torch.baddbmm(bias, placed.local, matrix.mT)
        activations, phases = [first.sin().to(precision) if hidden else first.sin()], []
        for matrix, bias in hidden:
            phases.append(torch.baddbmm(bias, activations[-1], matrix.mT))
            activations.append(phases[-1].sin())
        last = activations[-1].float()
        residuals = placed.gather(torch.baddbmm(last_bias, last, last_matrix.mT), coords.shape[0]) - values
        grad = 2 * loss_weights * residuals
        if extra_gradient is not None:
            grad += extra_gradient(residuals)
        grad = placed.scatter(grad)
        found = {"last.weight": [grad.mT @ last], "last.bias": [grad.sum(1)]}
        grad = (grad @ last_matrix).to(precision if hidden else torch.float32)
        by_matrix, by_bias = [], []
        for (matrix, _), phase, before in zip(hidden[::-1], phases[::-1], activations[-2::-1], strict=True):
            grad = phase.cos_().mul_(grad)
            by_matrix.append(torch.bmm(grad.mT, before).float())
            by_bias.append(grad.sum(1).float())
            grad = torch.bmm(grad, matrix)
        grad = first.cos_().mul_(grad)
        found |= {"first.weight": [grad.mT @ placed.local], "first.bias": [grad.sum(1)]}
        found |= {"hidden.weight": by_matrix[::-1], "hidden.bias": by_bias[::-1]}
        return residuals, {name: _by_tile(found[name], weight, placed.tiles) for name, weight in weights.items()}

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Tensor:
        """Box by box, and within a box tile by tile: nothing is sorted."""
        import torch

        layers = _layers(weights, torch.float32, None)
        empty = layers[-1][1].new_zeros(0, layers[-1][1].shape[-1])
        return torch.cat([empty, *(self._on_box(layers, grid, box) for box in boxes(grid.shape, start, stop))])

    def _on_box(self, layers: list[Layer], grid: Grid, box: Box) -> Tensor:
        """Values of the cells of ``box``, flat: every tile on the part of it that it reaches."""
        import torch

        counts = partition.parse(self.tiles, len(grid.shape))
        device, channels = layers[0][0].device, layers[-1][1].shape[-1]
        reached = []
        for (low, high), length, count in zip(box, grid.shape, counts, strict=True):
            coords = type(grid)((length,)).coords(torch.arange(low, high, device=device))[:, 0]
            reached.append(partition.stretches(coords, count, self.overlap))
        values = torch.zeros(*(high - low for low, high in box), channels, device=device)
        for stretches in itertools.product(*reached):
            tile = 0
            for count, stretch in zip(counts, stretches, strict=True):
                tile = tile * count + stretch.tile
            own = [(matrix[tile : tile + 1], bias[tile : tile + 1]) for matrix, bias in layers]
            local = torch.cartesian_prod(*(stretch.local for stretch in stretches)).view(-1, len(counts))
            found = [_evaluate(own, piece[None], torch.float32)[0] for piece in local.split(PIECE)]
            part = values[tuple(slice(stretch.start, stretch.start + len(stretch.local)) for stretch in stretches)]
            share = torch.ones((), device=device)
            for stretch in stretches:
                share = share[..., None] * stretch.weight
            part += torch.cat(found).view(part.shape) * share[..., None]
        return values.view(-1, channels)

    def options_for(self, context: OptionContext) -> dict[str, float]:
        """A sound's frequencies are shared among its tiles: ``first_omega`` is per unit of one."""
        if context.signal_class != "audio":
            return architecture.frequency_options(self, context)
        tiles, stretch = int(self.tiles), context.paper_frequency_scale
        each = replace(
            context,
            first_omega=lambda: context.first_omega() / tiles,
            paper_frequency_scale=None if stretch is None else stretch / tiles,
        )
        return architecture.frequency_options(self, each)

    def rates(self) -> dict[str, float]:
        """Folded tensors move omega times as fast."""
        return {
            "first.weight": self.first_omega,
            "first.bias": self.omega,
            "hidden.weight": self.omega,
            "hidden.bias": self.omega,
            "last.weight": 1.0,
            "last.bias": 1.0,
        }


def _layers(weights: Mapping[str, Tensor], precision: torch.dtype, tiles: Tensor | None) -> list[Layer]:
    """The layers of every tile, or of ``tiles`` (r,)."""
    count = weights["last.bias"].shape[0]
    layers = [(weights["first.weight"], weights["first.bias"])]
    if "hidden.weight" in weights:
        matrices = weights["hidden.weight"].to(precision).split(count)
        layers += zip(matrices, weights["hidden.bias"].to(precision).split(count), strict=True)
    layers.append((weights["last.weight"], weights["last.bias"]))
    if tiles is not None:
        layers = [(matrix.index_select(0, tiles), bias.index_select(0, tiles)) for matrix, bias in layers]
    return [(matrix, bias[:, None, :]) for matrix, bias in layers]


def _evaluate(layers: list[Layer], local: Tensor, precision: torch.dtype) -> Tensor:
    """Values (r, length, c) of rows of local coordinates (r, length, d); first and last layer float32."""
    import torch

    sine = torch.sin if torch.is_grad_enabled() else torch.sin_
    x = local
    for matrix, bias in layers[:-1]:
        x = sine(torch.baddbmm(bias, x.to(matrix.dtype), matrix.mT))
    matrix, bias = layers[-1]
    return torch.baddbmm(bias, x.float(), matrix.mT)


def _by_tile(found: list[Tensor], weight: Tensor, tiles: Tensor | None) -> Tensor:
    """Gradients of rows (one tensor a layer) as those of ``weight``, summed over the rows of a tile."""
    import torch

    if tiles is not None:
        count = weight.shape[0] // len(found)
        found = [rows.new_zeros(count, *rows.shape[1:]).index_add_(0, tiles, rows) for rows in found]
    return found[0] if len(found) == 1 else torch.cat(found)
