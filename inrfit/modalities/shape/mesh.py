"""Triangle meshes: made sound, placed in the box [-1, 1]^3, asked for distances, compared and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import RefusedInput, UnreadableFile, UsageError
from .raw_mesh import Raw

CALL = 65_536
"""Points per call into C++: 0.1 to 0.5 s, after which Python sees signals again."""

INSIDE = 0.5
"""A point is inside where the winding number is above this: the rule that also decides for open surfaces."""

_SURELY_INSIDE = 0.55
"""What a probe needs: the approximate winding number errs by up to 0.003, and a flat sheet reaches 0.5."""

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
class Placed:
    """A mesh in the box: ``source = centre + extent * vertices``; open edges have one triangle."""

    mesh: Mesh
    centre: Array
    size: Array
    extent: float
    open_edges: int
    notes: tuple[str, ...]


def place(raw: Raw, padding: float) -> Placed:
    """The mesh made sound, largest half extent 1 / (1 + padding). Raises a ``RefusedInput``."""
    vertices, faces = _checked(raw)
    low, high = vertices.min(0), vertices.max(0)
    centre, half = low / 2 + high / 2, high / 2 - low / 2
    largest = float(half.max())
    if not 1e-290 < largest < 1e290:
        raise UnreadableFile(f"the mesh has no usable size (half extent {largest:g})", "extent")
    vertices = (vertices - centre) / largest / (1 + padding)
    vertices, faces = _merged(vertices, faces)
    if not len(faces):
        raise UnreadableFile("every triangle is a point or a line", "extent")
    faces, turned, open_edges = _consistent(faces)
    mesh, flipped, mixed = _outward(Mesh(vertices, faces), open_edges)
    notes = list(raw.notes)
    if turned:
        notes.append("neighbouring triangles with opposite winding: turned to agree")
    if flipped:
        notes.append("triangles wound inside out: turned round")
    if mixed:
        notes.append("some parts are wound inside out: they do not count as inside")
    if open_edges:
        notes.append(f"surface is open: {open_edges:,} open edges; inside decided by winding number")
    return Placed(mesh, centre, 2 * half, largest * (1 + padding), open_edges, tuple(notes))


def _checked(raw: Raw) -> tuple[Array, npt.NDArray[np.int64]]:
    """Vertices and faces that refer to each other rightly; vertices without a face are dropped."""
    if not len(raw.faces):
        raise UnreadableFile("the file has no triangles", "no-faces")
    low, high = int(raw.faces.min()), int(raw.faces.max())
    if low < 0 or high >= len(raw.vertices):
        wrong = low if low < 0 else high
        raise UnreadableFile(f"a face refers to vertex {wrong:,} of {len(raw.vertices):,}", "index")
    if not np.isfinite(raw.vertices).all():
        raise UnreadableFile("a coordinate is not a finite number", "nonfinite")
    used = np.zeros(len(raw.vertices), bool)
    used[raw.faces.reshape(-1)] = True
    return raw.vertices[used], (np.cumsum(used) - 1)[raw.faces]


def _merged(vertices: Array, faces: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.int64]]:
    """Vertices at the same place made one (seams of textures, corners of STL), collapsed faces dropped."""
    order = np.lexsort(vertices.T)
    ordered = vertices[order]
    first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(1)])
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(first) - 1
    faces = number[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return np.ascontiguousarray(ordered[first]), np.ascontiguousarray(faces[whole])


def _consistent(faces: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], bool, int]:
    """Faces whose neighbours agree in winding, whether some had to be turned, and the count of open edges."""
    count = int(faces.max()) + 1
    starts, ends = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    keys = np.minimum(starts, ends) * count + np.maximum(starts, ends)
    unique, position, uses = np.unique(keys, return_inverse=True, return_counts=True)
    sense = np.bincount(position, np.where(starts < ends, 1.0, -1.0), minlength=len(unique))
    if not ((uses == 2) & (sense != 0)).any():
        return faces, False, int((uses == 1).sum())
    import igl

    turned = igl.bfs_orient(faces)[0]
    return np.ascontiguousarray(turned, np.int64), True, int((uses == 1).sum())


def _outward(mesh: Mesh, open_edges: int) -> tuple[Mesh, bool, bool]:
    """The mesh with a positive winding number inside, whether it was turned, and whether parts disagree.

    Probed on a 32^3 grid and close to both sides of 4,096 triangles, so that a thin plate is found. Raises
    ``RefusedInput`` when no probe is inside: one triangle, a flat sheet."""
    axis = (2 * np.arange(32) + 1) / 32 - 1
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    corners = mesh.corners[:: max(1, len(mesh.faces) // 4096)]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    middle, step = corners.mean(1), 1e-4 * normal / np.where(length > 0, length, 1)
    winding = trees(mesh).winding(np.concatenate([grid, middle - step, middle + step]))
    inside, outside = int((winding > _SURELY_INSIDE).sum()), int((winding < -_SURELY_INSIDE).sum())
    if not inside and not outside:
        open_text = f" ({open_edges:,} open edges)" if open_edges else ""
        raise RefusedInput(f"nothing is inside this surface{open_text}: a shape needs a volume", "no-inside")
    if outside <= inside:
        return mesh, False, outside > 0
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1])), True, inside > 0


@dataclass(frozen=True, eq=False)
class Trees:
    """Search structures over one mesh; queries go in calls of ``CALL`` points."""

    mesh: Mesh
    boxes: Any
    multipoles: Any

    def winding(self, points: Array) -> Array:
        """Winding numbers (n,), to about 0.003 (Barill et al., Fast Winding Numbers, SIGGRAPH 2018)."""
        return _in_calls(self.multipoles.winding_number, points)

    def distance(self, points: Array) -> Array:
        """Unsigned distances (n,) to the nearest triangle, exact."""
        vertices, faces = self.mesh.vertices, self.mesh.faces
        return np.sqrt(_in_calls(lambda p: self.boxes.squared_distance(vertices, faces, p)[0], points))

    def signed_distance(self, points: Array) -> Array:
        """Distances (n,), negative inside. Costs 5 to 8 µs a point on 86,000 faces with two threads."""
        return np.where(self.winding(points) > INSIDE, -1.0, 1.0) * self.distance(points)


@lru_cache(maxsize=2)
def trees(mesh: Mesh) -> Trees:
    """The search structures of ``mesh``, built once (0.2 s for 86,000 faces)."""
    import igl

    boxes, multipoles = igl.AABB(), igl.FastWindingNumberBVH()
    boxes.init(mesh.vertices, mesh.faces)
    multipoles.init(mesh.vertices, mesh.faces)
    return Trees(mesh, boxes, multipoles)


def _in_calls(query: Callable[[Array], Array], points: Array) -> Array:
    points = np.ascontiguousarray(points, np.float64)
    return np.concatenate([query(points[at : at + CALL]) for at in range(0, max(len(points), 1), CALL)])


def on_surface(mesh: Mesh, draws: Array) -> Array:
    """Points (n, 3) spread by area over the triangles, from uniform numbers in [0, 1): ``draws`` (n, 3)."""
    corners = mesh.corners
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    shares = np.cumsum(areas)
    chosen = corners[np.searchsorted(shares, draws[:, 0] * shares[-1], side="right").clip(max=len(areas) - 1)]
    root, along = np.sqrt(draws[:, 1:2]), draws[:, 2:3]
    points: Array = (1 - root) * chosen[:, 0] + root * (1 - along) * chosen[:, 1] + root * along * chosen[:, 2]
    return points


def chamfer(a: Mesh, b: Mesh, points: int) -> float:
    """The mean of two mean distances, in the meshes' units: from ``points`` samples, spread by area over each
    surface (fixed seed), to the nearest point of the other surface (unsquared, exact point-to-triangle)."""
    draws = np.random.default_rng(0).random((2, points, 3))
    there = trees(b).distance(on_surface(a, draws[0])).mean()
    back = trees(a).distance(on_surface(b, draws[1])).mean()
    return float((there + back) / 2)


def encoded(mesh: Mesh, suffix: str) -> bytes:
    """The mesh as the bytes of a .ply (binary), .obj (text) or .stl (binary) file. Raises ``UsageError``."""
    writers = {".ply": _as_ply, ".obj": _as_obj, ".stl": _as_stl}
    if suffix.lower() not in writers:
        given = suffix or "a name without suffix"
        raise UsageError(f"a shape is written as {', '.join(writers)}, not {given}", "suffix")
    return writers[suffix.lower()](mesh)


def _as_ply(mesh: Mesh) -> bytes:
    """float32, or float64 where the shape lies so far from the origin that float32 would show."""
    low, high = mesh.bounds
    far = np.abs([low, high]).max() > 1e3 * (high - low).max() or np.abs([low, high]).max() > 1e37
    kind, name = ("<f8", "double") if far else ("<f4", "float")
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty {name} x\nproperty {name} y\nproperty {name} z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(mesh.faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    rows["count"], rows["corners"] = 3, mesh.faces
    return header.encode() + mesh.vertices.astype(kind).tobytes() + rows.tobytes()


def _as_obj(mesh: Mesh) -> bytes:
    lines = ["v {:.9g} {:.9g} {:.9g}\n".format(*vertex) for vertex in mesh.vertices.tolist()]
    lines += ["f {} {} {}\n".format(*face) for face in (mesh.faces + 1).tolist()]
    return "".join(lines).encode()


def _as_stl(mesh: Mesh) -> bytes:
    corners = mesh.corners
    if np.abs(corners).max() > np.finfo(np.float32).max:
        raise UsageError("these coordinates exceed what .stl can hold: write .ply or .obj", "suffix")
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows = np.zeros(len(corners), record)
    rows["normal"], rows["corners"] = normal / np.where(length > 0, length, 1), corners
    return bytes(80) + len(rows).to_bytes(4, "little") + rows.tobytes()
