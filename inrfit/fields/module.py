"""A field as a ``torch.nn.Module``: an architecture with its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import PluginError
from ..signal import Grid
from .architecture import widest_layer
from .kernel_passes import evaluate
from .spec import FieldSpec


class Field(nn.Module):
    """A field, which maps coords (n, d) to values (n, c). Coordinates are in [-1, 1] along every axis.

    There is one class for all architectures. ``formula`` is the architecture, whose methods are pure functions of
    weights and coordinates."""

    def __init__(self, spec: FieldSpec, weights: Mapping[str, Tensor]) -> None:
        """``weights`` must have the names and shapes of ``spec.shapes``; raises ``PluginError`` if they do not, as in
        an architecture of another package."""
        super().__init__()
        shapes = spec.shapes
        if {name: tuple(w.shape) for name, w in weights.items()} != shapes:
            raise PluginError(
                f"the architecture {spec.architecture}: initial and shapes give different tensors", "plugin"
            )
        self.spec = spec
        self.formula = spec.formula
        for name in shapes:
            self.register_parameter(name.replace(".", "_"), nn.Parameter(weights[name]))

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters, by the names of ``spec.shapes``."""
        return {name: getattr(self, name.replace(".", "_")) for name in self.spec.shapes}

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def decode_chunk(self) -> int:
        """Preferred number of cells per call of ``on_grid``."""
        return self.spec.decode_chunk

    @property
    def point_chunk(self) -> int:
        """Points per call of the field itself, so that their activations take at most 128 MB."""
        return min(1 << 16, (1 << 24) // widest_layer(tuple(weight.shape) for weight in self.parameters()) + 1)

    def forward(self, coords: Float[Tensor, "n d"], precision: torch.dtype = torch.float32) -> Float[Tensor, "n c"]:
        """Values at ``coords`` in float32. Hidden layers are computed in ``precision``; decoders use float32."""
        return self.formula.forward(self.weights, coords, precision)

    @torch.no_grad()
    def evaluate(self, coords: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """The same in float32, for coordinates and weights that nothing differentiates: faster where there is a
        compiled kernel."""
        return evaluate(self.formula, self.weights, coords)

    @torch.no_grad()
    def on_grid(self, grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values in float32 of the cells start..stop (flat, row-major) of ``grid``, on the CPU."""
        return self.formula.on_grid(self.weights, grid, start, stop).cpu()
