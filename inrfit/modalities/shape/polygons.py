"""Cutting polygons into triangles. Convex polygons become fans; others are cut by ear clipping (mapbox_earcut), because
a fan of a concave polygon covers points outside of it."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import OverLimit
from ...io.limits import Limits
from .raw_mesh import Faces, Vertices

MAX_CORNERS = 65_536
"""Largest number of corners of a polygon that is read."""

_LARGE_POLYGON, _MAX_SQUARES = 1024, MAX_CORNERS**2
"""Cutting a polygon takes up to 2 ns times the square of its corners. The sum of these squares over all polygons of
more than the first number of corners is at most the second number: about ten seconds."""

_CORNERS_PER_PART = 1 << 20
"""Corners of polygons that are cut at a time: about 200 MB."""

Corners = npt.NDArray[np.int64]


class PolygonList:
    """The polygons of a file: the corners of all, one polygon after the other, and the number of corners of each. The
    triangles are counted before the corners are made."""

    def __init__(self, limits: Limits) -> None:
        self.corners, self.counts = array("q"), array("q")
        self._limits, self._triangles = limits, 0

    def begin(self, count: int) -> None:
        """Counts a polygon of ``count`` corners, which follow. Raises ``OverLimit`` if there are too many."""
        if count > MAX_CORNERS:
            raise OverLimit(f"a face of {count:,} corners: at most {MAX_CORNERS:,} are read", "limit.corners")
        if count > 2:
            self._triangles += count - 2
            if self._triangles > self._limits.max_faces:
                self._limits.check("max_faces", self._triangles, "triangles so far")
        self.counts.append(count)

    def triangulated(self, vertices: Vertices, first: int = 0) -> tuple[Faces, tuple[str, ...]]:
        """The faces and notes of ``triangulate``."""
        corners, counts = np.array(self.corners, np.int64), np.array(self.counts, np.int64)
        return triangulate(corners, counts, vertices, self._limits, first)


def triangulate(
    corners: Corners, counts: Corners, vertices: Vertices, limits: Limits, first: int = 0
) -> tuple[Faces, tuple[str, ...]]:
    """Faces (f, 3), of indices from ``first``, that cover polygons, and notes about what that changed. ``corners`` are
    those of all polygons, one after the other, ``counts`` their numbers. Indices out of range are left to later checks.
    Raises ``OverLimit`` for too many triangles or corners."""
    limits.check("max_faces", int((counts - 2).clip(0).sum()), "triangles")
    if len(counts) and counts.max() > MAX_CORNERS:
        raise OverLimit(f"a face of {counts.max():,} corners: at most {MAX_CORNERS:,} are read", "limit.corners")
    large = counts[counts > _LARGE_POLYGON]
    if int((large**2).sum()) > _MAX_SQUARES:
        raise OverLimit(
            f"{len(large):,} faces of {large.min():,} to {large.max():,} corners: cutting them takes too long",
            "limit.corners",
        )
    starts = np.cumsum(counts) - counts
    parts = []
    for size in np.unique(counts[counts > 2]):
        own = starts[counts == size]
        step = max(1, _CORNERS_PER_PART // size)
        for begin in range(0, len(own), step):
            group = corners[own[begin : begin + step, None] + np.arange(size)]
            parts.append(group if size == 3 else _cut(group, vertices, first))
    notes = []
    if larger := int((counts > 3).sum()):
        notes.append(f"{larger:,} polygons cut into triangles")
    if smaller := int((counts < 3).sum()):
        notes.append(f"{smaller:,} faces of fewer than three corners left out")
    return np.concatenate([np.empty((0, 3), np.int64), *parts]), tuple(notes)


def _cut(polygons: Faces, vertices: Vertices, first: int) -> Faces:
    """Triangles (f, 3) of polygons (m, n) of one size."""
    size = polygons.shape[1]
    fans = np.stack([polygons[:, [0] * (size - 2)], polygons[:, 1:-1], polygons[:, 2:]], axis=-1)
    indices = polygons - first
    valid = ((indices >= 0) & (indices < len(vertices))).all(axis=1)
    if not valid.all():
        return fans.reshape(-1, 3)
    flat = _projected(vertices[indices])
    concave = np.flatnonzero(~_convex(flat))
    for index in concave:
        ears = _ears(flat[index])
        fans[index] = polygons[index, 0]  # degenerate, if there are fewer triangles
        fans[index, : len(ears)] = polygons[index][ears]
    return fans.reshape(-1, 3)


def _projected(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Corners of polygons (m, n, 3) in the plane of two axes in which each is largest, counter-clockwise (m, n, 2)."""
    with np.errstate(all="ignore"):
        centred = corners - corners.mean(axis=1, keepdims=True)
        normal = np.cross(centred, np.roll(centred, -1, axis=1)).sum(axis=1)
    axis = np.abs(normal).argmax(axis=1)
    other = np.array([[1, 2], [2, 0], [0, 1]])[axis]
    flat = np.take_along_axis(centred, other[:, None, :].repeat(corners.shape[1], 1), axis=2)
    clockwise = np.take_along_axis(normal, axis[:, None], axis=1)[:, 0] < 0
    flat[clockwise, :, 0] *= -1
    return flat


def _turns(flat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cross products of the edges before and after each corner (m, n)."""
    before, after = flat - np.roll(flat, 1, axis=1), np.roll(flat, -1, axis=1) - flat
    turns: npt.NDArray[np.float64] = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    return turns


def _convex(flat: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether each counter-clockwise polygon (m, n, 2) is convex and turns once."""
    turns = _turns(flat)
    scale = np.abs(flat).max(axis=(1, 2)) ** 2
    convex = (turns >= -1e-9 * scale[:, None]).all(axis=1)
    if flat.shape[1] > 4:  # a star turns twice without a concave corner
        edges = np.roll(flat, -1, axis=1) - flat
        angles = np.arctan2(edges[..., 1], edges[..., 0])
        swept = (np.diff(angles, axis=1, append=angles[:, :1]) + np.pi) % (2 * np.pi) - np.pi
        convex &= np.abs(swept.sum(axis=1) - 2 * np.pi) < 1e-3
    return np.asarray(convex | ~np.isfinite(scale), np.bool_)


def _ears(flat: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """At most n - 2 triangles (k, 3) of a counter-clockwise polygon (n, 2); a fan if ear clipping fails, as for
    polygons that cross themselves. Repeated corners and spikes give fewer triangles."""
    import mapbox_earcut

    size = len(flat)
    fan = np.stack([np.zeros(size - 2, np.int64), np.arange(1, size - 1), np.arange(2, size)], axis=1)
    earcut: Any = mapbox_earcut.triangulate_float64
    triangles = earcut(np.ascontiguousarray(flat), np.array([size], np.uint32)).astype(np.int64).reshape(-1, 3)
    if len(triangles) > size - 2 or not len(triangles):
        return fan
    a, b, c = (flat[triangles[:, corner]] for corner in range(3))
    area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum()
    following = np.roll(flat, -1, axis=0)
    wanted = (flat[:, 0] * following[:, 1] - flat[:, 1] * following[:, 0]).sum()
    if abs(abs(area) - abs(wanted)) > 1e-6 * abs(wanted):
        return fan
    turned: npt.NDArray[np.int64] = triangles if area >= 0 else triangles[:, ::-1]
    return turned
