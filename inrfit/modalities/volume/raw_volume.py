"""A volume as it was read, and where a decoded one lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput

Array = npt.NDArray[Any]

MAX_AXES = 4
"""Largest number of grid axes."""


@dataclass(frozen=True)
class Geometry:
    """The place of a grid in space, and what its numbers mean.

    ``axes`` has a letter for each grid axis, slowest first (t, z, y, x; i of unknown meaning). ``spacing`` and
    ``origin`` have a number for each of them, or are None. ``units`` has a name for each, "" if it is unknown.
    ``affine`` has the 16 numbers of a matrix in row-major order that maps the indices (x, y, z, 1) to positions.
    ``space`` names the directions of these: RAS (right, anterior, superior) or LPS (left, posterior, superior), "" if
    they are unknown. A sample means ``slope * sample + intercept``."""

    axes: str
    spacing: tuple[float, ...] | None = None
    origin: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    affine: tuple[float, ...] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    space: str = ""

    def matrix(self, space: str = "") -> npt.NDArray[np.float64] | None:
        """The affine (4, 4), or that of a grid along the axes; None if neither spacing nor origin is known. In the
        directions ``space``, if both these and the geometry's own are known."""
        if self.affine is not None:
            matrix = np.array(self.affine, np.float64).reshape(4, 4)
        elif self.spacing is None and self.origin is None:
            return None
        else:
            matrix = np.eye(4)
            for row, letter in enumerate("xyz"):
                if letter in self.axes:
                    axis = self.axes.index(letter)
                    matrix[row, row] = self.spacing[axis] if self.spacing else 1.0
                    matrix[row, 3] = self.origin[axis] if self.origin else 0.0
        if space and self.space and space != self.space:
            matrix[:2] *= -1  # left and right, anterior and posterior change places
        return matrix + 0.0  # no negative zeros

    def at(self, start: tuple[float, ...], step: tuple[float, ...]) -> Geometry:
        """The geometry of a grid whose index j is the index ``start + j * step`` of this one, on each axis. The first
        sample of a file that has a spacing and no place lies at 0."""
        if all(s == 0 for s in start) and all(s == 1 for s in step):
            return self
        spacing = self.spacing and tuple(a * b for a, b in zip(self.spacing, step, strict=True))
        origin = self.origin
        if origin is None and self.affine is None and self.spacing is not None:
            origin = (0.0,) * len(self.spacing)
        if origin is not None:
            pitch = self.spacing or (1.0,) * len(origin)
            origin = tuple(o + a * b for o, a, b in zip(origin, start, pitch, strict=True))
        affine = self.affine
        if affine is not None:
            matrix, moved = np.array(affine).reshape(4, 4), np.eye(4)
            for column, letter in enumerate("xyz"):
                if letter in self.axes:
                    axis = self.axes.index(letter)
                    moved[column, column], moved[column, 3] = step[axis], start[axis]
            affine = tuple(float(x) for x in (matrix @ moved).reshape(-1))
        return replace(self, spacing=spacing, origin=origin, affine=affine)


@dataclass(frozen=True)
class RawVolume:
    """The samples of a file and all that is needed to write it again.

    ``samples`` (*grid, c) have the type in which they are fitted; ``dtype`` and ``byteorder`` are those in the file.
    ``missing`` is the sample that stands for no value, besides NaN. ``layout`` is what the format needs to know about
    the arrangement of the file, ``header`` and ``trailer`` are its bytes before and after the samples."""

    samples: Array
    dtype: str
    byteorder: str
    geometry: Geometry
    layout: Mapping[str, Any] = field(default_factory=dict)
    header: bytes = b""
    trailer: bytes = b""
    missing: float | None = None
    notes: tuple[str, ...] = ()


def from_bytes(data: bytes | memoryview, offset: int, dtype: np.dtype[Any], count: int) -> Array:
    """``count`` numbers at ``offset``. Raises ``UnreadableFile`` if the file ends before them."""
    available = max(0, len(data) - offset)
    if available < count * dtype.itemsize:
        raise UnreadableFile(
            f"the file ends early: {count * dtype.itemsize:,} bytes of samples are declared, {available:,} are there",
            "truncated",
        )
    array: Array = np.frombuffer(data, dtype, count, offset)
    return array


def require_shape(shape: tuple[int, ...], channels: int) -> None:
    """Raises ``UnreadableFile`` or ``UnsupportedInput`` for a grid that cannot be fitted."""
    if any(side < 1 for side in (*shape, channels)):
        raise UnreadableFile(f"damaged: a grid of {'x'.join(map(str, shape))} samples", "header")
    if not 1 <= len(shape) <= MAX_AXES:
        raise UnsupportedInput(f"{len(shape)} axes: 1 to {MAX_AXES} are supported, and channels", "axes")
    if channels > 65_535:
        raise UnsupportedInput(f"{channels:,} channels: at most 65,535 are supported", "channels")


def finite_numbers(numbers: Any) -> tuple[float, ...] | None:
    """``numbers`` as floats; None if there are none, or one is not finite."""
    values = tuple(float(x) for x in numbers)
    return values if values and all(map(math.isfinite, values)) else None
