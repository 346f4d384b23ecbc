"""The result of the readers of mesh files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...io.limits import Limits

Vertices = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int64]

UTF8_MARK = b"\xef\xbb\xbf"
"""The byte order mark that some programs put before text."""


@dataclass(frozen=True)
class RawMesh:
    """The content of a mesh file, unchecked: vertices (v, 3), and faces (f, 3) of indices from 0. ``notes`` lists what
    was left out or changed. ``colours``: red, green and blue of the vertices (v, 3), 0 to 1; None if there are none."""

    vertices: Vertices
    faces: Faces
    notes: tuple[str, ...] = ()
    colours: Vertices | None = None


def check_vertices(count: int, limits: Limits) -> None:
    """Raises ``OverLimit`` for more vertices than the largest mesh has if none of its triangles share one."""
    limits.check("max_faces", -(-count // 3), "faces' worth of vertices")
