"""Time, rows and columns of a clip, and parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from ...signal import Scale
from ..domain import Domain, axis_matrix, unrounded
from ..modality import Box
from .meta import packed_times, times_of


def domain(meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Domain:
    """Frame i is at i / rate seconds; rows and columns are counted in pixels."""
    seconds = float(1 / Fraction(*meta["rate"]))
    matrix = axis_matrix((seconds, 1.0, 1.0), (0.0, 0.0, 0.0))
    times = times_of(attachments, meta["shape"][0]) if meta["time_base"] else None
    uneven = {} if times is None else {0: np.array(times) * float(Fraction(*meta["time_base"]))}
    samples = unrounded(Scale.from_json(meta["scale"]))
    return Domain("tyx", tuple(meta["shape"]), matrix, ("s", "px", "px"), samples, uneven=uneven)


def window(
    meta: Mapping[str, Any], attachments: Mapping[str, bytes], box: Box
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """A part of the clip; the time stamps of its frames begin at zero."""
    part = {**meta, "shape": [stop - start for start, stop in box]}
    times = times_of(attachments, meta["shape"][0]) if meta["time_base"] else None
    if times is None:
        return part, attachments
    start, stop = box[0]
    kept = times[start:stop]
    if stop < len(times):
        part["last"] = max(1, round((times[stop] - times[stop - 1]) * 1000 * Fraction(*meta["time_base"])))
    return part, {**attachments, "times": packed_times(tuple(time - kept[0] for time in kept))}
