"""A field of a shape on a grid, and the surface in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import Diverged, UnreadableFile
from ...io.limits import Limits, require_memory
from ...signal import Grid
from ..modality import OnProgress
from .detail import Box
from .mesh import Array, Mesh
from .point_sampling import to_colours

if TYPE_CHECKING:
    from ...fields.module import Field

RESOLUTION = 128
"""Cells per side of the grid for decoding by default, and for the IoU."""

UNLIMITED = Limits(max_output=2**62)
"""For the surface of a field that was just fitted."""

MIN_SLAB = RESOLUTION**2
"""Cells of a slab that are evaluated together by every field."""

USUAL_SURFACE = 3
"""Cells in a surface that are assumed before the values are known, as a multiple of the cells of a plane."""


def grid_values(field: Field, resolution: int, on_progress: OnProgress) -> npt.NDArray[np.float32]:
    """Values of the field at the cell centres of the box (r, r, r), evaluated slab by slab, or in parts of slabs."""
    grid, count = Grid((resolution,) * 3), resolution**3
    values = np.empty(count, np.float32)
    step = cells_per_call(resolution, field.decode_chunk)
    for start in range(0, count, step):
        stop = min(start + step, count)
        values[start:stop] = field.on_grid(grid, start, stop)[:, 0].numpy()
        if not np.isfinite(values[start:stop]).all():
            raise UnreadableFile("the field has values that are not finite", "nonfinite")
        on_progress(0.9 * stop / count)
    return values.reshape(grid.shape)


def cells_per_call(resolution: int, chunk: int) -> int:
    """Cells of a cube that are evaluated together: whole slabs, or a slab, or lines of one if it has many cells."""
    slab = resolution * resolution
    return slab if slab <= max(chunk, MIN_SLAB) else max(resolution, chunk // resolution * resolution)


def is_inside(values: npt.NDArray[np.float32], meta: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Where the field values mean inside, in the shape of ``values``."""
    inside = values < meta["level"] if meta["target"] == "sdf" else values > meta["level"]
    return np.asarray(inside, np.bool_)


def extract_surface(values: npt.NDArray[np.float32], meta: Mapping[str, Any], limits: Limits = UNLIMITED) -> Mesh:
    """The closed surface of ``values`` (r, r, r) in normalised units, facing outward. Raises ``Diverged`` if there is
    none, and what ``check_surface`` raises."""
    if not is_inside(values, meta).any():
        needed = meta["needed_resolution"]
        hint = f" on a grid of {len(values)} cells; its walls need --resolution {needed}" if needed else ""
        raise Diverged(f"the field has no surface{hint}", "no-surface")
    check_surface(values, meta, limits)
    vertices, faces = _march(values, meta)
    return Mesh((2 * vertices + 1) / values.shape[0] - 1, faces)


def extract_parts(field: Field, meta: Mapping[str, Any], on_progress: OnProgress, limits: Limits = UNLIMITED) -> Mesh:
    """The closed surface in the finer grids around the parts, in normalised units. Raises ``Diverged`` if there is
    none, ``UnreadableFile`` for values that are not finite, and what ``check_surface`` raises."""
    found: list[Mesh] = []
    boxes = [Box.from_json(box) for box in meta["boxes"]]
    for number, box in enumerate(boxes):
        values = box_values(field, box)
        if is_inside(values, meta).any():
            check_surface(values, meta, limits)
            positions, faces = _march(values, meta)
            vertices = box.low + (positions + 0.5) * (box.high - box.low) / np.array(box.shape)
            found.append(Mesh(vertices, faces))
        on_progress((number + 1) / len(boxes))
    if not found:
        raise Diverged("the field has no surface", "no-surface")
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in found)])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(found, starts, strict=False)])
    return Mesh(np.concatenate([mesh.vertices for mesh in found]), faces)


def box_values(field: Field, box: Box) -> npt.NDArray[np.float32]:
    """Values of the field at the cell centres of ``box``, in its shape."""
    import torch

    values = np.empty(box.count, np.float32)
    for start in range(0, box.count, field.point_chunk):
        stop = min(start + field.point_chunk, box.count)
        coords = torch.from_numpy(box.centres(np.arange(start, stop)).astype(np.float32)).to(field.device)
        values[start:stop] = field.evaluate(coords)[:, 0].cpu().numpy()
    if not np.isfinite(values).all():
        raise UnreadableFile("the field has values that are not finite", "nonfinite")
    return values.reshape(box.shape)


def surface_colours(field: Field, vertices: Array) -> Array:
    """Colours (v, 3), 0 to 1, of the field at points of its surface (v, 3), in normalised units."""
    import torch

    colours = []
    for part in np.array_split(vertices, max(1, -(-len(vertices) // field.point_chunk))):
        values = field.evaluate(torch.from_numpy(part.astype(np.float32)).to(field.device))
        colours.append(to_colours(values[:, 1:4].cpu().numpy()))
    return np.concatenate(colours)


def march_bytes(cells: int) -> int:
    """Bytes that marching cubes takes for a grid of this many cells, beside values and surface: two copies,
    and scikit-image."""
    return 50_000_000 + 8 * cells


def surface_bytes(cells: int) -> int:
    """Bytes of a surface that passes through this many cells, and of the file that it is written to."""
    return 450 * cells


def surface_need(values: npt.NDArray[np.float32], level: float) -> int:
    """Bytes that the surface of these values takes, beside the values."""
    return march_bytes(values.size) + surface_bytes(_cells_of_surface(values, level))


def check_surface(values: npt.NDArray[np.float32], meta: Mapping[str, Any], limits: Limits) -> None:
    """Judges a surface again now that its values are known: that of noise passes through every cell. Raises
    ``NotEnoughMemory`` or ``OverLimit`` if it takes too much memory."""
    needed = surface_need(values, meta["level"])
    surface, advice = f"a surface in {values.size:,} cells", "choose a smaller --resolution"
    limits.check_memory(needed, surface, advice)
    require_memory(needed, surface, advice)


def _cells_of_surface(values: npt.NDArray[np.float32], level: float) -> int:
    """About the number of cells that the surface passes through: pairs of neighbours on two sides of it, the most along
    one axis, twice."""
    inside = values > level
    pairs = (int((inside[1:] != inside[:-1]).sum()), int((inside[:, 1:] != inside[:, :-1]).sum()),
             int((inside[..., 1:] != inside[..., :-1]).sum()))  # fmt: skip
    return 2 * max(pairs)


def _march(values: npt.NDArray[np.float32], meta: Mapping[str, Any]) -> tuple[Array, npt.NDArray[np.int64]]:
    """Vertices, in cells from the centre of the first one, and faces of the closed surface of ``values``, by marching
    cubes. What lies beyond the values is outside."""
    from skimage.measure import marching_cubes

    level, sdf = meta["level"], meta["target"] == "sdf"
    outside = max(float(values.max()), level + 1) if sdf else min(float(values.min()), level - 1)
    padded = np.pad(values, 1, constant_values=outside)
    # The direction for which the triangles face outward; the tests check the sign of the volume.
    direction = "descent" if sdf else "ascent"
    vertices, faces, _, _ = marching_cubes(padded, level, gradient_direction=direction)
    return vertices.astype(np.float64) - 1, faces.astype(np.int64)
