"""Shapes as truncated signed distances at the nodes of a grid, found in closed form and coded with contexts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

from ...errors import UsageError
from ...io.options import from_mapping, setting
from ...signal import Grid
from .. import architecture
from ..architecture import Traits
from ..hyperparameters import Hyperparameters
from . import interpolation

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ..spec import FieldSpec

NODES = "nodes"
"""The tensor of the values at the nodes."""

USUAL_NODES, MAX_NODES = 96, 384

REACH = 3.0
"""Distance, in nodes, at which distances are clamped."""


def _closed_form(spec: FieldSpec, values: Float[Tensor, "n c"]) -> dict[str, Tensor]:
    """The distances ``values`` at the nodes, clamped."""
    formula = cast("Tsdf", spec.formula)
    values = values[:, 0].float().clamp(-formula.reach, formula.reach)
    return {NODES: values.reshape(formula.own_grid.shape).contiguous()}


@dataclass(frozen=True)
class Tsdf:
    """value(x) = signed distances at the nodes of a cube (Curless and Levoy 1996), interpolated at x by cubic
    convolution (Keys 1981).

    Far from the surface only the sign counts. So the signs are coded, with contexts, and the distances of the nodes
    beside the surface (``artifact.distances``)."""

    TRAITS: ClassVar[Traits] = Traits(
        width=1,
        depth=1,
        hyperparameters=Hyperparameters(adam_rate=1e-3, muon_rate=0.0, source="not used: found in closed form"),
        surfaces_only=True,
        derivatives=1,
        own_gradients=False,
        closed_form=_closed_form,
        coefficients="distances",
        decode_chunk=1 << 20,
        planned_bits=0.005,
    )

    nodes: int = setting(0, "nodes along each axis (chosen while coding)", 0, MAX_NODES)
    band: float = setting(0.05, "distance of the value 1, in the units of the cube from -1 to 1", 1e-6, 4.0)

    gradients = architecture.autograd_gradients
    raster, block, notes = architecture.no_raster, architecture.no_blocks, architecture.no_notes
    fp32_tensors = architecture.no_fp32_tensors
    options_for, reason = architecture.frequency_options, architecture.no_reason
    kernel_activation = architecture.no_kernel

    @property
    def own_grid(self) -> Grid:
        """The grid of the nodes."""
        return Grid((self.nodes,) * 3)

    @property
    def spacing(self) -> float:
        """The value that is the distance of two neighbouring nodes."""
        return 2 / self.nodes / self.band

    @property
    def reach(self) -> float:
        """The value at which distances are clamped."""
        return REACH * self.spacing

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """The spec with the usual number of nodes, or of at most so many ``parameters``."""
        options = from_mapping(type(self), spec.options)
        nodes = options.nodes or USUAL_NODES
        if parameters is not None and not options.nodes:
            nodes = min(MAX_NODES, int((parameters + 0.5) ** (1 / 3)))
        sized = replace(spec, width=1, depth=1, options={"nodes": nodes, "band": options.band})
        if nodes < 2 or (parameters is not None and sized.parameters > parameters):
            raise UsageError(f"{spec.architecture} has at least 8 nodes, more than {parameters}", "option")
        return sized

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The values at the nodes."""
        if self.nodes < 2:
            raise UsageError(f"-O nodes={self.nodes}: no shape has these", "option")
        return {NODES: self.own_grid.shape}

    def rounding_groups(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """One group."""
        return {NODES: (self.nodes**3,)}

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates of the interpolation between 4 x 4 x 4 nodes."""
        return 84

    def sines(self, spec: FieldSpec) -> int:
        """Zero: there are no sines."""
        return 0

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """The mean at all nodes."""
        return {NODES: mean[0].float().expand(self.own_grid.shape).contiguous()}

    def constant(self, weights: Mapping[str, Tensor], value: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """One value at all nodes."""
        return {NODES: value[0].cpu().float().expand(self.own_grid.shape).contiguous()}

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords``."""
        return interpolation.at_points(weights[NODES], coords)[:, None]

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values on a grid."""
        return interpolation.on_grid(weights[NODES], grid, start, stop)[:, None]

    def rates(self) -> dict[str, float]:
        """Factor on the learning rate: 1."""
        return {NODES: 1.0}

    def muon_tensors(self) -> frozenset[str]:
        """None."""
        return frozenset()
