"""Pictures as coefficients of a wavelet transform, which are found in closed form and coded with learned contexts."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, ClassVar, cast

from ...errors import UsageError
from ...io.options import from_mapping, setting
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import Hyperparameters
from . import colours, transform
from .bands import Band, bands, level_count

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ...signal import Grid
    from ..spec import FieldSpec

COLOUR = "colour"
"""The tensor of the angles of ``colours.rotation``."""


@cache
def _rasters() -> MutableMapping[Tensor, tuple[tuple[int, ...], Tensor]]:
    """The raster of a field by the tensor of its low band, with the versions of all tensors that it was made from."""
    from torch.utils.weak import WeakTensorKeyDictionary

    rasters: MutableMapping[Tensor, tuple[tuple[int, ...], Tensor]] = WeakTensorKeyDictionary()
    return rasters


def _closed_form(spec: FieldSpec, values: Float[Tensor, "n c"]) -> dict[str, Tensor]:
    """The coefficients of the raster that has these ``values`` at its cells."""
    formula = cast("Wavelet", spec.formula)
    raster = values.float().T.reshape(-1, *formula.shape)
    found: dict[str, Tensor] = {}
    if spec.outputs >= 3:
        found[COLOUR] = colours.decorrelating(raster)
    found |= transform.analysis(colours.rotated(raster, found.get(COLOUR)), formula.levels)
    return {name: found[name].contiguous() for name in formula.shapes(spec)}


@dataclass(frozen=True)
class Wavelet:
    """value(x) = the raster that the coefficients stand for, interpolated at x by cubic convolution (Keys 1981).

    The raster is the sum of all functions of the biorthogonal 9/7 wavelet (``transform``) times their coefficients, in
    colours that are rotated so that channels differ least (``colours``). The functions are nearly orthonormal, so that
    the coefficients of a signal are found without training, and rounding them to multiples of one step is nearly the
    best that a number of bits can do. They are coded with contexts (``artifact.latents``)."""

    TRAITS: ClassVar[Traits] = Traits(
        width=1,
        depth=1,
        hyperparameters=Hyperparameters(adam_rate=1e-3, muon_rate=0.0, source="not used: found in closed form"),
        grid_axes=2,
        derivatives=1,
        own_gradients=False,
        closed_form=_closed_form,
        coefficients="bands",
        decode_chunk=1 << 20,
        planned_bits=0.005,
    )

    cells: str = setting("", "rows and columns of the raster (from the signal), as in 512x768")

    gradients = architecture.autograd_gradients
    raster, block, notes = architecture.no_raster, architecture.no_blocks, architecture.no_notes
    fp32_tensors = architecture.no_fp32_tensors
    options_for, reason = architecture.frequency_options, architecture.no_reason
    kernel_activation = architecture.no_kernel

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the raster. Raises ``UsageError`` if the option ``cells`` does not say them."""
        if not re.fullmatch(r"[1-9]\d{0,8}x[1-9]\d{0,8}", self.cells, re.ASCII):
            raise UsageError(f"-O cells={self.cells[:40]}: write rows and columns, as in 512x768", "option")
        rows, columns = map(int, self.cells.split("x"))
        return rows, columns

    @property
    def levels(self) -> int:
        """How often the raster is divided."""
        return level_count(self.shape)

    def layout(self) -> tuple[Band, ...]:
        """The bands, in the order in which they are coded."""
        return bands(self.shape, self.levels)

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """The spec for a raster of ``shape``, which fixes the number of weights."""
        assert shape is not None
        cells, options = "x".join(map(str, shape)), from_mapping(type(self), spec.options)
        if options.cells not in ("", cells):
            raise UsageError(f"-O cells={options.cells[:60]}: the raster of this signal is {cells}", "option")
        sized = replace(spec, width=1, depth=1, options={"cells": cells})
        if parameters is not None and parameters < sized.parameters:
            raise UsageError(
                f"{spec.architecture} has as many weights as the signal has values, here {sized.parameters:,}, more "
                f"than {parameters:,}; --bytes limits the bytes of the file",
                "option",
            )
        return sized

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The angles of the colours, and each band (channels, rows, columns)."""
        colour: dict[str, tuple[int, ...]] = {COLOUR: (3,)} if spec.outputs >= 3 else {}
        return colour | {band.name: (spec.outputs, *band.shape) for band in self.layout()}

    def rounding_groups(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Every tensor is one group."""
        return {name: (math.prod(shape),) for name, shape in self.shapes(spec).items()}

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates of the synthesis, a coefficient having about 16, and of the interpolation."""
        return 40 * spec.outputs

    def sines(self, spec: FieldSpec) -> int:
        """Zero: there are no sines."""
        return 0

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """The coefficients of the mean."""
        return _closed_form(spec, mean[None].expand(math.prod(self.shape), -1))

    def constant(self, weights: Mapping[str, Tensor], value: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """The coefficients of a raster that has one value."""
        rows, columns = self.shape
        raster = value.cpu().float()[:, None, None].expand(-1, rows, columns)
        angles = {COLOUR: weights[COLOUR].detach().cpu()} if COLOUR in weights else {}
        found = transform.analysis(colours.rotated(raster, angles.get(COLOUR)), self.levels)
        return {name: (angles | found)[name].contiguous() for name in weights}

    def synthesised(self, weights: Mapping[str, Tensor]) -> Float[Tensor, "c rows columns"]:
        """The raster. That of weights that nothing differentiates is kept as long as they live and do not change."""
        import torch

        kept = not (torch.is_grad_enabled() and any(weight.requires_grad for weight in weights.values()))
        versions = tuple(weight._version for weight in weights.values())
        if kept and (known := _rasters().get(weights["low"])) is not None and known[0] == versions:
            return known[1]
        raster = colours.rotated(transform.synthesis(weights, self.levels), weights.get(COLOUR), back=True)
        if kept:
            raster = raster.detach()
            _rasters()[weights["low"]] = versions, raster
        return raster

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``."""
        from .interpolation import cubic

        return cubic(self.synthesised(weights), coords)

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values on a grid: those of the raster, or interpolated between them."""
        if tuple(grid.shape) == self.shape:
            return self.synthesised(weights).flatten(1)[:, start:stop].T.contiguous()
        return architecture.forward_in_chunks(self, weights, grid, start, stop)

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate: 1 for every tensor."""
        return dict.fromkeys([COLOUR, *(band.name for band in self.layout())], 1.0)

    def muon_tensors(self) -> frozenset[str]:
        """None."""
        return frozenset()
