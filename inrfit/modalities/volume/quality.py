"""How good a decoded volume is, against the file's own samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...io.limits import Limits
from ...signal import Scale, Signal
from .. import range_errors
from ..metrics import ssim
from ..modality import OnProgress
from ..request import Request
from . import volume
from .raw_volume import Array

if TYPE_CHECKING:
    from ...fields.module import Field

MAX_SLICES = 32
"""Most slices whose SSIM is averaged."""


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """Measures of the whole volume; samples without a value do not count.

    - ``psnr`` (dB): the peak is the range of the samples, channel by channel if they are fitted so.
    - ``rmse``, ``max_error``: in the unit that slope and intercept give the samples.
    - ``ssim``: the mean over at most MAX_SLICES slices of the first axis of the volume, and over channels; of a volume
      with missing samples there is none."""
    meta = signal.meta
    decoded = volume.decode(field, meta, Request(), Limits(max_output=2**62), on_progress)
    flat = decoded.reshape(-1, decoded.shape[-1])
    if signal.grid is None:
        flat = flat[volume.mask_of(signal.attachments["mask"], tuple(meta["shape"])).reshape(-1)]
    return _measures(flat, signal, on_progress)


def compare(signal: Signal, reference: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The measures of one volume against another one, over the range of that. Raises ``UsageError`` if their grids,
    channels or missing samples differ."""
    ours, other = ((tuple(s.meta["shape"]), s.channels, s.attachments.get("mask")) for s in (signal, reference))
    if ours != other:
        kinds = [volume.describe_source(s.meta) for s in (signal, reference)]
        raise UsageError(f"volumes of different grids: {kinds[0]}, {kinds[1]}", "different")
    return _measures(signal.samples, reference, on_progress)


def _measures(flat: Array, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The measures of samples (n, c) against those of ``signal``."""
    meta, scale, slope = signal.meta, signal.scale, abs(signal.meta["slope"])
    quality: dict[str, Any] = range_errors.measures(flat, signal.samples, scale)
    quality |= {name: slope * quality[name] for name in ("rmse", "max_error")}
    if signal.grid is not None and len(meta["shape"]) > 1:
        shape = (*meta["shape"], -1)
        quality["ssim"] = _ssim(flat.reshape(shape), signal.samples.reshape(shape), scale, on_progress)
    return quality


def _ssim(decoded: Array, source: Array, scale: Scale, on_progress: OnProgress) -> float:
    """The mean SSIM of slices (the last two axes)."""
    shape, wide = (-1, *source.shape[-3:]), range_errors.spans(scale)
    ours, truth = decoded.reshape(shape), source.reshape(shape)
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(MAX_SLICES, len(truth))).round().astype(int))
    values = [ssim(ours[k] / wide, truth[k] / wide, data_range=1.0) for k in chosen]
    on_progress(1.0)
    return float(np.mean(values))
