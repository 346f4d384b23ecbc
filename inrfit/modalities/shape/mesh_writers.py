"""Writing meshes as PLY, OBJ, STL, OFF and GLB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import UsageError
from .mesh import Mesh


def mesh_bytes(mesh: Mesh, suffix: str) -> bytes:
    """The bytes of ``mesh`` as a .ply (binary), .obj (text), .stl (binary), .off (text) or .glb file. Raises
    ``UsageError`` for another suffix, and for coordinates that the format cannot hold."""
    if suffix.lower() not in WRITERS:
        label = suffix or "a file without a suffix"
        raise UsageError(f"a shape is written as {', '.join(WRITERS)}, not as {label}", "suffix")
    return WRITERS[suffix.lower()](mesh)


def _as_ply(mesh: Mesh) -> bytes:
    """Binary PLY in float32, or in float64 if the mesh is so far from the origin that float32 would be too coarse."""
    low, high = mesh.bounds
    needs_double = np.abs([low, high]).max() > 1e3 * (high - low).max() or np.abs([low, high]).max() > 1e37
    dtype, name = ("<f8", "double") if needs_double else ("<f4", "float")
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty {name} x\nproperty {name} y\nproperty {name} z\n"
        + ("property uchar red\nproperty uchar green\nproperty uchar blue\n" if mesh.colours is not None else "")
        + f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    fields: list[Any] = [("position", dtype, 3)]
    fields += [("colour", "u1", 3)] if mesh.colours is not None else []
    vertices = np.empty(len(mesh.vertices), np.dtype(fields))
    vertices["position"] = mesh.vertices
    if mesh.colours is not None:
        vertices["colour"] = (mesh.colours * 255).round()
    rows = np.empty(len(mesh.faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    rows["count"], rows["corners"] = 3, mesh.faces
    return header.encode() + vertices.tobytes() + rows.tobytes()


def _as_obj(mesh: Mesh) -> bytes:
    """Text of ``v`` and ``f`` lines."""
    row, table = f"v {_number_format(mesh)}", mesh.vertices
    if mesh.colours is not None:
        row, table = row + " {:.4g} {:.4g} {:.4g}", np.concatenate([table, mesh.colours], axis=1)
    lines = [(row + "\n").format(*vertex) for vertex in table.tolist()]
    lines += ["f {} {} {}\n".format(*face) for face in (mesh.faces + 1).tolist()]
    return "".join(lines).encode()


def _number_format(mesh: Mesh) -> str:
    """The format of three coordinates: as many digits as a billionth of the mesh's extent needs."""
    low, high = mesh.bounds
    largest, extent = float(np.abs([low, high]).max()), float((high - low).max()) or 1.0
    digits = min(17, 9 + max(0, int(np.ceil(np.log10(max(largest / extent, 1.0))))))
    return " ".join([f"{{:.{digits}g}}"] * 3)


def _as_off(mesh: Mesh) -> bytes:
    """Text of an OFF file."""
    row = f"{_number_format(mesh)}\n"
    lines = [f"OFF\n{len(mesh.vertices)} {len(mesh.faces)} 0\n"]
    lines += [row.format(*vertex) for vertex in mesh.vertices.tolist()]
    lines += ["3 {} {} {}\n".format(*face) for face in mesh.faces.tolist()]
    return "".join(lines).encode()


def _as_glb(mesh: Mesh) -> bytes:
    """Binary glTF: float32 vertices around the middle of the mesh, placed by a node."""
    import json

    middle = mesh.bounds.mean(axis=0)
    vertices = (mesh.vertices - middle).astype("<f4")
    if not np.isfinite(vertices).all():
        raise UsageError("the coordinates are too large for .glb; write .ply or .obj instead", "suffix")
    indices = mesh.faces.astype("<u4")
    body = vertices.tobytes() + indices.tobytes()
    attributes = {"POSITION": 0}
    views: list[dict[str, Any]] = [
        {"buffer": 0, "byteOffset": 0, "byteLength": vertices.nbytes, "target": 34962},
        {"buffer": 0, "byteOffset": vertices.nbytes, "byteLength": indices.nbytes, "target": 34963},
    ]
    accessors: list[dict[str, Any]] = [
        {"bufferView": 0, "componentType": 5126, "count": len(vertices), "type": "VEC3",
         "min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()},
        {"bufferView": 1, "componentType": 5125, "count": indices.size, "type": "SCALAR"},
    ]  # fmt: skip
    if mesh.colours is not None:
        attributes["COLOR_0"] = 2
        colours = np.zeros((len(vertices), 4), np.uint8)  # four bytes a vertex, as the format wants rows to be aligned
        colours[:, :3], colours[:, 3] = (mesh.colours * 255).round(), 255
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": colours.nbytes, "target": 34962})
        accessors.append(
            {"bufferView": 2, "componentType": 5121, "normalized": True, "count": len(vertices), "type": "VEC4"}
        )
        body += colours.tobytes()
    header = {
        "asset": {"version": "2.0", "generator": "inrfit"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": middle.tolist()}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 1, "mode": 4}]}],
        "buffers": [{"byteLength": len(body)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(body).to_bytes(4, "little") + b"BIN\0" + body
    data: bytes = b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks
    return data


def _as_stl(mesh: Mesh) -> bytes:
    """Binary STL in float32."""
    corners = mesh.corners
    if np.abs(corners).max() > np.finfo(np.float32).max:
        raise UsageError("the coordinates are too large for .stl; write .ply or .obj instead", "suffix")
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows = np.zeros(len(corners), record)
    rows["normal"], rows["corners"] = normal / np.where(length > 0, length, 1), corners
    return bytes(80) + len(rows).to_bytes(4, "little") + rows.tobytes()


WRITERS: Mapping[str, Callable[[Mesh], bytes]] = {
    ".ply": _as_ply,
    ".obj": _as_obj,
    ".stl": _as_stl,
    ".off": _as_off,
    ".glb": _as_glb,
}
"""The formats that are written, by their suffix."""

COLOURED = (".ply", ".obj", ".glb")
"""Suffixes of formats that keep the colours of vertices."""
