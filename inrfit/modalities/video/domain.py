"""Time, rows and columns of a clip, and parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ...signal import Scale
from ..domain import Domain, axis_matrix, unrounded
from ..modality import Box
from .meta import packed_times, times_of


def domain(meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Domain:
    """Frame i is at i / rate seconds; rows and columns are counted in pixels."""
    seconds = float(1 / Fraction(*meta["rate"]))
    matrix = axis_matrix((seconds, 1.0, 1.0), (0.0, 0.0, 0.0))
    return Domain("tyx", tuple(meta["shape"]), matrix, ("s", "px", "px"), unrounded(Scale.from_json(meta["scale"])))


def window(
    meta: Mapping[str, Any], attachments: Mapping[str, bytes], box: Box
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """A part of the clip; the time stamps of its frames begin at zero."""
    part = {**meta, "shape": [stop - start for start, stop in box]}
    times = times_of(attachments, meta["shape"][0])
    if times is None:
        return part, attachments
    kept = times[box[0][0] : box[0][1]]
    return part, {**attachments, "times": packed_times(tuple(time - kept[0] for time in kept))}
