"""Shapes: a triangle mesh as a signed distance (or occupancy), and back to a mesh in the source's units.

Normalised coordinates: the box [-1, 1]^3 around the centre of the bounding box; the largest half extent of
the mesh is 1 / (1 + PADDING). The distance is NEGATIVE INSIDE, in normalised units, clamped to +-band and
divided by it. Inside is where the winding number is above 1/2, which also decides for open surfaces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import Diverged, InrfitError, UnreadableFile, UsageError, printable
from ...io import json_schema
from ...io.limits import Limits
from ...io.options import setting
from ...signal import IDENTITY, Grid, Scale, Signal, Surface
from .. import metrics
from ..modality import OnProgress, Request
from . import point_sampling
from .mesh import INSIDE, Mesh, Placed, chamfer, encoded, place, trees
from .mesh_formats import READ, foreign, signature
from .mesh_formats import read as read_file

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

FORMATS: tuple[str, ...] = READ
SUFFIXES: tuple[str, ...] = (".ply", ".obj", ".stl", ".off", ".glb")
WRITES: tuple[str, ...] = (".ply", ".obj", ".stl")
PADDING = 0.1
RESOLUTION = 128
BAND = 0.05
"""Distances beyond this (normalised units) are clamped, so that the loss is about the surface. Armadillo, 500
steps (see ``first_omega``), IoU: 0.9929 at 0.1, 0.9944 at 0.05, 0.9953 at 0.025; with another pool 0.9936 at
0.05 and 0.9933 at 0.025, which had the worse bounding box and chamfer distance. Occupancy: 0.935."""
CHAMFER_POINTS = 30_000

_FAR = 1e300
META: json_schema.Schema = {
    "format": json_schema.one_of(*FORMATS),
    "target": json_schema.one_of("sdf", "occupancy"),
    "centre": json_schema.items(json_schema.number(-_FAR, _FAR), 3, 3),
    "size": json_schema.items(json_schema.number(0, _FAR), 3, 3),
    "extent": json_schema.number(1e-300, _FAR),
    "level": json_schema.number(-1, 1),
    "band": json_schema.optional(json_schema.number(1e-6, 4)),
    "vertices": json_schema.integer(1, 1 << 40),
    "faces": json_schema.integer(1, 1 << 40),
    "open_edges": json_schema.integer(0, 1 << 40),
}
"""``source = centre + extent * normalised``; ``size`` are the source's extents; ``level`` is the value on the
surface; a field value times ``band`` times ``extent`` is a distance in the source's units (sdf)."""

_OCCUPANCY = Scale("uint8", 1.0, 0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Options:
    """How a mesh becomes a function."""

    target: Literal["sdf", "occupancy"] = setting("sdf", "what the field gives: distance or inside")
    points: int = setting(
        0,
        "number of training points drawn near the surface and in the box (4 µs each); 0: chosen by the budget",
        0,
        50_000_000,
        old_name="pool",
    )


def sniff(data: bytes) -> bool:
    """Whether the content is a mesh: ply, glb, off, stl, obj, or one that is known but not read."""
    return signature(data) is not None or foreign(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The mesh as a signal without points: ``point_source`` draws them. ``reference`` is the mesh, normalised.

    Whatever a reader raises on damaged bytes becomes ``UnreadableFile`` here."""
    if 0 < options.points < point_sampling.FEWEST_POINTS:
        raise UsageError(
            f"-O points={options.points}: at least {point_sampling.FEWEST_POINTS:,} points, or 0", "option"
        )
    try:
        kind, raw = read_file(data, name, limits)
        placed = place(raw, PADDING)
    except InrfitError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {printable(error)[:80]}"
        raise UnreadableFile(f"the mesh cannot be read ({what})", "damaged") from error
    meta = _meta(kind, placed, options)
    sdf = options.target == "sdf"
    return Signal(
        modality="",
        samples=np.zeros((0, 1), np.float32 if sdf else np.uint8),
        scale=IDENTITY if sdf else _OCCUPANCY,
        meta=meta,
        points=np.zeros((0, 3), np.float32),
        notes=placed.notes,
        point_source=partial(point_sampling.MeshSource, placed.mesh, meta, options.points),
        reference=placed.mesh,
        surface=_described(meta),
    )


def _described(meta: Mapping[str, Any]) -> Surface:
    """Where the field's surface is, and which side of it is inside."""
    return Surface(meta["level"], inside_below=meta["target"] == "sdf")


def _meta(kind: str, placed: Placed, options: Options) -> dict[str, Any]:
    sdf = options.target == "sdf"
    return {
        "format": kind,
        "target": options.target,
        "centre": placed.centre.tolist(),
        "size": placed.size.tolist(),
        "extent": placed.extent,
        "level": 0.0 if sdf else 0.5,
        "band": BAND if sdf else None,
        "vertices": len(placed.mesh.vertices),
        "faces": len(placed.mesh.faces),
        "open_edges": placed.open_edges,
    }


def first_omega(signal: Signal) -> float:
    """Frequency factor of the first layer: 60 for every shape; the hidden layers keep 30.

    Siren 5x256, 500 steps of 8,192 points, Adam, cosine to 0, IoU at 500,000 cells of the 128^3 grid.
    Armadillo, band 0.05: 0.9919 at 30, 0.9944 at 60, 0.9922 at 90; band 0.1: 0.9889 at 15, 0.9900 at 30,
    0.9929 at 60, and 0.9812 with 15 in all layers. Bunny, band 0.05: 0.9975 at 30, 0.9974 at 60."""
    return 60.0


def estimate(predicted: Tensor, values: Tensor, scale: Scale) -> float:
    """Intersection over union of the inside decision over the given points, 0 to 1."""
    if scale.dtype == "uint8":
        inside, true = predicted > 0.5, values > 0.5
    else:
        inside, true = predicted < 0, values < 0
    union = int((inside | true).sum())
    return int((inside & true).sum()) / union if union else 1.0


def probe(signal: Signal, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cells of the grid that IoU is stated on, evenly spread, and whether they are inside: the pool lies near the
    surface and would tell an IoU of its own."""
    cells = RESOLUTION**3
    flat = (np.arange(count) * 0.6180339887498949 % 1.0 * cells).astype(np.int64)
    positions = np.stack(np.unravel_index(flat, (RESOLUTION,) * 3), axis=1)
    coords = ((2.0 * positions + 1) / RESOLUTION - 1).astype(np.float32)
    inside = trees(signal.reference).winding(coords.astype(np.float64)) > INSIDE
    values = np.where(inside, -1.0, 1.0) if signal.meta["target"] == "sdf" else inside
    return coords, values.astype(np.float32)[:, None]


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """The source's own format where it can be written."""
    own = {"PLY": ".ply", "OBJ": ".obj", "STL": ".stl"}.get(meta["format"])
    return (own, None) if own else (".ply", "off and glb decode to ply")


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Mesh:
    """The surface of the field in the source's units, closed, by marching cubes between the centres of
    resolution^3 cells of the box; beyond the box is outside.

    ``Request.resolution`` defaults to 128; memory is about 12 bytes a cell. Raises ``Diverged``."""
    resolution = RESOLUTION if request.resolution is None else request.resolution
    if resolution < 2:
        raise UsageError(f"a resolution of {resolution} has no cells to put a surface between", "request")
    limits.require("max_output", 4 * resolution**3, "bytes of field values on the grid")
    surface = _surface(_values(field, resolution, on_progress), meta)
    on_progress(1.0)
    return Mesh(np.asarray(meta["centre"]) + meta["extent"] * surface.vertices, surface.faces)


def _values(field: Field, resolution: int, on_progress: OnProgress) -> npt.NDArray[np.float32]:
    """The field at the cell centres of the box (r, r, r), a slab at a time."""
    grid, slab = Grid((resolution,) * 3), resolution * resolution
    values = np.empty((resolution, resolution, resolution), np.float32)
    for index in range(resolution):
        found = field.on_grid(grid, index * slab, (index + 1) * slab)
        values[index] = found[:, 0].numpy().reshape(resolution, resolution)
        if not np.isfinite(values[index]).all():
            raise UnreadableFile("the field gives values that are not finite", "nonfinite")
        on_progress(0.9 * (index + 1) / resolution)
    return values


def _inside(values: npt.NDArray[np.float32], meta: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Where field values mean inside."""
    inside = values < meta["level"] if meta["target"] == "sdf" else values > meta["level"]
    return np.asarray(inside, np.bool_)


def _surface(values: npt.NDArray[np.float32], meta: Mapping[str, Any]) -> Mesh:
    """The closed surface at ``level``, normalised units, facing outward."""
    from skimage.measure import marching_cubes

    if not _inside(values, meta).any():
        raise Diverged("the field has no surface", "no-surface")
    level, sdf = meta["level"], meta["target"] == "sdf"
    beyond = max(float(values.max()), level + 1) if sdf else min(float(values.min()), level - 1)
    padded = np.pad(values, 1, constant_values=beyond)
    # The direction that turns the triangles outward here; the tests check it by the sign of the volume.
    direction = "descent" if sdf else "ascent"
    vertices, faces, _, _ = marching_cubes(padded, level, gradient_direction=direction)
    normalised = (2 * (vertices.astype(np.float64) - 1) + 1) / values.shape[0] - 1
    return Mesh(normalised, faces.astype(np.int64))


def write(decoded: Mesh, meta: Mapping[str, Any], suffix: str, request: Request) -> bytes:
    """A .ply (binary), .obj or .stl (binary) file."""
    return encoded(decoded, suffix)


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """``iou``: inside decisions of field and mesh at the centres of the 128^3 cells of the box [-1, 1]^3.
    ``chamfer``: between mesh and decoded mesh (128^3), in the source's units: the mean of the two directed
    mean distances of 30,000 points, spread by area on one surface, to the other surface (unsquared, exact).
    ``bbox_error``: the largest deviation of a side of the bounding box, over the mesh's largest extent.
    Both are nan for a field without a surface."""
    mesh, meta = signal.reference, signal.meta
    values = _values(field, RESOLUTION, lambda fraction: on_progress(0.7 * fraction))
    cells = (2 * np.arange(RESOLUTION) + 1) / RESOLUTION - 1
    search, true = trees(mesh), np.empty(values.shape, np.bool_)
    for index, x in enumerate(cells):
        y, z = np.meshgrid(cells, cells, indexing="ij")
        slab = np.stack([np.full(y.shape, x), y, z], -1).reshape(-1, 3)
        true[index] = search.winding(slab).reshape(y.shape) > INSIDE
        on_progress(0.65 + 0.2 * index / RESOLUTION)
    found = {"iou": metrics.iou(_inside(values, meta), true), "iou_resolution": RESOLUTION}
    try:
        surface = _surface(values, meta)
        on_progress(0.9)
        distance = chamfer(mesh, surface, CHAMFER_POINTS) * meta["extent"]
        low, high = mesh.bounds
        box = float(np.abs(surface.bounds - mesh.bounds).max() / (high - low).max())
    except Diverged:
        distance = box = math.nan
    on_progress(1.0)
    return found | {"chamfer": distance, "chamfer_points": CHAMFER_POINTS, "bbox_error": box}


def describe_source(meta: Mapping[str, Any]) -> str:
    """For example "43,243 vertices, 86,482 faces, OBJ, extent 0.84 x 1 x 0.76"."""
    size = " x ".join(f"{length:.4g}" for length in meta["size"])
    edges = f", {meta['open_edges']:,} open edges" if meta["open_edges"] else ""
    return f"{meta['vertices']:,} vertices, {meta['faces']:,} faces, {meta['format']}, extent {size}{edges}"


def describe_decoded(decoded: Mesh, meta: Mapping[str, Any], request: Request) -> str:
    """For example "30,412 vertices, 60,820 faces, extent 0.84 x 1 x 0.76"."""
    size = " x ".join(f"{length:.4g}" for length in np.ptp(decoded.vertices, axis=0))
    return f"{len(decoded.vertices):,} vertices, {len(decoded.faces):,} faces, extent {size}"
