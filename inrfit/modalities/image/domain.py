"""Rows and columns of an image, and crops of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...signal import Scale
from ..domain import Domain, axis_matrix, unrounded
from ..modality import Box
from .channels import assemble


def domain(meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Domain:
    """Rows and columns; positions in inches or metres if the file says how many pixels these have."""
    density, samples = meta["density"], unrounded(Scale.from_json(meta["scale"]))
    known = density is not None and bool(density["unit"])
    matrix = axis_matrix((1 / density["y"], 1 / density["x"]), (0.0, 0.0)) if known else None
    unit = {"inch": "inch", "metre": "m"}[density["unit"]] if known else ""
    shape = (meta["height"], meta["width"])
    return Domain("yx", shape, matrix, (unit, unit), lambda values: assemble(samples(values), meta["channels"]))


def window(
    meta: Mapping[str, Any], attachments: Mapping[str, bytes], box: Box
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """A crop of the image."""
    (top, bottom), (left, right) = box
    return {**meta, "height": bottom - top, "width": right - left}, attachments
