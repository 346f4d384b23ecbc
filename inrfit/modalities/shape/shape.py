"""Shapes: a triangle mesh as a signed distance function (or occupancy), and back to a mesh in the source's units.

Coordinates are normalised: the box [-1, 1]^3 around the centre of the bounding box, in which the mesh has a largest
half extent of 1 / (1 + PADDING). The distance is negative inside, in normalised units, clamped to +-band and divided by
it (a truncated signed distance). A point is inside if its winding number is above 1/2, also for open surfaces.
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
from ..modality import NONE, OnProgress, Request
from . import point_sampling
from .mesh import INSIDE_WINDING, Mesh, NormalizedMesh, chamfer, mesh_bytes, mesh_queries, normalize
from .mesh_formats import FORMATS, read, signature, unsupported_format

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

INPUT_SUFFIXES: tuple[str, ...] = (".ply", ".obj", ".stl", ".off", ".glb")
OUTPUT_SUFFIXES: tuple[str, ...] = (".ply", ".obj", ".stl")
PADDING = 0.1
"""Margin between the mesh and the box, relative to the largest half extent of the mesh."""

RESOLUTION = 128
"""Cells per side of the grid for decoding by default, and for the IoU."""

SDF_TRUNCATION = 0.05
"""Distance in normalised units at which signed distances are clamped, so that the loss concentrates on the surface."""

CHAMFER_POINTS = 30_000
"""Points per surface from which the chamfer distance is measured."""

_MAX_COORDINATE = 1e300
META: json_schema.Schema = {
    "format": json_schema.one_of(*FORMATS),
    "target": json_schema.one_of("sdf", "occupancy"),
    "centre": json_schema.items(json_schema.number(-_MAX_COORDINATE, _MAX_COORDINATE), 3, 3),
    "size": json_schema.items(json_schema.number(0, _MAX_COORDINATE), 3, 3),
    "extent": json_schema.number(1e-300, _MAX_COORDINATE),
    "level": json_schema.number(-1, 1),
    "band": json_schema.optional(json_schema.number(1e-6, 4)),
    "vertices": json_schema.integer(1, 1 << 40),
    "faces": json_schema.integer(1, 1 << 40),
    "open_edges": json_schema.integer(0, 1 << 40),
}
"""Schema of ``Signal.meta``. A point in the source's units is ``centre + extent * coords``. ``size`` are the side
lengths of the source's bounding box. ``level`` is the field's value on the surface. For the target "sdf", a field value
times ``band`` times ``extent`` is a distance in the source's units."""

_OCCUPANCY_SCALE = Scale("uint8", 1.0, 0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Options:
    """How a mesh is converted to a function."""

    target: Literal["sdf", "occupancy"] = setting("sdf", "output of the field: signed distance, or inside or not")
    points: int = setting(
        0,
        "number of training points drawn near the surface and in the box (4 µs each); 0: chosen by the budget",
        0,
        50_000_000,
        old_name="pool",
    )


def sniff(data: bytes) -> bool:
    """Whether the content is a mesh, in a supported or an unsupported format."""
    return signature(data) is not None or unsupported_format(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The mesh as a signal without points, which its ``point_source`` draws. ``reference`` is the normalised ``Mesh``.
    Raises a ``RefusedInput``; exceptions of readers become ``UnreadableFile``."""
    if 0 < options.points < point_sampling.MIN_POINTS:
        raise UsageError(f"-O points={options.points}: must be 0 or at least {point_sampling.MIN_POINTS:,}", "option")
    try:
        format_name, raw = read(data, name, limits)
        normalized = normalize(raw, PADDING)
    except InrfitError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {printable(error)[:80]}"
        raise UnreadableFile(f"the mesh cannot be read ({cause})", "damaged") from error
    meta = _meta(format_name, normalized, options)
    sdf = options.target == "sdf"
    return Signal(
        modality="",
        samples=np.zeros((0, 1), np.float32 if sdf else np.uint8),
        scale=IDENTITY if sdf else _OCCUPANCY_SCALE,
        meta=meta,
        points=np.zeros((0, 3), np.float32),
        notes=normalized.notes,
        point_source=partial(point_sampling.MeshSource, normalized.mesh, meta, options.points),
        reference=normalized.mesh,
        surface=_surface_of(meta),
    )


def _surface_of(meta: Mapping[str, Any]) -> Surface:
    """The level of the surface, and which side of it is inside."""
    return Surface(meta["level"], inside_below=meta["target"] == "sdf")


def _meta(format_name: str, normalized: NormalizedMesh, options: Options) -> dict[str, Any]:
    """``Signal.meta`` of a mesh."""
    sdf = options.target == "sdf"
    return {
        "format": format_name,
        "target": options.target,
        "centre": normalized.centre.tolist(),
        "size": normalized.size.tolist(),
        "extent": normalized.extent,
        "level": 0.0 if sdf else 0.5,
        "band": SDF_TRUNCATION if sdf else None,
        "vertices": len(normalized.mesh.vertices),
        "faces": len(normalized.mesh.faces),
        "open_edges": normalized.open_edges,
    }


def first_omega(signal: Signal) -> float:
    """Frequency factor of a SIREN's first layer: 60 for every shape (docs/benchmarks.md)."""
    return 60.0


def estimate(predicted: Tensor, values: Tensor, signal: Signal) -> float:
    """Intersection over union, 0 to 1, of the points that are inside by ``predicted`` and by ``values`` (k, 1)."""
    if signal.scale.dtype == "uint8":
        inside, reference = predicted > 0.5, values > 0.5
    else:
        inside, reference = predicted < 0, values < 0
    union = int((inside | reference).sum())
    return int((inside & reference).sum()) / union if union else 1.0


def probe(signal: Signal, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Coordinates (count, 3) of evenly spread cells of the grid on which the IoU is measured, and values (count, 1) on
    the right side of the surface. Training points would give another IoU, because they lie near the surface."""
    total = RESOLUTION**3
    indices = (np.arange(count) * 0.6180339887498949 % 1.0 * total).astype(np.int64)
    positions = np.stack(np.unravel_index(indices, (RESOLUTION,) * 3), axis=1)
    coords = ((2.0 * positions + 1) / RESOLUTION - 1).astype(np.float32)
    inside = mesh_queries(signal.reference).winding(coords.astype(np.float64)) > INSIDE_WINDING
    values = np.where(inside, -1.0, 1.0) if signal.meta["target"] == "sdf" else inside
    return coords, values.astype(np.float32)[:, None]


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """The suffix of the source's format if it can be written, else .ply with a note."""
    ending = {"PLY": ".ply", "OBJ": ".obj", "STL": ".stl"}.get(meta["format"])
    return (ending, None) if ending else (".ply", "OFF and GLB are written as PLY")


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Mesh:
    """The closed surface of the field as a mesh in the source's units, by marching cubes on the centres of resolution^3
    cells of the box. The outside of the box counts as outside of the shape.

    ``Request.resolution`` defaults to RESOLUTION. Needs about 12 bytes of memory per cell. Raises ``UsageError`` for a
    resolution below 2, ``OverLimit``, ``UnreadableFile`` for a field whose values are not finite, and ``Diverged`` for
    one without a surface."""
    resolution = RESOLUTION if request.resolution is None else request.resolution
    if resolution < 2:
        raise UsageError(f"--resolution {resolution}: must be at least 2", "request")
    limits.check("max_output", 4 * resolution**3, "bytes of field values on the grid")
    surface = _extract_surface(_values(field, resolution, on_progress), meta)
    on_progress(1.0)
    return Mesh(np.asarray(meta["centre"]) + meta["extent"] * surface.vertices, surface.faces)


def _values(field: Field, resolution: int, on_progress: OnProgress) -> npt.NDArray[np.float32]:
    """Values of the field at the cell centres of the box (r, r, r), evaluated slab by slab."""
    grid, slab = Grid((resolution,) * 3), resolution * resolution
    values = np.empty((resolution, resolution, resolution), np.float32)
    for index in range(resolution):
        slab_values = field.on_grid(grid, index * slab, (index + 1) * slab)
        values[index] = slab_values[:, 0].numpy().reshape(resolution, resolution)
        if not np.isfinite(values[index]).all():
            raise UnreadableFile("the field has values that are not finite", "nonfinite")
        on_progress(0.9 * (index + 1) / resolution)
    return values


def _inside(values: npt.NDArray[np.float32], meta: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Where the field values mean inside, in the shape of ``values``."""
    inside = values < meta["level"] if meta["target"] == "sdf" else values > meta["level"]
    return np.asarray(inside, np.bool_)


def _extract_surface(values: npt.NDArray[np.float32], meta: Mapping[str, Any]) -> Mesh:
    """The closed surface of ``values`` (r, r, r) in normalised units, facing outward. Raises ``Diverged`` if there is
    none."""
    from skimage.measure import marching_cubes

    if not _inside(values, meta).any():
        raise Diverged("the field has no surface", "no-surface")
    level, sdf = meta["level"], meta["target"] == "sdf"
    outside = max(float(values.max()), level + 1) if sdf else min(float(values.min()), level - 1)
    padded = np.pad(values, 1, constant_values=outside)
    # The direction for which the triangles face outward; the tests check the sign of the volume.
    direction = "descent" if sdf else "ascent"
    vertices, faces, _, _ = marching_cubes(padded, level, gradient_direction=direction)
    normalised = (2 * (vertices.astype(np.float64) - 1) + 1) / values.shape[0] - 1
    return Mesh(normalised, faces.astype(np.int64))


def write(
    decoded: Mesh, meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE
) -> bytes:
    """The bytes of a .ply (binary), .obj or .stl (binary) file. Raises ``UsageError``."""
    return mesh_bytes(decoded, suffix)


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """``iou``: intersection over union of the insides of field and mesh, on the centres of the 128^3 cells of the box
    [-1, 1]^3. ``chamfer``: chamfer distance of the mesh and the decoded mesh (128^3) in the source's units, the mean of
    the two directed mean distances of 30,000 surface points (exact, not squared). ``bbox_error``: the largest deviation
    of a side of the bounding box, relative to the mesh's largest extent. The last two are nan for a field without a
    surface."""
    mesh, meta = signal.reference, signal.meta
    values = _values(field, RESOLUTION, lambda fraction: on_progress(0.7 * fraction))
    axis = (2 * np.arange(RESOLUTION) + 1) / RESOLUTION - 1
    queries, reference = mesh_queries(mesh), np.empty(values.shape, np.bool_)
    for index, x in enumerate(axis):
        y, z = np.meshgrid(axis, axis, indexing="ij")
        slab = np.stack([np.full(y.shape, x), y, z], -1).reshape(-1, 3)
        reference[index] = queries.winding(slab).reshape(y.shape) > INSIDE_WINDING
        on_progress(0.65 + 0.2 * index / RESOLUTION)
    quality = {"iou": metrics.iou(_inside(values, meta), reference), "iou_resolution": RESOLUTION}
    try:
        surface = _extract_surface(values, meta)
        on_progress(0.9)
        distance = chamfer(mesh, surface, CHAMFER_POINTS) * meta["extent"]
        low, high = mesh.bounds
        bbox_error = float(np.abs(surface.bounds - mesh.bounds).max() / (high - low).max())
    except Diverged:
        distance = bbox_error = math.nan
    on_progress(1.0)
    return quality | {"chamfer": distance, "chamfer_points": CHAMFER_POINTS, "bbox_error": bbox_error}


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "43,243 vertices, 86,482 faces, OBJ, extent 0.84 x 1 x 0.76"."""
    size = " x ".join(f"{length:.4g}" for length in meta["size"])
    edges = f", {meta['open_edges']:,} open edges" if meta["open_edges"] else ""
    return f"{meta['vertices']:,} vertices, {meta['faces']:,} faces, {meta['format']}, extent {size}{edges}"


def describe_decoded(decoded: Mesh, meta: Mapping[str, Any], request: Request) -> str:
    """A description such as "30,412 vertices, 60,820 faces, extent 0.84 x 1 x 0.76"."""
    size = " x ".join(f"{length:.4g}" for length in np.ptp(decoded.vertices, axis=0))
    return f"{len(decoded.vertices):,} vertices, {len(decoded.faces):,} faces, extent {size}"
