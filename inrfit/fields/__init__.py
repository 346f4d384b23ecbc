"""Architectures: one frozen dataclass of settings each, which knows its shapes, its cost and its formula.

Nothing here imports torch before a tensor is asked for, so `info` and refusals stay instant. To add an architecture:
one class in a file of its own, one line in ``FIELDS`` (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from ..io.options import from_mapping
from .asmr.asmr import Asmr
from .feature_grid.feature_grid import FeatureGrid
from .mlp.finer import Finer
from .mlp.gauss import Gauss
from .mlp.mlp import Band
from .mlp.relu import Ffn, Mlp, PeMlp
from .mlp.siren import Siren
from .mlp.wire import Wire
from .tiles.tiles import Tiles

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..signal import Grid

FIELDS: dict[str, type[Architecture]] = {
    "siren": Siren,
    "tiles": Tiles,
    "finer": Finer,
    "wire": Wire,
    "gauss": Gauss,
    "ffn": Ffn,
    "pemlp": PeMlp,
    "mlp": Mlp,
    "grid": FeatureGrid,
    "asmr": Asmr,
}

MAX_WIDTH, MAX_DEPTH, MAX_PARAMETERS = 8192, 64, 100_000_000


@runtime_checkable
class Architecture(Protocol):
    """What an architecture must offer. ``spec`` gives the sizes, ``self`` the settings.

    ``WIDTH`` and ``DEPTH`` are its usual sizes; ``RASTER`` says that it knows only the cells of one raster, so that a
    signal without one (a shape) has no such field."""

    WIDTH: ClassVar[int]
    DEPTH: ClassVar[int]
    RASTER: ClassVar[bool]

    def sized(self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
        """``spec`` made to measure for a signal on a grid of ``shape`` (None: points), with options that follow from
        it; with at most ``parameters`` weights, if told, and as few less as the architecture can. Raises ``UsageError``
        where that is too few. No torch."""

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor, in the order they are stored."""

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates per sample of one forward pass; of what is shared on a grid, a sample's part."""

    def sines(self, spec: FieldSpec) -> int:
        """Sines, cosines and exponentials per sample of one forward pass, counted likewise."""

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """Fresh float32 weights on the CPU, drawn from ``generator`` alone, for values around ``mean`` (c,)."""

    def constant(self, weights: Mapping[str, Tensor], value: Tensor) -> dict[str, Tensor]:
        """Weights of the field that is ``value`` (c,) everywhere."""

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """Values (n, c), float32, at ``coords`` (n, d); hidden layers in ``precision``."""

    def rates(self) -> dict[str, float]:
        """Factor on the learning rate per weight tensor (a folded frequency makes the tensor that much larger)."""

    def matrices(self) -> frozenset[str]:
        """Names of the stacked hidden matrices (l, out, in): the ones Muon is made for."""


@runtime_checkable
class Differentiated(Protocol):
    """What an architecture may offer besides: its own backward pass."""

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        mass: Tensor,
        precision: torch.dtype,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Residuals (n, c) and the gradients, float32, of sum(mass * residual^2), ``mass`` (n, 1); ``extra`` gives the
        derivatives of further loss terms with respect to the residuals."""


@runtime_checkable
class Banded(Protocol):
    """What an architecture may offer besides: options that follow a signal's frequencies. In ``PAPER``, if it has one,
    are the papers' settings where the defaults depart from them."""

    BAND: ClassVar[Band]


@runtime_checkable
class Rastered(Protocol):
    """What an architecture may offer besides: a whole raster at less than the price of its points."""

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Tensor:
        """Values (stop - start, c), float32, on the weights' device, of the cells start..stop (flat, row-major) of
        ``grid``, in memory that the length of the piece bounds; equal to ``forward`` there to rounding."""


@runtime_checkable
class Exact(Protocol):
    """What an architecture may offer besides: tensors too delicate to be stored in fewer bits than they have."""

    def exact(self) -> frozenset[str]:
        """Their names. A phase in a sine is one: rounded, it is off by its size, and it may be thousands of radians."""


@runtime_checkable
class Shared(Protocol):
    """What an architecture may offer besides: work that the cells of a block of the raster share, so that batches are
    made of whole blocks where the sampler leaves the choice.

    ``PIECE``: points to take at a time; ``ALONE``: what a point alone costs, in
    points of a whole block; ``SAMPLER``: the strategy that ``auto`` stands for."""

    PIECE: ClassVar[int]
    ALONE: ClassVar[float]
    SAMPLER: ClassVar[str]

    def block(self) -> tuple[int, ...]:
        """Sides of the blocks."""


@runtime_checkable
class Bound(Protocol):
    """What an architecture that knows one raster only (``RASTER``) must say."""

    def raster(self) -> tuple[int, ...]:
        """Cells per axis."""

    def notes(self) -> tuple[str, ...]:
        """What was done to the raster to suit the architecture, for the user."""

    def remark(self, shape: tuple[int, ...]) -> str:
        """What a decode on a grid of ``shape`` means, where it is not that of the field."""


@dataclass(frozen=True)
class FieldSpec:
    """Everything that determines a field but its weights: JSON, and checked without torch."""

    architecture: str
    inputs: int
    outputs: int
    width: int
    depth: int
    options: Mapping[str, Any]

    @property
    def settings(self) -> Architecture:
        """The architecture with these options; raises ``UsageError`` for an option it does not have."""
        return from_mapping(FIELDS[self.architecture], self.options)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor."""
        return self.settings.shapes(self)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def exact(self) -> frozenset[str]:
        """Names of the tensors that are always stored in float32."""
        return self.settings.exact() if isinstance(self.settings, Exact) else frozenset()

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.settings.macs(self)

    @property
    def sines(self) -> int:
        """Sines, cosines and exponentials per sample."""
        return self.settings.sines(self)

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)
