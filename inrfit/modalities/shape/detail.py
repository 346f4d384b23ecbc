"""What a grid can hold of a mesh: how thin its walls and how small its parts are, and grids that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...io.json_schema import Schema, integer, items, number
from .mesh import INSIDE_WINDING, Array, Mesh, mesh_queries, sample_surface
from .orientation import find_pieces

SAMPLES = 4096
"""Points of the surface at which the thickness is examined."""

HALVINGS = 12
"""How often the cell of the grid is halved to find the thickness."""

THIN_SHARE = 0.05
"""A mesh counts as thin if the walls at more than this share of its surface are thinner than a cell. Sharp edges of
solid shapes are a smaller share."""

MAX_CELLS, MIN_SIDE, MAX_SIDE = 1 << 21, 32, 192
"""Largest number of cells of the finer grids together, and fewest and most cells along an axis of one."""

MAX_BOXES = 32
"""Largest number of finer grids."""


@dataclass(frozen=True, eq=False)
class Box:
    """A grid of cells in the box from ``low`` to ``high`` (3,), in normalised units."""

    low: Array
    high: Array
    shape: tuple[int, int, int]

    @property
    def cell_volume(self) -> float:
        """Volume of a cell, in normalised units."""
        return float(np.prod((self.high - self.low) / self.shape))

    @property
    def count(self) -> int:
        """Number of cells."""
        return int(np.prod(self.shape))

    @staticmethod
    def from_json(box: Mapping[str, Any]) -> Box:
        """The box that ``json`` returned."""
        return Box(np.array(box["low"], float), np.array(box["high"], float), tuple(box["shape"]))

    def json(self) -> dict[str, Any]:
        """The box as JSON values, with the schema BOX."""
        return {"low": self.low.tolist(), "high": self.high.tolist(), "shape": list(self.shape)}

    def centres(self, indices: npt.NDArray[np.int64]) -> Array:
        """Centres (k, 3) of the cells with these numbers."""
        positions = np.stack(np.unravel_index(indices, self.shape), axis=1)
        centres: Array = self.low + (positions + 0.5) * (self.high - self.low) / np.array(self.shape)
        return centres

    def contains(self, points: Array) -> npt.NDArray[np.bool_]:
        """Whether each of ``points`` (n, 3) lies in the box."""
        return np.asarray(((points >= self.low) & (points < self.high)).all(axis=1), np.bool_)


def wall_thickness(mesh: Mesh, cell: float) -> Array:
    """A lower bound of the thickness of the wall under each of SAMPLES points of the surface (n,), at most ``cell``:
    the largest of cell, cell / 2, cell / 4, ... at which a point below the surface is still inside; 0 if none is."""
    corners = mesh.corners
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    draws = np.random.default_rng(0).random((SAMPLES, 3))
    points = sample_surface(mesh, draws)
    cumulative = np.cumsum(areas)
    chosen = np.searchsorted(cumulative, draws[:, 0] * cumulative[-1], side="right").clip(max=len(areas) - 1)
    inward = -normals[chosen] / np.maximum(areas[chosen], 1e-300)[:, None]
    thickness = np.zeros(SAMPLES)
    queries = mesh_queries(mesh)
    for halving in range(HALVINGS):
        open_ones = np.flatnonzero(thickness == 0)
        if not len(open_ones):
            break
        depth = cell / 2**halving
        inside = queries.winding(points[open_ones] + depth * inward[open_ones]) > INSIDE_WINDING
        thickness[open_ones[inside]] = depth
    return thickness


_CORNER = items(number(-2, 2), 3, 3)
BOX: Schema = {"low": _CORNER, "high": _CORNER, "shape": items(integer(2, 1024), 3, 3)}
"""The JSON schema of a ``Box``."""


def check_boxes(boxes: list[Mapping[str, Any]]) -> None:
    """Raises ``ValueError`` for boxes without a volume, or with too many cells."""
    if any(not low < high for box in boxes for low, high in zip(box["low"], box["high"], strict=True)):
        raise ValueError("boxes: low is not below high")
    corners = [np.array([box["low"], box["high"]]) for box in boxes]
    if any(_overlap(a, b) for number, a in enumerate(corners) for b in corners[:number]):
        raise ValueError("boxes: two of them overlap")
    if sum(Box.from_json(box).count for box in boxes) > 4 * MAX_CELLS:
        raise ValueError("boxes: too many cells")


@dataclass(frozen=True, eq=False)
class Detail:
    """The smallest detail of a mesh: cells per side of the box [-1, 1]^3 that a grid needs to hold it (None: the usual
    grid holds it), and the finer grids on which it is measured and decoded."""

    resolution: int | None
    boxes: tuple[Box, ...] = ()


@lru_cache(maxsize=2)
def find_detail(mesh: Mesh, resolution: int) -> Detail:
    """The detail of ``mesh`` that a grid of ``resolution`` cells per side cannot hold. Small parts beside a large one
    get no grids of their own, because grids that overlap would hold the large one twice."""
    cell = 2 / resolution
    pieces = [piece for piece in find_pieces(mesh) if piece.closed and piece.volume > 0]
    solid = mesh
    if pieces:
        solid = Mesh(mesh.vertices, mesh.faces[np.concatenate([piece.faces for piece in pieces])])
    thickness = wall_thickness(solid, cell)
    if (thickness < cell).mean() <= THIN_SHARE or not thickness.any():
        thinnest = min((float((piece.box[1] - piece.box[0]).min()) for piece in pieces), default=cell)
        return Detail(None if thinnest >= cell else int(np.ceil(2 / max(thinnest / 2, cell / 2**HALVINGS))))
    finest = float(np.quantile(thickness[thickness > 0], 0.1))
    sizes = pieces or find_pieces(mesh)
    return Detail(int(np.ceil(2 / finest)), _boxes([piece.box for piece in sizes], finest))


def _boxes(parts: list[Array], finest: float) -> tuple[Box, ...]:
    """Grids around the parts, with cells of about a quarter of ``finest``, but at most MAX_CELLS in all. Parts whose
    boxes overlap share one."""
    if len(parts) > MAX_BOXES:
        parts = [np.stack([np.min([box[0] for box in parts], axis=0), np.max([box[1] for box in parts], axis=0)])]
    margin = finest
    merged: list[Array] = []
    for part in parts:
        box = np.stack([part[0] - margin, part[1] + margin])
        while (hit := next((k for k, other in enumerate(merged) if _overlap(box, other)), None)) is not None:
            other = merged.pop(hit)
            box = np.stack([np.minimum(box[0], other[0]), np.maximum(box[1], other[1])])
        merged.append(box)
    share = MAX_CELLS // len(merged)
    return tuple(_grid(box, finest / 4, share) for box in merged)


def _overlap(a: Array, b: Array) -> bool:
    """Whether two boxes (2, 3) overlap."""
    return bool(((a[0] < b[1]) & (b[0] < a[1])).all())


def _grid(box: Array, cell: float, max_cells: int) -> Box:
    """A grid in ``box`` with cells of side ``cell``, or larger ones along its longer sides if they were too many."""
    sides = box[1] - box[0]
    counts = np.clip(np.ceil(sides / cell), MIN_SIDE, MAX_SIDE)
    while counts.prod() > max_cells:
        longest = counts.argmax()
        counts[longest] = max(MIN_SIDE, np.floor(counts[longest] * 0.9))
    return Box(box[0], box[1], (int(counts[0]), int(counts[1]), int(counts[2])))
