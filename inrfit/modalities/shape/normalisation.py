"""From the content of a mesh file to a mesh in the box [-1, 1]^3: checks, merged vertices, orientation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile
from .mesh import Array, Mesh
from .orientation import orient
from .raw_mesh import RawMesh


@dataclass(frozen=True)
class NormalizedMesh:
    """A mesh in the box [-1, 1]^3. In the source's units its vertices are ``centre + extent * mesh.vertices``. ``size``
    (3,) are the side lengths of the source's bounding box. ``open_edges`` counts the edges that belong to one triangle
    only. ``notes`` lists repairs."""

    mesh: Mesh
    centre: Array
    size: Array
    extent: float
    open_edges: int
    notes: tuple[str, ...]


def normalize(raw: RawMesh, padding: float) -> NormalizedMesh:
    """``raw``, checked and repaired, in the box: centred, with a largest half extent of 1 / (1 + padding), vertices
    merged and triangles facing outward. Raises ``UnreadableFile`` for damaged meshes and ``RefusedInput`` for a surface
    without an inside."""
    vertices, faces, colours = _check_and_compact(raw)
    low, high = vertices.min(0), vertices.max(0)
    centre, half = low / 2 + high / 2, high / 2 - low / 2
    largest = float(half.max())
    if not 1e-290 < largest < 1e290:
        raise UnreadableFile(f"the mesh has no usable size (half extent {largest:g})", "extent")
    vertices = (vertices - centre) / largest / (1 + padding)
    vertices, faces, colours = _merge_vertices(vertices, faces, colours)
    if not len(faces):
        raise UnreadableFile("all triangles have zero area", "extent")
    mesh, open_edges, repairs = orient(Mesh(vertices, faces, colours))
    notes = [*raw.notes, *repairs]
    if open_edges:
        notes.append(f"surface is open: {open_edges:,} open edges; inside decided by winding number")
    return NormalizedMesh(mesh, centre, 2 * half, largest * (1 + padding), open_edges, tuple(notes))


def _check_and_compact(raw: RawMesh) -> tuple[Array, npt.NDArray[np.int64], Array | None]:
    """Vertices (v, 3), faces (f, 3) and colours (v, 3) without unused vertices. Raises ``UnreadableFile`` for indices
    out of range and coordinates that are not finite."""
    if not len(raw.faces):
        raise UnreadableFile("the file has no triangles", "no-faces")
    low, high = int(raw.faces.min()), int(raw.faces.max())
    if low < 0 or high >= len(raw.vertices):
        index = low if low < 0 else high
        raise UnreadableFile(f"a face refers to vertex {index:,} of {len(raw.vertices):,}", "index")
    used = np.zeros(len(raw.vertices), bool)
    used[raw.faces.reshape(-1)] = True
    if not np.isfinite(raw.vertices[used]).all():
        raise UnreadableFile("a coordinate is not a finite number", "nonfinite")
    colours = None if raw.colours is None else raw.colours[used]
    return raw.vertices[used], (np.cumsum(used) - 1)[raw.faces], colours


def _merge_vertices(
    vertices: Array, faces: npt.NDArray[np.int64], colours: Array | None
) -> tuple[Array, npt.NDArray[np.int64], Array | None]:
    """Vertices, faces and colours with equal vertices merged (seams of textures, corners of STL), whose colours are
    averaged, and degenerate faces removed."""
    order = np.lexsort(vertices.T)
    ordered = vertices[order]
    is_first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(1)])
    new_index = np.empty(len(order), np.int64)
    new_index[order] = np.cumsum(is_first) - 1
    faces = new_index[faces]
    valid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    if colours is not None:
        uses = np.bincount(new_index)
        colours = np.stack([np.bincount(new_index, colours[:, k]) / uses for k in range(3)], axis=1)
    return np.ascontiguousarray(ordered[is_first]), np.ascontiguousarray(faces[valid]), colours
