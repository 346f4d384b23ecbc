"""VTK legacy files (.vtk) of the data set STRUCTURED_POINTS, in binary (big-endian) or ascii."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from ..number_types import fitted, in_file
from .numpy_files import chosen_array
from .raw_volume import Array, Geometry, RawVolume, finite_numbers, from_bytes, require_shape

_TYPES = {
    "char": "int8", "unsigned_char": "uint8", "short": "int16", "unsigned_short": "uint16", "int": "int32",
    "unsigned_int": "uint32", "vtktypeint64": "int64", "vtktypeuint64": "uint64", "float": "float32",
    "double": "float64",
}  # fmt: skip
MAX_LINES = 10_000
"""Most lines of text in a file, besides samples."""


class _Lines:
    """Reads lines of text between the samples."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def next(self) -> list[str] | None:
        """The words of the next line that is not empty; None at the end."""
        for _ in range(MAX_LINES):
            if self.position >= len(self.data):
                return None
            end = self.data.find(b"\n", self.position)
            end = len(self.data) if end < 0 else end
            words = self.data[self.position : end][:1000].decode("latin-1").split()
            self.position = end + 1
            if words:
                return words
        raise UnreadableFile("damaged: a VTK file of more than 10,000 lines of text", "header")


def read(data: bytes, limits: Limits, array: str | None = None) -> RawVolume:
    """Reads a .vtk file. Raises a ``RefusedInput``."""
    lines = _Lines(data)
    lines.next()
    title_end = data.find(b"\n", lines.position)
    lines.position = title_end + 1
    form = (lines.next() or [""])[0].upper()
    if form not in ("BINARY", "ASCII"):
        raise UnreadableFile("damaged: a VTK file that is neither BINARY nor ASCII", "header")
    head, points, words = _dataset(lines)
    found: dict[str, tuple[int, int, str, int]] = {}
    shape = tuple(reversed(head["DIMENSIONS"] if points else [max(1, int(x) - 1) for x in head["DIMENSIONS"]]))
    count = int(np.prod(shape, dtype=object))
    require_shape(shape, 1)
    limits.check("max_voxels", count, "voxels")
    for _ in range(MAX_LINES):
        if words is None:
            break
        name, kind, channels = _attribute(words, lines)
        if not name:
            words = lines.next()
            continue
        begin = lines.position
        lines.position = _end_of_samples(data, begin, form, kind, count * channels)
        found[name] = (begin, lines.position, kind, channels)
        words = lines.next()
    chosen = chosen_array(list(found), array)
    begin, end, dtype_name, channels = found[chosen]
    require_shape(shape, channels)
    dtype = np.dtype(dtype_name).newbyteorder(">")
    samples = _samples(data, begin, end, form, dtype, count * channels)
    geometry = _geometry(head, points)
    layout = {"form": form, "name": chosen[:500], "vtk": True}
    others = [name for name in found if name != chosen]
    whole = RawVolume(
        fitted(samples.reshape(*shape, channels)), dtype.name, "big", geometry, layout, data[:begin], data[end:]
    )
    if others and len(whole.header) + len(whole.trailer) > 1 << 19:
        raise UnsupportedInput(f"the arrays {', '.join(map(printable, others[:20]))} cannot be kept", "array")
    return whole


def _dataset(lines: _Lines) -> tuple[dict[str, list[Any]], bool, list[str] | None]:
    """The fields DIMENSIONS, ORIGIN and SPACING, whether samples are at points, and the line after POINT_DATA."""
    head: dict[str, list[Any]] = {}
    for _ in range(100):
        words = lines.next()
        if words is None:
            break
        key = words[0].upper()
        if key == "DATASET" and words[1:] and words[1].upper() != "STRUCTURED_POINTS":
            raise UnsupportedInput(f"VTK data set {printable(words[1])[:40]} is not supported", "variant")
        if key in ("DIMENSIONS", "ORIGIN", "SPACING", "ASPECT_RATIO"):
            try:
                numbers = [float(word) for word in words[1:4]]
            except ValueError:
                break
            if len(numbers) != 3:
                break
            head["SPACING" if key == "ASPECT_RATIO" else key] = numbers
        if key in ("POINT_DATA", "CELL_DATA"):
            sides = head.get("DIMENSIONS", [])
            if len(sides) != 3 or not all(1 <= side < 2**40 for side in sides):
                break
            head["DIMENSIONS"] = [int(side) for side in sides]
            return head, key == "POINT_DATA", lines.next()
    raise UnreadableFile("damaged: a VTK file without dimensions and data", "header")


def _attribute(words: list[str], lines: _Lines) -> tuple[str, str, int]:
    """Name, number type and channels of the samples that follow; name "" if ``words`` begin no samples."""
    key = words[0].upper()
    if key == "SCALARS" and len(words) >= 3:
        mark = lines.position
        if (table := lines.next()) is not None and table[0].upper() != "LOOKUP_TABLE":
            lines.position = mark
        return words[1], _type(words[2]), int(words[3]) if len(words) > 3 and words[3].isdigit() else 1
    if key in ("VECTORS", "NORMALS") and len(words) >= 3:
        return words[1], _type(words[2]), 3
    if key == "COLOR_SCALARS" and len(words) >= 3 and words[2].isdigit():
        return words[1], "uint8", int(words[2])
    if key in ("METADATA", "INFORMATION", "COMPONENT_NAMES", "NAME"):
        return "", "", 0
    if len(words) == 4 and words[1].isdigit() and words[2].isdigit() and words[3].lower() in _TYPES:  # of a FIELD
        return words[0], _type(words[3]), int(words[1])
    return "", "", 0


def _type(name: str) -> str:
    if name.lower() not in _TYPES:
        raise UnsupportedInput(f"VTK samples of type {printable(name)[:30]} are not supported", "samples")
    return _TYPES[name.lower()]


def _end_of_samples(data: bytes, begin: int, form: str, dtype: str, count: int) -> int:
    """Where ``count`` samples end. Raises ``UnreadableFile`` if the file ends before them."""
    if form == "BINARY":
        from_bytes(data, begin, np.dtype(dtype), count)
        return begin + count * np.dtype(dtype).itemsize
    rest = data[begin:].split(None, count)
    if len(rest) < count:
        raise UnreadableFile(f"the file ends early: {len(rest):,} of {count:,} samples", "truncated")
    return len(data) - len(rest[count]) if len(rest) > count else len(data)


def _samples(data: bytes, begin: int, end: int, form: str, dtype: np.dtype[Any], count: int) -> Array:
    """The samples between two places of the file."""
    if form == "BINARY":
        return from_bytes(data, begin, dtype, count)
    try:
        return np.array(data[begin:end].split()[:count], np.float64).astype(dtype)
    except ValueError:
        raise UnreadableFile("damaged: a sample is not a number", "corrupt") from None


def _geometry(head: dict[str, list[Any]], points: bool) -> Geometry:
    """Spacing and origin; that of cells is the middle of the first one."""
    spacing = finite_numbers(reversed(head.get("SPACING", [1.0, 1.0, 1.0])))
    origin = finite_numbers(reversed(head.get("ORIGIN", [0.0, 0.0, 0.0])))
    if not points and origin and spacing:
        origin = tuple(o + 0.5 * s for o, s in zip(origin, spacing, strict=True))
    return Geometry("zyx", spacing, origin)


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of a .vtk file. Arrays beside the one that was fitted are kept unless the grid is another one."""
    shape, channels = samples.shape[:-1], samples.shape[-1]
    name = {number: name for name, number in reversed(_TYPES.items())}.get(volume.dtype)
    if name is None or len(shape) > 3:
        raise UnsupportedInput(f"VTK holds no samples of type {volume.dtype} on {len(shape)} axes", "samples")
    array = in_file(samples, volume.dtype, "big")
    form = str(volume.layout.get("form", "BINARY"))
    content = array.tobytes() if form == "BINARY" else _text(array)
    if volume.layout.get("vtk") and _is_own(volume, shape):
        return volume.header + content + volume.trailer
    geometry, sides = volume.geometry, [*reversed(shape), 1, 1][:3]
    spacing = [*reversed(geometry.spacing or (1.0,) * len(shape)), 1.0, 1.0][:3]
    origin = [*reversed(geometry.origin or (0.0,) * len(shape)), 0.0, 0.0][:3]
    if geometry.affine is not None and geometry.origin is None:
        origin = [geometry.affine[4 * row + 3] for row in range(3)]
    text = (
        f"# vtk DataFile Version 3.0\ninrfit\n{form}\nDATASET STRUCTURED_POINTS\n"
        f"DIMENSIONS {' '.join(map(str, sides))}\nORIGIN {' '.join(map(repr, origin))}\n"
        f"SPACING {' '.join(map(repr, spacing))}\nPOINT_DATA {int(np.prod(sides))}\n"
        f"SCALARS samples {name} {channels}\nLOOKUP_TABLE default\n"
    )
    return text.encode() + content + b"\n"


def _is_own(volume: RawVolume, shape: tuple[int, ...]) -> bool:
    """Whether the header of the source describes this grid."""
    lines = _Lines(volume.header)
    for _ in range(3):
        lines.next()
    try:
        head, points, _ = _dataset(lines)
    except (UnreadableFile, UnsupportedInput):
        return False
    sides = head["DIMENSIONS"] if points else [max(1, side - 1) for side in head["DIMENSIONS"]]
    return tuple(reversed(sides)) == shape and _geometry(head, points) == volume.geometry


def _text(array: Array) -> bytes:
    """Samples in ascii, nine a line."""
    words = [repr(x) if isinstance(x, float) else str(x) for x in array.reshape(-1).tolist()]
    return "\n".join(" ".join(words[start : start + 9]) for start in range(0, len(words), 9)).encode()
