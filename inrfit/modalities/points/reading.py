"""Reading samples at points: a .npz file of coords and values, or a table of numbers."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput, UsageError, printable
from ...io.limits import Limits
from ...io.tables import read_table
from .. import npy
from ..number_types import FITTED_TYPES
from .meta import ARRAYS, DEFAULT_AXES, MAX_AXES, MAX_CHANNELS, TABLE, Options

Array = npt.NDArray[Any]

MEMBERS = ("coords", "values")
"""Names of the arrays in a .npz file."""

_ZIP = re.compile(rb"PK\x03\x04.{26}(?:coords|values)\.npy", re.DOTALL)


@dataclass(frozen=True)
class RawPoints:
    """Samples as they were read: ``coords`` (n, d) in float64 and ``values`` (n, c), the letters of the coordinates,
    and notes on what is not kept."""

    format: str
    axes: str
    coords: npt.NDArray[np.float64]
    values: Array
    notes: tuple[str, ...] = ()


def is_archive(data: bytes) -> bool:
    """Whether the content is a .npz file with the arrays of MEMBERS."""
    if not _ZIP.match(data[:64]):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {f"{name}.npy" for name in MEMBERS} <= set(archive.namelist())
    except Exception:  # a damaged archive of whatever kind
        return False


def read(data: bytes, options: Options, limits: Limits) -> RawPoints:
    """The samples of a file. Raises a ``RefusedInput``, and ``UsageError`` for options that do not suit."""
    if is_archive(data):
        return _archived(data, options.axes, limits)
    return _table(data, options.axes, limits)


def _archived(data: bytes, axes: str | None, limits: Limits) -> RawPoints:
    """The samples of a .npz file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            coords, values = (_member(archive, name, limits) for name in MEMBERS)
            others = [name for name in archive.namelist() if name.removesuffix(".npy") not in MEMBERS]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise UnreadableFile(f"damaged: not a .npz file ({printable(str(error))[:80]})", "corrupt") from None
    notes = (f"arrays not kept: {', '.join(map(printable, others[:20]))}",) if others else ()
    if fault := shape_fault(coords, values):
        raise UnsupportedInput(fault, "points")
    coords = coords.reshape(len(coords), -1)
    letters = axes or DEFAULT_AXES[: coords.shape[1]]
    if len(letters) != coords.shape[1]:
        raise UsageError(f"-O axes={letters}: coords has {coords.shape[1]} columns", "option")
    return RawPoints(ARRAYS, letters, coords.astype(np.float64), _fittable(values.reshape(len(coords), -1)), notes)


def _member(archive: zipfile.ZipFile, name: str, limits: Limits) -> Array:
    """An array of the archive, whose size is checked before it is unpacked."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        start, dtype, _, shape = npy.header(stream.read(npy.MAX_HEADER))
    limits.check("max_voxels", shape[0] if shape else 1, "samples")
    size = len(start) + math.prod(shape) * dtype.itemsize
    limits.check("max_bytes", size, f"bytes of {name}")
    with archive.open(member) as stream:
        return npy.array(stream.read(size))


def shape_fault(coords: Array, values: Array) -> str:
    """What is wrong with the shapes and number types of coords (n, d) or (n,) and values (n, c) or (n,); "" if
    nothing is."""
    if coords.dtype.kind not in "iuf":
        return f"coords: must be real numbers, not {coords.dtype}" + _TIME_ADVICE * (coords.dtype.kind in "mM")
    if values.dtype.kind not in "biufc":
        return f"values: must be numbers, not {values.dtype}"
    if coords.ndim not in (1, 2) or values.ndim not in (1, 2) or len(coords) != len(values):
        return f"coords must be (n, d) and values (n, c), a row for each sample, not {coords.shape} and {values.shape}"
    if not len(coords):
        return "there are no samples: coords and values are empty"
    dimensions, channels = (1 if array.ndim == 1 else array.shape[1] for array in (coords, values))
    if not 1 <= dimensions <= MAX_AXES:
        return f"coords has {dimensions} columns: 1 to {MAX_AXES} are supported"
    return (
        "" if 1 <= channels <= MAX_CHANNELS else f"values has {channels} columns: 1 to {MAX_CHANNELS:,} are supported"
    )


_TIME_ADVICE = ": convert times to numbers, such as seconds"


def _table(data: bytes, axes: str | None, limits: Limits) -> RawPoints:
    """The samples of rows of numbers: the columns named by the letters of ``axes``, or else the first ones, are the
    coordinates, the others the values."""
    table, names = read_table(data)
    limits.check("max_voxels", len(table), "samples")
    columns = "" if names is None else f" ({printable(', '.join(names))[:80]})"
    if axes is None:
        raise UsageError(
            f"a table of {table.shape[1]} columns{columns}: say which are coordinates, as in -O axes=xy for the "
            "columns x and y, or else for the first two",
            "option",
        )
    if not len(table):
        raise UnreadableFile("the table has no rows of numbers", "empty")
    if not len(axes) < table.shape[1] <= len(axes) + MAX_CHANNELS:
        raise UsageError(
            f"-O axes={axes}: a table of {table.shape[1]} columns{columns} needs {len(axes)} of coordinates, and at "
            f"least one of values",
            "option",
        )
    known = [] if names is None else [name.strip().lower() for name in names]
    first = [known.index(letter) for letter in axes] if set(axes) <= set(known) else list(range(len(axes)))
    values = np.delete(table, first, axis=1)
    return RawPoints(TABLE, axes, table[:, first].astype(np.float64), _fittable(values))


def _fittable(values: Array) -> Array:
    """``values`` in a number type that is fitted: wider ones in float64."""
    name = values.dtype.name
    if values.dtype.kind == "c" and values.dtype.itemsize > 16:
        return values.astype(np.complex128)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    if name in ("int64", "uint64"):
        room = np.iinfo(FITTED_TYPES[name])
        if int(values.min()) < room.min or int(values.max()) > room.max:
            return values.astype(np.float64)
    return values
