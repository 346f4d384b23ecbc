"""Readers of OBJ, STL and OFF files.

trimesh is not used here, because it accepts damaged files that must be refused (wrong counts, indices of 0, truncated
lists) and misreads the relative indices of later objects.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from ...errors import UnreadableFile
from ...io.limits import Limits
from .polygons import MAX_CORNERS, PolygonList
from .raw_mesh import RawMesh, Vertices, check_vertices
from .text_words import text_lines, text_words

_DISCARDED_KEYS = {
    b"vt": "texture coordinates", b"vn": "normals", b"usemtl": "materials", b"l": "lines", b"p": "points",
    b"curv": "curves", b"curv2": "curves", b"cstype": "curves", b"surf": "free-form surfaces",
}  # fmt: skip


_KEYS = frozenset(_DISCARDED_KEYS) | {b"o", b"g"}
"""First words of the lines that are counted, beside vertices and faces."""

_MOST_WORDS = MAX_CORNERS + 1
"""Words of a line that are told apart: those of a face of the most corners that are read."""


def read_obj(data: bytes, limits: Limits) -> RawMesh:
    """Reads Wavefront OBJ: the ``v`` and ``f`` lines of all objects. Negative indices count backwards from the vertices
    before their line."""
    if b"\\" in data:
        data = re.sub(rb"\\\r?\n", b" ", data)
    _count_faces(data, limits)
    check_vertices(data.count(b"\nv "), limits)
    vertices, colours, keys = array("d"), array("d"), dict.fromkeys(_KEYS, 0)
    polygons = PolygonList(limits)
    for line in text_lines(data):
        words = line.split(None, _MOST_WORDS)
        if not words:
            continue
        if words[0] == b"v":
            if len(words) < 4:
                raise UnreadableFile("damaged: a vertex has fewer than three coordinates", "damaged")
            vertices.extend(map(float, words[1:4]))
            colours.extend(map(float, words[4:7]) if len(words) >= 7 else ())
            if len(vertices) > 9 * limits.max_faces:
                check_vertices(len(vertices) // 3, limits)
        elif words[0] == b"f":
            polygons.begin(len(words) - 1)
            corners = [int(word.partition(b"/")[0]) for word in words[1:]]
            if min(corners, default=0) < 0:
                count = len(vertices) // 3
                corners = [c if c > 0 else count + c + 1 if c else 0 for c in corners]
            polygons.corners.extend(corners)
        elif words[0] in keys:
            keys[words[0]] += 1
    points = np.array(vertices, np.float64).reshape(-1, 3)
    faces, notes = polygons.triangulated(points, first=1)
    lost = _obj_losses({key: count for key, count in keys.items() if count})
    if len(colours) != len(vertices):
        lost += ["colours of some vertices only: not kept"] if colours else []
        return RawMesh(points, faces - 1, (*lost, *notes))
    return RawMesh(points, faces - 1, (*lost, *notes), np.array(colours, np.float64).reshape(-1, 3).clip(0, 1))


def _count_faces(data: bytes, limits: Limits) -> None:
    """Raises ``OverLimit`` if the faces of an OBJ file are too many triangles. They are counted only if there are
    enough words for them."""
    limits.check("max_faces", data.count(b"\nf "), "faces")
    if data.count(b" ") + data.count(b"\t") <= limits.max_faces:
        return
    triangles = 0
    for match in re.finditer(rb"^[ \t]*f[ \t][^\r\n]*", data, re.M):
        triangles += max(0, len(match[0].split(None, _MOST_WORDS)) - 3)
        if triangles > limits.max_faces:
            limits.check("max_faces", triangles, "triangles so far")


def _obj_losses(keys: dict[bytes, int]) -> list[str]:
    """Notes on what of an OBJ file is not kept. ``keys``: the number of lines by their first word."""
    lost: list[str] = []
    lost += dict.fromkeys(what for key, what in _DISCARDED_KEYS.items() if key in keys)
    lost += [
        f"names of {count} {what}" for key, what in ((b"o", "objects"), (b"g", "groups")) if (count := keys.get(key))
    ]
    return [f"{', '.join(lost)} not kept"] if lost else []


def stl_size(data: bytes) -> int:
    """Size in bytes of a binary STL with the triangle count of this header. ``data`` has at least 84 bytes."""
    return 84 + 50 * int(struct.unpack_from("<I", data, 80)[0])


def read_stl(data: bytes, limits: Limits) -> RawMesh:
    """Reads STL, binary or text. Normals and attribute bytes are not used."""
    text = data.lstrip()[:5].lower() == b"solid"
    if text and not (len(data) >= 84 and len(data) == stl_size(data)):
        return _stl_text(data, limits)
    if len(data) < 84:
        raise UnreadableFile(
            f"the file ends early: an STL file has at least 84 bytes, this one has {len(data)}", "truncated"
        )
    size = stl_size(data)
    claimed, present = (size - 84) // 50, (len(data) - 84) // 50
    if present != claimed:
        raise UnreadableFile(f"the header says {claimed:,} triangles, the file has {present:,}", "truncated")
    limits.check("max_faces", claimed, "faces")
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    records = np.frombuffer(data, record, count=claimed, offset=84)
    extra = len(data) - size
    return RawMesh(
        records["corners"].reshape(-1, 3).astype(np.float64),
        np.arange(3 * claimed).reshape(-1, 3),
        ((f"{extra} bytes after the last triangle not read",) if extra else ())
        + (("attribute bytes (colours) not kept",) if records["attribute"].any() else ()),
    )


def _stl_text(data: bytes, limits: Limits) -> RawMesh:
    """Reads all solids of a text STL. Raises ``UnreadableFile`` unless all facets and solids are complete."""
    text = data.lower()
    limits.check("max_faces", text.count(b"endfacet"), "faces")
    body = re.sub(rb"^\s*(?:end)?solid\b[^\n]*", b"", text, flags=re.M)  # names may be any words
    started, facets = (_count(rb"(?<!\S)" + key + rb"(?!\S)", body) for key in (b"facet", b"endfacet"))
    solids, solid_ends = (_count(rb"^\s*" + key + rb"\b", text) for key in (b"solid", b"endsolid"))
    corners = _count(rb"\bvertex\s+\S+\s+\S+\s+\S+", body)
    if corners != 3 * facets or started != facets or solids != solid_ends:
        raise UnreadableFile(
            f"the file ends early: {started:,} facets started and {facets:,} ended, with {corners:,} corners; "
            f"{solids} solids started and {solid_ends} ended",
            "truncated",
        )
    words = chain.from_iterable(match.groups() for match in re.finditer(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", body))
    vertices = np.fromiter(map(float, words), np.float64, 9 * facets)
    notes = (f"{solids} objects joined",) if solids > 1 else ()
    return RawMesh(vertices.reshape(-1, 3), np.arange(3 * facets).reshape(-1, 3), notes)


def _count(pattern: bytes, text: bytes) -> int:
    """How often ``pattern`` occurs in ``text``."""
    return sum(1 for _ in re.finditer(pattern, text, re.M))


def read_off(data: bytes, limits: Limits) -> RawMesh:
    """Reads OFF (Object File Format), text. Colours, normals and edges are not used."""
    lines = (words for line in text_lines(data) if (words := line.partition(b"#")[0].split(None, _MOST_WORDS)))
    first = next(lines)
    keyword, first = first[0], first[1:]
    first = first or next(lines, [])
    if b"\0" in data or not first or first[0].upper() == b"BINARY":
        raise UnreadableFile("there are no counts after OFF (binary OFF is not supported)", "header")
    counts = [int(word) for word in first[:2]]
    if len(counts) == 1:
        counts.append(int(next(lines, [b"-1"])[0]))
    corners, polygons = counts
    limits.check("max_faces", polygons, "faces")
    check_vertices(corners, limits)
    if corners < 0 or polygons < 0 or 2 * (corners + polygons) > len(data):
        raise UnreadableFile(
            f"the header says {corners:,} vertices and {polygons:,} faces, the file has {len(data):,} bytes",
            "truncated",
        )
    second = next(lines, [])
    usual = len(first) > 1 and len(second) > 2
    found = PolygonList(limits)
    if keyword == b"OFF" and not (usual and _has_lines(data, corners + polygons)):
        points = _numbers_without_lines(data, corners, polygons, found)
    else:
        points = _numbers_by_lines(chain([second], lines), corners, polygons, found)
    faces, notes = found.triangulated(points)
    lost = () if keyword == b"OFF" else ("colours and normals not kept",)
    return RawMesh(points, faces, lost + notes)


def _has_lines(data: bytes, count: int) -> bool:
    """Whether a text has more than ``count`` lines with something in them."""
    return next(islice(re.finditer(rb"^[ \t]*[^\s#]", data, re.M), count, None), None) is not None


def _numbers_by_lines(lines: Iterator[list[bytes]], corners: int, polygons: int, found: PolygonList) -> Vertices:
    """The vertices of an OFF file, whose faces are added to ``found``: one vertex, or one face, a line."""
    vertices, count = array("d"), 0
    for words in islice(lines, corners + polygons):
        count += 1
        if count <= corners:
            if len(words) < 3:
                raise UnreadableFile("damaged: a vertex has fewer than three coordinates", "damaged")
            vertices.extend(map(float, words[:3]))
            continue
        size = int(words[0])
        found.begin(size)
        if not 0 <= size < len(words):
            raise UnreadableFile(f"a face of {size} corners has only {len(words) - 1} numbers", "truncated")
        found.corners.extend(map(int, words[1 : 1 + size]))
    if count < corners + polygons:
        raise UnreadableFile(
            f"the header says {corners:,} vertices and {polygons:,} faces, the file has {count:,} lines of them",
            "truncated",
        )
    return np.array(vertices, np.float64).reshape(-1, 3)


def _numbers_without_lines(data: bytes, corners: int, polygons: int, found: PolygonList) -> Vertices:
    """As ``_numbers_by_lines``, of a file whose numbers are not broken into lines as usual."""
    lines = (text_words(line.partition(b"#")[0]) for line in text_lines(data))
    words = islice(chain.from_iterable(lines), 4, None)  # after OFF, and the numbers of vertices, faces and edges
    vertices = array("d", map(float, islice(words, 3 * corners)))
    for _ in range(polygons):
        size = int(next(words, b"-1"))
        if size < 0:
            break
        found.begin(size)
        found.corners.extend(map(int, islice(words, size)))
    if len(vertices) < 3 * corners or len(found.counts) < polygons or len(found.corners) < sum(found.counts):
        raise UnreadableFile(
            f"the file ends early: the header says {corners:,} vertices and {polygons:,} faces, "
            f"{len(vertices) // 3:,} and {len(found.counts):,} are there",
            "truncated",
        )
    return np.array(vertices, np.float64).reshape(-1, 3)
