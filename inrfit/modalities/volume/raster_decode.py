"""Evaluates a field on a regular grid, in bounded memory. Cells larger than the source's are means over points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnreadableFile
from ...signal import Grid, Scale
from ..modality import DecodeNeed, OnProgress
from .raw_volume import Array

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

MAX_POINTS = 1 << 31
"""Points at which a field is evaluated at most, for means."""

VALUE_BYTES, FINISH_FACTOR = 36, 3
"""Bytes that converting a value to a sample takes, and times that a volume is in memory when it is written."""


def points_per_cell(source: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Points along each axis of a cell: as many as the source has there, rounded up; at most MAX_POINTS in all."""
    factors = [max(1, -(-n // m)) for n, m in zip(source, shape, strict=True)]
    while math.prod(shape) * math.prod(factors) > MAX_POINTS and max(factors) > 1:
        factors = [max(1, factor // 2) for factor in factors]
    return tuple(factors)


def decode(field: Field, meta: Mapping[str, Any], shape: tuple[int, ...], on_progress: OnProgress) -> Array:
    """The samples (*shape, c). Raises ``UnreadableFile`` for a field with other channels than ``meta`` says, or with
    values that are not finite."""
    scale = Scale.from_json(meta["scale"])
    factors = points_per_cell(tuple(meta["shape"]), shape)
    outputs = meta["channels"] * (2 if meta["dtype"].startswith("complex") else 1)
    samples = np.empty((*shape, outputs), scale.dtype)
    fine = Grid(tuple(m * f for m, f in zip(shape, factors, strict=True)))
    flat, nonfinite = samples.reshape(-1, outputs), 0
    averaged = math.prod(factors) > 1
    plane = math.prod(shape[1:])
    if averaged:
        step = plane * max(1, field.decode_chunk // (plane * math.prod(factors)))
    else:
        step = field.decode_chunk // plane * plane or field.decode_chunk
    for start in range(0, len(flat), step):
        stop, points = min(start + step, len(flat)), math.prod(factors)
        values = field.on_grid(fine, start * points, stop * points)
        if values.shape[1] != outputs:
            raise UnreadableFile(f"the field has {values.shape[1]} values, its header says {outputs}", "channels")
        nonfinite += int((~values.isfinite()).any(dim=1).sum())
        raw = scale.raw(values.nan_to_num())
        if averaged:
            raw = _means(raw, (stop - start) // plane, shape[1:], factors, scale.step)
        flat[start:stop] = raw.cpu().numpy()
        on_progress(stop / len(flat))
    if nonfinite:
        raise UnreadableFile(f"the field has non-finite values at {nonfinite:,} points", "nonfinite")
    return samples


def _means(raw: Tensor, planes: int, sides: tuple[int, ...], factors: tuple[int, ...], step: float) -> Tensor:
    """Means (n, c) of the points in each cell of so many ``planes`` of the first axis."""
    split = [part for side, factor in zip((planes, *sides), factors, strict=True) for part in (side, factor)]
    means = raw.view(*split, raw.shape[1]).mean(dim=tuple(range(1, 2 * len(factors), 2))).reshape(-1, raw.shape[1])
    return (means / step).round() * step if step else means


def decode_need(meta: Mapping[str, Any], shape: tuple[int, ...]) -> DecodeNeed:
    """What decoding a volume on a grid of ``shape`` needs, and writing it."""
    factors = points_per_cell(tuple(meta["shape"]), shape)
    points, plane = math.prod(factors), math.prod(shape[1:])
    outputs = meta["channels"] * (2 if meta["dtype"].startswith("complex") else 1)
    size = math.prod(shape) * outputs * np.dtype(meta["scale"]["dtype"]).itemsize

    def cells(chunk: int) -> int:
        if points > 1:
            return points * plane * max(1, chunk // (plane * points))
        return min(math.prod(shape), chunk)

    fine = tuple(m * f for m, f in zip(shape, factors, strict=True))
    return DecodeNeed(fine, math.prod(fine), cells, VALUE_BYTES, size, FINISH_FACTOR * size)
