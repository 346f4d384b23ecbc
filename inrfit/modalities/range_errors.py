"""Errors of samples over their own range: PSNR, RMSE and the largest one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..signal import Scale, Signal
from .metrics import decibels

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]


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


def measures(found: Array, truth: Array, scale: Scale) -> dict[str, float]:
    """Measures of samples (n, c) against ``truth``, accumulated in float64: ``psnr`` (dB) over the range of ``scale``,
    ``rmse`` and ``max_error`` in the unit of the samples."""
    total, largest = np.zeros(found.shape[1]), 0.0
    for start in range(0, len(found), 1 << 20):
        difference = found[start : start + (1 << 20)].astype(np.float64) - truth[start : start + (1 << 20)]
        total += (difference**2).sum(axis=0)
        largest = max(largest, float(np.abs(difference).max()))
    errors = total / len(found)
    psnr = decibels(1.0, float((errors / spans(scale) ** 2).mean()))
    return {"psnr": psnr, "rmse": math.sqrt(float(errors.mean())), "max_error": largest}
