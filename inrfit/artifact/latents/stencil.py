"""Networks of two hidden layers at places of a stack of maps: by the compiled library, or by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...kernel import stencil

Small = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

_TOGETHER = 4096
"""Places that are computed together: about as many as fit into a core's cache."""


class Layers(NamedTuple):
    """Weights (outputs, inputs) and biases (outputs, 1)."""

    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    last: Floats
    last_bias: Floats


class Places(NamedTuple):
    """Places of maps (number, rows, columns): ``shape`` rows and columns of them, ``step`` apart. The first one takes
    its ``inputs`` (map, row, column) from ``begin`` (row, column) on."""

    inputs: Sequence[tuple[int, int, int]]
    begin: tuple[int, int]
    step: int
    shape: tuple[int, int]


class Rounding(NamedTuple):
    """Units are multiplied by the factor of their layer and rounded down to whole numbers, at most ``largest``."""

    first: float
    second: float
    largest: float


def outputs(maps: Small, places: Places, layers: Layers, rounding: Rounding | None = None) -> Floats:
    """The outputs (outputs, n) of a network at n places. With ``rounding`` all sums must be whole numbers below 2^24,
    which float32 holds exactly in whatever order they are added, so that every machine has the same."""
    if stencil.computes():
        return stencil.outputs(maps, *places, layers, rounding or (0.0, 0.0, 0.0))
    rows, columns = places.shape
    found = np.empty((len(layers.last), rows * columns), np.float32)
    if not found.size:
        return found
    block = max(1, _TOGETHER // max(1, columns))
    room = np.empty((len(places.inputs), block * columns), np.float32)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        taken = room[:, : (last - first) * columns]
        _take(maps, places, first, last, taken)
        units = _units(layers.first @ taken + layers.first_bias, rounding and (rounding.first, rounding.largest))
        units = _units(layers.second @ units + layers.second_bias, rounding and (rounding.second, rounding.largest))
        found[:, first * columns : last * columns] = layers.last @ units + layers.last_bias
    return found


def _take(maps: Small, places: Places, first: int, last: int, found: Floats) -> None:
    """Writes the inputs of the places in the rows from ``first`` to ``last`` into ``found`` (inputs, n)."""
    (row, column), step, (rows, columns) = places.begin, places.step, (last - first, places.shape[1])
    part = maps[:, row + step * first :, column:]
    for into, (k, y, x) in zip(found, places.inputs, strict=True):
        window = part[k, y : y + step * (rows - 1) + 1 : step, x : x + step * (columns - 1) + 1 : step]
        into.reshape(rows, columns)[...] = window


def _units(sums: Floats, rounded: tuple[float, float] | None) -> Floats:
    np.maximum(sums, 0, out=sums)
    if rounded is not None:
        factor, largest = rounded
        sums *= np.float32(factor)
        np.minimum(np.floor(sums, out=sums), np.float32(largest), out=sums)
    return sums
