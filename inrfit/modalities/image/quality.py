"""How good a decoded image is, against the file's own samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...signal import Scale, Signal
from ..metrics import decibels, psnr, ssim
from ..modality import OnProgress
from . import sample_types
from .channels import assemble, premultiplied
from .picture import MODES_WITH_ALPHA, Raster

if TYPE_CHECKING:
    from torch import Tensor

RANGE_SHARE = 0.5
"""``psnr_range`` is reported for samples that fill less than this share of the range of their type."""


def peaks(meta: Mapping[str, Any]) -> Any:
    """The peak of PSNR: one number, or one for each channel (c,) if they are fitted over ranges of their own."""
    scale = Scale.from_json(meta["scale"])
    if not isinstance(scale.factor, tuple) or not scale.dtype.startswith("float"):
        return sample_types.peak(scale, meta["bits"])
    spans = np.subtract(scale.high, scale.low)
    return assemble(spans[None], meta["channels"])[0] if meta["channels"] else spans


def source_raster(signal: Signal) -> Raster:
    """The file's own samples (h, w, c)."""
    if signal.reference is not None:
        return np.asarray(signal.reference)
    meta = signal.meta
    samples = signal.samples.reshape(meta["height"], meta["width"], -1)
    raster: Raster = assemble(samples, meta["channels"])
    return raster


def estimate(predicted: Tensor, values: Tensor, signal: Signal) -> float:
    """PSNR in dB over all channels, of samples clamped and rounded as in a file; inf if they are equal. Colours count
    as far as they are visible."""
    import torch

    meta, scale = signal.meta, signal.scale
    decoded, source = (assemble(scale.raw(x), meta["channels"]) for x in (predicted, values))
    opaque = sample_types.opaque(meta)
    difference = premultiplied(decoded, meta["mode"], opaque) - premultiplied(source, meta["mode"], opaque)
    peak = peaks(meta)
    if isinstance(peak, np.ndarray):
        difference, peak = difference / torch.from_numpy(peak).to(difference), 1.0
    return decibels(peak**2, difference.square().mean().item())


def measure(decoded: Raster, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """Measures of a ``decoded`` image (h, w, c) against the source's samples:

    - ``psnr`` (dB) over all channels; the peak is that of the number type. Of an image with transparency, colours count
      as far as they are visible (over black), and ``psnr_raw`` counts them all.
    - ``psnr_range`` (dB): the peak is the range that the samples have, if it is less than half of the type's.
    - ``psnr_log2`` (dB), of an image that is fitted through a curve: PSNR of log2(max(sample, knee)) of
      the colours, over its range.
    - ``ssim``."""
    source, meta, scale = source_raster(signal), signal.meta, signal.scale
    peak = peaks(meta)
    if isinstance(peak, np.ndarray):
        decoded, source, peak = decoded / peak, source / peak, 1.0
    opaque = sample_types.opaque(meta)
    seen, truth = (premultiplied(raster, meta["mode"], opaque) for raster in (decoded, source))
    quality: dict[str, Any] = {"psnr": psnr(seen, truth, peak)}
    if meta["mode"] in MODES_WITH_ALPHA and not _is_constant(meta["channels"], -1):
        quality["psnr_raw"] = psnr(decoded, source, peak)
    span = float(source.max()) - float(source.min())
    narrow = 0 < span < RANGE_SHARE * peak and not isinstance(scale.factor, tuple)
    if narrow:
        quality["psnr_range"] = psnr(decoded, source, span)
    if scale.knee:
        colours = slice(-1 if meta["mode"] in MODES_WITH_ALPHA else None)
        quality["psnr_log2"] = _log2_psnr(decoded[..., colours], source[..., colours], scale.knee)
    return {**quality, "ssim": ssim(seen, truth, on_progress, span if narrow else peak)}


def _is_constant(sources: Any, channel: int) -> bool:
    """Whether a channel of the file is stored as a constant."""
    return sources is not None and not isinstance(sources[channel], int)


def _log2_psnr(decoded: Raster, source: Raster, knee: float) -> float:
    """PSNR in dB of the binary logarithms of samples of at least ``knee``, over their range in the source."""
    a, b = (np.log2(np.maximum(raster.astype(np.float32), np.float32(knee))) for raster in (decoded, source))
    span = float(b.max()) - float(b.min())
    return psnr(a, b, span) if span > 0 else math.nan
