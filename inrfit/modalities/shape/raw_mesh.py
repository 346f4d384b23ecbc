"""The result of the readers of mesh files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vertices = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RawMesh:
    """The content of a mesh file, unchecked: vertices (v, 3), and faces (f, 3) of indices from 0. ``notes`` lists what
    was left out or changed."""

    vertices: Vertices
    faces: Faces
    notes: tuple[str, ...] = ()


def triangulate(polygons: list[list[int]]) -> tuple[Faces, tuple[str, ...]]:
    """Faces (f, 3) that divide each polygon into a fan of triangles, and notes about what that changed."""
    notes: list[str] = []
    if any(len(p) != 3 for p in polygons):
        larger, smaller = (sum(len(p) > 3 for p in polygons), sum(len(p) < 3 for p in polygons))
        polygons = [[p[0], p[i], p[i + 1]] for p in polygons for i in range(1, len(p) - 1)]
        notes += [f"{larger:,} polygons cut into triangles"] if larger else []
        notes += [f"{smaller:,} faces of fewer than three corners left out"] if smaller else []
    return np.array(polygons, np.int64).reshape(-1, 3), tuple(notes)
