"""netCDF-3, classic and with 64-bit offsets: one variable of a file, whose others are kept.

The file is kept with zeros in place of the variable's samples, compressed; the samples of a decoded field are put in
their places."""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from ..number_types import fitted, in_file
from .compression import inflated
from .coordinates import Axis, geometry, letters_of, scaling, without_missing
from .numpy_files import chosen_array
from .raw_volume import Array, Geometry, RawVolume, require_shape

MAX_SHELL = 1 << 20
"""Most bytes of the compressed file without its samples."""


def _opened(data: bytes) -> Any:
    """The file by scipy. Raises ``UnreadableFile``."""
    from scipy.io import netcdf_file

    try:
        return netcdf_file(io.BytesIO(data), "r", mmap=False)
    except (ValueError, TypeError, IndexError, KeyError, AssertionError, OverflowError, MemoryError) as error:
        raise UnreadableFile(f"damaged: not netCDF-3 ({printable(str(error))[:80]})", "corrupt") from None


def read(data: bytes, limits: Limits, array: str | None = None) -> RawVolume:
    """Reads one variable. Raises a ``RefusedInput``."""
    if data[3:4] not in (b"\x01", b"\x02"):
        raise UnsupportedInput("netCDF of this version is not supported", "variant")
    file = _opened(data)
    names = [name for name, variable in file.variables.items() if len(variable.shape) > 1 or len(file.variables) == 1]
    names = [name for name in names if file.variables[name].data.dtype.kind in "iuf"]
    name = chosen_array(names, array)
    variable = file.variables[name]
    shape = tuple(int(side) for side in variable.shape)
    require_shape(shape, 1)
    limits.check("max_voxels", math.prod(shape), "voxels")
    found, notes = _geometry(file, variable, shape)
    samples, missing = without_missing(np.array(variable.data), vars(variable))
    shell = zlib.compress(_without(data, name), 9)
    if len(shell) > MAX_SHELL:
        raise UnsupportedInput(f"netCDF with {len(shell):,} bytes besides {printable(name)} is not supported", "size")
    return RawVolume(
        fitted(samples[..., None].copy()), samples.dtype.name, "big", found, {"name": name, "bytes": len(data)},
        shell, missing=missing, notes=notes,
    )  # fmt: skip


def _without(data: bytes, name: str) -> bytes:
    """The bytes of the file with zeros in place of the samples of a variable."""
    return _filled(data, name, None)


def _filled(data: bytes, name: str, samples: Array | None) -> bytes:
    """The bytes of the file with other samples of the variable ``name``; None: zeros."""
    content = bytearray(data)
    for begin, length, index in _places(data, name):
        if begin + length > len(data):
            raise UnreadableFile(f"the file ends early: the samples of {printable(name)[:80]} are cut", "truncated")
        content[begin : begin + length] = bytes(length) if samples is None else samples[index].tobytes()
    return bytes(content)


def _places(data: bytes, name: str) -> list[tuple[int, int, Any]]:
    """(offset, bytes, index into the samples) of every contiguous part of a variable: a record each, or all of it."""
    reader = _HeaderReader(data)
    variables, dimensions, records, record_size = reader.variables()
    for variable in variables:
        if variable.name == name:
            shape = [dimensions[i] for i in variable.axes]
            size = variable.itemsize
            if shape and shape[0] == 0:  # the record axis
                length = math.prod(shape[1:]) * size
                records = min(records, len(data) // max(record_size, 1) + 1)
                return [(variable.begin + record * record_size, length, record) for record in range(records)]
            return [(variable.begin, math.prod(shape) * size, ...)]
    raise UnreadableFile("damaged: netCDF without the variable", "corrupt")


@dataclass(frozen=True)
class _Variable:
    """A variable in a header: numbers of its dimensions, and bytes of a number, of a record or all, and before it."""

    name: str
    axes: list[int]
    itemsize: int
    size: int
    begin: int


class _HeaderReader:
    """Reads the header of a netCDF-3 file, for the places of its variables."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position, self.wide = data, 4, data[3] == 2

    def number(self, size: int = 4) -> int:
        value = int.from_bytes(self.data[self.position : self.position + size], "big")
        self.position += size
        return value

    def text(self) -> str:
        length = self.number()
        value = self.data[self.position : self.position + length].decode("utf-8", "replace")
        self.position += length + -length % 4
        return value

    def skip_attributes(self) -> None:
        self.number()
        for _ in range(min(self.number(), 100_000)):
            self.text()
            size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}.get(self.number(), 1)
            length = self.number() * size
            self.position += length + -length % 4

    def variables(self) -> tuple[list[_Variable], list[int], int, int]:
        """Variables, lengths of dimensions (0: records), number of records, and bytes from one record to the next."""
        records = self.number()
        self.number()
        dimensions = []
        for _ in range(min(self.number(), 100_000)):
            self.text()
            dimensions.append(self.number())
        self.skip_attributes()
        self.number()
        found: list[_Variable] = []
        for _ in range(min(self.number(), 100_000)):
            name = self.text()
            axes = [self.number() for _ in range(min(self.number(), 1000))]
            self.skip_attributes()
            itemsize = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}.get(self.number(), 1)
            size = self.number()
            begin = self.number(8 if self.wide else 4)
            found.append(_Variable(name, axes, itemsize, size, begin))
        recorded = [v for v in found if v.axes and dimensions[v.axes[0]] == 0]
        alone = len(recorded) == 1
        lengths = [math.prod(dimensions[i] for i in v.axes[1:]) * v.itemsize if alone else v.size for v in recorded]
        return found, dimensions, records, sum(lengths)


def _geometry(file: Any, variable: Any, shape: tuple[int, ...]) -> tuple[Geometry, tuple[str, ...]]:
    """The place of the grid by the coordinates of its dimensions, and notes on it."""
    axes = []
    for name in map(str, variable.dimensions):
        coordinate = file.variables.get(name)
        numbers = coordinate is not None and coordinate.data.dtype.kind in "iuf" and coordinate.data.ndim == 1
        axes.append(
            Axis(name, coordinate.data.astype(float), getattr(coordinate, "units", "")) if numbers else Axis(name)
        )
    found, notes = geometry(letters_of([axis.name for axis in axes]), axes, shape)
    slope, intercept = scaling(vars(variable))
    return replace(found, slope=slope, intercept=intercept), notes


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of the source with other samples. Raises ``UnsupportedInput`` for another format or grid."""
    size = int(volume.layout.get("bytes", 0))
    name = str(volume.layout.get("name", ""))
    if not volume.header or not size > 0:
        raise UnsupportedInput("a netCDF file is written only from one; choose .nii, .nrrd or .npy", "format")
    shell = inflated(volume.header, size)
    try:
        places = _places(shell, name)
    except (IndexError, OverflowError):
        raise UnreadableFile("damaged: the file that belongs to the field is no netCDF", "attachment") from None
    array = in_file(samples[..., 0], volume.dtype, "big")
    expected = sum(length for _, length, _ in places)
    if expected != array.nbytes or len(shell) != size or any(begin + n > size for begin, n, _ in places):
        raise UnsupportedInput("a netCDF file keeps its grid; choose .nii, .nrrd or .npy for a part of it", "format")
    return _filled(shell, name, np.ascontiguousarray(array))
