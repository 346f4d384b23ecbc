"""Training points of a shape: near the surface and in the box, with the values that the field is fitted to.

``mesh.sample_surface`` draws uniform points on the triangles; ``draw_points`` moves them off the surface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .mesh import INSIDE_WINDING, QUERY_POINTS, Mesh, mesh_queries, sample_surface

if TYPE_CHECKING:
    import torch

_COARSE_CELLS = 32
"""Cells per side of the coarse grid on which places far from the surface are found."""

SECTION_POINTS = 600_000
"""Points per section, and number of points for a budget in steps."""

MIN_POINTS = 1000
"""Smallest number of points that may be requested. Fewer are too few to fit a shape."""

MAX_DEFAULT_POINTS = 1 << 22
"""Maximum number of points unless more are requested. The error map of more points is no longer kept point by point
(``samplers/proportional.py``)."""

COLOUR_RANGE = 0.2
"""Colours are fitted as values from -0.2 to 0.2, so that their errors count less than those of the distance."""

_NEAR_SURFACE_MIX = ((0.22, 0.005), (0.22, 0.03), (0.11, 0.08))
"""Shares of the points that are drawn near the surface, each with the standard deviation of their offsets from it
(normalised units). The other points are uniform in the box."""


class MeshSource:
    """The ``signal.PointSource`` of a mesh. Points are drawn in sections of SECTION_POINTS, each of which has the same
    distribution as the whole. ``points`` is the number that was requested; with 0 it follows from the budget."""

    def __init__(self, mesh: Mesh, meta: Mapping[str, Any], points: int, generator: torch.Generator) -> None:
        self._mesh, self._meta, self._points, self._generator = mesh, meta, points, generator
        self._cell_signs = coarse_cell_signs(mesh, meta["band"] or 0.0)
        self._section = np.zeros((0, 3), np.float32)
        self._section_start = 0

    @property
    def default_count(self) -> int:
        """Number of points for a budget without a limit in seconds."""
        return self._points or SECTION_POINTS

    def max_count(self, far_share: float) -> int:
        """The most points that any budget may draw; ``draw_far`` adds ``far_share`` times as many."""
        return self._points or int(MAX_DEFAULT_POINTS / (1 + far_share))

    def draw(self, start: int, end: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Points (k, 3) from number ``start`` on, before ``end`` and at most QUERY_POINTS, and their values (k, 1)."""
        if not self._section_start <= start < self._section_start + len(self._section):
            self._section = draw_points(self._mesh, min(SECTION_POINTS, end - start), self._generator)
            self._section_start = start
        first = start - self._section_start
        points = self._section[first : min(first + QUERY_POINTS, first + end - start)]
        values = target_values(self._mesh, self._meta, self._cell_signs, points.astype(np.float64))[:, None]
        return points, self._with_colours(values, points)

    def draw_far(self, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Points (count, 3) far from the surface, and their values (count, 1); none if no place is far from it."""
        points, signs = draw_far_points(self._cell_signs, count, self._generator)
        values = signs.astype(np.float32) if self._meta["target"] == "sdf" else (signs < 0).astype(np.uint8)
        if self._mesh.colours is None:
            return points, values[:, None]
        mean = np.broadcast_to(to_values(self._mesh.colours.mean(axis=0)), (len(points), 3))
        return points, np.concatenate([values[:, None], mean], axis=1)

    def _with_colours(self, values: npt.NDArray[Any], points: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """``values`` (k, 1) with the colours of the nearest points of the surface, if the mesh has colours."""
        if self._mesh.colours is None:
            return values
        colours = to_values(mesh_queries(self._mesh).colours(points.astype(np.float64)))
        return np.concatenate([values, colours], axis=1)


def to_values(colours: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The values of a field for colours (n, 3) from 0 to 1."""
    return ((2 * colours - 1) * COLOUR_RANGE).astype(np.float32)


def to_colours(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The inverse of ``to_values``, clamped."""
    colours: npt.NDArray[np.float64] = ((values.astype(np.float64) / COLOUR_RANGE + 1) / 2).clip(0, 1)
    return colours


def draw_far_points(
    cell_signs: npt.NDArray[np.int8], count: int, generator: torch.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Points (count, 3), uniform in the coarse cells whose sign is not 0, and the sign at each (count,). Both are empty
    if there is no such cell."""
    import torch

    far = np.flatnonzero(cell_signs)
    if not (count and len(far)):
        return np.zeros((0, 3), np.float32), np.zeros(0, np.int8)
    draws = torch.rand((count, 4), generator=generator, device=generator.device, dtype=torch.float64).cpu().numpy()
    cells = far[(draws[:, 0] * len(far)).astype(np.int64)]
    corners = np.stack(np.unravel_index(cells, (_COARSE_CELLS,) * 3), axis=1)
    return ((corners + draws[:, 1:]) * (2 / _COARSE_CELLS) - 1).astype(np.float32), cell_signs[cells]


def coarse_cell_signs(mesh: Mesh, margin: float) -> npt.NDArray[np.int8]:
    """Signs (_COARSE_CELLS^3,) of the coarse cells: -1 if all points of a cell are inside, 1 if all are outside, each
    by more than ``margin``, and 0 otherwise.

    In cells with a sign, values need no distance query, so the volume can be sampled densely. A field that is fitted to
    too few points of the volume has specks of surface in it."""
    axis = (2 * np.arange(_COARSE_CELLS) + 1) / _COARSE_CELLS - 1
    centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    distance = mesh_queries(mesh).signed_distance(centres)
    min_distance = math.sqrt(3) / _COARSE_CELLS + margin
    return np.where(np.abs(distance) > min_distance, np.sign(distance), 0).astype(np.int8)


def target_values(
    mesh: Mesh, meta: Mapping[str, Any], cell_signs: npt.NDArray[np.int8], points: npt.NDArray[np.float64]
) -> npt.NDArray[Any]:
    """Values (n,) of the field at ``points`` (n, 3). Target "sdf": signed distance / band, clipped to [-1, 1], float32.
    Target "occupancy": 1 inside and 0 outside, uint8."""
    cells = ((points + 1) * (_COARSE_CELLS / 2)).astype(np.int64).clip(0, _COARSE_CELLS - 1)
    signs = cell_signs[np.ravel_multi_index(tuple(cells.T), (_COARSE_CELLS,) * 3)]
    near = signs == 0
    sdf, queries = meta["target"] == "sdf", mesh_queries(mesh)
    values: npt.NDArray[Any] = signs.astype(np.float32) if sdf else (signs < 0).astype(np.uint8)
    if sdf and near.any():
        values[near] = (queries.signed_distance(points[near]) / meta["band"]).clip(-1, 1)
    elif near.any():
        values[near] = queries.winding(points[near]) > INSIDE_WINDING
    return values


def draw_points(mesh: Mesh, count: int, generator: torch.Generator) -> npt.NDArray[np.float32]:
    """Points (count, 3) in random order: near the surface (uniform by area, with Gaussian offsets) and uniform in the
    box, in the shares of _NEAR_SURFACE_MIX."""
    import torch

    like: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    parts = []
    for share, deviation in _NEAR_SURFACE_MIX:
        part_count = int(share * count)
        draws = torch.rand((part_count, 3), **like).cpu().numpy()
        offsets = torch.randn((part_count, 3), **like).cpu().numpy()
        parts.append(sample_surface(mesh, draws) + deviation * offsets)
    uniform_count = count - sum(len(part) for part in parts)
    uniform = torch.rand((uniform_count, 3), **like).cpu().numpy()
    order = torch.randperm(count, generator=generator, device=generator.device).cpu().numpy()
    points: npt.NDArray[np.float32] = np.concatenate([*parts, 2 * uniform - 1]).clip(-1, 1).astype(np.float32)[order]
    return points
