"""MetaImage: .mha, and .mhd with its samples in another file.

The text of the header is kept. A decoded file holds its samples itself (ElementDataFile = LOCAL)."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from ..number_types import fitted, in_file
from . import compression
from .raw_volume import Array, Geometry, RawVolume, finite_numbers, from_bytes, require_shape

_TYPES = {
    "MET_CHAR": "int8", "MET_UCHAR": "uint8", "MET_SHORT": "int16", "MET_USHORT": "uint16", "MET_INT": "int32",
    "MET_UINT": "uint32", "MET_LONG": "int32", "MET_ULONG": "uint32", "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64", "MET_FLOAT": "float32", "MET_DOUBLE": "float64",
}  # fmt: skip
_ORIGIN = ("Offset", "Origin", "Position")
_MATRIX = ("TransformMatrix", "Orientation", "Rotation")
MAX_HEADER = 1 << 16
"""Most bytes of a header."""


def split(data: bytes) -> tuple[bytes, bytes, dict[str, str]]:
    """The header up to the line ElementDataFile, the bytes that follow, and its fields. Raises ``UnreadableFile`` and
    ``UnsupportedInput``."""
    fields: dict[str, str] = {}
    position = 0
    while position < min(len(data), MAX_HEADER):
        end = data.find(b"\n", position)
        end = len(data) if end < 0 else end + 1
        key, _, value = data[position:end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        position = end
        if key.strip() == "ElementDataFile":
            if value.split()[:1] == ["LIST"] or "%" in value:
                raise UnsupportedInput("MetaImage with its samples in several files: write it as one .mha", "variant")
            return data[:position], data[position:], fields
    raise UnreadableFile("damaged: the MetaImage header has no ElementDataFile", "header")


def data_file(data: bytes) -> str | None:
    """The name of the file that holds the samples; None if they follow the header."""
    name = split(data)[2]["ElementDataFile"]
    return None if name.upper() == "LOCAL" else name


def read(data: bytes, limits: Limits) -> RawVolume:
    """Reads a header and the samples after it. Raises a ``RefusedInput``."""
    header, body, fields = split(data)
    kind = fields.get("ElementType", "").upper()
    kind = kind.removesuffix("_ARRAY")
    if kind not in _TYPES:
        raise UnsupportedInput(f"MetaImage samples of type {kind[:30]!r} are not supported", "samples")
    sizes = _numbers(fields, "DimSize", int)
    if len(sizes) != (_numbers(fields, "NDims", int) or [0])[0]:
        raise UnreadableFile("damaged: the MetaImage header has another dimension than sizes", "header")
    channels = (_numbers(fields, "ElementNumberOfChannels", int) or [1])[0]
    shape = tuple(reversed(sizes))
    require_shape(shape, channels)
    count = int(np.prod(sizes, dtype=object)) * channels
    limits.check("max_voxels", count // channels, "voxels")
    big = _is_true(fields, "ElementByteOrderMSB") or _is_true(fields, "BinaryDataByteOrderMSB")
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if big else "<")
    text = "BinaryData" in fields and not _is_true(fields, "BinaryData")
    packed = _is_true(fields, "CompressedData")
    array = _samples(body, fields, dtype, count, packed, text)
    return RawVolume(
        fitted(array.reshape(*shape, channels)),
        dtype.name,
        "big" if big else "little",
        _geometry(fields, len(sizes)),
        {"compressed": packed, "text": text},
        header,
    )


def _samples(body: bytes, fields: dict[str, str], dtype: np.dtype[Any], count: int, packed: bool, text: bool) -> Array:
    """``count`` samples. Raises ``UnreadableFile`` if there are fewer."""
    if text:
        words = body.split(None, count)[:count]
        if len(words) < count:
            raise UnreadableFile(f"the file ends early: {len(words):,} of {count:,} samples", "truncated")
        try:
            return np.array(words, dtype=np.float64).astype(dtype)
        except ValueError:
            raise UnreadableFile("damaged: a sample is not a number", "corrupt") from None
    size = count * dtype.itemsize
    if packed:
        return from_bytes(compression.inflated(body, size), 0, dtype, count)
    skip = (_numbers(fields, "HeaderSize", int) or [0])[0]
    return from_bytes(body, len(body) - size if skip == -1 else max(0, skip), dtype, count)


def _numbers(fields: dict[str, str], name: str, kind: type) -> list[Any]:
    """The numbers of a field; [] if it is missing. Raises ``UnreadableFile`` for anything else."""
    try:
        return [kind(word[:40]) for word in fields.get(name, "").split()]
    except ValueError:
        raise UnreadableFile(f"damaged: {name} in the MetaImage header has no numbers", "header") from None


def _is_true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "").lower() in ("true", "1", "t", "yes")


def _named(fields: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in fields), None)


def _geometry(fields: dict[str, str], axes: int) -> Geometry:
    """Spacing, origin and affine."""
    spacing = _numbers(fields, "ElementSpacing" if "ElementSpacing" in fields else "ElementSize", float)
    origin = _numbers(fields, _named(fields, _ORIGIN) or "", float)
    matrix = _numbers(fields, _named(fields, _MATRIX) or "", float)
    affine = None
    if len(matrix) == axes * axes and axes <= 3:
        pitches = spacing if len(spacing) == axes else [1.0] * axes
        whole = np.eye(4)
        whole[:axes, :axes] = np.array(matrix).reshape(axes, axes).T * pitches
        if len(origin) == axes:
            whole[:axes, 3] = origin
        affine = finite_numbers(whole.reshape(-1))
    return Geometry(
        "tzyx"[4 - axes :],
        finite_numbers(reversed(spacing)) if len(spacing) == axes else None,
        finite_numbers(reversed(origin)) if len(origin) == axes else None,
        None,
        affine,
        space="LPS",
    )


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of a file that holds its header and its samples."""
    shape, channels = samples.shape[:-1], samples.shape[-1]
    own = "compressed" in volume.layout and b"ElementDataFile" in volume.header
    packed = bool(volume.layout.get("compressed", True))
    array = in_file(samples, volume.dtype, volume.byteorder)
    if own and volume.layout.get("text"):
        data = " ".join(str(x) for x in array.reshape(-1).tolist()).encode() + b"\n"
    else:
        data = array.tobytes()
        data = zlib.compress(data) if packed else data
    geometry = volume.geometry
    changes = {"ElementDataFile": "LOCAL", "HeaderSize": None, "CompressedDataSize": str(len(data)) if packed else None}
    if own:
        header, _, fields = split(volume.header)
        before = _geometry(fields, len(shape))
        if _numbers(fields, "DimSize", int) != list(reversed(shape)):
            changes["DimSize"] = " ".join(map(str, reversed(shape)))
        if geometry.spacing and geometry.spacing != before.spacing:
            text = " ".join(map(repr, reversed(geometry.spacing)))
            changes |= {name: text for name in ("ElementSpacing", "ElementSize") if name in fields}
        moved = geometry.origin != before.origin or geometry.affine != before.affine
        added = ""
        if moved:
            name = _named(fields, _ORIGIN) or _ORIGIN[0]
            changes[name] = " ".join(map(repr, _origin(geometry, len(shape))))
            added = "" if name in fields else f"{name} = {changes[name]}"
        lines = []
        for line in header.decode("latin-1").splitlines():
            key = line.partition("=")[0].strip()
            if key == "ElementDataFile" and added:
                lines.append(added)
            if key not in changes:
                lines.append(line)
            elif changes[key] is not None:
                lines.append(f"{key} = {changes[key]}")
        return ("\n".join(lines) + "\n").encode("latin-1") + data
    return _new_header(volume, shape, channels, len(data)) + data


def _origin(geometry: Geometry, axes: int) -> list[float]:
    """The position of the first sample, x first."""
    matrix, known = geometry.matrix("LPS"), list(reversed(geometry.origin or (0.0,) * axes))
    return known if matrix is None else [float(x) for x in matrix[: min(axes, 3), 3]] + known[3:]


def _new_header(volume: RawVolume, shape: tuple[int, ...], channels: int, size: int) -> bytes:
    """The header for a volume of another format."""
    dtype, geometry, axes = "uint8" if volume.dtype == "bool" else volume.dtype, volume.geometry, len(shape)
    names = {number: name for name, number in reversed(_TYPES.items())}
    if dtype not in names:
        raise UnsupportedInput(f"MetaImage holds no samples of type {volume.dtype}", "samples")
    lines = {"ObjectType": "Image", "NDims": axes, "BinaryData": True}
    lines["BinaryDataByteOrderMSB"] = volume.byteorder == "big"
    lines["CompressedData"], lines["CompressedDataSize"] = True, size
    spacing, matrix = geometry.spacing, geometry.matrix("LPS")
    if matrix is not None and geometry.axes == "tzyx"[4 - axes :]:
        side = min(axes, 3)
        pitches = np.linalg.norm(matrix[:side, :side], axis=0)
        whole = np.eye(axes)
        whole[:side, :side] = matrix[:side, :side] / np.where(pitches > 0, pitches, 1.0)
        lines["TransformMatrix"] = " ".join(map(repr, whole.T.reshape(-1).tolist()))
        spacing = (*(spacing or ())[: axes - side], *(float(x) for x in reversed(pitches)))
    if matrix is not None:
        lines["Offset"] = " ".join(map(repr, _origin(geometry, axes)))
    if spacing is not None and len(spacing) == axes:
        lines["ElementSpacing"] = " ".join(map(repr, reversed(spacing)))
    lines["DimSize"] = " ".join(map(str, reversed(shape)))
    if channels > 1:
        lines["ElementNumberOfChannels"] = channels
    lines["ElementType"], lines["ElementDataFile"] = names[dtype], "LOCAL"
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()
