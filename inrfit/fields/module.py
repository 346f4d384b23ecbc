"""The field as a module: an architecture with its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..signal import CHUNK, Grid
from . import FieldSpec, Rastered, Shared


class Field(nn.Module):
    """coords (n, d) -> values (n, c). One class for every architecture: what differs is ``spec.settings``, a pure
    function of (weights, coords), so that many fields can be stacked."""

    def __init__(self, spec: FieldSpec, weights: Mapping[str, Tensor]) -> None:
        """``weights`` must have exactly the names and shapes of ``spec.shapes``."""
        super().__init__()
        shapes = spec.shapes
        assert {name: tuple(w.shape) for name, w in weights.items()} == shapes
        self.spec = spec
        self.architecture = spec.settings
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
        return self.architecture.PIECE if isinstance(self.architecture, Shared) else CHUNK

    def forward(self, coords: Float[Tensor, "n d"], precision: torch.dtype = torch.float32) -> Float[Tensor, "n c"]:
        """Values at ``coords``; ``precision`` is that of the hidden layers (the decoder's is float32)."""
        return self.architecture.forward(self.weights, coords, precision)

    def at(self, grid: Grid, indices: Int[Tensor, "n"]) -> Float[Tensor, "n c"]:
        """Values at the cells ``indices`` of ``grid``."""
        values: Tensor = self(grid.coords(indices))
        return values

    @torch.no_grad()
    def on_grid(self, grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values of the cells start..stop (flat, row-major) of ``grid``, on the CPU, in chunks, float32."""
        if isinstance(self.architecture, Rastered):
            return self.architecture.on_grid(self.weights, grid, start, stop).cpu()
        values = torch.empty(stop - start, self.spec.outputs)
        # A quarter of a chunk is what a CPU's caches hold; a CUDA device wants long ones.
        step = CHUNK if self.device.type == "cuda" else CHUNK // 4
        for begin in range(start, stop, step):
            indices = torch.arange(begin, min(begin + step, stop), device=self.device)
            values[begin - start : begin - start + step] = self.at(grid, indices)
        return values
