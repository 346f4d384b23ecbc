"""Writes NRRD. The text of the source's header is kept; sizes and place are patched for another grid."""

from __future__ import annotations

import re

import numpy as np

from ...errors import UnsupportedInput
from ..number_types import in_file
from . import compression
from .nrrd import SPACES, TYPES, floats, inset, place_of, split, whole_numbers
from .raw_volume import Array, Geometry, RawVolume


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of a .nrrd file, or of a .nhdr file that holds its samples itself."""
    own = "encoding" in volume.layout and volume.header.startswith(b"NRRD")
    header = _patched(volume, samples.shape) if own else _new_header(volume, samples.shape)
    array, encoding = in_file(samples, volume.dtype, volume.byteorder), volume.layout.get("encoding", "gzip")
    channel = volume.layout.get("channel", -1 if samples.shape[-1] == 1 else 0)
    axes = array.ndim
    array = array[..., 0] if channel < 0 else np.moveaxis(array, -1, axes - 1 - int(channel))
    if encoding == "ascii":
        return header + " ".join(str(x) for x in array.reshape(-1).tolist()).encode() + b"\n"
    data = np.ascontiguousarray(array).tobytes()
    if encoding == "gzip":
        data = compression.gzipped(data)
    elif encoding == "bzip2":
        import bz2

        data = bz2.compress(data)
    return header + data


def _file_sizes(volume: RawVolume, shape: tuple[int, ...]) -> list[int]:
    """The sides of the file, fastest first, for samples of ``shape`` (*grid, c)."""
    sides = list(reversed(shape[:-1]))
    channel = volume.layout.get("channel", -1 if shape[-1] == 1 else 0)
    if channel >= 0:
        sides.insert(int(channel), shape[-1])
    return sides


def _patched(volume: RawVolume, shape: tuple[int, ...]) -> bytes:
    """The header of the source, with other sizes and another place where they differ."""
    fields = split(volume.header)[2]
    sizes = _file_sizes(volume, shape)
    geometry, channel = volume.geometry, int(volume.layout.get("channel", -1))
    grid = [axis for axis in range(len(sizes)) if axis != channel]
    changes: dict[str, str | None] = {}
    if sizes != whole_numbers(fields, "sizes"):
        changes["sizes"] = " ".join(map(str, sizes))
    before = place_of(fields, grid, geometry.axes)
    if geometry != before:
        changes |= _place(fields, geometry, before, grid, len(sizes))
    for name in ("data file", "datafile", "line skip", "byte skip"):
        if name in fields:
            changes[name] = None
    if not changes:
        return volume.header
    lines = []
    for line in volume.header.decode("latin-1").rstrip("\r\n").splitlines():
        key = line.split(":", 1)[0].strip().lower() if ":" in line and ":=" not in line else ""
        if key not in changes:
            lines.append(line)
        elif changes[key] is not None:
            lines.append(f"{line.split(':', 1)[0]}: {changes[key]}")
    lines += [f"{key}: {value}" for key, value in changes.items() if value is not None and key not in fields]
    return ("\n".join(lines) + "\n\n").encode("latin-1")


def _place(
    fields: dict[str, str], geometry: Geometry, before: Geometry, grid: list[int], axes: int
) -> dict[str, str | None]:
    """The fields of the header that say where the grid lies, for another place than the source's."""
    changes: dict[str, str | None] = {}
    steps = dict(zip(grid, reversed([1.0] * len(grid)), strict=True))
    if geometry.spacing and before.spacing:
        ratios = [a / b if b else 1.0 for a, b in zip(geometry.spacing, before.spacing, strict=True)]
        steps = dict(zip(grid, reversed(ratios), strict=True))
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if len(directions) == axes:
        scaled = []
        for axis, text in enumerate(directions):
            numbers = [repr(x * steps.get(axis, 1.0)) for x in floats(text)]
            scaled.append("none" if text == "none" else f"({','.join(numbers)})")
        changes["space directions"] = " ".join(scaled)
    if "spacings" in fields:
        pitches = fields["spacings"].split()
        for axis, step in steps.items():
            if axis < len(pitches) and pitches[axis].lower() != "nan":
                pitches[axis] = repr(float(pitches[axis]) * step)
        changes["spacings"] = " ".join(pitches)
    if geometry.affine:
        count = len(floats(fields.get("space origin", ""))) or max(len(floats(text)) for text in directions)
        changes["space origin"] = f"({','.join(repr(geometry.affine[4 * row + 3]) for row in range(min(count, 3)))})"
    for name in ("axis mins", "axismins", "axis maxs", "axismaxs"):
        if name in fields:
            changes[name] = None
    if geometry.origin and geometry.spacing and not geometry.affine:
        least = ["nan"] * axes
        for axis, first, step in zip(grid, reversed(geometry.origin), reversed(geometry.spacing), strict=True):
            least[axis] = repr(first - inset(fields, axis) * step)
        changes["axismins" if "axismins" in fields else "axis mins"] = " ".join(least)
    return changes


def _new_header(volume: RawVolume, shape: tuple[int, ...]) -> bytes:
    """The header for a volume of another format."""
    dtype = "uint8" if volume.dtype == "bool" else volume.dtype
    if dtype not in TYPES:
        raise UnsupportedInput(f"NRRD holds no samples of type {volume.dtype}", "samples")
    geometry, sizes = volume.geometry, _file_sizes(volume, shape)
    several = shape[-1] > 1
    lines = ["NRRD0004", f"type: {TYPES[dtype][-1]}", f"dimension: {len(sizes)}"]
    lines.append("sizes: " + " ".join(map(str, sizes)))
    kinds = ["time" if letter == "t" else "space" for letter in reversed(geometry.axes)]
    lines.append("kinds: " + " ".join((["list"] if several else []) + kinds))
    matrix = geometry.matrix()
    if matrix is not None and set("xyz") <= set(geometry.axes):
        lines.append(f"space: {SPACES[geometry.space][0]}" if geometry.space else "space dimension: 3")
        vectors = ["none"] * several
        for letter in reversed(geometry.axes):
            column = matrix[:3, "xyz".index(letter)].tolist() if letter in "xyz" else None
            vectors.append("none" if column is None else f"({','.join(map(repr, column))})")
        lines.append("space directions: " + " ".join(vectors))
        lines.append(f"space origin: ({','.join(map(repr, matrix[:3, 3].tolist()))})")
    elif geometry.spacing is not None:
        lines.append("spacings: " + " ".join(["nan"] * several + [repr(x) for x in reversed(geometry.spacing)]))
        if geometry.origin is not None:
            lines.append("centerings: " + " ".join(["none"] * several + ["node"] * len(geometry.axes)))
            lines.append("axis mins: " + " ".join(["nan"] * several + [repr(x) for x in reversed(geometry.origin)]))
    if np.dtype(dtype).itemsize > 1:
        lines.append(f"endian: {volume.byteorder}")
    lines.append("encoding: gzip")
    return ("\n".join(lines) + "\n\n").encode()
