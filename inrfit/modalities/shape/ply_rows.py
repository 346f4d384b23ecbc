"""The rows of a PLY file, text or binary: coordinates, colours and indices of vertices. Everything else is skipped."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, printable
from ...io.limits import Limits
from .polygons import PolygonList
from .text_words import text_words

INDEX_NAMES = ("vertex_indices", "vertex_index")
COLOURS = ("red", "green", "blue", "alpha", "diffuse_red", "diffuse_green", "diffuse_blue", "r", "g", "b")
_GATHERED = 1 << 20
"""Values that are gathered at a time."""


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
"""Values by property that is kept: an array (count,), or for lists a pair of arrays: all values, and the length of each
list."""


def _ends_early(element: Element) -> UnreadableFile:
    return UnreadableFile(
        f"the file ends early: fewer than {element.count:,} entries of '{printable(element.name)}'", "truncated"
    )


def _is_kept(element: Element, prop: Property) -> bool:
    """Whether a property is read: coordinates, colours, and the first list of indices of vertices."""
    if element.name == "face":
        lists = (other for other in element.properties if other.length_type and other.name in INDEX_NAMES)
        return prop is next(lists, None)
    return element.name == "vertex" and not prop.length_type and (prop.name in "xyz" or prop.name in COLOURS)


class BinaryRows:
    """Reads the rows of a binary file, element by element."""

    def __init__(self, data: bytes, start: int, order: str, limits: Limits) -> None:
        self._data, self._at, self._order, self._limits = data, start, order, limits

    def read(self, element: Element) -> Columns:
        """The columns of the next element."""
        rows = self._uniform(element, self._first_lengths(element))
        return self._varied(element) if rows is None else rows

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
        columns: Columns = {}
        for index, prop in enumerate(element.properties):
            if prop.length_type and element.count and np.ptp(rows[f"n{index}"]):
                return None
            if not _is_kept(element, prop) or f"v{index}" not in (dtype.names or ()):
                continue
            values = rows[f"v{index}"]
            if prop.length_type:
                size = values.shape[1]
                self._limits.check("max_faces", max(0, size - 2) * element.count, "triangles")
                columns[prop.name] = (values.reshape(-1), np.full(element.count, size))
            else:
                columns[prop.name] = values
        self._at += element.count * dtype.itemsize
        return columns

    def _varied(self, element: Element) -> Columns:
        """The columns of an element whose lists differ in length: where the values are, row by row, then all values."""
        places: dict[str, array[int]] = {}
        polygons = PolygonList(self._limits)
        steps = []
        for prop in element.properties:
            kept = places.setdefault(prop.name, array("q")) if _is_kept(element, prop) else None
            length = struct.Struct(self._order + np.dtype(prop.length_type).char) if prop.length_type else None
            steps.append((kept, np.dtype(prop.type).itemsize, length))
        at, data = self._at, self._data
        try:
            for _ in range(element.count):
                for kept, size, length in steps:
                    count = 1
                    if length is not None:
                        count = length.unpack_from(data, at)[0]
                        at += length.size
                    if kept is not None:
                        kept.append(at)
                        if length is not None:
                            polygons.begin(count)
                    if count < 0 or at + count * size > len(data):
                        raise _ends_early(element)
                    at += count * size
        except struct.error:
            raise _ends_early(element) from None
        self._at = at
        columns: Columns = {}
        for prop in element.properties:
            if prop.name in places:
                counts = np.array(polygons.counts, np.int64) if prop.length_type else np.ones(element.count, np.int64)
                values = _gathered(data, np.array(places[prop.name]), counts, np.dtype(self._order + prop.type))
                columns[prop.name] = (values, counts) if prop.length_type else values
        return columns


def _gathered(data: bytes, places: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], dtype: Any) -> Any:
    """The values of ``dtype`` in ``data``: ``counts`` values one after the other from each of ``places`` on."""
    raw, ends = np.frombuffer(data, np.uint8), np.cumsum(counts)
    values = np.empty(int(counts.sum()), dtype)
    for begin in range(0, len(values), _GATHERED):
        numbers = np.arange(begin, min(begin + _GATHERED, len(values)))
        rows = np.searchsorted(ends, numbers, side="right")
        at = places[rows] + dtype.itemsize * (numbers - (ends - counts)[rows])
        values[numbers] = raw[at[:, None] + np.arange(dtype.itemsize)].view(dtype)[:, 0]
    return values


class TextRows:
    """Reads the rows of a text file, element by element."""

    def __init__(self, data: bytes, start: int, limits: Limits) -> None:
        self._words, self._limits = text_words(data, start), limits
        self._most_words = (len(data) - start) // 2 + 1

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
        if element.count * width > self._most_words:
            raise _ends_early(element)
        numbers = np.array(array("d", map(float, islice(self._words, element.count * width))), np.float64)
        if len(numbers) < element.count * width:
            raise _ends_early(element)
        table = numbers.reshape(element.count, width)
        return {prop.name: table[:, k] for k, prop in enumerate(element.properties) if _is_kept(element, prop)}

    def _lists(self, element: Element) -> Columns:
        """The columns of an element with lists."""
        columns = {prop.name: array("d") for prop in element.properties if _is_kept(element, prop)}
        polygons = PolygonList(self._limits)
        kept = [(prop, _is_kept(element, prop)) for prop in element.properties]
        for _ in range(element.count):
            for prop, keeps in kept:
                count = 1
                if prop.length_type:
                    count = int(next(self._words, b"-1"))
                    if count < 0 or count > self._most_words:
                        raise _ends_early(element)
                    if keeps:
                        polygons.begin(count)
                words = islice(self._words, count)
                numbers = array("q", map(int, words)) if prop.type[0] in "iu" else array("d", map(float, words))
                if len(numbers) < count:
                    raise _ends_early(element)
                if keeps and prop.length_type:
                    polygons.corners.extend(map(int, numbers))
                elif keeps:
                    columns[prop.name].extend(numbers)
        found: Columns = {name: np.array(values, np.float64) for name, values in columns.items()}
        if element.name == "face":
            indices = np.array(polygons.corners, np.int64), np.array(polygons.counts, np.int64)
            found = dict.fromkeys(found, indices)
        return found
