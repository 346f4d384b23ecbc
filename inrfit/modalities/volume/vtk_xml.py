"""VTK XML image data (.vti): one array of points or cells, in ascii, base64 or appended, compressed by zlib or not."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from ..number_types import fitted, in_file
from .compression import inflated
from .numpy_files import chosen_array
from .raw_volume import Array, Geometry, RawVolume, finite_numbers, from_bytes, require_shape

_TYPES = {f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)}
_TYPES |= {"Float32": "float32", "Float64": "float64"}
BLOCK = 32_768
"""Bytes of samples in a compressed block, as in VTK."""

_ATTRIBUTES = ("WholeExtent", "Origin", "Spacing", "Direction")


def read(data: bytes, limits: Limits, array: str | None = None) -> RawVolume:
    """Reads a .vti file. Raises a ``RefusedInput``."""
    text, appended, encoded = _parts(data)
    root = _parsed(text)
    image = root.find("ImageData")
    pieces = [] if image is None else image.findall("Piece")
    if image is None or root.get("type") != "ImageData":
        raise UnsupportedInput(f"VTK data of type {printable(str(root.get('type')))[:40]} is not supported", "variant")
    if len(pieces) != 1:
        raise UnsupportedInput(f"VTK image data of {len(pieces)} pieces is not supported", "variant")
    element, kind, others = _data_array(pieces[0], array)
    extent = _whole(image.get("WholeExtent", ""))
    points = kind == "PointData"
    sides = [max(1, extent[2 * axis + 1] - extent[2 * axis] + points) for axis in range(3)]
    components = element.get("NumberOfComponents") or "1"
    if not re.fullmatch(r"\d{1,9}", components):
        raise UnreadableFile("damaged: VTK image data whose NumberOfComponents is no number", "header")
    channels = int(components)
    shape = tuple(reversed(sides))
    require_shape(shape, channels)
    count = int(np.prod(shape, dtype=object)) * channels
    limits.check("max_voxels", count // channels, "voxels")
    type_name = str(element.get("type"))
    if type_name not in _TYPES:
        raise UnsupportedInput(f"VTK samples of type {printable(type_name)[:30]} are not supported", "samples")
    big = root.get("byte_order") == "BigEndian"
    dtype = np.dtype(_TYPES[type_name]).newbyteorder(">" if big else "<")
    samples = _samples(element, root, appended, encoded, dtype, count)
    notes = (f"arrays not kept: {', '.join(map(printable, others[:20]))}",) if others else ()
    layout = {"name": str(element.get("Name") or "")[:500], "cells": not points}
    layout |= {name: image.get(name, "")[:500] for name in _ATTRIBUTES}
    layout["active"] = next(
        (key for key, value in _data_of(pieces[0], kind).items() if value == element.get("Name")), ""
    )
    return RawVolume(
        fitted(samples.reshape(*shape, channels)),
        dtype.name,
        "big" if big else "little",
        _geometry(image, extent),
        layout,
        notes=notes,
    )


def _parts(data: bytes) -> tuple[bytes, bytes, str]:
    """The XML without its appended data, that data after the underscore, and its encoding."""
    start = data.find(b"<AppendedData")
    if start < 0:
        return data, b"", ""
    mark = data.find(b"_", start)
    if mark < 0:
        raise UnreadableFile("damaged: appended data without a beginning", "corrupt")
    found = re.search(rb'encoding\s*=\s*"(\w+)"', data[start:mark])
    return data[:start] + b"</VTKFile>", data[mark + 1 :], found[1].decode() if found else "base64"


def _parsed(text: bytes) -> ElementTree.Element:
    """The root element. Raises ``UnreadableFile``."""
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise UnsupportedInput("VTK XML with a document type is not supported", "variant")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UnreadableFile(f"damaged: not XML ({error})", "corrupt") from None


def _data_of(piece: ElementTree.Element, kind: str) -> dict[str, str]:
    """The attributes of the point or cell data, which name the active arrays."""
    found = piece.find(kind)
    return {} if found is None else dict(found.attrib)


def _data_array(piece: ElementTree.Element, array: str | None) -> tuple[ElementTree.Element, str, list[str]]:
    """The element of the array to read, "PointData" or "CellData", and the names of the others."""
    found: dict[str, tuple[ElementTree.Element, str]] = {}
    for kind in ("PointData", "CellData"):
        for data in piece.findall(kind):
            for element in data.findall("DataArray"):
                found.setdefault(str(element.get("Name") or f"array{len(found)}"), (element, kind))
    name = chosen_array(list(found), array)
    return *found[name], [other for other in found if other != name]


def _whole(text: str) -> list[int]:
    words = text.split()
    if len(words) != 6 or not all(re.fullmatch(r"-?\d{1,12}", word) for word in words):
        raise UnreadableFile("damaged: VTK image data without an extent", "header")
    return [int(word) for word in words]


def _floats(text: str | None) -> list[float]:
    try:
        return [float(word) for word in (text or "").split()]
    except ValueError:
        raise UnreadableFile("damaged: VTK image data whose place has no numbers", "header") from None


def _geometry(image: ElementTree.Element, extent: list[int]) -> Geometry:
    """Spacing, origin and affine. The origin is that of the first sample, not of the index 0."""
    spacing, origin = _floats(image.get("Spacing")) or [1.0] * 3, _floats(image.get("Origin")) or [0.0] * 3
    direction = _floats(image.get("Direction")) or list(np.eye(3).reshape(-1))
    if len(spacing) != 3 or len(origin) != 3 or len(direction) != 9:
        raise UnreadableFile("damaged: VTK image data whose place has no numbers", "header")
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(direction).reshape(3, 3) * spacing
    matrix[:3, 3] = np.array(origin) + matrix[:3, :3] @ extent[::2]
    first = tuple(float(x) for x in reversed(matrix[:3, 3]))
    return Geometry(
        "zyx", finite_numbers(reversed(spacing)), finite_numbers(first), None, finite_numbers(matrix.reshape(-1))
    )


def _samples(
    element: ElementTree.Element,
    root: ElementTree.Element,
    appended: bytes,
    encoded: str,
    dtype: np.dtype[Any],
    count: int,
) -> Array:
    """``count`` samples. Raises a ``RefusedInput``."""
    form, size = element.get("format", "ascii"), count * dtype.itemsize
    if form == "ascii":
        words = (element.text or "").split(None, count)[:count]
        if len(words) < count:
            raise UnreadableFile(f"the file ends early: {len(words):,} of {count:,} samples", "truncated")
        try:
            return np.array(words, np.float64 if dtype.kind == "f" else np.int64).astype(dtype)
        except (ValueError, OverflowError):
            raise UnreadableFile("damaged: a sample is not a number", "corrupt") from None
    wide = 8 if root.get("header_type") == "UInt64" else 4
    order = "big" if root.get("byte_order") == "BigEndian" else "little"
    compressor = root.get("compressor")
    if compressor not in (None, "vtkZLibDataCompressor"):
        raise UnsupportedInput(f"VTK data compressed by {printable(compressor)[:40]} is not supported", "variant")
    if form == "appended":
        offset = element.get("offset", "")
        if not offset.isdigit():
            raise UnreadableFile("damaged: appended data without an offset", "corrupt")
        source, is_text = appended[int(offset) :], encoded == "base64"
    elif form == "binary":
        source, is_text = "".join((element.text or "").split()).encode(), True
    else:
        raise UnsupportedInput(f"VTK data in the format {printable(form)[:30]} is not supported", "variant")
    packed = compressor is not None
    content = _from_base64(source, wide, order, packed) if is_text else source
    content = _unpacked(content, wide, order, size) if packed else content[wide:]
    return from_bytes(content, 0, dtype, count)


def _from_base64(text: bytes, wide: int, order: Any, packed: bool) -> bytes:
    """The bytes of base64 text: the header of compressed data is coded apart. Raises ``UnreadableFile``."""

    def decoded(part: bytes) -> bytes:
        part = part.split(b"<")[0].rstrip()
        return base64.b64decode(part[: len(part) // 4 * 4])

    try:
        if not packed:
            end = text.find(b"=")
            whole = decoded(text if end < 0 else text[: -(-(end + 1) // 4) * 4])
            rest = text[-(-(end + 1) // 4) * 4 :] if end >= 0 else b""
            return whole + (decoded(rest) if len(whole) <= wide else b"")
        blocks = int.from_bytes(decoded(text[: -(-wide // 3) * 4])[:wide], order)
        length = -(-wide * (3 + min(blocks, len(text))) // 3) * 4
        return decoded(text[:length])[: wide * (3 + blocks)] + decoded(text[length:])
    except ValueError as error:
        raise UnreadableFile(f"damaged: not base64 ({error})", "corrupt") from None


def _unpacked(content: bytes, wide: int, order: Any, size: int) -> bytes:
    """The samples of compressed blocks, ``size`` bytes at most."""

    def number(position: int) -> int:
        return int.from_bytes(content[wide * position : wide * (position + 1)], order)

    blocks, parts, total = number(0), [], 0
    position = wide * (3 + blocks)
    for block in range(min(blocks, len(content) // wide)):
        length = number(3 + block)
        parts.append(inflated(content[position : position + length], size - total))
        total += len(parts[-1])
        position += length
        if total >= size:
            break
    return b"".join(parts)


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of a .vti file, in base64 and compressed by zlib."""
    shape, channels, layout, geometry = samples.shape[:-1], samples.shape[-1], volume.layout, volume.geometry
    name = "UInt8" if volume.dtype == "bool" else next((k for k, v in _TYPES.items() if v == volume.dtype), None)
    if name is None or len(shape) > 3:
        raise UnsupportedInput(f"VTK holds no samples of type {volume.dtype} on {len(shape)} axes", "samples")
    sides = [*reversed(shape), 1, 1][:3]
    own = {key: str(layout.get(key, "")) for key in _ATTRIBUTES}
    points = not layout.get("cells", False)
    extent = _whole(own["WholeExtent"] or "0 0 0 0 0 0")
    if [b - a + points for a, b in zip(extent[::2], extent[1::2], strict=True)] != sides:
        own["WholeExtent"] = " ".join(f"0 {side - points}" for side in sides)
    unchanged = own["Origin"] and own["WholeExtent"] == layout.get("WholeExtent") and _same_place(own, geometry)
    if not unchanged:
        own |= _place(geometry, own["WholeExtent"])
    attributes = " ".join(f'{key}="{_quoted(value)}"' for key, value in own.items() if value)
    kind = "CellData" if not points else "PointData"
    label, active = _quoted(str(layout.get("name") or "samples")), str(layout.get("active") or "Scalars")
    components = f' NumberOfComponents="{channels}"' if channels > 1 else ""
    order = "BigEndian" if volume.byteorder == "big" else "LittleEndian"
    content = _packed(
        in_file(samples, "uint8" if volume.dtype == "bool" else volume.dtype, volume.byteorder).tobytes(), order
    )
    return (
        f'<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" byte_order="{order}" header_type="UInt64" '
        f'compressor="vtkZLibDataCompressor">\n  <ImageData {attributes}>\n    <Piece Extent="{own["WholeExtent"]}">\n'
        f'      <{kind} {active}="{label}">\n        <DataArray type="{name}" Name="{label}"{components} '
        f'format="binary">\n{content}\n        </DataArray>\n      </{kind}>\n    </Piece>\n  </ImageData>\n'
        "</VTKFile>\n"
    ).encode()


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _same_place(own: dict[str, str], geometry: Geometry) -> bool:
    """Whether the attributes of the source say where the grid lies."""
    image = ElementTree.Element("ImageData", own)
    return _geometry(image, _whole(own["WholeExtent"])) == geometry


def _place(geometry: Geometry, extent: str) -> dict[str, str]:
    """Origin, spacing and direction for a grid whose first index is in ``extent``."""
    known = geometry.matrix()
    matrix = np.eye(4) if known is None else known
    pitches = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = matrix[:3, :3] / np.where(pitches > 0, pitches, 1.0)
    first = np.array([int(x) for x in extent.split()][::2])
    origin = matrix[:3, 3] - matrix[:3, :3] @ first

    def text(numbers: Any) -> str:
        return " ".join(repr(float(x)) for x in np.reshape(numbers, -1))

    return {"Origin": text(origin), "Spacing": text(pitches), "Direction": text(direction)}


def _packed(data: bytes, order: str) -> str:
    """``data`` in compressed blocks, in base64."""
    blocks = [zlib.compress(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK)]
    numbers = [len(blocks), BLOCK, len(data) % BLOCK, *map(len, blocks)]
    head = np.array(numbers, ">u8" if order == "BigEndian" else "<u8").tobytes()
    return base64.b64encode(head).decode() + base64.b64encode(b"".join(blocks)).decode()
