"""The place of a volume's samples, and parts of it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...signal import Scale
from ..domain import Domain, axis_matrix, unrounded
from ..modality import Box
from . import formats
from .coordinates import boxed
from .meta import geometry_of
from .raw_volume import Geometry
from .volume import mask_of


def domain(meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Domain:
    """Positions as the file says them; values with its slope and intercept."""
    samples, slope, intercept = unrounded(Scale.from_json(meta["scale"])), meta["slope"], meta["intercept"]
    shape, geometry = tuple(meta["shape"]), geometry_of(meta)
    valid = mask_of(attachments["mask"], shape) if "mask" in attachments else None
    units = geometry.units or ("",) * len(shape)
    return Domain(
        geometry.axes, shape, _matrix(geometry), units, lambda values: samples(values) * slope + intercept, valid
    )


def _matrix(geometry: Geometry) -> NDArray[np.float64] | None:
    """The matrix from indices to positions in array order; None if the file says neither spacing nor place."""
    axes, known = geometry.axes, geometry.matrix()
    if known is None:
        return None
    count = len(axes)
    matrix = axis_matrix(geometry.spacing or (1.0,) * count, geometry.origin or (0.0,) * count)
    places = {letter: axis for axis, letter in enumerate(axes) if letter in "xyz"}
    for row, i in places.items():
        matrix[i, -1] = known["xyz".index(row), 3]
        for column, j in places.items():
            matrix[i, j] = known["xyz".index(row), "xyz".index(column)]
    scaled = matrix[:-1, :-1] / np.maximum(np.abs(matrix[:-1, :-1]).max(axis=0), 1e-300)
    return matrix if abs(np.linalg.det(scaled)) > 1e-9 else None


def window(
    meta: Mapping[str, Any], attachments: Mapping[str, bytes], box: Box
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """A part of the volume at its own place."""
    geometry = geometry_of(meta).at(tuple(float(start) for start, _ in box), (1.0,) * len(box))
    moved = {name: known and list(known) for name in ("origin", "affine") if (known := getattr(geometry, name))}
    part = {**meta, **moved, "shape": [stop - start for start, stop in box]}
    if meta["format"] in formats.FROM_THEMSELVES:
        part["layout"] = boxed(meta["layout"], box)
    if "mask" not in attachments:
        return part, attachments
    valid = mask_of(attachments["mask"], tuple(meta["shape"]))[tuple(slice(start, stop) for start, stop in box)]
    return part, {**attachments, "mask": zlib.compress(np.packbits(valid).tobytes())}
