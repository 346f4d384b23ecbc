"""Readers of PLY and GLB by trimesh, after their headers are compared with the bytes."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from .raw_mesh import Raw, triangles

_HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "KHR_xmp")
_TRIANGLES, _STRIP = 4, 5
_MAX_DEPTH = 256


def read_ply(data: bytes, limits: Limits) -> Raw:
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
        faces, cut = triangles(faces.tolist())
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


def read_glb(data: bytes, limits: Limits) -> Raw:
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
