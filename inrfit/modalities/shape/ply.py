"""Reading Stanford PLY, text or binary, with lists of any lengths."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from .ply_rows import COLOURS, INDEX_NAMES, BinaryRows, Columns, Element, Property, TextRows
from .polygons import triangulate
from .raw_mesh import RawMesh, check_vertices

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_MAX_HEADER = 65_536


def read_ply(data: bytes, limits: Limits) -> RawMesh:
    """The mesh of a PLY file. Raises ``UnreadableFile`` if it has fewer rows than its header says."""
    elements, order, start = _parse_header(data)
    counts = {element.name: element.count for element in elements}
    if any(not 0 <= count <= len(data) for count in counts.values()):
        listed = ", ".join(f"{count:,} {printable(name)}" for name, count in counts.items())
        raise UnreadableFile(f"damaged: the header says {listed}, the file has {len(data):,} bytes", "truncated")
    limits.check("max_faces", counts.get("face", 0), "faces")
    if counts.get("tristrips") and not counts.get("face"):
        raise UnsupportedInput("PLY of triangle strips: not supported", "layout")
    if not counts.get("face") or not counts.get("vertex"):
        raise UnreadableFile("the file has no faces", "no-faces")
    check_vertices(counts["vertex"], limits)
    reader = TextRows(data, start, limits) if order is None else BinaryRows(data, start, order, limits)
    columns: dict[str, Columns] = {}
    for element in elements:
        columns[element.name] = reader.read(element)
        if {"vertex", "face"} <= columns.keys():
            break
    try:
        vertices = np.stack([columns["vertex"][axis] for axis in "xyz"], axis=1).astype(np.float64)
        corners, sizes = next(columns["face"][name] for name in INDEX_NAMES if name in columns["face"])
    except (KeyError, StopIteration):
        raise UnreadableFile("damaged: the header lacks coordinates or vertex indices", "header") from None
    faces, notes = triangulate(corners.astype(np.int64), sizes, vertices, limits)
    if not len(faces):
        raise UnreadableFile("the file has no faces", "no-faces")
    colours = _colours(columns["vertex"])
    return RawMesh(vertices, faces, (*_losses(elements, colours is not None, columns["vertex"]), *notes), colours)


def _colours(columns: Columns) -> npt.NDArray[np.float64] | None:
    """The colours of the vertices (v, 3), 0 to 1; None if there are none. Integers are divided by their range."""
    for names in (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b")):
        if all(name in columns for name in names):
            found = np.stack([columns[name] for name in names], axis=1)
            if found.dtype.kind in "iu":
                return found.astype(np.float64) / np.iinfo(found.dtype).max
            largest = 255.0 if found.max(initial=0) > 1 else 1.0  # text has no types
            return (found / largest).clip(0, 1)
    return None


def _losses(elements: list[Element], coloured: bool, vertices: Columns) -> list[str]:
    """Notes on the properties and elements that are not kept. ``coloured``: whether the vertices have colours.
    ``vertices``: the columns of the vertices."""
    names = {element.name: [prop.name for prop in element.properties] for element in elements}
    of_vertices = [name for name in names["vertex"] if name not in "xyz"]
    of_faces = [name for name in names["face"] if name not in INDEX_NAMES]
    lost = []
    if any(name in COLOURS for name in of_vertices) and not coloured:
        lost.append("colours")
    if any(name in COLOURS for name in of_faces):
        lost.append("colours of faces")
    if "alpha" in of_vertices and not _is_opaque(vertices["alpha"]):
        lost.append("transparency")
    lost += [name for name in of_vertices + of_faces if name not in COLOURS]
    lost += [name for name in names if name not in ("vertex", "face") and names[name]]
    return [f"not kept: {printable(', '.join(dict.fromkeys(lost[:12])))}"] if lost else []


def _is_opaque(alpha: npt.NDArray[Any]) -> bool:
    """Whether all values are the largest one, 255 or 1."""
    opaque = 255 if alpha.dtype.kind in "iu" or alpha.max(initial=0) > 1 else 1
    return bool((alpha == opaque).all())


def _parse_header(data: bytes) -> tuple[list[Element], str | None, int]:
    """Elements, byte order (None: text) and where the rows begin."""
    match = re.search(rb"end_header[ \t]*(\r\n|\n|\r)", data[:_MAX_HEADER])
    if match is None:
        raise UnreadableFile("the file ends early, within the header", "truncated")
    elements: list[Element] = []
    order: str | None = None
    stated = False
    for line in re.split(r"\r\n|\n|\r", data[: match.start()].decode("latin-1")):
        words = line.split()
        if words[:1] == ["format"] and len(words) >= 2:
            orders = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
            if words[1] not in orders:
                raise UnsupportedInput(f"PLY in the format {printable(words[1])}: not supported", "variant")
            order, stated = orders[words[1]], True
        elif words[:1] == ["element"] and len(words) == 3 and re.fullmatch(r"[-+]?\d{1,15}", words[2]):
            elements.append(Element(words[1], int(words[2]), ()))
        elif words[:1] == ["property"] and elements:
            last = elements[-1]
            elements[-1] = Element(last.name, last.count, (*last.properties, _property(words[1:])))
        elif words[:1] in (["element"], ["property"]):
            raise UnreadableFile("damaged: a line of the header makes no sense", "header")
    if not stated:
        raise UnreadableFile("damaged: the header has no format", "header")
    return elements, order, match.end()


def _property(words: list[str]) -> Property:
    """A property from the words of its line."""
    try:
        if words[0] == "list":
            return Property(words[3], _TYPES[words[2]], _TYPES[words[1]])
        return Property(words[1], _TYPES[words[0]])
    except (KeyError, IndexError):
        raise UnreadableFile("damaged: a property of the header has no known type", "header") from None
