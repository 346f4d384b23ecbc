"""Readers of PLY and GLB files that use trimesh, with checks of what trimesh accepts silently."""

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
from .raw_mesh import RawMesh, triangulate

_HARMLESS_EXTENSIONS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "KHR_xmp")
_TRIANGLES, _STRIP = 4, 5
"""Modes of glTF primitives that are read."""
_MAX_NODE_DEPTH = 256


def read_ply(data: bytes, limits: Limits) -> RawMesh:
    """Reads Stanford PLY, text or binary. The counts in its header are compared with what trimesh returns."""
    import warnings

    from trimesh.exchange.ply import load_ply

    head = data[: data.find(b"end_header")].decode("latin-1")
    counts = {name: int(n) for name, n in re.findall(r"^element\s+(\S+)\s+([-+]?\d+)\s*$", head, re.M)}
    if any(not 0 <= n <= len(data) for n in counts.values()):
        raise UnreadableFile(
            f"damaged: the header says {_listed(counts)}, the file has {len(data):,} bytes", "truncated"
        )
    limits.check("max_faces", counts.get("face", 0), "faces")
    if not counts.get("face") or not counts.get("vertex"):
        raise UnreadableFile("the file has no faces", "no-faces")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy deprecates the text reader that trimesh uses
        loaded = load_ply(io.BytesIO(data), skip_materials=True, fix_texture=False)
    elements = loaded["metadata"]["_ply_raw"]
    for name in ("vertex", "face"):
        _check_ply_element(name, elements[name]["data"], counts[name])
    loaded_faces = loaded.get("faces")
    if loaded_faces is None or not len(loaded_faces):
        raise UnreadableFile("the file has no faces", "no-faces")
    extra = [key for key in elements["vertex"]["properties"] if key not in ("x", "y", "z")]
    notes = (f"not kept: {printable(', '.join(extra[:12]))}",) if extra else ()
    faces, cut = np.asarray(loaded_faces, np.int64), tuple[str, ...]()
    if faces.shape[1] != 3:
        faces, cut = triangulate(faces.tolist())
    elif len(faces) != counts["face"]:
        cut = ("polygons cut into triangles",)
    return RawMesh(np.asarray(loaded["vertices"], np.float64), faces, notes + cut)


def _listed(counts: Mapping[str, int]) -> str:
    """Text such as "8 vertex, 12 face"."""
    return ", ".join(f"{count:,} {printable(name)}" for name, count in counts.items())


def _check_ply_element(name: str, rows: Any, count: int) -> None:
    """Raises ``UnreadableFile`` unless the element ``rows`` of trimesh has ``count`` entries, and ``UnsupportedInput``
    if its lists differ in length."""
    columns = list(rows.values()) if isinstance(rows, Mapping) else [rows]
    if any(len(column) != count for column in columns):
        raise UnreadableFile(f"the file ends early: fewer than {count:,} entries of '{name}'", "truncated")
    for field in getattr(rows, "dtype", np.dtype(int)).names or ():
        inner = rows[field]
        if inner.dtype.names and "f0" in inner.dtype.names and len(inner) and np.ptp(inner["f0"]):
            raise UnsupportedInput(
                "binary PLY with faces of different sizes is not supported; triangulate the mesh first", "polygons"
            )


def read_glb(data: bytes, limits: Limits) -> RawMesh:
    """Reads binary glTF 2: all objects of the scene in world coordinates, in the rest pose."""
    notes = _check_glb(data, limits)
    import trimesh

    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False, skip_materials=True)
    vertices, faces, start = [], [], 0
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or not len(geometry.faces):
            continue
        indices = np.asarray(geometry.faces, np.int64)
        if indices.min() < 0 or indices.max() >= len(geometry.vertices):
            raise UnreadableFile(f"a face refers to vertex {indices.max():,} of {len(geometry.vertices):,}", "index")
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
        vertices.append(np.asarray(geometry.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3])
        faces.append(start + (indices[:, ::-1] if mirrored else indices))
        start += len(vertices[-1])
    if not faces:
        raise UnreadableFile("the scene has no triangles", "no-faces")
    joined = (f"{len(faces)} objects joined",) if len(faces) > 1 else ()
    return RawMesh(np.concatenate(vertices), np.concatenate(faces), joined + notes)


def _check_glb(data: bytes, limits: Limits) -> tuple[str, ...]:
    """Notes about the contents of a GLB file that are not triangles. Raises ``UnreadableFile`` if its header does not
    match the data, ``UnsupportedInput`` if it needs other files or extensions."""
    if len(data) < 20 or struct.unpack_from("<I", data, 8)[0] > len(data):
        raise UnreadableFile("the file ends early: it has fewer bytes than its header says", "truncated")
    header = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    if any(not str(b.get("uri", "data:")).startswith("data:") for b in header.get("buffers", [])):
        raise UnsupportedInput(
            "the geometry is in another file; only self-contained glb files are supported", "external"
        )
    needed = [e for e in header.get("extensionsRequired", []) if not str(e).startswith(_HARMLESS_EXTENSIONS)]
    if needed:
        raise UnsupportedInput(f"glTF extension {printable(needed[0])} is not supported", "extension")
    accessors = header.get("accessors", [])
    for accessor in accessors:
        if "bufferView" not in accessor or "sparse" in accessor:
            raise UnsupportedInput("glTF accessors without data of their own are not supported", "accessor")
        if not 0 <= accessor["count"] <= len(data):
            raise UnreadableFile(f"the file ends early: an accessor claims {accessor['count']:,} items", "truncated")
    primitives = [mesh["primitives"] for mesh in header.get("meshes", [])]
    faces = [
        sum(accessors[p.get("indices", p["attributes"]["POSITION"])]["count"] for p in ps if _has_triangles(p)) // 3
        for ps in primitives
    ]
    nodes = header.get("nodes", [])
    _require_tree(nodes)
    limits.check("max_faces", sum(faces[node["mesh"]] for node in nodes if "mesh" in node), "faces")
    skipped = sum(not _has_triangles(p) for p in chain.from_iterable(primitives))
    lost = ", ".join(key for key in ("materials", "textures", "skins", "animations") if header.get(key))
    return ((f"{lost} not kept",) if lost else ()) + (
        (f"{skipped} parts that are no triangles left out",) if skipped else ()
    )


def _has_triangles(primitive: Mapping[str, Any]) -> bool:
    """Whether a glTF primitive consists of triangles."""
    return primitive.get("mode", _TRIANGLES) in (_TRIANGLES, _STRIP)


def _require_tree(nodes: list[Mapping[str, Any]]) -> None:
    """Raises ``UnreadableFile`` if the nodes are not trees, or nested too deeply."""
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
            if depth > _MAX_NODE_DEPTH:
                raise UnreadableFile("the node graph has a cycle or is nested too deeply", "node-graph")
