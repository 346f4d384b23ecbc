"""Readers of OBJ, STL and OFF files.

trimesh is not used here, because it accepts damaged files that must be refused (wrong counts, indices of 0, truncated
lists) and misreads the relative indices of later objects.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from ...errors import OverLimit, UnreadableFile
from ...io.limits import Limits
from .polygons import MAX_CORNERS, triangulate
from .raw_mesh import RawMesh

_DISCARDED_KEYS = {
    b"vt": "texture coordinates", b"vn": "normals", b"usemtl": "materials", b"l": "lines", b"p": "points",
    b"curv": "curves", b"curv2": "curves", b"cstype": "curves", b"surf": "free-form surfaces",
}  # fmt: skip


def read_obj(data: bytes, limits: Limits) -> RawMesh:
    """Reads Wavefront OBJ: the ``v`` and ``f`` lines of all objects. Negative indices count backwards from the vertices
    before their line."""
    limits.check("max_faces", len(re.findall(rb"^[ \t]*f[ \t]", data, re.M)), "faces")
    vertices: list[list[float]] = []
    polygons: list[list[int]] = []
    keys: dict[bytes, int] = {}
    colours: list[list[float]] = []
    for line in re.sub(rb"\\\r?\n", b" ", data).splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            vertices.append([float(word) for word in words[1:4]])
            colours.extend([[float(word) for word in words[4:7]]] if len(words) >= 7 else [])
        elif words[0] == b"f":
            if len(words) > MAX_CORNERS:
                raise OverLimit(
                    f"a face of {len(words) - 1:,} corners: at most {MAX_CORNERS:,} are read", "limit.corners"
                )
            corners = [int(word.partition(b"/")[0]) for word in words[1:]]
            if min(corners, default=0) < 0:
                corners = [c if c > 0 else len(vertices) + c + 1 if c else 0 for c in corners]
            polygons.append(corners)
        else:
            keys[words[0]] = keys.get(words[0], 0) + 1
    points = np.array(vertices, np.float64).reshape(len(vertices), 3)
    faces, notes = triangulate(polygons, points, limits, first=1)
    lost = _obj_losses(keys)
    if len(colours) != len(vertices):
        lost += ["colours of some vertices only: not kept"] if colours else []
        return RawMesh(points, faces - 1, (*lost, *notes))
    return RawMesh(points, faces - 1, (*lost, *notes), np.array(colours, np.float64).reshape(-1, 3).clip(0, 1))


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
    body = re.sub(rb"^\s*(?:end)?solid\b[^\n]*", b"", text, flags=re.M)  # names may be any words
    words = body.split()
    facets = words.count(b"endfacet")
    limits.check("max_faces", facets, "faces")
    corners = re.findall(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", body)
    started = words.count(b"facet")
    solids, solid_ends = (len(re.findall(rb"^\s*" + key + rb"\b", text, re.M)) for key in (b"solid", b"endsolid"))
    if len(corners) != 3 * facets or started != facets or solids != solid_ends:
        raise UnreadableFile(
            f"the file ends early: {started:,} facets started and {facets:,} ended, with {len(corners):,} corners; "
            f"{solids} solids started and {solid_ends} ended",
            "truncated",
        )
    vertices = np.array([float(word) for word in chain.from_iterable(corners)], np.float64)
    notes = (f"{solids} objects joined",) if solids > 1 else ()
    return RawMesh(vertices.reshape(-1, 3), np.arange(3 * facets).reshape(-1, 3), notes)


def _without_line_breaks(words: list[bytes], corners: int, polygons: int) -> Iterator[list[bytes]]:
    """The lines of an OFF file whose numbers are not broken into lines as usual, as far as there are numbers."""
    end = 3 * corners
    if min(corners, polygons) < 0 or end > len(words):
        return
    yield from (words[at : at + 3] for at in range(0, end, 3))
    for _ in range(polygons):
        start, end = end, end + 1 + (int(words[end]) if end < len(words) else len(words))
        if not start < end <= len(words):
            return
        yield words[start:end]


def read_off(data: bytes, limits: Limits) -> RawMesh:
    """Reads OFF (Object File Format), text. Colours, normals and edges are not used."""
    lines = [words for line in data.splitlines() if (words := line.partition(b"#")[0].split())]
    keyword = lines[0][0]
    lines[0] = lines[0][1:]
    if not lines[0]:
        del lines[0]
    if b"\0" in data or not lines or (lines[0] and lines[0][0].upper() == b"BINARY"):
        raise UnreadableFile("there are no counts after OFF (binary OFF is not supported)", "header")
    corners, polygons = (int(word) for word in islice(chain.from_iterable(lines), 2))
    limits.check("max_faces", polygons, "faces")
    usual = corners + polygons < len(lines) and len(lines[0]) > 1 and len(lines[1]) > 2
    if keyword == b"OFF" and not usual:
        numbers = [*chain.from_iterable(lines)]
        lines = [numbers[:3], *_without_line_breaks(numbers[3:], corners, polygons)]
    if corners < 0 or polygons < 0 or corners + polygons > len(lines) - 1:
        raise UnreadableFile(
            f"the header says {corners:,} vertices and {polygons:,} faces, the file has {len(lines) - 1:,} lines",
            "truncated",
        )
    vertices = [[float(word) for word in words[:3]] for words in lines[1 : 1 + corners]]
    face_list = []
    for words in lines[1 + corners : 1 + corners + polygons]:
        count = int(words[0])
        if not 0 <= count < len(words):
            raise UnreadableFile(f"a face of {count} corners has only {len(words) - 1} numbers", "truncated")
        face_list.append([int(word) for word in words[1 : 1 + count]])
    points = np.array(vertices, np.float64).reshape(corners, 3)
    faces, notes = triangulate(face_list, points, limits)
    lost = () if keyword == b"OFF" else ("colours and normals not kept",)
    return RawMesh(points, faces, lost + notes)
