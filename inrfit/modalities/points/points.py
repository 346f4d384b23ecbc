"""Samples of a function at arbitrary points, such as measurements of stations: fitted in their own box and range.

Each axis has a scale of its own: its lowest coordinate is -1, its highest 1. Coordinates may differ in kind and unit
(degrees, metres, seconds), so that no common scale has a meaning; where they do not, the axis along which samples lie
closer often is the one along which values change faster, as depth is beside distance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UsageError
from ...io.limits import Limits
from ...io.tables import npy_bytes
from ...signal import Grid, Scale, Signal
from .. import scales
from ..modality import DecodeNeed, OnProgress
from ..number_types import fitted, in_file
from ..request import Request
from . import reading
from .meta import ARRAYS, Options, centre_and_halves, extent_text, field_size, flat_axes, sized_like

if TYPE_CHECKING:
    from ...fields.module import Field

Array = npt.NDArray[Any]

MAX_SIDE = 1 << 24
"""Most cells along an axis: neighbours have distinct float32 coordinates."""

MAX_COMPARED = 1 << 20
"""Most samples among which equal places are looked for, which takes a second."""

CHECKED_SIDE = 16
"""Most values along an axis of the grid that a check decodes."""

VALUE_BYTES, FINISH_FACTOR = 36, 3
"""Bytes that converting a value takes, and times that decoded values are in memory when they are written."""

QUALITY_NOTE = "the quality is that at the samples; it says nothing about the places between them"


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The samples as a signal of points. Raises a ``RefusedInput``."""
    raw = reading.read(data, options, limits)
    values = fitted(raw.values)
    valid = np.isfinite(raw.coords).all(axis=1)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values).all(axis=1)
    if not valid.any():
        raise UnreadableFile("no sample has a place and a value: all are NaN or infinite", "nonfinite")
    coords, samples, notes = raw.coords[valid], values[valid], [*raw.notes]
    if not valid.all():
        notes.append(f"{int((~valid).sum()):,} samples without a value or a place are neither fitted nor measured")
    scale = scales.over_range(samples)
    meta: dict[str, Any] = {
        "format": raw.format,
        "axes": raw.axes,
        "low": coords.min(axis=0).tolist(),
        "high": coords.max(axis=0).tolist(),
        "units": _units(options.units, raw.axes),
        "samples": len(samples),
        "channels": raw.values.shape[1],
        "dtype": raw.values.dtype.name,
        "scale": scale.json(),
    }
    centre, halves = centre_and_halves(meta)
    points = np.clip((coords - centre) / halves, -1, 1).astype(np.float32)
    notes += [*_place_notes(meta, points, samples), QUALITY_NOTE]
    return Signal("", np.require(samples, requirements=["C", "W"]), scale, meta, points=points, notes=tuple(notes))


def _units(text: str | None, axes: str) -> list[str] | None:
    """The unit of each axis. Raises ``UsageError`` if there is not one for each."""
    if text is None:
        return None
    units = text.split(",")
    if len(units) not in (1, len(axes)):
        raise UsageError(f"-O units={text}: one for all, or for each of {len(axes)} axes", "option")
    return units * len(axes) if len(units) == 1 else units


def _place_notes(meta: Mapping[str, Any], points: npt.NDArray[np.float32], samples: Array) -> list[str]:
    """Notes on axes along which the samples do not differ, and on different samples at one place."""
    notes = [
        f"all samples have {meta['axes'][axis]} = {meta['low'][axis]:.6g}: the field is known only there"
        for axis in flat_axes(meta)
    ]
    if len(points) <= MAX_COMPARED:
        order = np.lexsort(points.T)
        same = (points[order[1:]] == points[order[:-1]]).all(axis=1)
        apart = same & (samples[order[1:]] != samples[order[:-1]]).any(axis=1)
        if count := int(apart.sum()):
            notes.append(f"{count:,} samples differ from another one at their place: a field has one value there")
    return notes


def output_shape(meta: Mapping[str, Any], request: Request) -> tuple[int, ...]:
    """The sides of the requested grid. Raises ``UsageError`` if there is none, or they are out of range."""
    axes, size = meta["axes"], request.size
    example = "x".join(letter.upper() for letter in axes)
    if size is None:
        raise UsageError(
            "the places of its samples are not in this field: give --size "
            f"{example} for a regular grid over their box, or ask at points with inrfit query --points FILE",
            "request",
        )
    if len(size) != len(axes) or None in size:
        raise UsageError(f"--size: give a side for each of the {len(axes)} axes, as {example}", "request")
    shape = tuple(int(side or 0) for side in size)
    if not all(1 <= side <= MAX_SIDE for side in shape):
        raise UsageError(f"{'x'.join(map(str, shape))}: each side must have 1 to {MAX_SIDE:,} values", "request")
    for axis in flat_axes(meta):
        if shape[axis] > 1:
            raise UsageError(f"--size: all samples have the same {axes[axis]}: give that axis the side 1", "request")
    return shape


def whole(meta: Mapping[str, Any]) -> Request:
    """A grid by which a check decodes a field: a few values along each axis."""
    return Request(size=tuple(min(CHECKED_SIDE, side) for side in sized_like(meta)))


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Array:
    """Values (*size, c) in the number type of the samples at the centres of the cells of a regular grid over their box,
    clamped to their range. Raises ``UsageError`` if no size is asked for."""
    shape, scale, outputs = output_shape(meta, request), Scale.from_json(meta["scale"]), field_size(meta)[1]
    count = math.prod(shape)
    limits.check("max_output", count * outputs * np.dtype(scale.dtype).itemsize, "decoded bytes")
    decoded, grid = np.empty((count, outputs), scale.dtype), Grid(shape)
    for start in range(0, count, field.decode_chunk):
        stop = min(start + field.decode_chunk, count)
        values = field.on_grid(grid, start, stop)
        if values.shape[1] != outputs:
            raise UnreadableFile(f"the field has {values.shape[1]} values, its header says {outputs}", "channels")
        if not bool(values.isfinite().all()):
            raise UnreadableFile("the field has values that are not finite", "nonfinite")
        decoded[start:stop] = scale.raw(values).numpy()
        on_progress(stop / count)
    return decoded.reshape(*shape, outputs)


def decode_need(meta: Mapping[str, Any], request: Request) -> DecodeNeed:
    """What decoding a grid needs, and writing it; without a size, what measuring the samples needs."""
    shape = (int(meta["samples"]),) if request.size is None else output_shape(meta, request)
    count = math.prod(shape)
    size = count * field_size(meta)[1] * np.dtype(meta["scale"]["dtype"]).itemsize
    return DecodeNeed(shape, count, lambda chunk: min(count, chunk), VALUE_BYTES, size, FINISH_FACTOR * size)


def in_own_type(decoded: Array, meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Array:
    """``decoded`` in the number type of the source."""
    return in_file(decoded, meta["dtype"], "little")


def check_writable(
    meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes]
) -> list[str]:
    """Raises ``UsageError`` if no size is asked for; .npy holds every grid."""
    output_shape(meta, request)
    return []


def write(
    decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes]
) -> bytes:
    """The bytes of a .npy file, without the axis of a single channel."""
    return npy_bytes(decoded[..., 0] if decoded.shape[-1] == 1 else decoded)


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "1,200 samples at points, float32, x 0 to 4 km, y -1 to 1 km"."""
    kind = "" if meta["format"] == ARRAYS else f" {meta['format']}"
    channels = f", {meta['channels']} channels" if meta["channels"] > 1 else ""
    return f"{meta['samples']:,} samples at points{channels}, {meta['dtype']}{kind}, {extent_text(meta)}"


def describe_decoded(decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request) -> str:
    """A description such as "256x256 (xy) float32, x 0 to 4 km, y -1 to 1 km"."""
    channels = f", {decoded.shape[-1]} channels" if decoded.shape[-1] > 1 else ""
    sides = "x".join(map(str, decoded.shape[:-1]))
    return f"{sides} ({meta['axes']}{channels}) {decoded.dtype.name}, {extent_text(meta)}"
