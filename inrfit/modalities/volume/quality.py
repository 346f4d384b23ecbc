"""How good a decoded volume is, against the file's own samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...io.limits import Limits
from ...signal import Scale, Signal
from ..metrics import decibels, ssim
from ..modality import OnProgress
from ..request import Request
from . import volume
from .raw_volume import Array

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

MAX_SLICES = 32
"""Most slices whose SSIM is averaged."""


def spans(scale: Scale) -> Array:
    """The range of the samples: of all, or of each channel (c,)."""
    wide = np.subtract(scale.high, scale.low)
    return np.where(wide > 0, wide, 1.0)


def estimate(predicted: Tensor, values: Tensor, signal: Signal) -> float:
    """PSNR in dB over the range of the samples, of samples clamped and rounded as in a file; inf if they are equal."""
    import torch

    difference = signal.scale.raw(predicted) - signal.scale.raw(values)
    normalised = difference / torch.as_tensor(spans(signal.scale)).to(difference)
    return decibels(1.0, normalised.square().mean().item())


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
    meta, scale, truth = signal.meta, signal.scale, signal.samples
    total, largest, slope = np.zeros(flat.shape[1]), 0.0, abs(meta["slope"])
    for start in range(0, len(flat), 1 << 20):
        difference = flat[start : start + (1 << 20)].astype(np.float64) - truth[start : start + (1 << 20)]
        total += (difference**2).sum(axis=0)
        largest = max(largest, float(np.abs(difference).max()))
    errors = total / len(flat)
    quality: dict[str, Any] = {"psnr": decibels(1.0, float((errors / spans(scale) ** 2).mean()))}
    quality |= {"rmse": slope * math.sqrt(float(errors.mean())), "max_error": slope * largest}
    if signal.grid is not None and len(meta["shape"]) > 1:
        shape = (*meta["shape"], -1)
        quality["ssim"] = _ssim(flat.reshape(shape), truth.reshape(shape), scale, on_progress)
    return quality


def _ssim(decoded: Array, source: Array, scale: Scale, on_progress: OnProgress) -> float:
    """The mean SSIM of slices (the last two axes)."""
    shape, wide = (-1, *source.shape[-3:]), spans(scale)
    ours, truth = decoded.reshape(shape), source.reshape(shape)
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(MAX_SLICES, len(truth))).round().astype(int))
    values = [ssim(ours[k] / wide, truth[k] / wide, data_range=1.0) for k in chosen]
    on_progress(1.0)
    return float(np.mean(values))
