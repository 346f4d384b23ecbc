"""Evaluates a field on a regular grid, in bounded memory. Cells larger than the source's are means over points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
    """The samples (*shape, c). Raises what ``chunks`` raises."""
    outputs = _outputs(meta)
    samples = np.empty((*shape, outputs), meta["scale"]["dtype"])
    flat, start = samples.reshape(-1, outputs), 0
    for chunk in chunks(field, meta, shape, on_progress):
        flat[start : start + len(chunk)] = chunk
        start += len(chunk)
    return samples


def planes(field: Field, meta: Mapping[str, Any], shape: tuple[int, ...], on_progress: OnProgress) -> Iterator[Array]:
    """The same samples, as one array (*shape[1:], c) after the other."""
    size, outputs = math.prod(shape[1:]), _outputs(meta)
    plane, filled = np.empty((size, outputs), meta["scale"]["dtype"]), 0
    for chunk in chunks(field, meta, shape, on_progress):
        while len(chunk):
            taken, chunk = chunk[: size - filled], chunk[size - filled :]
            plane[filled : filled + len(taken)] = taken
            filled += len(taken)
            if filled == size:
                yield plane.reshape(*shape[1:], outputs)
                plane, filled = np.empty_like(plane), 0


def chunks(field: Field, meta: Mapping[str, Any], shape: tuple[int, ...], on_progress: OnProgress) -> Iterator[Array]:
    """The samples (n, c) of consecutive cells, row-major, of several planes where they are small. Raises
    ``UnreadableFile`` for a field with other channels than ``meta`` says, or with values that are not finite."""
    scale, outputs = Scale.from_json(meta["scale"]), _outputs(meta)
    factors = points_per_cell(tuple(meta["shape"]), shape)
    fine = Grid(tuple(m * f for m, f in zip(shape, factors, strict=True)))
    points, plane, cells = math.prod(factors), math.prod(shape[1:]), math.prod(shape)
    if points > 1:
        step = plane * max(1, field.decode_chunk // (plane * points))
    else:
        step = field.decode_chunk // plane * plane or field.decode_chunk
    for start in range(0, cells, step):
        stop = min(start + step, cells)
        values = field.on_grid(fine, start * points, stop * points)
        if values.shape[1] != outputs:
            raise UnreadableFile(f"the field has {values.shape[1]} values, its header says {outputs}", "channels")
        if not bool(values.isfinite().all()):
            raise UnreadableFile("the field has values that are not finite", "nonfinite")
        raw = scale.raw(values)
        if points > 1:
            raw = _means(raw, (stop - start) // plane, shape[1:], factors, scale.step)
        yield raw.cpu().numpy()
        on_progress(stop / cells)


def _outputs(meta: Mapping[str, Any]) -> int:
    """Values of a sample: two for each complex channel."""
    return int(meta["channels"]) * (2 if meta["dtype"].startswith("complex") else 1)


def _means(raw: Tensor, planes: int, sides: tuple[int, ...], factors: tuple[int, ...], step: float) -> Tensor:
    """Means (n, c) of the points in each cell of so many ``planes`` of the first axis."""
    split = [part for side, factor in zip((planes, *sides), factors, strict=True) for part in (side, factor)]
    means = raw.view(*split, raw.shape[1]).mean(dim=tuple(range(1, 2 * len(factors), 2))).reshape(-1, raw.shape[1])
    return (means / step).round() * step if step else means


def decode_need(meta: Mapping[str, Any], shape: tuple[int, ...]) -> DecodeNeed:
    """What decoding a volume on a grid of ``shape`` needs, and writing it."""
    factors = points_per_cell(tuple(meta["shape"]), shape)
    points, plane = math.prod(factors), math.prod(shape[1:])
    size = math.prod(shape) * _outputs(meta) * np.dtype(meta["scale"]["dtype"]).itemsize

    def cells(chunk: int) -> int:
        if points > 1:
            return points * plane * max(1, chunk // (plane * points))
        return min(math.prod(shape), chunk)

    fine = tuple(m * f for m, f in zip(shape, factors, strict=True))
    return DecodeNeed(fine, math.prod(fine), cells, VALUE_BYTES, size, FINISH_FACTOR * size)
