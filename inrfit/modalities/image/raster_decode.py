"""Evaluates a field on a raster of pixels, in bounded memory. Pixels larger than the source's are averages over their
areas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnreadableFile
from ...signal import Grid, Scale
from ..modality import DecodeNeed, OnProgress
from .channels import assemble, fitted_channels
from .picture import MODES_WITH_ALPHA, Raster

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

MAX_POINTS = 1 << 30
"""Points at which a field is evaluated at most, for averages."""

VALUE_BYTES, FINISH_FACTOR = 36, 3
"""Bytes that converting a value to a sample takes, and times that an image is in memory when it is written: as samples,
as the picture of a library, and as a file, while that grows (docs/benchmarks.md)."""


def decode(field: Field, meta: Mapping[str, Any], width: int, height: int, on_progress: OnProgress) -> Raster:
    """The image (height, width, c) in the sample type of the file. Raises ``UnreadableFile`` for a field with other
    channels than ``meta`` says, or with values that are not finite."""
    import torch

    scale = Scale.from_json(meta["scale"])
    down, across = points_per_pixel(meta, width, height)
    raster = np.empty((height, width, meta["bands"]), scale.dtype)
    flat = raster.reshape(height * width, -1)
    reader = _Reader(field, meta, Grid((height * down, width * across)))
    averaged, row = down * across > 1, width * across * down
    if averaged:
        step = max(1, field.decode_chunk // row) * width
    else:
        step = field.decode_chunk // width * width or field.decode_chunk
    for start in range(0, height * width, step):
        stop = min(start + step, height * width)
        if averaged and row > field.decode_chunk:
            raw = _row_means(scale, reader, meta, start // width, width, across, down)
        else:
            values = reader.values(start * down * across, stop * down * across)
            raw = _area_means(scale, values, meta, width, across, down) if averaged else scale.raw(values)
        flat[start:stop] = assemble(raw.cpu(), meta["channels"]).to(torch.float64).numpy()
        on_progress(stop / (height * width))
    if reader.nonfinite:
        raise UnreadableFile(f"the field has non-finite values at {reader.nonfinite:,} points", "nonfinite")
    return raster


class _Reader:
    """Reads the values of a field on a grid, and counts points where they are not finite."""

    def __init__(self, field: Field, meta: Mapping[str, Any], grid: Grid) -> None:
        self.field, self.meta, self.grid, self.nonfinite = field, meta, grid, 0

    def values(self, start: int, stop: int) -> Tensor:
        """The values of the cells start..stop, zero where they are not finite."""
        values = _checked(self.field.on_grid(self.grid, start, stop), self.meta)
        self.nonfinite += int((~values.isfinite()).any(dim=1).sum())
        return values.nan_to_num()


def points_per_pixel(meta: Mapping[str, Any], width: int, height: int) -> tuple[int, int]:
    """Points along y and x in each pixel: as many as the source has there, rounded up; at most MAX_POINTS in all."""
    down, across = max(1, -(-meta["height"] // height)), max(1, -(-meta["width"] // width))
    while height * down * width * across > MAX_POINTS and down * across > 1:
        down, across = max(1, down // 2), max(1, across // 2)
    return down, across


def decode_need(meta: Mapping[str, Any], width: int, height: int) -> DecodeNeed:
    """What decoding an image at this size needs, and writing it."""
    down, across = points_per_pixel(meta, width, height)
    size = width * height * meta["bands"] * np.dtype(meta["scale"]["dtype"]).itemsize
    line = width * across

    def cells(chunk: int) -> int:
        together = chunk // (line * down) * line * down or max(1, chunk // line) * line if down * across > 1 else chunk
        return min(line * down * height, together)

    return DecodeNeed(
        (height * down, width * across), height * line * down, cells, VALUE_BYTES, size, FINISH_FACTOR * size
    )


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
    return _combined(scale, _weighted(points, meta).mean(dim=(1, 3)), meta)


def _row_means(
    scale: Scale, reader: _Reader, meta: Mapping[str, Any], row: int, width: int, across: int, down: int
) -> Tensor:
    """As ``_area_means``, of one row of pixels with so many points that they are evaluated in parts."""
    lines, line = max(1, reader.field.decode_chunk // (width * across)), width * across
    total: Tensor | None = None
    for first in range(row * down, (row + 1) * down, lines):
        count = min(lines, (row + 1) * down - first)
        values = reader.values(first * line, (first + count) * line)
        points = scale.raw(values).reshape(1, count, width, across, values.shape[1])
        part = _weighted(points, meta).sum(dim=(1, 3))
        total = part if total is None else total + part
    assert total is not None
    return _combined(scale, total / (down * across), meta)


def _fits_alpha(meta: Mapping[str, Any]) -> bool:
    """Whether the last value of a point is its alpha."""
    sources = meta["channels"]
    return meta["mode"] in MODES_WITH_ALPHA and (sources is None or isinstance(sources[-1], int))


def _weighted(points: Tensor, meta: Mapping[str, Any]) -> Tensor:
    """``points`` (..., k), or with alpha: the colours times alpha, alpha, and the colours (..., 2 k - 1)."""
    import torch

    if not _fits_alpha(meta):
        return points
    colours, alpha = points[..., :-1], points[..., -1:]
    return torch.cat([colours * alpha, alpha, colours], -1)


def _combined(scale: Scale, means: Tensor, meta: Mapping[str, Any]) -> Tensor:
    """Samples (n, k) from the means of ``_weighted`` points."""
    import torch

    means = means.flatten(0, -2)
    if _fits_alpha(meta):
        colours = means.shape[-1] // 2
        weighted, total, plain = means.split([colours, 1, colours], -1)
        means = torch.cat([weighted.div(total.clamp_min(1e-12)).where(total > 0, plain), total], -1)
    return (means / scale.step).round() * scale.step if scale.step else means
