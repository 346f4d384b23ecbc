"""What a reader of mesh files returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vertices = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Raw:
    """What a file says: vertices (v, 3), faces (f, 3), and what was left out or changed."""

    vertices: Vertices
    faces: Faces
    notes: tuple[str, ...] = ()


def triangles(polygons: list[list[int]]) -> tuple[Faces, tuple[str, ...]]:
    """Polygons as fans of triangles, and a note on what that changed."""
    notes: list[str] = []
    if any(len(p) != 3 for p in polygons):
        larger, smaller = (sum(len(p) > 3 for p in polygons), sum(len(p) < 3 for p in polygons))
        polygons = [[p[0], p[i], p[i + 1]] for p in polygons for i in range(1, len(p) - 1)]
        notes += [f"{larger:,} polygons cut into triangles"] if larger else []
        notes += [f"{smaller:,} faces of fewer than three corners left out"] if smaller else []
    return np.array(polygons, np.int64).reshape(-1, 3), tuple(notes)
