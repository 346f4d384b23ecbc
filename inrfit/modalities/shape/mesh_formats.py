"""Mesh files: which format the bytes are, and a reader per format that gives plain arrays or refuses.

Only the bytes handed in are read: no material, texture or buffer beside them, no archive, no network. OBJ,
STL and OFF are read here, because trimesh reads over what must be refused (counts that lie, indices of 0,
lists cut short) and misreads relative indices of later objects; PLY and GLB go through trimesh after their
headers are compared with the bytes.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits

READ = ("PLY", "OBJ", "STL", "OFF", "GLB")
_NAMES = "mesh formats read: ply, obj, stl, off, glb"
_OFF = re.compile(rb"\s*(?:ST)?C?N?OFF\b")
_OBJ = (re.compile(rb"^[ \t]*v[ \t]+[-+.\dnNiI]", re.M), re.compile(rb"^[ \t]*f[ \t]+[-\d]", re.M))
_NOT_KEPT = {b"vt": "texture coordinates", b"vn": "normals", b"usemtl": "materials"}
_HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "KHR_xmp")
_TRIANGLES, _STRIP = 4, 5
_MAX_DEPTH = 256

Vertices = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Raw:
    """What a file says: vertices (v, 3), faces (f, 3), and what was left out or changed."""

    vertices: Vertices
    faces: Faces
    notes: tuple[str, ...] = ()


def signature(data: bytes) -> str | None:
    """The mesh format that the content shows; None when it shows none that is read here."""
    head = data[:4096]
    if head[:4] == b"glTF":
        return "GLB"
    if head[:4] in (b"ply\n", b"ply\r"):
        return "PLY"
    if _OFF.match(head):
        return "OFF"
    if len(data) >= 84 and len(data) == _stl_size(data):
        return "STL"
    if head.lstrip()[:5].lower() == b"solid" and b"facet" in head.lower():
        return "STL"
    return "OBJ" if b"\0" not in head and all(pattern.search(data) for pattern in _OBJ) else None


def foreign(data: bytes) -> str | None:
    """The name of a mesh format that the content shows but that is not read."""
    head = data[:65536].lstrip()
    if head[:1] == b"{" and b'"asset"' in data:
        return "glTF (JSON)"
    return "COLLADA" if b"<COLLADA" in head[:2000] else None


def read(data: bytes, name: str, limits: Limits) -> tuple[str, Raw]:
    """The format, by content or else by the suffix of ``name``, and the arrays. Raises a ``RefusedInput``."""
    if not data:
        raise UnreadableFile("the file is empty", "empty")
    suffix = name.rpartition(".")[2].upper() if "." in name else ""
    kind = signature(data)
    if kind is None:
        other = foreign(data)
        if other or suffix not in READ:
            raise UnsupportedInput(f"{other or 'this content'} is not read as a mesh ({_NAMES})", "format")
        kind = suffix
    raw = _READERS[kind](data, limits)
    if suffix in READ and suffix != kind:
        return kind, Raw(raw.vertices, raw.faces, (f"the content is {kind}, not {suffix}", *raw.notes))
    return kind, raw


def _triangles(polygons: list[list[int]]) -> tuple[Faces, tuple[str, ...]]:
    """Polygons as fans of triangles, and a note on what that changed."""
    notes: list[str] = []
    if any(len(p) != 3 for p in polygons):
        larger, smaller = (sum(len(p) > 3 for p in polygons), sum(len(p) < 3 for p in polygons))
        polygons = [[p[0], p[i], p[i + 1]] for p in polygons for i in range(1, len(p) - 1)]
        notes += [f"{larger:,} polygons cut into triangles"] if larger else []
        notes += [f"{smaller:,} faces of fewer than three corners left out"] if smaller else []
    return np.array(polygons, np.int64).reshape(-1, 3), tuple(notes)


def _obj(data: bytes, limits: Limits) -> Raw:
    """Wavefront OBJ: ``v`` and ``f`` lines of every object; negative indices count back from their line."""
    limits.require("max_faces", len(re.findall(rb"^[ \t]*f[ \t]", data, re.M)), "faces")
    vertices: list[list[float]] = []
    polygons: list[list[int]] = []
    keys: set[bytes] = set()
    for line in re.sub(rb"\\\r?\n", b" ", data).splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            vertices.append([float(word) for word in words[1:4]])
        elif words[0] == b"f":
            corners = [int(word.partition(b"/")[0]) for word in words[1:]]
            if min(corners, default=0) < 0:
                corners = [c if c > 0 else len(vertices) + c + 1 if c else 0 for c in corners]
            polygons.append(corners)
        else:
            keys.add(words[0])
    faces, notes = _triangles(polygons)
    lost = ", ".join(what for key, what in _NOT_KEPT.items() if key in keys)
    return Raw(
        np.array(vertices, np.float64).reshape(len(vertices), 3),
        faces - 1,
        ((f"{lost} not kept",) if lost else ()) + notes,
    )


def _stl_size(data: bytes) -> int:
    """Bytes that a binary STL must have for the count in its header."""
    return 84 + 50 * int(struct.unpack_from("<I", data, 80)[0])


def _stl(data: bytes, limits: Limits) -> Raw:
    """STL, binary or text; normals and attribute bytes are not read."""
    text = data.lstrip()[:5].lower() == b"solid"
    if text and not (len(data) >= 84 and len(data) == _stl_size(data)):
        return _stl_text(data, limits)
    if len(data) < 84:
        raise UnreadableFile(f"the file ends early: an STL has 84 bytes at least, found {len(data)}", "truncated")
    size = _stl_size(data)
    claimed, found = (size - 84) // 50, (len(data) - 84) // 50
    if found != claimed:
        raise UnreadableFile(f"the header says {claimed:,} triangles, the file has {found:,}", "truncated")
    limits.require("max_faces", claimed, "faces")
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    blob = np.frombuffer(data, record, count=claimed, offset=84)
    extra = len(data) - size
    return Raw(
        blob["corners"].reshape(-1, 3).astype(np.float64),
        np.arange(3 * claimed).reshape(-1, 3),
        ((f"{extra} bytes after the last triangle not read",) if extra else ())
        + (("attribute bytes (colours) not kept",) if blob["attribute"].any() else ()),
    )


def _stl_text(data: bytes, limits: Limits) -> Raw:
    """All solids of a text STL; refused unless every facet is complete and every solid ended."""
    text = data.lower()
    words = text.split()
    facets = words.count(b"endfacet")
    limits.require("max_faces", facets, "faces")
    corners = re.findall(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", text)
    begun = words.count(b"facet")
    opened, ended = (len(re.findall(rb"^\s*" + key + rb"\b", text, re.M)) for key in (b"solid", b"endsolid"))
    if len(corners) != 3 * facets or begun != facets or opened != ended:
        raise UnreadableFile(
            f"the text breaks off: {begun:,} facets begun, {facets:,} ended with {len(corners):,} corners, "
            f"{opened} solids begun, {ended} ended",
            "truncated",
        )
    vertices = np.array([float(word) for word in chain.from_iterable(corners)], np.float64)
    notes = (f"{opened} objects joined",) if opened > 1 else ()
    return Raw(vertices.reshape(-1, 3), np.arange(3 * facets).reshape(-1, 3), notes)


def _off(data: bytes, limits: Limits) -> Raw:
    """Object File Format, text; colours, normals and edges are not read."""
    lines = [words for line in data.splitlines() if (words := line.partition(b"#")[0].split())]
    first = lines[0][0]
    lines[0] = lines[0][1:]
    if not lines[0]:
        del lines[0]
    if b"\0" in data or not lines or (lines[0] and lines[0][0].upper() == b"BINARY"):
        raise UnreadableFile("no counts after OFF (binary OFF is not read)", "header")
    corners, polygons = int(lines[0][0]), int(lines[0][1])
    limits.require("max_faces", polygons, "faces")
    if corners < 0 or polygons < 0 or corners + polygons > len(lines) - 1:
        raise UnreadableFile(
            f"the header says {corners:,} vertices and {polygons:,} faces, the file has {len(lines) - 1:,} lines",
            "truncated",
        )
    vertices = [[float(word) for word in words[:3]] for words in lines[1 : 1 + corners]]
    found = []
    for words in lines[1 + corners : 1 + corners + polygons]:
        count = int(words[0])
        if not 0 <= count < len(words):
            raise UnreadableFile(f"a face of {count} corners has only {len(words) - 1} numbers", "truncated")
        found.append([int(word) for word in words[1 : 1 + count]])
    faces, notes = _triangles(found)
    lost = () if first == b"OFF" else ("colours and normals not kept",)
    return Raw(np.array(vertices, np.float64).reshape(corners, 3), faces, lost + notes)


def _ply(data: bytes, limits: Limits) -> Raw:
    """Stanford PLY, text or binary, by trimesh; its counts are compared with what was read."""
    import warnings

    from trimesh.exchange.ply import load_ply

    head = data[: data.find(b"end_header")].decode("latin-1")
    counts = {name: int(n) for name, n in re.findall(r"^element\s+(\S+)\s+([-+]?\d+)\s*$", head, re.M)}
    if any(not 0 <= n <= len(data) for n in counts.values()):
        raise UnreadableFile(f"the header says {counts}, the file has {len(data):,} bytes", "truncated")
    limits.require("max_faces", counts.get("face", 0), "faces")
    if not counts.get("face") or not counts.get("vertex"):
        raise UnreadableFile("the file has no faces", "no-faces")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy deprecates the text reader that trimesh uses
        loaded = load_ply(io.BytesIO(data), skip_materials=True, fix_texture=False)
    elements = loaded["metadata"]["_ply_raw"]
    for name in ("vertex", "face"):
        _ply_rows(name, elements[name]["data"], counts[name])
    listed = loaded.get("faces")
    if listed is None or not len(listed):
        raise UnreadableFile("the file has no faces", "no-faces")
    extra = [key for key in elements["vertex"]["properties"] if key not in ("x", "y", "z")]
    notes = (f"not kept: {printable(', '.join(extra[:12]))}",) if extra else ()
    faces, cut = np.asarray(listed, np.int64), tuple[str, ...]()
    if faces.shape[1] != 3:
        faces, cut = _triangles(faces.tolist())
    elif len(faces) != counts["face"]:
        cut = ("polygons cut into triangles",)
    return Raw(np.asarray(loaded["vertices"], np.float64), faces, notes + cut)


def _ply_rows(name: str, rows: Any, count: int) -> None:
    """Raises unless ``rows``, as trimesh leaves them, are ``count`` and their lists of one length."""
    columns = list(rows.values()) if isinstance(rows, Mapping) else [rows]
    if any(len(column) != count for column in columns):
        raise UnreadableFile(f"the file ends early: the header says {count:,} of '{name}'", "truncated")
    for field in getattr(rows, "dtype", np.dtype(int)).names or ():
        inner = rows[field]
        if inner.dtype.names and "f0" in inner.dtype.names and len(inner) and np.ptp(inner["f0"]):
            raise UnsupportedInput("binary PLY with faces of several sizes is not read (triangulate it)", "polygons")


def _glb(data: bytes, limits: Limits) -> Raw:
    """Binary glTF 2 by trimesh: every object of the scene in world coordinates, in its rest pose."""
    notes = _glb_checked(data, limits)
    import trimesh

    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False, skip_materials=True)
    vertices, faces, start = [], [], 0
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        shape = scene.geometry[name]
        if not isinstance(shape, trimesh.Trimesh) or not len(shape.faces):
            continue
        own = np.asarray(shape.faces, np.int64)
        if own.min() < 0 or own.max() >= len(shape.vertices):
            raise UnreadableFile(f"a face refers to vertex {own.max():,} of {len(shape.vertices):,}", "index")
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
        vertices.append(np.asarray(shape.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3])
        faces.append(start + (own[:, ::-1] if mirrored else own))
        start += len(vertices[-1])
    if not faces:
        raise UnreadableFile("the scene has no triangles", "no-faces")
    joined = (f"{len(faces)} objects joined",) if len(faces) > 1 else ()
    return Raw(np.concatenate(vertices), np.concatenate(faces), joined + notes)


def _glb_checked(data: bytes, limits: Limits) -> tuple[str, ...]:
    """Notes on what a GLB file holds beyond triangles; raises where its header lies or asks for more."""
    if len(data) < 20 or struct.unpack_from("<I", data, 8)[0] > len(data):
        raise UnreadableFile("the file ends early: its header says more bytes than there are", "truncated")
    header = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    if any(not str(b.get("uri", "data:")).startswith("data:") for b in header.get("buffers", [])):
        raise UnsupportedInput("the geometry lies in another file (glb is read when self-contained)", "external")
    needed = [e for e in header.get("extensionsRequired", []) if not str(e).startswith(_HARMLESS)]
    if needed:
        raise UnsupportedInput(f"glTF extension {printable(needed[0])} is not read", "extension")
    accessors = header.get("accessors", [])
    for accessor in accessors:
        if "bufferView" not in accessor or "sparse" in accessor:
            raise UnsupportedInput("glTF accessors without data of their own are not read", "accessor")
        if not 0 <= accessor["count"] <= len(data):
            raise UnreadableFile(f"an accessor claims {accessor['count']:,} items", "truncated")
    primitives = [mesh["primitives"] for mesh in header.get("meshes", [])]
    faces = [
        sum(accessors[p.get("indices", p["attributes"]["POSITION"])]["count"] for p in ps if _solid(p)) // 3
        for ps in primitives
    ]
    nodes = header.get("nodes", [])
    _require_tree(nodes)
    limits.require("max_faces", sum(faces[node["mesh"]] for node in nodes if "mesh" in node), "faces")
    other = sum(not _solid(p) for p in chain.from_iterable(primitives))
    lost = ", ".join(key for key in ("materials", "textures", "skins", "animations") if header.get(key))
    return ((f"{lost} not kept",) if lost else ()) + (
        (f"{other} parts that are no triangles left out",) if other else ()
    )


def _solid(primitive: Mapping[str, Any]) -> bool:
    return primitive.get("mode", _TRIANGLES) in (_TRIANGLES, _STRIP)


def _require_tree(nodes: list[Mapping[str, Any]]) -> None:
    """Raises unless the nodes form trees of sensible depth: glTF has no cycles, no node with two parents."""
    parent: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for child in node.get("children", []):
            if child in parent or not 0 <= child < len(nodes):
                raise UnreadableFile("the node graph is not a tree", "node-graph")
            parent[child] = index
    for index in range(len(nodes)):
        depth = 0
        while index in parent:
            index, depth = parent[index], depth + 1
            if depth > _MAX_DEPTH:
                raise UnreadableFile("the node graph has a cycle, or is too deep", "node-graph")


_READERS: Mapping[str, Callable[[bytes, Limits], Raw]] = {
    "PLY": _ply,
    "OBJ": _obj,
    "STL": _stl,
    "OFF": _off,
    "GLB": _glb,
}
