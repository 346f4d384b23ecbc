"""The field as a module: an architecture with its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..signal import CHUNK, Grid
from .spec import FieldSpec


class Field(nn.Module):
    """coords (n, d) -> values (n, c). One class for every architecture: what differs is ``formula``, a pure function of
    (weights, coords), so that many fields can be stacked."""

    def __init__(self, spec: FieldSpec, weights: Mapping[str, Tensor]) -> None:
        """``weights`` must have exactly the names and shapes of ``spec.shapes``."""
        super().__init__()
        shapes = spec.shapes
        assert {name: tuple(w.shape) for name, w in weights.items()} == shapes
        self.spec = spec
        self.formula = spec.formula
        for name in shapes:
            self.register_parameter(name.replace(".", "_"), nn.Parameter(weights[name]))

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters by the names of ``spec.shapes``."""
        return {name: getattr(self, name.replace(".", "_")) for name in self.spec.shapes}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def stretch(self) -> int:
        """Cells that ``on_grid`` is best asked for at a time."""
        return self.formula.TRAITS.decode_chunk or CHUNK

    def forward(self, coords: Float[Tensor, "n d"], precision: torch.dtype = torch.float32) -> Float[Tensor, "n c"]:
        """Values at ``coords``; ``precision`` is that of the hidden layers (the decoder's is float32)."""
        return self.formula.forward(self.weights, coords, precision)

    @torch.no_grad()
    def on_grid(self, grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values of the cells start..stop (flat, row-major) of ``grid``, on the CPU, float32."""
        return self.formula.on_grid(self.weights, grid, start, stop).cpu()
