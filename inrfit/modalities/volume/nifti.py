"""NIfTI-1 and NIfTI-2 (https://nifti.nimh.nih.gov): one file, plain or compressed by gzip.

The header is kept with its extensions and written back; only what a decoded part of the volume changes is patched."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from ..number_types import fitted, in_file
from .compression import gunzipped, gzipped
from .raw_volume import Array, Geometry, RawVolume, finite_numbers, from_bytes, require_shape

_TYPES = {
    2: "uint8", 4: "int16", 8: "int32", 16: "float32", 32: "complex64", 64: "float64", 256: "int8", 512: "uint16",
    768: "uint32", 1024: "int64", 1280: "uint64", 1792: "complex128",
}  # fmt: skip
_COLOURS = {128: 3, 2304: 4}
"""Data types of three and four bytes a sample: colours."""

_SPACE_UNITS = {1: "m", 2: "mm", 3: "um"}
_TIME_UNITS = {8: "s", 16: "ms", 24: "us", 32: "Hz", 40: "ppm", 48: "rad/s"}

MAX_HEADER = 1 << 20
"""Most bytes before the samples."""


@dataclass(frozen=True)
class _Layout:
    """Places of the fields of a header: ``size`` bytes in all, and (offset, format) of each field."""

    size: int
    magic: int
    dim: tuple[int, str]
    datatype: int
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    scaling: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    affine: tuple[int, str]
    toffset: tuple[int, str]


_VERSIONS = {
    1: _Layout(348, 344, (40, "8h"), 70, (76, "8f"), (108, "f"), (112, "2f"), (123, "B"), (252, "2h"), (256, "6f"),
               (280, "12f"), (136, "f")),
    2: _Layout(540, 4, (16, "8q"), 12, (104, "8d"), (168, "q"), (176, "2d"), (500, "i"), (344, "2i"), (352, "6d"),
               (400, "12d"), (216, "d")),
}  # fmt: skip


def is_nifti(data: bytes) -> bool:
    """Whether ``data`` begins like a NIfTI header."""
    return len(data) >= 348 and (data[344:348] in (b"n+1\0", b"ni1\0") or data[4:8] in (b"n+2\0", b"ni2\0"))


def read(data: bytes, limits: Limits) -> RawVolume:
    """Reads .nii and .nii.gz. Raises a ``RefusedInput``."""
    packed = data[:2] == b"\x1f\x8b"
    head = gunzipped(data, MAX_HEADER) if packed else data[:MAX_HEADER]
    if not is_nifti(head):
        raise UnreadableFile("damaged: no NIfTI header", "header")
    version = 1 if head[344:348] in (b"n+1\0", b"ni1\0") else 2
    if b"ni" in (head[344:346], head[4:6]):
        raise UnsupportedInput("NIfTI of two files (.hdr and .img) is not supported: convert it to .nii", "variant")
    layout = _VERSIONS[version]
    order = _byte_order(head, layout)
    fields = _Fields(head, layout, order)
    dtype, shape, channels = _type_and_shape(fields)
    require_shape(shape, channels)
    count = int(np.prod([int(side) for side in shape], dtype=object)) * channels
    limits.check("max_voxels", count // channels, "voxels")
    offset = int(fields.one("vox_offset"))
    if not layout.size + 4 <= offset <= MAX_HEADER and offset != layout.size:
        raise UnreadableFile(f"damaged: the samples begin at byte {offset:,}", "header")
    if packed:
        data = gunzipped(data, offset + count * dtype.itemsize)
    flat = from_bytes(data, offset, dtype, count)
    kind = int(struct.unpack_from(order + "h", head, layout.datatype)[0])
    if kind in _COLOURS or channels == 1:
        array = flat.reshape(*shape, channels)
    else:  # components are the slowest axis of the file
        array = np.ascontiguousarray(np.moveaxis(flat.reshape(channels, *shape), 0, -1))
    return RawVolume(
        fitted(array),
        dtype.name,
        "little" if order == "<" else "big",
        _geometry(fields, len(shape)),
        {"version": version, "gzip": packed, "datatype": kind},
        header=bytes(data[:offset]),
    )


def _byte_order(head: bytes, layout: _Layout) -> Literal["<", ">"]:
    """The byte order in which the header has its size. Raises ``UnreadableFile``."""
    if struct.unpack_from("<i", head, 0)[0] == layout.size:
        return "<"
    if struct.unpack_from(">i", head, 0)[0] == layout.size:
        return ">"
    raise UnreadableFile("damaged: the NIfTI header has another size than it says", "header")


class _Fields:
    """The fields of a header by name."""

    def __init__(self, head: bytes, layout: _Layout, order: Literal["<", ">"]) -> None:
        self.head, self.layout, self.order = head, layout, order

    def all(self, name: str) -> tuple[Any, ...]:
        offset, kind = getattr(self.layout, name)
        return struct.unpack_from(self.order + kind, self.head, offset)

    def one(self, name: str) -> Any:
        return self.all(name)[0]


def _type_and_shape(fields: _Fields) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Number type, sides of the grid (slowest first), and channels."""
    kind = int(struct.unpack_from(fields.order + "h", fields.head, fields.layout.datatype)[0])
    if kind not in _TYPES and kind not in _COLOURS:
        raise UnsupportedInput(f"NIfTI data type {kind} is not supported", "samples")
    dim = [int(side) for side in fields.all("dim")]
    if not 1 <= dim[0] <= 7:
        raise UnreadableFile(f"damaged: {dim[0]} axes", "header")
    sides = dim[1 : dim[0] + 1]
    if any(side > 1 for side in sides[5:]):
        raise UnsupportedInput("NIfTI with more than five axes is not supported", "axes")
    components = sides[4] if len(sides) > 4 else 1
    grid = sides[:4]
    if len(sides) > 4 and grid[3] == 1 and components > 1:
        grid = grid[:3]
    if kind in _COLOURS and components > 1:
        raise UnsupportedInput("NIfTI with several colours a sample is not supported", "axes")
    dtype = np.dtype(_TYPES.get(kind, "uint8")).newbyteorder(fields.order)
    return dtype, tuple(reversed(grid)), _COLOURS.get(kind, components)


def _geometry(fields: _Fields, axes: int) -> Geometry:
    """Spacing, units, affine and scaling in a header."""
    pixdim, code = fields.all("pixdim"), int(fields.one("units"))
    spacing = finite_numbers(abs(x) for x in pixdim[1 : axes + 1])
    space, time = _SPACE_UNITS.get(code & 7, ""), _TIME_UNITS.get(code & 56, "")
    units = (*((time,) if axes > 3 else ()), *(space,) * min(axes, 3))
    qform, sform = (int(x) for x in fields.all("codes"))
    affine: tuple[float, ...] | None = None
    if sform > 0:
        affine = finite_numbers((*fields.all("affine"), 0.0, 0.0, 0.0, 1.0))
    elif qform > 0 and spacing:
        affine = finite_numbers(_from_quaternion(fields.all("quaternion"), pixdim).reshape(-1))
    slope, intercept = (float(x) for x in fields.all("scaling"))
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        slope, intercept = 1.0, 0.0
    return Geometry(
        "tzyx"[4 - axes :],
        spacing and tuple(reversed(spacing)),
        finite_numbers((fields.one("toffset"), 0.0, 0.0, 0.0)) if axes == 4 else None,
        units if any(units) else None,
        affine,
        slope,
        intercept,
        "RAS",
    )


def _from_quaternion(quaternion: tuple[float, ...], pixdim: tuple[float, ...]) -> Array:
    """The matrix (4, 4) of a qform (NIfTI-1, method 2)."""
    b, c, d, *offsets = quaternion
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * [pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)]
    matrix[:3, 3] = offsets
    return matrix


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of a file with ``samples`` (*grid, c), compressed if ``suffix`` is .nii.gz."""
    shape, channels = samples.shape[:-1], samples.shape[-1]
    header = volume.header if is_nifti(volume.header) and "datatype" in volume.layout else _new_header(volume, channels)
    version = 1 if header[344:348] == b"n+1\0" else 2
    layout = _VERSIONS[version]
    order = _byte_order(header, layout)
    patched = _patched(bytearray(header), layout, order, volume, shape)
    array = in_file(samples, volume.dtype, "little" if order == "<" else "big")
    kind = int(struct.unpack_from(order + "h", patched, layout.datatype)[0])
    if kind not in _COLOURS and array.shape[-1] > 1:
        array = np.moveaxis(array, -1, 0)
    data = bytes(patched) + np.ascontiguousarray(array).tobytes()
    return gzipped(data) if suffix == ".nii.gz" else data


def _new_header(volume: RawVolume, channels: int) -> bytes:
    """A NIfTI-1 header for a volume of another format, without its sizes and its place."""
    kinds = {name: code for code, name in _TYPES.items()}
    name = "uint8" if volume.dtype == "bool" else volume.dtype
    if name not in kinds:
        raise UnsupportedInput(f"NIfTI holds no samples of type {volume.dtype}", "samples")
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    colours = {3: 128, 4: 2304}.get(channels) if name == "uint8" else None
    struct.pack_into("<h", head, 70, colours or kinds[name])
    struct.pack_into("<h", head, 72, 8 * channels if colours else 8 * np.dtype(name).itemsize)
    dims = len(volume.geometry.axes)
    struct.pack_into("<8h", head, 40, dims, *(1,) * 7)
    if channels > 1 and not colours and np.dtype(name).kind != "c":
        struct.pack_into("<8h", head, 40, 5, 1, 1, 1, 1, channels, 1, 1)
        struct.pack_into("<h", head, 68, 1007)  # NIFTI_INTENT_VECTOR
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    return bytes(head)


def _patched(
    head: bytearray, layout: _Layout, order: Literal["<", ">"], volume: RawVolume, shape: tuple[int, ...]
) -> bytearray:
    """``head`` with the sizes of ``shape``, and with the place of ``volume`` where it is another one than its own."""
    fields, geometry = _Fields(bytes(head), layout, order), volume.geometry
    dim = list(fields.all("dim"))
    for axis, side in enumerate(reversed(shape)):
        if side > (32_767 if layout.size == 348 else 2**62):
            raise UnsupportedInput(f"NIfTI-1 holds at most 32,767 samples along an axis, not {side:,}", "axes")
        dim[axis + 1] = side
    struct.pack_into(order + layout.dim[1], head, layout.dim[0], *dim)
    if geometry == _geometry(fields, len(shape)):
        return head
    if geometry.spacing is not None:
        pixdim = list(fields.all("pixdim"))
        pixdim[0] = pixdim[0] or 1.0
        for axis, pitch in enumerate(reversed(geometry.spacing)):
            pixdim[axis + 1] = pitch
        struct.pack_into(order + layout.pixdim[1], head, layout.pixdim[0], *pixdim)
    if geometry.origin is not None and geometry.axes.startswith("t"):
        struct.pack_into(order + layout.toffset[1], head, layout.toffset[0], geometry.origin[0])
    matrix, (quaternion_code, code) = geometry.matrix("RAS"), (int(x) for x in fields.all("codes"))
    placed = quaternion_code > 0 or code > 0 or not volume.layout.get("datatype")
    if matrix is not None and placed:  # a source that says no orientation is given none
        affine = matrix.reshape(-1).tolist()
        struct.pack_into(order + layout.affine[1], head, layout.affine[0], *affine[:12])
        if quaternion_code > 0:  # a rotation is kept, the place of the first sample is moved
            offset = layout.quaternion[0] + 3 * struct.calcsize(layout.quaternion[1][-1])
            struct.pack_into(order + "3" + layout.quaternion[1][-1], head, offset, *(affine[i] for i in (3, 7, 11)))
        struct.pack_into(order + layout.codes[1], head, layout.codes[0], quaternion_code, code or quaternion_code or 1)
    if not (fields.one("scaling") and volume.layout.get("datatype")):
        struct.pack_into(order + layout.scaling[1], head, layout.scaling[0], geometry.slope, geometry.intercept)
    code = _units_code(geometry)
    if code and not volume.layout.get("datatype"):
        struct.pack_into(order + layout.units[1], head, layout.units[0], code)
    return head


def _units_code(geometry: Geometry) -> int:
    """The code of the units of space and time."""
    code = 0
    for letter, unit in zip(geometry.axes, geometry.units or (), strict=False):
        names = _TIME_UNITS if letter == "t" else _SPACE_UNITS
        code |= next((number for number, name in names.items() if name == unit), 0)
    return code
