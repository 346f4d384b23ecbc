"""Reading glTF, binary or JSON, with trimesh, after checks of what trimesh accepts silently."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from ...io.strict_json import value_count
from .raw_mesh import RawMesh

_HARMLESS_EXTENSIONS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "KHR_xmp")
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
"""Modes of glTF primitives that consist of triangles; fans are not read."""
_MAX_NODE_DEPTH, _MAX_PARTS = 256, 2000

_ITEM_VALUES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_VALUE_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
"""Values of an item of an accessor, and bytes of a value. Padding in matrices is not counted."""

_MAX_COPIES, _SMALL_BYTES = 16, 1 << 26
"""Times that the parts of a file may take its size, and bytes that they may take in any case. Parts may overlap."""

_MAX_VALUES = 20_000_000
"""Values of JSON that are read, at most: each takes about a hundred bytes."""


def read_glb(data: bytes, limits: Limits) -> RawMesh:
    """Reads binary glTF 2: all objects of the scene in world coordinates, in the rest pose."""
    if len(data) < 20 or struct.unpack_from("<I", data, 8)[0] > len(data):
        raise UnreadableFile("the file ends early: it has fewer bytes than its header says", "truncated")
    return _read(data, "glb", data[20 : 20 + struct.unpack_from("<I", data, 12)[0]], limits)


def read_gltf(data: bytes, limits: Limits) -> RawMesh:
    """Reads glTF 2 as JSON whose buffers are embedded in it."""
    return _read(data, "gltf", data, limits)


def _read(data: bytes, file_type: str, header: bytes, limits: Limits) -> RawMesh:
    """The mesh of a glTF file with this JSON ``header``."""
    if (values := value_count(header)) > _MAX_VALUES:
        raise UnsupportedInput(f"a header of {values:,} values: at most {_MAX_VALUES:,} are read", "layout")
    notes = _check_header(_parsed(header), len(data), limits)
    import trimesh

    scene = trimesh.load_scene(io.BytesIO(data), file_type=file_type, process=False, skip_materials=True)
    vertices, faces, colours, start = [], [], list[Any](), 0
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
        colours.append(_colours(geometry))
    if not faces:
        raise UnreadableFile("the scene has no triangles", "no-faces")
    joined = (f"{len(faces)} objects joined",) if len(faces) > 1 else ()
    if any(part is None for part in colours):
        lost = ("colours of some parts only: not kept",) if any(part is not None for part in colours) else ()
        return RawMesh(np.concatenate(vertices), np.concatenate(faces), joined + lost + notes)
    return RawMesh(np.concatenate(vertices), np.concatenate(faces), joined + notes, np.concatenate(colours))


def _parsed(header: bytes) -> dict[str, Any]:
    """The JSON of a glTF file. Raises ``UnreadableFile``."""
    try:
        found = json.loads(header)
    except json.JSONDecodeError as error:
        raise UnreadableFile(f"the header is not JSON: {error.msg} at {error.pos:,}", "header") from None
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"the header is not UTF-8 at byte {error.start:,}", "header") from None
    except RecursionError:
        raise UnreadableFile("the header is nested too deeply", "nesting") from None
    except ValueError:  # Python's limit on digits
        raise UnreadableFile("the header has a whole number of thousands of digits", "number") from None
    if not isinstance(found, dict):
        raise UnreadableFile("the header is not a JSON object", "header")
    return found


def _colours(geometry: Any) -> Any:
    """The colours of the vertices of a geometry of trimesh (v, 3), 0 to 1; None if it has none."""
    found = geometry.visual.vertex_colors if geometry.visual.kind == "vertex" else None
    if found is None or len(found) != len(geometry.vertices):
        return None
    found = np.asarray(found)[:, :3]
    return found / np.iinfo(found.dtype).max if found.dtype.kind in "iu" else found.clip(0, 1)


def _check_header(header: Mapping[str, Any], size: int, limits: Limits) -> tuple[str, ...]:
    """Notes about the contents of a glTF file of ``size`` bytes that are not triangles. Raises ``UnreadableFile`` if
    its header does not match the data, ``UnsupportedInput`` if it needs other files or extensions."""
    if any(not str(b.get("uri", "data:")).startswith("data:") for b in header.get("buffers", [])):
        raise UnsupportedInput("the geometry is in another file; only self-contained files are supported", "external")
    needed = [e for e in header.get("extensionsRequired", []) if not str(e).startswith(_HARMLESS_EXTENSIONS)]
    if needed:
        raise UnsupportedInput(f"glTF extension {printable(needed[0])} is not supported", "extension")
    if any(p.get("mode") == _FAN for mesh in header.get("meshes", []) for p in mesh["primitives"]):
        raise UnsupportedInput("triangle fans of glTF are not supported", "layout")
    _check_accessors(header, size)
    accessors = header.get("accessors", [])
    primitives = [mesh["primitives"] for mesh in header.get("meshes", [])]
    faces = [sum(_triangles(p, accessors) for p in ps) for ps in primitives]
    corners = [sum(accessors[p["attributes"]["POSITION"]]["count"] for p in ps) for ps in primitives]
    nodes = header.get("nodes", [])
    _require_tree(nodes)
    placed = [node["mesh"] for node in nodes if "mesh" in node]
    # All meshes are read, and each of them once more for every node that it is in.
    for what, counts in (("triangles", faces), ("faces' worth of vertices", [count // 3 for count in corners])):
        limits.check("max_faces", sum(counts), what)
        limits.check("max_faces", sum(counts[mesh] for mesh in placed), f"{what} of all instances")
    if len(placed) > _MAX_PARTS or sum(len(primitives[mesh]) for mesh in placed) > _MAX_PARTS:
        raise UnsupportedInput(f"a scene of more than {_MAX_PARTS:,} parts: not supported", "layout")
    _check_ranges(header, size)
    skipped = sum(not _has_triangles(p) for p in chain.from_iterable(primitives))
    lost = [key for key in ("materials", "textures", "skins", "animations") if header.get(key)]
    parts = list(chain.from_iterable(primitives))
    notes = ["morph targets not applied: the shape is the base shape"] if any(p.get("targets") for p in parts) else []
    notes += [f"{', '.join(lost)} not kept"] if lost else []
    return (*notes, *([f"{skipped} parts that are no triangles left out"] if skipped else []))


def _check_accessors(header: Mapping[str, Any], size: int) -> None:
    """Raises ``UnreadableFile`` unless the accessors and the views of buffers, which are all copied, fit into a file of
    ``size`` bytes; ``UnsupportedInput`` for accessors without data."""
    total = 0
    for view in header.get("bufferViews", []):
        total += _count(view["byteLength"], "a view of a buffer", size)
    for accessor in header.get("accessors", []):
        if "bufferView" not in accessor or "sparse" in accessor:
            raise UnsupportedInput("glTF accessors without data of their own are not supported", "accessor")
        total += _count(accessor["count"], "an accessor", size) * _item_bytes(accessor)
    if total > max(_MAX_COPIES * size, _SMALL_BYTES):
        raise UnreadableFile(f"its parts take {total:,} bytes, but the file has {size:,}", "overlap")


def _item_bytes(accessor: Mapping[str, Any]) -> int:
    """Bytes of an item of an accessor, without padding."""
    return _ITEM_VALUES.get(accessor["type"], 16) * _VALUE_BYTES.get(accessor["componentType"], 4)


def _check_ranges(header: Mapping[str, Any], size: int) -> None:
    """Raises ``UnreadableFile`` unless every view lies in its buffer, and every accessor in its view."""
    views = header.get("bufferViews", [])
    buffers = [_count(buffer["byteLength"], "a buffer", size) for buffer in header.get("buffers", [])]
    for view in views:
        if _count(view.get("byteOffset", 0), "a view", size) + view["byteLength"] > buffers[view["buffer"]]:
            raise UnreadableFile("the file ends early: a view reaches beyond its buffer", "truncated")
    for accessor in header.get("accessors", []):
        view, item = views[accessor["bufferView"]], _item_bytes(accessor)
        step = _count(view.get("byteStride", item), "an accessor", size)
        end = _count(accessor.get("byteOffset", 0), "an accessor", size) + (accessor["count"] - 1) * step + item
        if accessor["count"] and end > view["byteLength"]:
            raise UnreadableFile("the file ends early: an accessor reaches beyond its view of a buffer", "truncated")


def _count(value: Any, what: str, size: int) -> int:
    """``value``, a count in the header. Raises ``UnreadableFile`` unless it is an integer of at most ``size``."""
    if type(value) is not int or not 0 <= value <= size:
        raise UnreadableFile(f"the file ends early: {what} claims {printable(value)[:30]} items", "truncated")
    return value


def _triangles(primitive: Mapping[str, Any], accessors: list[Mapping[str, Any]]) -> int:
    """Number of triangles of a glTF primitive."""
    count = int(accessors[primitive.get("indices", primitive["attributes"]["POSITION"])]["count"])
    mode = primitive.get("mode", _TRIANGLES)
    return count // 3 if mode == _TRIANGLES else max(0, count - 2) if mode == _STRIP else 0


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
