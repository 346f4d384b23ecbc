"""Signed distances of a mesh at the nodes of a cube."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...signal import Signal
from .mesh import INSIDE_WINDING, Mesh, MeshQueries, mesh_queries

_COARSE = (16, 64)
"""Nodes along an axis of coarser cubes, which tell where the surface is not."""


def values_on(signal: Signal, nodes: int, reach: float) -> npt.NDArray[np.float32]:
    """The values (nodes^3, 1) of a signal of signed distances at the nodes of a cube, clamped to ``reach``."""
    band = signal.meta["band"]
    found = signed_distances(signal.reference, nodes, reach * band) / band
    clamped: npt.NDArray[np.float32] = found.clip(-reach, reach).astype(np.float32)
    return clamped.reshape(-1, 1)


def signed_distances(mesh: Mesh, nodes: int, reach: float) -> npt.NDArray[np.float32]:
    """The distances (nodes, nodes, nodes), negative inside, in normalised units, at the centres of the cells of the box
    [-1, 1]^3; beyond ``reach`` a smaller distance of the right sign."""
    queries, coarse = mesh_queries(mesh), np.zeros((1, 1, 1), np.float32)
    for count in (*(count for count in _COARSE if 2 * count <= nodes), nodes):
        further = 0.0 if count == nodes else math.sqrt(3) / count  # to the farthest node of a finer cube
        coarse = _refined(queries, coarse, count, reach + further)
    return coarse


def _refined(
    queries: MeshQueries, coarse: npt.NDArray[np.float32], count: int, reach: float
) -> npt.NDArray[np.float32]:
    """Distances at ``count`` nodes along each axis, exact where those of a coarser cube do not tell that they are
    larger than ``reach``."""
    axis = (2 * np.arange(count) + 1) / count - 1
    nearest = np.arange(count) * len(coarse) // count
    offset = np.square(axis - ((2 * nearest + 1) / len(coarse) - 1))
    found = np.empty((count,) * 3, np.float32)
    for x in range(count):
        around = coarse[nearest[x]][nearest[:, None], nearest]
        bound = np.abs(around) - np.sqrt(offset[x] + offset[:, None] + offset)
        found[x] = np.copysign(np.maximum(bound, 0), around)
        y, z = np.nonzero(bound <= reach)
        points = np.stack([np.full(len(y), axis[x]), axis[y], axis[z]], 1)
        if len(points):
            inside = queries.winding(points) > INSIDE_WINDING
            found[x, y, z] = np.where(inside, -1, 1) * queries.distance(points)
    return found
