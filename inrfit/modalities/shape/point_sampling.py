"""A shape's points: near its surface and in its box, with what the field must give there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .mesh import CALL, INSIDE, Mesh, on_surface, trees

if TYPE_CHECKING:
    import torch

_COARSE = 32
"""Cells per side of the grid that knows where the surface is far."""

POINTS = 600_000
"""Of a budget in steps, and of a section."""

FEWEST_POINTS = 1000
"""Of fewer nothing is learned."""

MOST_POINTS = 1 << 22
"""Drawn without being asked for: an error map of more is no longer kept point by point (``samplers/stream.py``)."""

_POOL = ((0.22, 0.005), (0.22, 0.03), (0.11, 0.08))
"""Shares of the pool near the surface and the standard deviations of their offsets (normalised units); the
rest is uniform in the box."""


class MeshSource:
    """Draws points of a mesh, near its surface and in its box, in sections, of which each is a fair sample of all
    (``signal.PointSource``). ``pool``: how many the user asks for; 0 leaves it to the budget."""

    def __init__(self, mesh: Mesh, meta: Mapping[str, Any], pool: int, generator: torch.Generator) -> None:
        self._mesh, self._meta, self._pool, self._generator = mesh, meta, pool, generator
        self._far = far_cells(mesh, meta["band"] or 0.0)
        self._section = np.zeros((0, 3), np.float32)
        self._begin = 0

    @property
    def default_count(self) -> int:
        """Number of points for a budget without a limit in seconds."""
        return self._pool or POINTS

    def max_count(self, far_share: float) -> int:
        """Maximum number of points of any budget."""
        return self._pool or int(MOST_POINTS / (1 + far_share))

    def draw(self, start: int, end: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """The points (k, 3) from the ``start``-th on, at most CALL and before ``end``, and their values (k, 1)."""
        if not self._begin <= start < self._begin + len(self._section):
            self._section, self._begin = spread(self._mesh, min(POINTS, end - start), self._generator), start
        within = start - self._begin
        points = self._section[within : min(within + CALL, within + end - start)]
        return points, targets(self._mesh, self._meta, self._far, points.astype(np.float64))[:, None]

    def draw_far(self, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Points (count, 3) far from the surface, and their values."""
        points, sides = free(self._far, count, self._generator)
        values = sides.astype(np.float32) if self._meta["target"] == "sdf" else (sides < 0).astype(np.uint8)
        return points, values[:, None]


def free(
    far: npt.NDArray[np.int8], count: int, generator: torch.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Points (count, 3) evenly in the cells where the value is known, and which it is; none where there is no such
    cell."""
    import torch

    known = np.flatnonzero(far)
    if not (count and len(known)):
        return np.zeros((0, 3), np.float32), np.zeros(0, np.int8)
    draws = torch.rand((count, 4), generator=generator, device=generator.device, dtype=torch.float64).cpu().numpy()
    cells = known[(draws[:, 0] * len(known)).astype(np.int64)]
    corners = np.stack(np.unravel_index(cells, (_COARSE,) * 3), axis=1)
    return ((corners + draws[:, 1:]) * (2 / _COARSE) - 1).astype(np.float32), far[cells]


def far_cells(mesh: Mesh, margin: float) -> npt.NDArray[np.int8]:
    """Per cell of the coarse grid, flat: -1 or 1 where every point of it is further than ``margin`` inside or outside,
    0 where that is not sure. There the value is known without asking, and so the volume can be sampled densely: a field
    taught too few points of it puts specks of surface between them."""
    cells = (2 * np.arange(_COARSE) + 1) / _COARSE - 1
    centres = np.stack(np.meshgrid(cells, cells, cells, indexing="ij"), -1).reshape(-1, 3)
    distance = trees(mesh).signed_distance(centres)
    reach = math.sqrt(3) / _COARSE + margin
    return np.where(np.abs(distance) > reach, np.sign(distance), 0).astype(np.int8)


def targets(
    mesh: Mesh, meta: Mapping[str, Any], far: npt.NDArray[np.int8], points: npt.NDArray[np.float64]
) -> npt.NDArray[Any]:
    """What the field must give at ``points`` (n, 3): distances in bands, clipped at 1, or 1 inside and 0 outside."""
    cells = ((points + 1) * (_COARSE / 2)).astype(np.int64).clip(0, _COARSE - 1)
    known = far[np.ravel_multi_index(tuple(cells.T), (_COARSE,) * 3)]
    asked = known == 0
    sdf, search = meta["target"] == "sdf", trees(mesh)
    values: npt.NDArray[Any] = known.astype(np.float32) if sdf else (known < 0).astype(np.uint8)
    if sdf and asked.any():
        values[asked] = (search.signed_distance(points[asked]) / meta["band"]).clip(-1, 1)
    elif asked.any():
        values[asked] = search.winding(points[asked]) > INSIDE
    return values


def spread(mesh: Mesh, pool: int, generator: torch.Generator) -> npt.NDArray[np.float32]:
    """Points (pool, 3) in random order: near the surface, by area with Gaussian offsets, and uniform in the box."""
    import torch

    like: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    pieces = []
    for share, spread in _POOL:
        count = int(share * pool)
        draws = torch.rand((count, 3), **like).cpu().numpy()
        offsets = torch.randn((count, 3), **like).cpu().numpy()
        pieces.append(on_surface(mesh, draws) + spread * offsets)
    rest = pool - sum(len(piece) for piece in pieces)
    uniform = torch.rand((rest, 3), **like).cpu().numpy()
    order = torch.randperm(pool, generator=generator, device=generator.device).cpu().numpy()
    drawn: npt.NDArray[np.float32] = np.concatenate([*pieces, 2 * uniform - 1]).clip(-1, 1).astype(np.float32)[order]
    return drawn
