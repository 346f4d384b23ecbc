"""The box of samples at points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...signal import Scale
from ..domain import Domain, unrounded
from .meta import centre_and_halves, flat_axes


def domain(meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Domain:
    """The bounding box of the samples, each axis on its own scale, with positions in the units of the coordinates."""
    centre, halves = centre_and_halves(meta)
    matrix = np.diag([*halves, 1.0])
    matrix[:-1, -1] = centre
    units = tuple(meta["units"] or ("",) * len(centre))
    return Domain(meta["axes"], None, matrix, units, unrounded(Scale.from_json(meta["scale"])), flat=flat_axes(meta))
