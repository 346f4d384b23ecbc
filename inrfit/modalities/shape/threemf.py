"""Reading 3MF: a ZIP archive with the mesh as XML. trimesh would need lxml and networkx for it."""

from __future__ import annotations

import io
import zipfile
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits
from .raw_mesh import RawMesh, check_vertices

_MAX_DEPTH, _MAX_INSTANCES = 32, 10_000

_MAX_RATIO, _SMALL_BYTES, _PIECE_BYTES = 100, 1 << 26, 1 << 20
"""Times that a model may unpack to its packed size, bytes that it may unpack to in any case, and bytes that are
unpacked at a time."""

Transform = npt.NDArray[np.float64]


@dataclass
class _Object:
    """An object of the model, as far as it was read: a mesh, or components (identifier, transform)."""

    corners: array[float] = field(default_factory=lambda: array("d"))
    indices: array[int] = field(default_factory=lambda: array("q"))
    components: list[tuple[str, Transform]] = field(default_factory=list)

    @property
    def vertices(self) -> npt.NDArray[np.float64]:
        """Vertices (v, 3)."""
        return np.array(self.corners, np.float64).reshape(-1, 3)

    @property
    def faces(self) -> npt.NDArray[np.int64]:
        """Faces (f, 3). Raises ``UnreadableFile`` for indices out of range."""
        faces = np.array(self.indices, np.int64).reshape(-1, 3)
        count = len(self.corners) // 3
        if len(faces) and (faces.min() < 0 or faces.max() >= count):
            raise UnreadableFile(f"a face refers to vertex {faces.max():,} of {count:,}", "index")
        return faces


class _Model:
    """What was read of a model: its elements are given to ``begin`` one after the other, and are not kept."""

    def __init__(self, limits: Limits) -> None:
        self.objects: dict[str, _Object] = {}
        self.items: list[tuple[str, Transform]] = []
        self.notes: dict[str, None] = {}
        self._object, self._limits = _Object(), limits
        self._vertices = self._triangles = 0

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        """Reads the start of an element. Raises ``OverLimit`` for too many vertices or triangles."""
        kind = name.rpartition(":")[2]
        if kind == "vertex":
            self._vertices += 1
            if self._vertices > 3 * self._limits.max_faces:
                check_vertices(self._vertices, self._limits)
            self._object.corners.extend([float(attributes.get(axis, "nan")) for axis in "xyz"])
        elif kind == "triangle":
            self._triangles += 1
            if self._triangles > self._limits.max_faces:
                self._limits.check("max_faces", self._triangles, "triangles so far")
            self._object.indices.extend([int(attributes.get(corner, "-1")) for corner in ("v1", "v2", "v3")])
        elif kind == "object":
            self._object = self.objects[attributes.get("id", "")] = _Object()
            if attributes.get("type") in ("support", "solidsupport"):
                self.notes["supports are part of the shape"] = None
        elif kind == "component":
            self._object.components.append(_reference(attributes))
        elif kind == "item":
            self.items.append(_reference(attributes))
        elif kind == "model" and (unit := attributes.get("unit", "millimeter")) != "millimeter":
            self.notes[f"the unit is {printable(unit)[:20]}: coordinates are kept, the unit is not"] = None
        elif kind in ("basematerials", "colorgroup", "texture2dgroup"):
            self.notes["materials not kept"] = None


def _reference(attributes: Mapping[str, str]) -> tuple[str, Transform]:
    """The object that a component or an item names, and where it is."""
    return attributes.get("objectid", ""), _transform(attributes.get("transform"))


def read_3mf(data: bytes, limits: Limits) -> RawMesh:
    """All objects that the build contains, in world coordinates."""
    model = _read_model(data, limits)
    placed: list[tuple[_Object, Transform]] = []
    for name, matrix in model.items:
        _place(model.objects, name, matrix, 0, placed)
    placed = [(found, matrix) for found, matrix in placed if found.indices]
    limits.check("max_faces", sum(len(found.indices) // 3 for found, _ in placed), "triangles of all instances")
    check_vertices(sum(len(found.corners) // 3 for found, _ in placed), limits)
    vertices, faces, start = [], [], 0
    for found, matrix in placed:
        vertices.append(found.vertices @ matrix[:3] + matrix[3])
        mirrored = np.linalg.det(matrix[:3]) < 0
        faces.append(start + (found.faces[:, ::-1] if mirrored else found.faces))
        start += len(vertices[-1])
    if not faces:
        raise UnreadableFile("the file has no triangles", "no-faces")
    joined = (f"{len(faces)} objects joined",) if len(faces) > 1 else ()
    return RawMesh(np.concatenate(vertices), np.concatenate(faces), (*joined, *model.notes))


def _read_model(data: bytes, limits: Limits) -> _Model:
    """The model of an archive, which is unpacked piece by piece. Raises a ``RefusedInput`` for a damaged archive, or
    one that unpacks to too many bytes, vertices or triangles."""
    model, parser = _Model(limits), expat.ParserCreate()
    parser.StartElementHandler = model.begin
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            info = next((info for info in archive.infolist() if info.filename.lower().endswith(".model")), None)
            if info is None:
                raise UnsupportedInput("a ZIP archive without a 3D model", "format")
            limits.check("max_bytes", info.file_size, "unpacked size in bytes")
            if info.file_size > max(_MAX_RATIO * info.compress_size, _SMALL_BYTES):
                raise UnreadableFile(
                    f"unpacks to {info.file_size:,} bytes, more than {_MAX_RATIO} times its size", "bomb"
                )
            if info.file_size > limits.max_faces * len("<triangle/>"):
                limits.check(
                    "max_faces", sum(piece.count(b"triangle ") for piece in _pieces(archive, info)), "triangles"
                )
            left = info.file_size
            for piece in _pieces(archive, info):
                left -= len(piece)
                parser.Parse(piece)
            parser.Parse(b"", True)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise UnreadableFile(f"damaged: {error}", "corrupt") from error
    if left:
        raise UnreadableFile("damaged: the model has another size than the archive says", "corrupt")
    return model


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The unpacked content of a file in an archive."""
    with archive.open(info) as packed:
        while piece := packed.read(_PIECE_BYTES):
            yield piece


def _refuse_doctype(*arguments: object) -> None:
    """Raises ``UnsupportedInput``: a document type can define entities that expand to any size."""
    raise UnsupportedInput("3MF with a document type: not supported", "xml")


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
