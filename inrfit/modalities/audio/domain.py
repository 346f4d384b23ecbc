"""The time of a sound, and parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...signal import Scale
from ..domain import Domain, axis_matrix, unrounded
from ..modality import Box
from . import tags
from .writing import chunk_order


def domain(meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Domain:
    """Sample i is at i / rate seconds."""
    samples = unrounded(Scale.from_json(meta["scale"]))
    return Domain("t", (meta["frames"],), axis_matrix((1 / meta["rate"],), (0.0,)), ("s",), samples)


def window(
    meta: Mapping[str, Any], attachments: Mapping[str, bytes], box: Box
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """A part of the sound, without cue points and loops, whose positions would be wrong."""
    ((start, stop),) = box
    return {**meta, "frames": stop - start}, tags.for_rate(attachments, False, chunk_order(meta))
