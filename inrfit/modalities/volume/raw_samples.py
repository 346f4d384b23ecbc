"""Files that hold nothing but samples, whose shape and number type the user gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import UsageError
from ...io.limits import Limits
from ..number_types import fitted, in_file
from .numpy_files import require_count
from .raw_volume import Array, Geometry, RawVolume, from_bytes, require_shape


def parsed_shape(text: str) -> tuple[int, ...]:
    """The sides in a text such as "64x64x48", slowest first. Raises ``ValueError``."""
    sides = tuple(int(side) for side in text.lower().split("x"))
    if not sides or any(side < 1 for side in sides):
        raise ValueError(text)
    return sides


def parsed_dtype(text: str) -> np.dtype[Any]:
    """A number type such as "uint16" or, with big-endian bytes, ">i2". Raises ``ValueError``."""
    try:
        dtype = np.dtype(text)
    except TypeError:
        raise ValueError(text) from None
    if dtype.kind not in "biufc" or dtype.fields is not None:
        raise ValueError(text)
    return dtype


def read(data: bytes, limits: Limits, shape: str | None, dtype: str | None, axes: str | None) -> RawVolume:
    """Reads samples in row-major order. Raises ``UsageError`` without a shape and a number type."""
    if shape is None or dtype is None:
        raise UsageError("raw samples need -O shape=ZxYxX and -O dtype=TYPE, such as uint8 or >i2", "option")
    sides, numbers = parsed_shape(shape), parsed_dtype(dtype)
    letters, channel = require_count(sides, axes or ("x", "yx", "zyx", "tzyx", "tzyxc")[min(len(sides), 5) - 1], limits)
    grid = tuple(side for axis, side in enumerate(sides) if axis != channel)
    require_shape(grid, 1 if channel is None else sides[channel])
    count = math.prod(sides)
    array = from_bytes(data, 0, numbers, count).reshape(sides)
    array = array[..., None] if channel is None else np.moveaxis(array, channel, -1)
    rest = len(data) - count * numbers.itemsize
    notes = (f"{rest:,} bytes after the samples not kept",) if rest else ()
    order = "big" if numbers.byteorder == ">" else "little"
    layout = {"channel": -1 if channel is None else channel}
    return RawVolume(fitted(np.ascontiguousarray(array)), numbers.name, order, Geometry(letters), layout, notes=notes)


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The samples and nothing else."""
    array, channel = in_file(samples, volume.dtype, volume.byteorder), int(volume.layout.get("channel", -1))
    array = array if channel < 0 else np.moveaxis(array, -1, channel)
    return np.ascontiguousarray(array).tobytes()
