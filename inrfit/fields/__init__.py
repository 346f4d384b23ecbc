"""Architectures: one frozen dataclass of settings each, which knows its shapes, its cost and its formula.

Nothing here imports torch before a tensor is asked for, so `info` and refusals stay instant. To add an architecture:
one class in a file of its own, one line in ``FIELDS`` (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..options import from_mapping
from .siren import Siren

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FIELDS: dict[str, type[Architecture]] = {"siren": Siren}

MAX_WIDTH, MAX_DEPTH, MAX_PARAMETERS = 8192, 64, 100_000_000


@runtime_checkable
class Architecture(Protocol):
    """What an architecture must offer. ``spec`` gives the sizes, ``self`` the settings."""

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor, in the order they are stored."""

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates per sample of one forward pass."""

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
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.settings.macs(self)

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)
