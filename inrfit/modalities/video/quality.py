"""How good a decoded clip is, against the file's own frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...io.limits import Limits
from ...signal import Signal
from ..metrics import decibels, ssim
from ..modality import OnProgress
from ..request import Request
from ..streaming import ArrayStream
from . import video
from .clip import Array

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

MAX_FRAMES = 32
"""Most frames whose SSIM is averaged."""


def estimate(predicted: Tensor, values: Tensor, signal: Signal) -> float:
    """PSNR in dB of samples clamped and rounded as in a file; inf if they are equal."""
    difference = signal.scale.raw(predicted) - signal.scale.raw(values)
    peak = (1 << signal.meta["bits"]) - 1
    return decibels(1.0, (difference / peak).square().mean().item())


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """``psnr`` of all samples and ``worst_frame`` of the worst frame, in dB of the range of their bits, and ``ssim``,
    the mean of at most MAX_FRAMES frames."""
    decoded = video.decode_frames(field, signal.meta, Request(), Limits(max_output=2**62), on_progress)
    return _measures(decoded, signal, on_progress)


def compare(signal: Signal, reference: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The measures of one clip against another one, which may have other bits. Raises ``UsageError`` if their sizes
    differ."""
    ours, other = ((s.meta["shape"], s.meta["channels"]) for s in (signal, reference))
    if ours != other:
        kinds = [video.describe_source(s.meta) for s in (signal, reference)]
        raise UsageError(f"clips of different sizes: {kinds[0]}; {kinds[1]}", "different")
    frames = signal.samples.reshape(*signal.meta["shape"], -1)
    return _measures(frames, reference, on_progress, signal.meta["bits"])


def _measures(
    decoded: Array | ArrayStream, signal: Signal, on_progress: OnProgress, bits: int | None = None
) -> dict[str, Any]:
    """The measures of frames (n, h, w, c), of ``bits`` bits a sample (None: those of ``signal``), against those of
    ``signal``, frame by frame."""
    truth, peak = signal.samples.reshape(decoded.shape), (1 << signal.meta["bits"]) - 1
    own_peak = peak if bits is None else (1 << bits) - 1
    chosen = set(np.linspace(0, len(truth) - 1, min(MAX_FRAMES, len(truth))).round().astype(int).tolist())
    errors, likeness = [], []
    for number, (ours, frame) in enumerate(zip(decoded, truth, strict=True)):
        wide = ours.astype(np.float32) if own_peak == peak else ours * np.float32(peak / own_peak)
        errors.append(float(np.square((wide - frame) / peak, dtype=np.float64).mean()))
        if number in chosen:
            likeness.append(ssim(ours / own_peak, frame / peak, data_range=1.0))
    on_progress(1.0)
    return {
        "psnr": decibels(1.0, float(np.mean(errors))),
        "worst_frame": decibels(1.0, max(errors)),
        "ssim": float(np.mean(likeness)),
    }
