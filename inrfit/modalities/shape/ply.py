"""Reading Stanford PLY, text or binary, with lists of any lengths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from .polygons import triangulate
from .raw_mesh import RawMesh

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_INDEX_NAMES = ("vertex_indices", "vertex_index")
_COLOURS = ("red", "green", "blue", "alpha", "diffuse_red", "diffuse_green", "diffuse_blue", "r", "g", "b")
_MAX_HEADER = 65_536


@dataclass(frozen=True)
class Property:
    """A property of an element: its NumPy type, and for a list the type of its length."""

    name: str
    type: str
    length_type: str = ""


@dataclass(frozen=True)
class Element:
    """An element of the header: ``count`` rows of ``properties``."""

    name: str
    count: int
    properties: tuple[Property, ...]


Columns = dict[str, Any]
"""Values by property: an array (count,), or for lists an array (count, n) or a list of lists."""


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
    reader = _TextRows(data[start:]) if order is None else _BinaryRows(data, start, order)
    columns: dict[str, Columns] = {}
    for element in elements:
        columns[element.name] = reader.read(element)
        if {"vertex", "face"} <= columns.keys():
            break
    try:
        vertices = np.stack([columns["vertex"][axis] for axis in "xyz"], axis=1).astype(np.float64)
        polygons = next(columns["face"][name] for name in _INDEX_NAMES if name in columns["face"])
    except (KeyError, StopIteration):
        raise UnreadableFile("damaged: the header lacks coordinates or vertex indices", "header") from None
    lists = polygons.tolist() if isinstance(polygons, np.ndarray) else polygons
    if isinstance(polygons, np.ndarray) and polygons.shape[1] == 3:
        faces, notes = polygons.astype(np.int64), tuple[str, ...]()
    else:
        faces, notes = triangulate(lists, vertices, limits)
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
    of_faces = [name for name in names["face"] if name not in _INDEX_NAMES]
    lost = []
    if any(name in _COLOURS for name in of_vertices) and not coloured:
        lost.append("colours")
    if any(name in _COLOURS for name in of_faces):
        lost.append("colours of faces")
    if "alpha" in of_vertices and not _is_opaque(vertices["alpha"]):
        lost.append("transparency")
    lost += [name for name in of_vertices + of_faces if name not in _COLOURS]
    lost += [name for name in names if name not in ("vertex", "face") and names[name]]
    return [f"not kept: {printable(', '.join(dict.fromkeys(lost[:12])))}"] if lost else []


def _is_opaque(alpha: Any) -> bool:
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


def _ends_early(element: Element) -> UnreadableFile:
    return UnreadableFile(
        f"the file ends early: fewer than {element.count:,} entries of '{printable(element.name)}'", "truncated"
    )


class _BinaryRows:
    """Reads the rows of a binary file, element by element."""

    def __init__(self, data: bytes, start: int, order: str) -> None:
        self._data, self._at, self._order = data, start, order

    def read(self, element: Element) -> Columns:
        """The columns of the next element."""
        lengths = self._first_lengths(element)
        rows = self._uniform(element, lengths)
        if rows is not None:
            return rows
        return self._varied(element)

    def _first_lengths(self, element: Element) -> list[int]:
        """The lengths of the lists in the first row."""
        at, lengths = self._at, []
        for prop in element.properties if element.count else ():
            if prop.length_type:
                size = np.dtype(prop.length_type).itemsize
                if at + size > len(self._data):
                    raise _ends_early(element)
                length = int(np.frombuffer(self._data, self._order + prop.length_type, 1, at)[0])
                if length < 0 or length > len(self._data):
                    raise UnreadableFile("damaged: a list has an impossible length", "corrupt")
                lengths.append(length)
                at += size + length * np.dtype(prop.type).itemsize
            else:
                at += np.dtype(prop.type).itemsize
        return lengths

    def _uniform(self, element: Element, lengths: list[int]) -> Columns | None:
        """The columns, if all rows have lists of these lengths; None if they do not."""
        fields: list[Any] = []
        remaining = iter(lengths)
        for index, prop in enumerate(element.properties):
            if prop.length_type and element.count:
                fields.append((f"n{index}", self._order + prop.length_type))
                fields.append((f"v{index}", self._order + prop.type, (next(remaining),)))
            elif not prop.length_type:
                fields.append((f"v{index}", self._order + prop.type))
        dtype = np.dtype(fields)
        if self._at + element.count * dtype.itemsize > len(self._data):
            if not lengths:
                raise _ends_early(element)
            return None
        rows = np.frombuffer(self._data, dtype, element.count, self._at)
        for index, prop in enumerate(element.properties):
            if prop.length_type and element.count and np.ptp(rows[f"n{index}"]):
                return None
        self._at += element.count * dtype.itemsize
        names = {prop.name: f"v{index}" for index, prop in enumerate(element.properties)}
        return {name: rows[field] for name, field in names.items() if field in (dtype.names or ())}

    def _varied(self, element: Element) -> Columns:
        """The columns of an element whose lists differ in length, row by row."""
        columns: dict[str, list[Any]] = {prop.name: [] for prop in element.properties}
        data, at = self._data, self._at
        types = [
            (
                columns[prop.name],
                np.dtype(self._order + prop.type),
                np.dtype(self._order + prop.length_type) if prop.length_type else None,
            )
            for prop in element.properties
        ]
        for _ in range(element.count):
            for column, dtype, length_type in types:
                count = 1
                if length_type is not None:
                    if at + length_type.itemsize > len(data):
                        raise _ends_early(element)
                    count = int(np.frombuffer(data, length_type, 1, at)[0])
                    at += length_type.itemsize
                if count < 0 or at + count * dtype.itemsize > len(data):
                    raise _ends_early(element)
                values = np.frombuffer(data, dtype, count, at)
                at += count * dtype.itemsize
                column.append(values.tolist() if length_type is not None else values[0])
        self._at = at
        return {**columns}


class _TextRows:
    """Reads the rows of a text file, element by element."""

    def __init__(self, text: bytes) -> None:
        self._words = text.split()
        self._at = 0

    def read(self, element: Element) -> Columns:
        """The columns of the next element."""
        try:
            if not any(prop.length_type for prop in element.properties):
                return self._table(element)
            return self._lists(element)
        except (ValueError, OverflowError):
            raise UnreadableFile(
                f"damaged: a number of '{printable(element.name)}' cannot be read", "corrupt"
            ) from None

    def _table(self, element: Element) -> Columns:
        """The columns of an element without lists."""
        width = len(element.properties)
        words = self._words[self._at : self._at + element.count * width]
        if len(words) < element.count * width:
            raise _ends_early(element)
        self._at += len(words)
        table: npt.NDArray[np.float64] = np.array([float(word) for word in words]).reshape(element.count, width)
        return {prop.name: table[:, index] for index, prop in enumerate(element.properties)}

    def _lists(self, element: Element) -> Columns:
        """The columns of an element with lists."""
        columns: dict[str, list[Any]] = {prop.name: [] for prop in element.properties}
        words, at = self._words, self._at
        for _ in range(element.count):
            for prop in element.properties:
                count = 1
                if prop.length_type:
                    count, at = int(words[at]) if at < len(words) else -1, at + 1
                if count < 0 or at + count > len(words):
                    raise _ends_early(element)
                values = words[at : at + count]
                at += count
                convert: Mapping[bool, Any] = {True: int, False: float}
                numbers = [convert[prop.type[0] in "iu"](word) for word in values]
                columns[prop.name].append(numbers if prop.length_type else numbers[0])
        self._at = at
        return {**columns}
