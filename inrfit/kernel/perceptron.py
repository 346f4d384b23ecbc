"""Residuals, gradients and values of perceptrons by the compiled library.

Shapes: n points, e inputs (the encoding of the coordinates), c output channels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .library import Level, Net, available, library

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LAYERS = ("hidden.weight", "hidden.bias", "first.weight", "first.bias", "last.weight", "last.bias", "table")
"""The weight tensors in the order of ``Layers`` in src/kernel.h."""

ACTIVATIONS = ("sine", "finer", "gauss", "relu")
"""The activations in the order of ``Activation`` in src/kernel.h."""

MAX_WIDTH, MAX_INPUTS, MAX_OUTPUTS = 512, 1024, 64
"""The largest layers that are computed. Wider ones do not fit into a core's cache."""

MAX_TABLE = 1 << 30
"""The most numbers in the table of a grid: rows have 32 bits."""

_DONE = 0


class GridLevel(Protocol):
    """One grid of features: its nodes per axis, its first row in the table and its number of rows; the factors of the
    node index along each axis, which are combined by exclusive or if nodes are hashed."""

    @property
    def nodes(self) -> tuple[int, ...]:
        """Nodes per axis."""

    @property
    def start(self) -> int:
        """First row."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def span(self) -> int:
        """Nodes along an axis that interpolation weighs: 2, or 3 of a quadratic B-spline."""

    @property
    def hashed(self) -> bool:
        """Whether nodes share rows."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Factors of the node index."""


@dataclass(frozen=True)
class Activation:
    """The activation of a perceptron: one of ACTIVATIONS, and for "finer" the coefficients a of sin(u + a u |u|) in the
    first layer and in the others. ``levels`` are those of a feature grid, whose features are the input. ``tiles`` are
    numbers of tiles per axis if each has a perceptron of its own; neighbours are blended in bands of ``overlap`` of a
    tile's side (kernel/tiles.py)."""

    name: str
    first_coefficient: float = 0.0
    coefficient: float = 0.0
    levels: tuple[GridLevel, ...] = ()
    tiles: tuple[int, ...] = ()
    overlap: float = 0.0


def fits(width: int, inputs: int, outputs: int, table: int = 0) -> bool:
    """Whether layers of these sizes, and a table of so many numbers, are computed."""
    return width <= MAX_WIDTH and inputs <= MAX_INPUTS and outputs <= MAX_OUTPUTS and table <= MAX_TABLE


def gradients(
    activation: Activation,
    weights: Mapping[str, Tensor],
    inputs: Float[Tensor, "n e"],
    targets: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    name: str,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """Residuals, and the gradients of sum(loss_weights * residual^2) with respect to the tensors LAYERS, computed by
    the instruction set ``name``. All tensors are float32 on the CPU. Raises ``MemoryError``."""
    residuals, found = gradients_of_many(activation, [weights], [(inputs, targets, loss_weights)], name)
    return residuals[0], found[0]


def gradients_of_many(
    activation: Activation,
    weights: Sequence[Mapping[str, Tensor]],
    points: Sequence[tuple[Float[Tensor, "n e"], Float[Tensor, "n c"], Float[Tensor, "n 1"]]],
    name: str,
) -> tuple[list[Float[Tensor, "n c"]], list[dict[str, Tensor]]]:
    """The same for fields of one shape, each with inputs, targets and weights of the loss of its own. Threads share the
    fields."""
    import torch

    layers = [{n: own[n].contiguous() for n in LAYERS if n in own} for own in weights]
    given = [[tensor.contiguous() for tensor in own] for own in points]
    found = [{n: torch.empty_like(w) for n, w in own.items()} for own in layers]
    residuals = [torch.empty_like(targets) for _, targets, _ in given]
    counts = (ctypes.c_int64 * len(given))(*(own[0].shape[0] for own in given))
    places = [tensor.data_ptr() for own, errors in zip(given, residuals, strict=True) for tensor in (*own, errors)]
    at_points = (ctypes.c_void_p * len(places))(*places)
    arguments = [ctypes.c_int64(len(layers)), counts, addresses(layers), addresses(found), at_points]
    call(loaded_library().inrfit_gradients, name, _net(activation, layers[0]), arguments)
    return residuals, found


def values(
    activation: Activation, weights: Mapping[str, Tensor], inputs: Float[Tensor, "n e"], name: str
) -> Float[Tensor, "n c"]:
    """Values at ``inputs``, computed by the instruction set ``name``. Raises ``MemoryError``."""
    layers = {n: weights[n].contiguous() for n in LAYERS if n in weights}
    inputs = inputs.contiguous()
    result = inputs.new_empty(inputs.shape[0], weights["last.bias"].shape[0])
    arrays = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (inputs, result)]
    count = ctypes.c_int64(inputs.shape[0])
    call(loaded_library().inrfit_values, name, _net(activation, layers), [count, addresses([layers]), *arrays])
    return result


def _net(activation: Activation, layers: Mapping[str, Tensor]) -> Net:
    """The sizes, from the tensors of a field."""
    levels = (Level * len(activation.levels))(*(_level(level) for level in activation.levels))
    axes = len(activation.levels[0].nodes) if activation.levels else 0
    features = layers["table"].shape[1] if activation.levels else 0
    span = activation.levels[0].span if activation.levels else 0
    hidden = layers["hidden.weight"].shape[0] if "hidden.weight" in layers else 0
    width, inputs = layers["first.weight"].shape
    kind = ACTIVATIONS.index(activation.name)
    outputs = layers["last.bias"].shape[0]
    coefficients = activation.first_coefficient, activation.coefficient
    return Net(inputs, width, hidden, outputs, 1, axes, len(levels), features, span, levels, kind, *coefficients)


def _level(level: GridLevel) -> Level:
    """``level`` for the library."""
    return Level(level.nodes, level.strides, level.start, level.rows, level.hashed)


def addresses(fields: Sequence[Mapping[str, Tensor]]) -> ctypes.Array[ctypes.c_void_p]:
    """The addresses of the tensors of each field, one field after the other; 0 for those that there are not."""
    places = [tensors[n].data_ptr() if n in tensors else 0 for tensors in fields for n in LAYERS]
    return (ctypes.c_void_p * len(places))(*places)


def loaded_library() -> ctypes.CDLL:
    """The library, of which an instruction set was named."""
    loaded = library()
    assert loaded is not None  # an instruction set was named
    return loaded


def call(entry: Callable[..., int], name: str, net: Net, arguments: Sequence[object]) -> None:
    """Calls an entry of the library with torch's number of threads."""
    import torch

    status = entry(available().index(name), ctypes.byref(net), *arguments, ctypes.c_int64(torch.get_num_threads()))
    if status != _DONE:
        raise MemoryError
