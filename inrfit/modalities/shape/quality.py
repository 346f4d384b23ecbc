"""How good a field of a shape is, on grids that hold the shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import Diverged
from ...signal import Signal
from ..metrics import psnr
from ..modality import OnProgress
from .detail import Box, find_detail
from .mesh import INSIDE_WINDING, Array, Mesh, chamfer, mesh_queries, sample_surface
from .surface import RESOLUTION, box_values, extract_parts, extract_surface, grid_values, is_inside, surface_colours

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

CHAMFER_POINTS = 30_000
"""Points per surface from which the chamfer distance is measured."""


def estimate(predicted: Tensor, values: Tensor, signal: Signal) -> float:
    """Intersection over union, 0 to 1, of the points that are inside by ``predicted`` and by ``values`` (k, 1). 0 if
    there are none, so that it reaches no target."""
    predicted, values = predicted[:, :1], values[:, :1]  # without colours
    if signal.scale.dtype == "uint8":
        inside, reference = predicted > 0.5, values > 0.5
    else:
        inside, reference = predicted < 0, values < 0
    union = int((inside | reference).sum())
    return int((inside & reference).sum()) / union if union else 0.0


def probe(signal: Signal, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Coordinates (count, 3) of evenly spread cells of the grids on which the IoU is measured, and values (count, 1) on
    the right side of the surface. Training points would give another IoU, because they lie near the surface."""
    boxes = find_detail(signal.reference, RESOLUTION).boxes
    if boxes:
        share = count // len(boxes)
        coords = np.concatenate([box.centres(_spread(box.count, share)) for box in boxes]).astype(np.float32)
    else:
        positions = np.stack(np.unravel_index(_spread(RESOLUTION**3, count), (RESOLUTION,) * 3), axis=1)
        coords = ((2.0 * positions + 1) / RESOLUTION - 1).astype(np.float32)
    inside = mesh_queries(signal.reference).winding(coords.astype(np.float64)) > INSIDE_WINDING
    values = np.where(inside, -1.0, 1.0) if signal.meta["target"] == "sdf" else inside
    return coords, values.astype(np.float32)[:, None]


def _spread(total: int, count: int) -> npt.NDArray[np.int64]:
    """``count`` numbers spread evenly over 0..total-1."""
    return (np.arange(count) * 0.6180339887498949 % 1.0 * total).astype(np.int64)


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """Measures of a field:

    - ``iou``: intersection over union of the insides of field and mesh, on the centres of the 128^3 cells of the box
      [-1, 1]^3; for thin walls and small parts also on finer grids around them. nan if no cell is inside of either.
      ``iou_resolution``: cells per side of the box, by the smallest cell.
    - ``chamfer``: chamfer distance of the mesh and the decoded mesh in the source's units, the mean of the two
      directed mean distances of 30,000 surface points (exact, not squared).
    - ``psnr_colour`` (dB): of the colours at 30,000 points of the surface, if it has colours.
    - ``bbox_error``: the largest deviation of a side of the bounding box, relative to the mesh's largest extent. It and
      the chamfer distance are nan for a field without a surface."""
    mesh, meta = signal.reference, signal.meta
    values = grid_values(field, RESOLUTION, lambda fraction: on_progress(0.7 * fraction))
    boxes = find_detail(mesh, RESOLUTION).boxes

    def inside_box(box: Box) -> npt.NDArray[np.bool_]:
        return is_inside(box_values(field, box), meta).reshape(-1)

    try:
        surface = extract_parts(field, meta, lambda fraction: None) if boxes else extract_surface(values, meta)
    except Diverged:
        surface = None
    quality = _overlap_with(mesh, is_inside(values, meta), inside_box, boxes, on_progress)
    quality |= _distances(mesh, surface, meta)
    if mesh.colours is not None:
        quality["psnr_colour"] = _colour_psnr(field, mesh)
    on_progress(1.0)
    return quality


def compare(signal: Signal, reference: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The measures ``iou``, ``chamfer`` and ``bbox_error`` of one mesh against another. What lies outside the box of
    the other one counts for the distances only."""
    mesh, meta = reference.reference, reference.meta
    surface = in_place_of(signal, meta).reference
    queries = mesh_queries(surface)
    axis = (2 * np.arange(RESOLUTION) + 1) / RESOLUTION - 1
    inside = np.empty((RESOLUTION,) * 3, np.bool_)
    for index, x in enumerate(axis):
        y, z = np.meshgrid(axis, axis, indexing="ij")
        slab = np.stack([np.full(y.shape, x), y, z], -1).reshape(-1, 3)
        inside[index] = (queries.winding(slab) > INSIDE_WINDING).reshape(y.shape)
        on_progress(0.6 * index / RESOLUTION)

    def inside_box(box: Box) -> npt.NDArray[np.bool_]:
        return np.asarray(queries.winding(box.centres(np.arange(box.count))) > INSIDE_WINDING)

    boxes = find_detail(mesh, RESOLUTION).boxes
    quality = _overlap_with(mesh, inside, inside_box, boxes, on_progress) | _distances(mesh, surface, meta)
    on_progress(1.0)
    return quality


def in_place_of(signal: Signal, meta: Mapping[str, Any]) -> Signal:
    """The mesh of ``signal`` in the normalised units of ``meta``, which may be those of another mesh."""
    own, mesh = signal.meta, signal.reference
    if own["centre"] == meta["centre"] and own["extent"] == meta["extent"]:
        return signal
    vertices = mesh.vertices * own["extent"] + np.asarray(own["centre"]) - np.asarray(meta["centre"])
    return replace(signal, reference=replace(mesh, vertices=vertices / meta["extent"]))


def _overlap_with(
    mesh: Mesh,
    inside: npt.NDArray[np.bool_],
    inside_box: Callable[[Box], npt.NDArray[np.bool_]],
    boxes: tuple[Box, ...],
    on_progress: OnProgress,
) -> dict[str, Any]:
    """``iou`` and ``iou_resolution`` of what is ``inside`` of the cells of the box (r, r, r), and of those of finer
    boxes."""
    counted = _count_coarse(mesh, inside, boxes, on_progress)
    finest = 2 / RESOLUTION
    for box in boxes:
        counted += box.cell_volume * np.array(_count_fine(inside_box(box), mesh, box))
        finest = min(finest, float(((box.high - box.low) / box.shape).min()))
    intersection, union = counted
    return {"iou": float(intersection / union) if union else math.nan, "iou_resolution": round(2 / finest)}


def _distances(mesh: Mesh, surface: Mesh | None, meta: Mapping[str, Any]) -> dict[str, Any]:
    """``chamfer`` and ``bbox_error`` of a surface; nan if there is none."""
    distance = bbox_error = math.nan
    if surface is not None:
        distance = chamfer(mesh, surface, CHAMFER_POINTS) * meta["extent"]
        low, high = mesh.bounds
        bbox_error = float(np.abs(surface.bounds - mesh.bounds).max() / (high - low).max())
    return {"chamfer": distance, "chamfer_points": CHAMFER_POINTS, "bbox_error": bbox_error}


def _colour_psnr(field: Field, mesh: Mesh) -> float:
    """PSNR in dB of the field's colours at CHAMFER_POINTS points of the surface, for a peak of 1."""
    points = sample_surface(mesh, np.random.default_rng(0).random((CHAMFER_POINTS, 3)))
    return psnr(surface_colours(field, points), mesh_queries(mesh).colours(points), 1.0)


def _count_coarse(
    mesh: Mesh, inside: npt.NDArray[np.bool_], boxes: tuple[Box, ...], on_progress: OnProgress
) -> npt.NDArray[np.float64]:
    """Volumes (2,) of intersection and union of ``inside`` (r, r, r) and the mesh, without the cells in ``boxes``."""
    axis = (2 * np.arange(RESOLUTION) + 1) / RESOLUTION - 1
    queries, counted = mesh_queries(mesh), np.zeros(2)
    for index, x in enumerate(axis):
        y, z = np.meshgrid(axis, axis, indexing="ij")
        slab = np.stack([np.full(y.shape, x), y, z], -1).reshape(-1, 3)
        counts = np.ones(len(slab), np.bool_)
        for box in boxes:
            counts &= ~box.contains(slab)
        counted += _overlap(inside[index].reshape(-1)[counts], queries.winding(slab[counts]) > INSIDE_WINDING)
        on_progress(0.65 + 0.2 * index / RESOLUTION)
    return counted * (2 / RESOLUTION) ** 3


def _overlap(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Numbers of cells in both and in either."""
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a | b))


def _count_fine(inside: npt.NDArray[np.bool_], mesh: Mesh, box: Box) -> tuple[int, int]:
    """Numbers of cells of ``box`` that are both ``inside`` (n,) and inside of the mesh, and of either."""
    both = either = 0
    step, queries = 1 << 16, mesh_queries(mesh)
    for start in range(0, box.count, step):
        centres: Array = box.centres(np.arange(start, min(start + step, box.count)))
        overlap = _overlap(inside[start : start + step], queries.winding(centres) > INSIDE_WINDING)
        both, either = both + overlap[0], either + overlap[1]
    return both, either
