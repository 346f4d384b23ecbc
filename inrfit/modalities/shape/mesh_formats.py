"""Mesh files: recognising the format and calling its reader.

Only the bytes that are passed in are read. Materials, textures and buffers in other files, archives and the network are
never accessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from .gltf import read_glb, read_gltf
from .obj_stl_off import read_obj, read_off, read_stl, stl_size
from .ply import read_ply
from .raw_mesh import UTF8_MARK, RawMesh
from .threemf import read_3mf

FORMATS = ("PLY", "OBJ", "STL", "OFF", "GLB", "GLTF", "3MF")
_SUPPORTED = "supported mesh formats: ply, obj, stl, off, glb, gltf, 3mf"
_OFF = re.compile(rb"\s*(?:ST)?C?N?OFF\b")
_OBJ = (re.compile(rb"^[ \t]*v[ \t]+[-+.\dnNiI]", re.M), re.compile(rb"^[ \t]*f[ \t]+[-\d]", re.M))

_READERS: Mapping[str, Callable[[bytes, Limits], RawMesh]] = {
    "PLY": read_ply,
    "OBJ": read_obj,
    "STL": read_stl,
    "OFF": read_off,
    "GLB": read_glb,
    "GLTF": read_gltf,
    "3MF": read_3mf,
}


def signature(data: bytes) -> str | None:
    """The supported format that the content has; None if it has none."""
    data = data.removeprefix(UTF8_MARK)
    head = data[:4096]
    if head[:4] == b"glTF":
        return "GLB"
    if head[:4] == b"PK\3\4" and b"3D/" in data and b".model" in data:
        return "3MF"
    if head.lstrip()[:1] == b"{" and b'"asset"' in data and b'"meshes"' in data:
        return "GLTF"
    if head[:4] in (b"ply\n", b"ply\r"):
        return "PLY"
    if _OFF.match(head):
        return "OFF"
    if len(data) >= 84 and len(data) == stl_size(data):
        return "STL"
    if head.lstrip()[:5].lower() == b"solid" and b"facet" in head.lower():
        return "STL"
    return "OBJ" if b"\0" not in head and all(pattern.search(data) for pattern in _OBJ) else None


def unsupported_format(data: bytes) -> str | None:
    """The name of the unsupported mesh format that the content has; None if it has none."""
    head = data[:65536].lstrip()
    return "COLLADA" if b"<COLLADA" in head[:2000] else None


def read(data: bytes, name: str, limits: Limits) -> tuple[str, RawMesh]:
    """The format, recognised by the content or else by the suffix of ``name``, and the mesh. Raises a ``RefusedInput``,
    or, for damaged data, any exception of a reader."""
    if not data:
        raise UnreadableFile("the file is empty", "empty")
    suffix = name.rpartition(".")[2].upper() if "." in name else ""
    kind = signature(data)
    if kind is None:
        other = unsupported_format(data)
        if other or suffix not in FORMATS:
            raise UnsupportedInput(f"{other or 'this content'} is not a supported mesh format ({_SUPPORTED})", "format")
        kind = suffix
    raw = _READERS[kind](data.removeprefix(UTF8_MARK), limits)
    if suffix in FORMATS and suffix != kind:
        return kind, RawMesh(raw.vertices, raw.faces, (f"the content is {kind}, not {suffix}", *raw.notes))
    return kind, raw
