"""Shapes: a triangle mesh as a signed distance function (or occupancy), and back to a mesh in the source's units.

Coordinates are normalised: the box [-1, 1]^3 around the centre of the bounding box, in which the mesh has a largest
half extent of 1 / (1 + PADDING). The distance is negative inside, in normalised units, clamped to +-band and divided by
it (a truncated signed distance). A point is inside if its winding number is above 1/2, also for open surfaces.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import InrfitError, UnreadableFile, UsageError, machine_error, printable
from ...io import json_schema
from ...io.limits import Limits
from ...io.options import setting
from ...signal import IDENTITY, Scale, Signal, Surface
from ..modality import DecodeNeed, EarlierMeta, OnProgress
from ..notes import by_weight
from ..request import NONE, Request
from . import point_sampling
from .detail import BOX, MAX_BOXES, check_boxes, find_detail
from .mesh import Mesh
from .mesh_formats import FORMATS, read, signature, unsupported_format
from .mesh_writers import COLOURED, WRITERS, mesh_bytes
from .normalisation import NormalizedMesh, normalize
from .orientation import find_pieces
from .surface import (
    RESOLUTION,
    USUAL_SURFACE,
    cells_per_call,
    extract_parts,
    extract_surface,
    grid_values,
    march_bytes,
    surface_bytes,
    surface_colours,
)

if TYPE_CHECKING:
    from ...fields.module import Field

INPUT_SUFFIXES: tuple[str, ...] = (*WRITERS, ".gltf", ".3mf")
OUTPUT_SUFFIXES: tuple[str, ...] = tuple(WRITERS)
PADDING = 0.1
"""Margin between the mesh and the box, relative to the largest half extent of the mesh."""

SDF_TRUNCATION = 0.05
"""Distance in normalised units at which signed distances are clamped, so that the loss concentrates on the surface."""

_MAX_COORDINATE = 1e300
META: dict[str, Any] = {
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
    "needed_resolution": json_schema.optional(json_schema.integer(1, 1 << 30)),
    "boxes": json_schema.items(BOX, 0, MAX_BOXES),
    "colours": json_schema.boolean,
}
"""Schema of ``Signal.meta``. A point in the source's units is ``centre + extent * coords``. ``size`` are the side
lengths of the source's bounding box. ``level`` is the field's value on the surface. For the target "sdf", a field value
times ``band`` times ``extent`` is a distance in the source's units. ``needed_resolution``: cells per side of a grid
that holds the thinnest walls; None if RESOLUTION does. ``boxes``: finer grids around the parts, which hold them.
``colours``: whether the field has three more outputs, the colours of the surface."""

META_BEFORE_3 = EarlierMeta(
    {key: schema for key, schema in META.items() if key not in ("needed_resolution", "boxes", "colours")},
    lambda meta: {**meta, "needed_resolution": None, "boxes": [], "colours": False},
)
"""``Signal.meta`` in the format versions 1 and 2."""

_OCCUPANCY_SCALE = Scale("uint8", 1.0, 0.0, 0.0, 1.0, 1.0)


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for finer grids that make no sense."""
    check_boxes(meta["boxes"])


@dataclass(frozen=True)
class Options:
    """How a mesh is converted to a function."""

    target: Literal["sdf", "occupancy"] = setting("sdf", "output of the field: signed distance, or inside or not")
    colours: Literal["keep", "drop"] = setting("keep", "colours of the vertices: fit them, or drop them")
    points: int = setting(
        0,
        "number of training points drawn near the surface and in the box (4 µs each); 0: chosen by the budget",
        0,
        50_000_000,
        old_name="pool",
    )


def options_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The target, and whether colours are fitted."""
    return {"target": meta["target"], "colours": "keep" if meta["colours"] else "drop"}


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
        details = textwrap.shorten(printable(str(error)[:400]), 80, placeholder=" ...")
        cause = f": {type(error).__name__}: {details}" if details else ""
        raise machine_error(error) or UnreadableFile(f"the mesh is damaged{cause}", "damaged") from error
    notes = list(normalized.notes)
    if normalized.mesh.colours is not None and (options.colours == "drop" or options.target != "sdf"):
        notes.append("vertex colours not kept" + " (they are with the target sdf)" * (options.colours == "keep"))
        normalized = replace(normalized, mesh=replace(normalized.mesh, colours=None))
    meta = _meta(format_name, normalized, options)
    if meta["needed_resolution"] is not None:
        notes.insert(0, _detail_note(meta["needed_resolution"], bool(meta["boxes"])))
    sdf = options.target == "sdf"
    return Signal(
        modality="",
        samples=np.zeros((0, 4 if meta["colours"] else 1), np.float32 if sdf else np.uint8),
        scale=IDENTITY if sdf else _OCCUPANCY_SCALE,
        meta=meta,
        points=np.zeros((0, 3), np.float32),
        notes=by_weight(notes),
        point_source=partial(point_sampling.MeshSource, normalized.mesh, meta, options.points),
        reference=normalized.mesh,
        surface=_surface_of(meta),
    )


def _detail_note(needed: int, finer: bool) -> str:
    """The note on walls or parts that are thinner than a cell of the default grid; ``finer``: whether there are grids
    that hold them."""
    if not finer:
        return f"parts smaller than a cell of the grid of {RESOLUTION}: they need --resolution {needed} to be decoded"
    return (
        f"walls or parts thinner than a cell of the grid of {RESOLUTION}: measured and decoded on finer grids around "
        f"the parts (a single grid would need --resolution {needed})"
    )


def _surface_of(meta: Mapping[str, Any]) -> Surface:
    """The level of the surface, and which side of it is inside."""
    return Surface(meta["level"], inside_below=meta["target"] == "sdf")


def _meta(format_name: str, normalized: NormalizedMesh, options: Options) -> dict[str, Any]:
    """``Signal.meta`` of a mesh."""
    sdf = options.target == "sdf"
    detail = find_detail(normalized.mesh, RESOLUTION)
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
        "needed_resolution": detail.resolution,
        "boxes": [box.json() for box in detail.boxes],
        "colours": normalized.mesh.colours is not None,
    }


def first_omega(signal: Signal) -> tuple[float, ...]:
    """Frequency factor of a SIREN's first layer: 60 on each axis of every shape (docs/benchmarks.md)."""
    return (60.0, 60.0, 60.0)


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """The suffix of the source's format if it can be written, else .glb or .ply with a note."""
    if meta["format"] == "GLTF":
        return ".glb", "glTF is written as GLB"
    ending = "." + meta["format"].lower()
    return (ending, None) if ending in WRITERS else (".ply", f"{meta['format']} is written as PLY")


def check_writable(
    meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE
) -> list[str]:
    """Notes on what a file of ``suffix`` will not keep of colours, and of coordinates far from the origin."""
    if request.faces is not None and request.faces < 4:
        raise UsageError(f"--faces {request.faces}: must be at least 4", "request")
    offset = max(abs(float(c)) for c in meta["centre"])
    step = (offset + meta["extent"]) * 2.0**-23
    notes = []
    if meta["colours"] and suffix.lower() not in COLOURED:
        notes.append(f"{suffix[1:].upper()} does not keep the vertex colours; .ply, .obj and .glb do")
    if suffix.lower() == ".stl" and not request.centred and step > 1e-5 * meta["extent"]:
        notes.append(
            f"STL holds coordinates in steps of {step:.2g} this far from the origin; write .ply or .obj, or move the "
            "mesh to the origin with --centred"
        )
    return notes


def losses(decoded: Mesh, meta: Mapping[str, Any], suffix: str, request: Request) -> list[str]:
    """A note if the surface has far fewer triangles than were asked for."""
    found = len(decoded.faces)
    if request.faces is None or found >= 0.9 * request.faces:
        return []
    return [f"the surface has only {found:,} triangles; a larger --resolution gives more"]


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Mesh:
    """The closed surface of the field as a mesh in the source's units, by marching cubes on the centres of resolution^3
    cells of the box. The outside of the box counts as outside of the shape.

    ``Request.resolution`` defaults to RESOLUTION; a shape of thin walls or small parts is then decoded on the finer
    grids of ``meta`` instead. Needs about 12 bytes of memory per cell. Raises ``UsageError`` for a
    resolution below 2, ``OverLimit``, ``UnreadableFile`` for a field whose values are not finite, and ``Diverged`` for
    one without a surface."""
    resolution = RESOLUTION if request.resolution is None else request.resolution
    if resolution < 2:
        raise UsageError(f"--resolution {resolution}: must be at least 2", "request")
    limits.check("max_output", 4 * resolution**3, "bytes of field values on the grid")
    if meta["boxes"] and request.resolution is None:
        surface = extract_parts(field, meta, on_progress, limits)
    else:
        surface = extract_surface(grid_values(field, resolution, on_progress), meta, limits)
    if request.faces is not None and len(surface.faces) > request.faces:
        surface = simplified(surface, request.faces)
    on_progress(1.0)
    colours = surface_colours(field, surface.vertices) if meta["colours"] else None
    centre = 0.0 if request.centred else np.asarray(meta["centre"])
    return Mesh(centre + meta["extent"] * surface.vertices, surface.faces, colours)


def decode_need(meta: Mapping[str, Any], request: Request) -> DecodeNeed:
    """What decoding needs, and writing a surface of usual size. The surface is judged again once the values are known
    (``surface.check_surface``)."""
    resolution = RESOLUTION if request.resolution is None else request.resolution
    shape, points = (resolution,) * 3, resolution**3
    if meta["boxes"] and request.resolution is None:
        sizes = [math.prod(box["shape"]) for box in meta["boxes"]]
        points, largest = sum(sizes), max(sizes)
    else:
        largest = points
    finish = 4 * largest + march_bytes(largest) + surface_bytes(USUAL_SURFACE * round(points ** (2 / 3)))
    cells = partial(cells_per_call, resolution)
    return DecodeNeed(shape, points, cells, 8, 4 * largest, finish)


def simplified(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about ``faces`` triangles: edges are collapsed by the quadric error (Garland and Heckbert 1997)."""
    import fast_simplification

    vertices, triangles = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=faces)[:2]
    return Mesh(np.asarray(vertices, np.float64), np.asarray(triangles, np.int64))


def write(
    decoded: Mesh, meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE
) -> bytes:
    """The bytes of a .ply (binary), .obj or .stl (binary) file. Raises ``UsageError``."""
    return mesh_bytes(decoded, suffix)


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "43,243 vertices, 86,482 faces, OBJ, extent 0.84 x 1 x 0.76"."""
    size = " x ".join(f"{length:.4g}" for length in meta["size"])
    edges = f", {meta['open_edges']:,} open edges" if meta["open_edges"] else ""
    return f"{meta['vertices']:,} vertices, {meta['faces']:,} faces, {meta['format']}, extent {size}{edges}"


def describe_decoded(decoded: Mesh, meta: Mapping[str, Any], suffix: str, request: Request) -> str:
    """A description such as "30,412 vertices, 60,820 faces, extent 0.84 x 1 x 0.76, 1 component, watertight, volume
    0.21"."""
    size = " x ".join(f"{length:.4g}" for length in np.ptp(decoded.vertices, axis=0))
    pieces = find_pieces(decoded)
    parts = f"{len(pieces):,} component{'s' * (len(pieces) != 1)}"
    tight = "watertight" if all(piece.closed for piece in pieces) else "not watertight"
    volume = sum(piece.volume for piece in pieces)
    shape = f"{len(decoded.vertices):,} vertices, {len(decoded.faces):,} faces, extent {size}"
    return f"{shape}, {parts}, {tight}, volume {volume:.4g}"
