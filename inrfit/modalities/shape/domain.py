"""The space around a shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...signal import IDENTITY
from ..domain import Domain, unrounded


def domain(meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Domain:
    """The box around the shape, with positions in the units of the source."""
    matrix = np.diag([*[float(meta["extent"])] * 3, 1.0])
    matrix[:3, 3] = meta["centre"]
    sdf = meta["target"] == "sdf"
    distance = meta["band"] * meta["extent"] if sdf else None
    return Domain(
        "xyz", None, matrix, ("",) * 3, unrounded(IDENTITY), distance=distance, outward=1 if sdf else -1, surface=True
    )
