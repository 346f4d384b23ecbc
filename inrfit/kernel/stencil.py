"""Networks at the places of a stack of maps, by the compiled library: 10 to 20 times as fast as by NumPy."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .library import Stencil, available, library, usable

Floats = npt.NDArray[np.float32]


def computes() -> bool:
    """Whether the library is there."""
    return bool(usable())


def outputs(
    maps: npt.NDArray[np.int8],
    inputs: Sequence[tuple[int, int, int]],
    begin: tuple[int, int],
    step: int,
    shape: tuple[int, int],
    layers: Sequence[Floats],
    rounding: tuple[float, float, float],
) -> Floats:
    """The outputs (outputs, rows * columns) of a network of two hidden layers at places of ``maps`` (number, rows,
    columns), which are ``shape`` in rows and columns, ``step`` apart, and whose inputs are those at map, row and column
    from the place; the first one's are at ``begin``.

    ``layers`` are weights (outputs, inputs) and biases (outputs, 1) in turn. With ``rounding``, the factors on both
    hidden layers and the largest unit, units are rounded down to whole numbers; not if these are 0. Raises
    ``MemoryError``."""
    rows, columns = shape
    found = np.empty((layers[-1].shape[0], rows * columns), np.float32)
    if not rows * columns:
        return found
    _, height, width = maps.shape
    assert maps.flags.c_contiguous
    assert step in (1, 2)
    offsets = np.array([(k * height + y) * width + x for k, y, x in inputs], np.int64)
    given = [np.ascontiguousarray(layer, np.float32) for layer in layers]
    sizes = (len(inputs), given[0].shape[0], found.shape[0], columns, step * width, step)
    net = Stencil(*sizes, _address(offsets), *map(_address, given), *rounding)
    first = maps.ctypes.data + begin[0] * width + begin[1]
    loaded = library()
    assert loaded is not None  # computes() was asked
    status = loaded.inrfit_stencil(
        ctypes.c_int(available().index(usable()[0])),
        ctypes.byref(net),
        ctypes.c_void_p(first),
        ctypes.c_int64(rows),
        ctypes.c_void_p(found.ctypes.data),
        ctypes.c_int64(_threads()),
    )
    if status:
        raise MemoryError
    return found


def _threads() -> int:
    """The threads of torch; 1 if it is not loaded, which takes longer than most work here."""
    torch: Any = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)
