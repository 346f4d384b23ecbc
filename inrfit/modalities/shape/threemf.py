"""Reading 3MF: a ZIP archive with the mesh as XML. trimesh would need lxml and networkx for it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from .raw_mesh import RawMesh

_MAX_DEPTH, _MAX_INSTANCES = 32, 10_000
Transform = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Object:
    """An object of the model: a mesh, or components (identifier, transform)."""

    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int64]
    components: tuple[tuple[str, Transform], ...]


def read_3mf(data: bytes, limits: Limits) -> RawMesh:
    """All objects that the build contains, in world coordinates."""
    root = ElementTree.fromstring(_model(data, limits))
    notes = []
    if any(_local(element.tag) in ("basematerials", "colorgroup", "texture2dgroup") for element in root.iter()):
        notes.append("materials not kept")
    objects = {item.get("id", ""): _object(item) for item in root.iter() if _local(item.tag) == "object"}
    items = [item for item in root.iter() if _local(item.tag) == "item"]
    placed: list[tuple[_Object, Transform]] = []
    for item in items:
        _place(objects, item.get("objectid", ""), _transform(item.get("transform")), 0, placed)
    placed = [(found, matrix) for found, matrix in placed if len(found.faces)]
    limits.check("max_faces", sum(len(found.faces) for found, _ in placed), "faces")
    limits.check("max_faces", sum(len(found.vertices) for found, _ in placed) // 3, "faces' worth of vertices")
    if (unit := root.get("unit", "millimeter")) != "millimeter":
        notes.append(f"the unit is {printable(unit)[:20]}: coordinates are kept, the unit is not")
    if any(item.get("type") in ("support", "solidsupport") for item in root.iter()):
        notes.append("supports are part of the shape")
    vertices, faces, start = [], [], 0
    for found, matrix in placed:
        vertices.append(found.vertices @ matrix[:3] + matrix[3])
        mirrored = np.linalg.det(matrix[:3]) < 0
        faces.append(start + (found.faces[:, ::-1] if mirrored else found.faces))
        start += len(found.vertices)
    if not faces:
        raise UnreadableFile("the file has no triangles", "no-faces")
    if len(faces) > 1:
        notes.insert(0, f"{len(faces)} objects joined")
    return RawMesh(np.concatenate(vertices), np.concatenate(faces), tuple(notes))


def _model(data: bytes, limits: Limits) -> bytes:
    """The XML of the model. Raises a ``RefusedInput`` for a damaged archive, or one that unpacks to too many bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info for info in archive.infolist() if info.filename.lower().endswith(".model")]
            if not names:
                raise UnsupportedInput("a ZIP archive without a 3D model", "format")
            limits.check("max_bytes", names[0].file_size, "unpacked size in bytes")
            with archive.open(names[0]) as packed:
                text = packed.read(names[0].file_size + 1)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise UnreadableFile(f"damaged: {error}", "corrupt") from error
    if len(text) != names[0].file_size:
        raise UnreadableFile("damaged: the model has another size than the archive says", "corrupt")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise UnsupportedInput("3MF with a document type: not supported", "xml")
    return text


def _local(tag: str) -> str:
    """The name of an element without its namespace."""
    return tag.rpartition("}")[2]


def _object(element: ElementTree.Element) -> _Object:
    """An object of the model."""
    vertices = [
        [float(item.get(axis, "nan")) for axis in "xyz"] for item in element.iter() if _local(item.tag) == "vertex"
    ]
    triangles = [item for item in element.iter() if _local(item.tag) == "triangle"]
    faces = [[int(item.get(corner, "-1")) for corner in ("v1", "v2", "v3")] for item in triangles]
    components = tuple(
        (item.get("objectid", ""), _transform(item.get("transform")))
        for item in element.iter()
        if _local(item.tag) == "component"
    )
    indices = np.array(faces, np.int64).reshape(-1, 3)
    if len(indices) and (indices.min() < 0 or indices.max() >= len(vertices)):
        raise UnreadableFile(f"a face refers to vertex {indices.max():,} of {len(vertices):,}", "index")
    return _Object(np.array(vertices, np.float64).reshape(-1, 3), indices, components)


def _transform(text: str | None) -> Transform:
    """A transform (4, 3) that multiplies rows from the right: twelve numbers, or none for the identity."""
    if not text:
        return np.concatenate([np.eye(3), np.zeros((1, 3))])
    numbers = [float(word) for word in text.split()]
    if len(numbers) != 12:
        raise UnreadableFile("damaged: a transform has not twelve numbers", "corrupt")
    return np.array(numbers).reshape(4, 3)


def _place(
    objects: Mapping[str, _Object], name: str, matrix: Transform, depth: int, placed: list[tuple[_Object, Transform]]
) -> None:
    """Adds the object ``name``, and its components, under ``matrix`` to ``placed``."""
    if name not in objects or depth > _MAX_DEPTH or len(placed) > _MAX_INSTANCES:
        raise UnreadableFile("damaged: components are missing, nested too deeply or too many", "node-graph")
    found = objects[name]
    placed.append((found, matrix))
    for child, own in found.components:
        product = np.concatenate([own[:3] @ matrix[:3], own[3:] @ matrix[:3] + matrix[3:]])
        _place(objects, child, product, depth + 1, placed)
