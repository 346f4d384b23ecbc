"""Residuals, gradients and values of fields of tiles by the compiled library: perceptrons, each on its tile.

Shapes: n points, d axes, c output channels. The tensors of all tiles are stacked as ``Tiles.shapes`` says.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .library import Net, Partition
from .perceptron import ACTIVATIONS, LAYERS, Activation, addresses, call, loaded_library

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def gradients(
    activation: Activation,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    targets: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    name: str,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """Residuals, and the gradients of sum(loss_weights * residual^2) with respect to the tensors LAYERS, computed by
    the instruction set ``name``. All tensors are float32 on the CPU. Raises ``MemoryError``."""
    import torch

    layers = {n: weights[n].contiguous() for n in LAYERS if n in weights}
    given = [tensor.contiguous() for tensor in (coords, targets, loss_weights)]
    found, residuals = {n: torch.empty_like(w) for n, w in layers.items()}, torch.empty_like(given[1])
    count = ctypes.c_int64(coords.shape[0])
    arrays = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*given, residuals)]
    arguments = [_partition(activation), count, addresses([layers]), addresses([found]), *arrays]
    call(loaded_library().inrfit_tile_gradients, name, _net(activation, layers), arguments)
    return residuals, found


def values(
    activation: Activation, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], name: str
) -> Float[Tensor, "n c"]:
    """Values at ``coords``, computed by the instruction set ``name``. Raises ``MemoryError``."""
    layers, coords = {n: weights[n].contiguous() for n in LAYERS if n in weights}, coords.contiguous()
    result = coords.new_empty(coords.shape[0], weights["last.bias"].shape[-1])
    arrays = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (coords, result)]
    arguments = [_partition(activation), ctypes.c_int64(coords.shape[0]), addresses([layers]), *arrays]
    call(loaded_library().inrfit_tile_values, name, _net(activation, layers), arguments)
    return result


def _net(activation: Activation, layers: Mapping[str, Tensor]) -> Net:
    """The sizes of the perceptron of a tile."""
    tiles, width, inputs = layers["first.weight"].shape
    hidden = layers["hidden.weight"].shape[0] // tiles if "hidden.weight" in layers else 0
    kind = ACTIVATIONS.index(activation.name)
    coefficients = activation.first_coefficient, activation.coefficient
    return Net(inputs, width, hidden, layers["last.bias"].shape[-1], tiles, 0, 0, 0, 0, None, kind, *coefficients)


def _partition(activation: Activation) -> object:
    """A reference to the partition into tiles."""
    return ctypes.byref(Partition(len(activation.tiles), activation.tiles, activation.overlap))
