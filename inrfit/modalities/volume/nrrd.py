"""NRRD (https://teem.sourceforge.net/nrrd/format.html): .nrrd, and .nhdr with its samples in another file."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from ..number_types import fitted
from . import compression
from .raw_volume import Array, Geometry, RawVolume, finite_numbers, from_bytes, require_shape

TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_NAMES = {name: dtype for dtype, names in TYPES.items() for name in names}

SPACES = {
    "RAS": ("right-anterior-superior", "ras"),
    "LPS": ("left-posterior-superior", "lps"),
}
"""Directions of positions, by what they are called."""

_CHANNEL_KINDS = re.compile(r"list|vector|.*color|.*vector|complex|quaternion|point|.*gradient|.*normal|.*matrix")
MAX_HEADER, MAX_BARE_CHANNELS = 1 << 20, 4
"""Most bytes of a header; largest fastest axis that is taken for channels if the header does not say what it is."""

SEPARATOR = re.compile(rb"\r?\n\r?\n")


def split(data: bytes) -> tuple[bytes, bytes, dict[str, str]]:
    """The header with the empty line after it, the bytes that follow, and its fields. Raises ``UnreadableFile``."""
    found = SEPARATOR.search(data, 0, MAX_HEADER)
    end = found.end() if found else min(len(data), MAX_HEADER)
    fields: dict[str, str] = {}
    for line in data[:end].decode("utf-8", "replace").splitlines()[1:]:
        if line.startswith("#") or ":=" in line or ":" not in line:
            continue
        key, value = line.split(":", 1)
        fields[key.strip().lower()] = value.strip()
    return data[:end], data[end:], fields


def data_file(data: bytes) -> str | None:
    """The name of the file that holds the samples; None if they follow the header."""
    fields = split(data)[2]
    return fields.get("data file", fields.get("datafile"))


def read(data: bytes, limits: Limits, axes: str | None = None) -> RawVolume:
    """Reads a header and the samples after it. Raises a ``RefusedInput``."""
    header, body, fields = split(data)
    dtype, encoding = _sample_type(fields)
    sizes = whole_numbers(fields, "sizes")
    if [len(sizes)] != whole_numbers(fields, "dimension"):
        raise UnreadableFile("damaged: the NRRD header has another dimension than sizes", "header")
    channel, notes = _channel_axis(fields, sizes)
    grid = [side for axis, side in enumerate(sizes) if axis != channel]
    channels = 1 if channel is None else sizes[channel]
    require_shape(tuple(reversed(grid)), channels)
    count = int(np.prod(sizes, dtype=object))
    limits.check("max_voxels", count // channels, "voxels")
    array = _samples(body, fields, encoding, dtype, count).reshape(tuple(reversed(sizes)))
    array = array[..., None] if channel is None else np.moveaxis(array, len(sizes) - 1 - channel, -1)
    geometry = place_of(fields, [axis for axis in range(len(sizes)) if axis != channel], axes)
    layout = {"encoding": encoding, "channel": -1 if channel is None else channel}
    if int(fields.get("line skip", "0") or 0) or int(fields.get("byte skip", "0") or 0):
        notes.append("line skip and byte skip not kept: the samples follow the header")
    order = "big" if dtype.byteorder == ">" else "little"
    return RawVolume(
        fitted(np.ascontiguousarray(array)), dtype.name, order, geometry, layout, header, notes=tuple(notes)
    )


def _words(fields: dict[str, str], name: str) -> list[str]:
    return fields.get(name, "").split()


def whole_numbers(fields: dict[str, str], name: str) -> list[int]:
    words = _words(fields, name)
    if not words or not all(word.isdigit() and len(word) < 16 for word in words):
        raise UnreadableFile(f"damaged: the NRRD header has no {name}", "header")
    return [int(word) for word in words]


def _sample_type(fields: dict[str, str]) -> tuple[np.dtype[Any], str]:
    """Number type with its byte order, and encoding."""
    name, encoding = fields.get("type", "").lower(), fields.get("encoding", "raw").lower()
    if name not in _NAMES:
        raise UnsupportedInput(f"NRRD samples of type {name[:30]!r} are not supported", "samples")
    aliases = {"gz": "gzip", "bz2": "bzip2", "txt": "ascii", "text": "ascii"}
    encoding = aliases.get(encoding, encoding)
    if encoding not in ("raw", "gzip", "bzip2", "ascii"):
        raise UnsupportedInput(f"NRRD encoding {encoding[:30]!r} is not supported", "variant")
    dtype, endian = np.dtype(_NAMES[name]), fields.get("endian", "little").lower()
    return dtype.newbyteorder(">" if endian == "big" else "<"), encoding


def _channel_axis(fields: dict[str, str], sizes: list[int]) -> tuple[int | None, list[str]]:
    """The axis of the channels, fastest first; None if there is none. Notes say what was assumed."""
    kinds = [word.lower() for word in _words(fields, "kinds")]
    if len(kinds) == len(sizes):
        found = [axis for axis, kind in enumerate(kinds) if _CHANNEL_KINDS.fullmatch(kind)]
        if len(found) > 1:
            raise UnsupportedInput("NRRD with two axes of components is not supported", "axes")
        return (found[0] if found else None), []
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if len(directions) == len(sizes) and "none" in directions:
        return directions.index("none"), []
    bare = len(sizes) > 1 and sizes[0] <= MAX_BARE_CHANNELS and not directions
    if bare and not finite_numbers(floats(fields.get("spacings", ""))):
        return 0, [f"the first axis of {sizes[0]} taken for channels (the header has no kinds)"]
    return None, []


def floats(text: str) -> list[float]:
    numbers = []
    for word in re.split(r"[\s,()]+", text):
        try:
            numbers.append(float(word))
        except ValueError:
            continue
    return numbers


def _samples(body: bytes, fields: dict[str, str], encoding: str, dtype: np.dtype[Any], count: int) -> Array:
    """``count`` samples. Raises ``UnreadableFile`` if there are fewer."""
    for _ in range(min(int(fields.get("line skip", "0") or 0), 10_000)):
        body = body.partition(b"\n")[2]
    skip = int(fields.get("byte skip", "0") or 0)
    size = count * dtype.itemsize
    if encoding == "ascii":
        words = body.split(None, count)[:count]
        if len(words) < count:
            raise UnreadableFile(f"the file ends early: {len(words):,} of {count:,} samples", "truncated")
        try:
            return np.array(words, dtype=np.float64 if dtype.kind == "f" else np.int64).astype(dtype)
        except (ValueError, OverflowError):
            raise UnreadableFile("damaged: a sample is not a number", "corrupt") from None
    if skip == -1:
        body = body[max(0, len(body) - size) :]
        skip = 0
    if encoding == "gzip":
        body = compression.gunzipped(body, size + max(0, skip))
    elif encoding == "bzip2":
        body = compression.bunzipped(body, size + max(0, skip))
    return from_bytes(body, max(0, skip), dtype, count)


def place_of(fields: dict[str, str], grid: list[int], axes: str | None) -> Geometry:
    """Spacing, origin, units and affine of the ``grid`` axes, fastest first."""
    kinds = [word.lower() for word in _words(fields, "kinds")]
    letters = axes or "".join(
        "t" if axis < len(kinds) and kinds[axis] == "time" else "xyzuvw"[number] for number, axis in enumerate(grid)
    )[::-1].replace("u", "t")
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    vectors = [floats(directions[axis]) if axis < len(directions) else [] for axis in grid]
    spacing: tuple[float, ...] | None
    affine = origin = None
    if any(vectors):
        spacing = finite_numbers(float(np.linalg.norm(v)) if v else 1.0 for v in reversed(vectors))
        affine = _affine(fields, letters, vectors)
    else:
        pitches = floats(fields.get("spacings", ""))
        spacing = finite_numbers(pitches[axis] for axis in reversed(grid)) if len(pitches) > max(grid) else None
        least = floats(fields.get("axis mins", fields.get("axismins", "")))
        if spacing and len(least) > max(grid):
            steps = zip(reversed(grid), spacing, strict=True)
            origin = finite_numbers(least[axis] + inset(fields, axis) * step for axis, step in steps)
    units = re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", "")))
    per_axis = tuple(units[axis] if axis < len(units) else "" for axis in reversed(range(len(grid))))
    named = fields.get("space", "").lower()
    space = next((name for name, words in SPACES.items() if named in words), "")
    return Geometry(letters, spacing, origin, per_axis if any(per_axis) else None, affine, space=space)


def inset(fields: dict[str, str], axis: int) -> float:
    """Steps from the least position along an axis to its first sample: none if samples lie on nodes, else half of one,
    as other readers have it for a header that does not say."""
    words = (fields.get("centerings") or fields.get("centers", "")).split()
    return 0.0 if axis < len(words) and words[axis].lower() == "node" else 0.5


def _affine(fields: dict[str, str], letters: str, vectors: list[list[float]]) -> tuple[float, ...] | None:
    """The matrix of the directions of the axes x, y and z, and of the origin."""
    matrix, origin = np.eye(4), floats(fields.get("space origin", ""))
    spatial = [vector for vector, letter in zip(vectors, reversed(letters), strict=True) if letter in "xyz"]
    if any(len(vector) > 3 for vector in spatial) or len(spatial) > 3:
        return None
    for column, vector in enumerate(spatial):
        if vector:
            matrix[: len(vector), column] = vector
    matrix[: len(origin[:3]), 3] = origin[:3]
    return finite_numbers(matrix.reshape(-1))
