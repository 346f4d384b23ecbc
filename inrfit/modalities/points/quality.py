"""How good a field is at its samples, or at others within their box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnreadableFile, UsageError, warn
from ...signal import Scale, Signal
from .. import range_errors
from ..modality import OnProgress
from .meta import centre_and_halves, flat_axes

if TYPE_CHECKING:
    from ...fields.module import Field


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """Measures at all samples, in their own number type:

    - ``psnr`` (dB): the peak is the range of the samples, channel by channel if they are fitted so.
    - ``rmse``, ``max_error``: in the unit of the samples.

    Raises ``UnreadableFile`` for a field whose values are not finite."""
    import torch

    assert signal.points is not None
    points, scale = torch.from_numpy(signal.points), signal.scale
    found, step = np.empty(signal.samples.shape, scale.dtype), field.point_chunk
    for start in range(0, signal.n, step):
        values = field.evaluate(points[start : start + step].to(field.device)).cpu()
        if not bool(values.isfinite().all()):
            raise UnreadableFile("the field has values that are not finite", "nonfinite")
        found[start : start + step] = scale.raw(values).numpy()
        on_progress(min(1.0, (start + step) / signal.n))
    return dict(range_errors.measures(found, signal.samples, scale))


def in_place_of(signal: Signal, meta: Mapping[str, Any]) -> Signal:
    """Samples in the box and the scale of another signal, which ``meta`` describes; those outside of the box are left
    out, with a warning. Raises ``UsageError`` if none is inside, or the coordinates are others."""
    own, other = signal.meta["axes"], meta["axes"]
    if own != other:
        raise UsageError(f"points of the axes {', '.join(own)}, the field has {', '.join(other)}", "different")
    assert signal.points is not None
    centre, halves = centre_and_halves(signal.meta)
    new_centre, new_halves = centre_and_halves(meta)
    points = (signal.points * halves + (centre - new_centre)) / new_halves
    most = np.ones(points.shape[1])
    most[list(flat_axes(meta))] = 0
    inside = (np.abs(points) <= most + 1e-6).all(axis=1)
    if not inside.any():
        raise UsageError("none of the points lies in the box of the field's samples", "different")
    samples, scale = signal.samples, Scale.from_json(meta["scale"])
    if not inside.all():
        count = int(inside.size - inside.sum())
        warn(f"{count:,} of {inside.size:,} samples lie outside of the box of the field's, and are not measured")
        points, samples = points[inside], samples[inside]
    if samples.dtype.name != scale.dtype:
        samples = samples.astype(np.float64)
    return replace(signal, points=np.clip(points, -1, 1).astype(np.float32), samples=samples, scale=scale)
