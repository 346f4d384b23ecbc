"""Triangle meshes: distance queries, sampling and comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

QUERY_POINTS = 65_536
"""Points per call into C++. A call takes less than a second, and Python handles Ctrl-C between calls."""

INSIDE_WINDING = 0.5
"""A point is inside if its winding number is above this. The rule also applies to open surfaces."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, counter-clockwise seen from outside: vertices float64 (v, 3), faces int64 (f, 3). ``colours``: red,
    green and blue of the vertices (v, 3), 0 to 1; None if there are none."""

    vertices: Array
    faces: npt.NDArray[np.int64]
    colours: Array | None = None

    @property
    def corners(self) -> Array:
        """Corner positions (f, 3, 3)."""
        return self.vertices[self.faces]

    @property
    def bounds(self) -> Array:
        """Lowest and highest coordinates (2, 3)."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])


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

    def colours(self, points: Array) -> Array:
        """Colours (n, 3) of the nearest points of the surface, between those of the vertices around them."""
        mesh = self.mesh
        assert mesh.colours is not None
        found = np.empty((len(points), 3))
        for start in range(0, len(points), QUERY_POINTS):
            part = np.ascontiguousarray(points[start : start + QUERY_POINTS], np.float64)
            _, face, nearest = self.boxes.squared_distance(mesh.vertices, mesh.faces, part)
            corners = mesh.faces[np.asarray(face).reshape(-1)]
            weights = _barycentric(mesh.vertices[corners], np.asarray(nearest))
            found[start : start + QUERY_POINTS] = (weights[..., None] * mesh.colours[corners]).sum(axis=1)
        return found

    def signed_distance(self, points: Array) -> Array:
        """Signed distances (n,) at ``points`` (n, 3), negative inside. Costs several µs per point."""
        return np.where(self.winding(points) > INSIDE_WINDING, -1.0, 1.0) * self.distance(points)


def _barycentric(triangles: Array, points: Array) -> Array:
    """Weights (n, 3) of the corners of ``triangles`` (n, 3, 3) at ``points`` (n, 3) in them."""
    a, b, c = (triangles[:, corner] for corner in range(3))
    normal = np.cross(b - a, c - a)
    area = np.maximum((normal**2).sum(axis=1), 1e-300)
    of_b = (np.cross(points - a, c - a) * normal).sum(axis=1) / area
    of_c = (np.cross(b - a, points - a) * normal).sum(axis=1) / area
    weights: Array = np.stack([1 - of_b - of_c, of_b, of_c], axis=1).clip(0, 1)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return weights


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
