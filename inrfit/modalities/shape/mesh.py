"""Triangle meshes: repair, normalisation to the box [-1, 1]^3, distance queries, comparison and writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import RefusedInput, UnreadableFile, UsageError
from .raw_mesh import RawMesh

QUERY_POINTS = 65_536
"""Points per call into C++. A call takes less than a second, and Python handles Ctrl-C between calls."""

INSIDE_WINDING = 0.5
"""A point is inside if its winding number is above this. The rule also applies to open surfaces."""

_CERTAINLY_INSIDE = 0.55
"""Winding number that shows that a mesh has an inside. It is above 0.5, which a flat sheet reaches, by more than the
error of the approximate winding number (0.003)."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, counter-clockwise seen from outside: vertices float64 (v, 3), faces int64 (f, 3)."""

    vertices: Array
    faces: npt.NDArray[np.int64]

    @property
    def corners(self) -> Array:
        """Corner positions (f, 3, 3)."""
        return self.vertices[self.faces]

    @property
    def bounds(self) -> Array:
        """Lowest and highest coordinates (2, 3)."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])


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
    vertices, faces = _check_and_compact(raw)
    low, high = vertices.min(0), vertices.max(0)
    centre, half = low / 2 + high / 2, high / 2 - low / 2
    largest = float(half.max())
    if not 1e-290 < largest < 1e290:
        raise UnreadableFile(f"the mesh has no usable size (half extent {largest:g})", "extent")
    vertices = (vertices - centre) / largest / (1 + padding)
    vertices, faces = _merge_vertices(vertices, faces)
    if not len(faces):
        raise UnreadableFile("all triangles have zero area", "extent")
    faces, flipped_some, open_edges = _orient_consistently(faces)
    mesh, flipped_all, mixed = _orient_outward(Mesh(vertices, faces), open_edges)
    notes = list(raw.notes)
    if flipped_some:
        notes.append("neighbouring triangles with opposite winding: flipped to agree")
    if flipped_all:
        notes.append("triangles wound inside out: flipped")
    if mixed:
        notes.append("some parts are wound inside out: they do not count as inside")
    if open_edges:
        notes.append(f"surface is open: {open_edges:,} open edges; inside decided by winding number")
    return NormalizedMesh(mesh, centre, 2 * half, largest * (1 + padding), open_edges, tuple(notes))


def _check_and_compact(raw: RawMesh) -> tuple[Array, npt.NDArray[np.int64]]:
    """Vertices (v, 3) and faces (f, 3) without unused vertices. Raises ``UnreadableFile`` for indices out of range and
    coordinates that are not finite."""
    if not len(raw.faces):
        raise UnreadableFile("the file has no triangles", "no-faces")
    low, high = int(raw.faces.min()), int(raw.faces.max())
    if low < 0 or high >= len(raw.vertices):
        index = low if low < 0 else high
        raise UnreadableFile(f"a face refers to vertex {index:,} of {len(raw.vertices):,}", "index")
    if not np.isfinite(raw.vertices).all():
        raise UnreadableFile("a coordinate is not a finite number", "nonfinite")
    used = np.zeros(len(raw.vertices), bool)
    used[raw.faces.reshape(-1)] = True
    return raw.vertices[used], (np.cumsum(used) - 1)[raw.faces]


def _merge_vertices(vertices: Array, faces: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.int64]]:
    """Vertices and faces with equal vertices merged (seams of textures, corners of STL) and degenerate faces
    removed."""
    order = np.lexsort(vertices.T)
    ordered = vertices[order]
    is_first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(1)])
    new_index = np.empty(len(order), np.int64)
    new_index[order] = np.cumsum(is_first) - 1
    faces = new_index[faces]
    valid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return np.ascontiguousarray(ordered[is_first]), np.ascontiguousarray(faces[valid])


def _orient_consistently(faces: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], bool, int]:
    """Faces such that neighbours agree in winding, whether some were flipped, and the number of open edges."""
    count = int(faces.max()) + 1
    starts, ends = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    keys = np.minimum(starts, ends) * count + np.maximum(starts, ends)
    unique, edge, uses = np.unique(keys, return_inverse=True, return_counts=True)
    # Two neighbours with the same winding traverse their common edge in opposite directions.
    direction_sum = np.bincount(edge, np.where(starts < ends, 1.0, -1.0), minlength=len(unique))
    if not ((uses == 2) & (direction_sum != 0)).any():
        return faces, False, int((uses == 1).sum())
    import igl

    oriented = igl.bfs_orient(faces)[0]
    return np.ascontiguousarray(oriented, np.int64), True, int((uses == 1).sum())


def _orient_outward(mesh: Mesh, open_edges: int) -> tuple[Mesh, bool, bool]:
    """The mesh with positive winding numbers inside, whether it was flipped, and whether some parts face the other way.

    Winding numbers are computed on a 32^3 grid and close to both sides of up to about 4,096 triangles, so that thin
    plates are found. Raises ``RefusedInput`` if none of these points is inside, as for one triangle or a flat sheet."""
    axis = (2 * np.arange(32) + 1) / 32 - 1
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    corners = mesh.corners[:: max(1, len(mesh.faces) // 4096)]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    middle, step = corners.mean(1), 1e-4 * normal / np.where(length > 0, length, 1)
    winding = mesh_queries(mesh).winding(np.concatenate([grid, middle - step, middle + step]))
    positive, negative = int((winding > _CERTAINLY_INSIDE).sum()), int((winding < -_CERTAINLY_INSIDE).sum())
    if not positive and not negative:
        open_text = f" ({open_edges:,} open edges)" if open_edges else ""
        raise RefusedInput(f"the surface has no inside{open_text}: a shape must enclose a volume", "no-inside")
    if negative <= positive:
        return mesh, False, negative > 0
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1])), True, positive > 0


@dataclass(frozen=True, eq=False)
class MeshQueries:
    """Queries of one mesh, with search structures built beforehand. Points are passed in chunks of QUERY_POINTS."""

    mesh: Mesh
    boxes: Any
    multipoles: Any

    def winding(self, points: Array) -> Array:
        """Approximate winding numbers (n,) at ``points`` (n, 3), with errors up to about 0.003 (Barill et al., Fast
        Winding Numbers for Soups and Clouds, SIGGRAPH 2018)."""
        return _in_chunks(self.multipoles.winding_number, points)

    def distance(self, points: Array) -> Array:
        """Unsigned distances (n,) from ``points`` (n, 3) to the nearest triangle, exact."""
        vertices, faces = self.mesh.vertices, self.mesh.faces
        return np.sqrt(_in_chunks(lambda p: self.boxes.squared_distance(vertices, faces, p)[0], points))

    def signed_distance(self, points: Array) -> Array:
        """Signed distances (n,) at ``points`` (n, 3), negative inside. Costs several µs per point."""
        return np.where(self.winding(points) > INSIDE_WINDING, -1.0, 1.0) * self.distance(points)


@lru_cache(maxsize=2)
def mesh_queries(mesh: Mesh) -> MeshQueries:
    """The queries of ``mesh``. Search structures are built in the first call (some 0.1 s for a large mesh)."""
    import igl

    boxes, multipoles = igl.AABB(), igl.FastWindingNumberBVH()
    boxes.init(mesh.vertices, mesh.faces)
    multipoles.init(mesh.vertices, mesh.faces)
    return MeshQueries(mesh, boxes, multipoles)


def _in_chunks(query: Callable[[Array], Array], points: Array) -> Array:
    """The results (n,) of ``query`` for ``points`` (n, 3), QUERY_POINTS at a time."""
    points = np.ascontiguousarray(points, np.float64)
    starts = range(0, max(len(points), 1), QUERY_POINTS)
    return np.concatenate([query(points[start : start + QUERY_POINTS]) for start in starts])


def sample_surface(mesh: Mesh, draws: Array) -> Array:
    """Points (n, 3) that are uniform on the surface by area, from ``draws`` (n, 3): uniform numbers in [0, 1)."""
    corners = mesh.corners
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    cumulative = np.cumsum(areas)
    chosen = corners[np.searchsorted(cumulative, draws[:, 0] * cumulative[-1], side="right").clip(max=len(areas) - 1)]
    root, along = np.sqrt(draws[:, 1:2]), draws[:, 2:3]
    points: Array = (1 - root) * chosen[:, 0] + root * (1 - along) * chosen[:, 1] + root * along * chosen[:, 2]
    return points


def chamfer(a: Mesh, b: Mesh, points: int) -> float:
    """Chamfer distance of two meshes, in their units: the mean of the two directed mean distances. Each is measured
    from ``points`` uniform samples of one surface (fixed seed) to the other surface, exact and not squared."""
    draws = np.random.default_rng(0).random((2, points, 3))
    a_to_b = mesh_queries(b).distance(sample_surface(a, draws[0])).mean()
    b_to_a = mesh_queries(a).distance(sample_surface(b, draws[1])).mean()
    return float((a_to_b + b_to_a) / 2)


def mesh_bytes(mesh: Mesh, suffix: str) -> bytes:
    """The bytes of ``mesh`` as a .ply (binary), .obj (text) or .stl (binary) file. Raises ``UsageError`` for another
    suffix, and for coordinates that .stl cannot hold."""
    writers = {".ply": _as_ply, ".obj": _as_obj, ".stl": _as_stl}
    if suffix.lower() not in writers:
        label = suffix or "a file without a suffix"
        raise UsageError(f"a shape is written as {', '.join(writers)}, not as {label}", "suffix")
    return writers[suffix.lower()](mesh)


def _as_ply(mesh: Mesh) -> bytes:
    """Binary PLY in float32, or in float64 if the mesh is so far from the origin that float32 would be too coarse."""
    low, high = mesh.bounds
    needs_double = np.abs([low, high]).max() > 1e3 * (high - low).max() or np.abs([low, high]).max() > 1e37
    dtype, name = ("<f8", "double") if needs_double else ("<f4", "float")
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty {name} x\nproperty {name} y\nproperty {name} z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(mesh.faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    rows["count"], rows["corners"] = 3, mesh.faces
    return header.encode() + mesh.vertices.astype(dtype).tobytes() + rows.tobytes()


def _as_obj(mesh: Mesh) -> bytes:
    """Text of ``v`` and ``f`` lines."""
    lines = ["v {:.9g} {:.9g} {:.9g}\n".format(*vertex) for vertex in mesh.vertices.tolist()]
    lines += ["f {} {} {}\n".format(*face) for face in (mesh.faces + 1).tolist()]
    return "".join(lines).encode()


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
