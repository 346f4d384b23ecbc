"""Evaluates a field on a raster of pixels, in bounded memory. Pixels larger than the source's are averages over their
areas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnreadableFile
from ...signal import Grid, Scale
from ..modality import OnProgress
from .channels import assemble, fitted_channels
from .picture import MODES_WITH_ALPHA, Raster

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

MAX_POINTS = 1 << 30
"""Points at which a field is evaluated at most, for averages."""


def decode(field: Field, meta: Mapping[str, Any], width: int, height: int, on_progress: OnProgress) -> Raster:
    """The image (height, width, c) in the sample type of the file. Raises ``UnreadableFile`` for a field with other
    channels than ``meta`` says, or with values that are not finite."""
    import torch

    scale = Scale.from_json(meta["scale"])
    down, across = _points_per_pixel(meta, width, height)
    fine = Grid((height * down, width * across))
    raster = np.empty((height, width, meta["bands"]), scale.dtype)
    flat = raster.reshape(height * width, -1)
    averaged = down * across > 1
    if averaged:
        step = max(1, field.decode_chunk // (width * across * down)) * width
    else:
        step = field.decode_chunk // width * width or field.decode_chunk
    nonfinite = 0
    for start in range(0, height * width, step):
        stop = min(start + step, height * width)
        values = _checked(field.on_grid(fine, start * down * across, stop * down * across), meta)
        nonfinite += int((~values.isfinite()).any(dim=1).sum())
        values = values.nan_to_num()
        raw = _area_means(scale, values, meta, width, across, down) if averaged else scale.raw(values)
        flat[start:stop] = assemble(raw.cpu(), meta["channels"]).to(torch.float64).numpy()
        on_progress(stop / (height * width))
    if nonfinite:
        raise UnreadableFile(f"the field has non-finite values at {nonfinite:,} points", "nonfinite")
    return raster


def _points_per_pixel(meta: Mapping[str, Any], width: int, height: int) -> tuple[int, int]:
    """Points along y and x in each pixel: as many as the source has there, rounded up; at most MAX_POINTS in all."""
    down, across = max(1, -(-meta["height"] // height)), max(1, -(-meta["width"] // width))
    while height * down * width * across > MAX_POINTS and down * across > 1:
        down, across = max(1, down // 2), max(1, across // 2)
    return down, across


def _checked(values: Tensor, meta: Mapping[str, Any]) -> Tensor:
    """``values`` (n, k). Raises ``UnreadableFile`` unless there is one for every channel that is fitted."""
    outputs = len(fitted_channels(meta["channels"], meta["bands"]))
    if values.shape[1] != outputs:
        raise UnreadableFile(
            f"the field has {values.shape[1]} values per pixel, its header says {outputs} ({meta['mode']})", "channels"
        )
    return values


def _area_means(scale: Scale, values: Tensor, meta: Mapping[str, Any], width: int, across: int, down: int) -> Tensor:
    """Means of raw samples over pixels of ``down`` times ``across`` points, (n, k); colours are weighted by alpha."""
    points = scale.raw(values).reshape(-1, down, width, across, values.shape[1])
    sources = meta["channels"]
    if meta["mode"] in MODES_WITH_ALPHA and (sources is None or isinstance(sources[-1], int)):
        alpha = points[..., -1:]
        total = alpha.mean(dim=(1, 3))
        colours = (points[..., :-1] * alpha).mean(dim=(1, 3))
        plain = points[..., :-1].mean(dim=(1, 3))
        colours = colours.div(total.clamp_min(1e-12)).where(total > 0, plain)
        means = colours.new_empty((*total.shape[:-1], values.shape[1]))
        means[..., :-1], means[..., -1:] = colours, total
    else:
        means = points.mean(dim=(1, 3))
    means = means.reshape(-1, values.shape[1])
    return (means / scale.step).round() * scale.step if scale.step else means
