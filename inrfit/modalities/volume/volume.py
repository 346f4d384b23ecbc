"""Volumes: regular arrays on one to four axes, with one or several channels, fitted in their own range."""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UnsupportedInput, UsageError
from ...io.file_names import suffix_of
from ...io.limits import Limits
from ...signal import Grid, Signal
from .. import scales
from ..modality import OnProgress
from ..number_types import in_file
from ..request import Request
from . import formats, hdf5_file, picture, raster_decode, zarr_store
from .formats import FORMATS, format_of_suffix
from .meta import MAX_SIDE, Options, field_size, geometry_of, placed
from .numpy_files import write as write_numpy
from .raw_volume import Array, RawVolume

if TYPE_CHECKING:
    from ...fields.module import Field

_LABEL_SAMPLES = 1 << 18
"""About the number of samples that are looked at for labels."""

SPATIAL = "zyx"
"""The axes that ``--scale`` applies to."""


def sniff(data: bytes) -> bool:
    """Whether the content has the signature of a format of volumes, supported or not."""
    return formats.recognised(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The volume as a signal. Raises a ``RefusedInput``."""
    given = formats.Options(options.axes, options.array, options.shape, options.dtype)
    format_name, volume = formats.read(data, limits, given, suffix_of(name))
    return to_signal(format_name, placed(volume, options))


def to_signal(format_name: str, volume: RawVolume) -> Signal:
    """The signal of a volume. Samples that are missing, or not finite, are left out: the others are its points."""
    samples, geometry = volume.samples, volume.geometry
    shape, channels = samples.shape[:-1], samples.shape[-1]
    flat = samples.reshape(-1, channels)
    valid = _valid(flat, volume.missing)
    notes = list(volume.notes)
    attachments = {
        name: content for name, content in (("header", volume.header), ("trailer", volume.trailer)) if content
    }
    missing: Any = None
    if valid is not None:
        if not valid.any():
            raise UnreadableFile("no sample has a value: all are NaN, infinite or missing", "nonfinite")
        flat = flat[valid]
        missing = "nan" if volume.missing is None or not math.isfinite(volume.missing) else volume.missing
        attachments["mask"] = zlib.compress(np.packbits(valid).tobytes(), 9)
        notes.append(f"{valid.size - int(valid.sum()):,} samples without a value are neither fitted nor measured")
        if infinite := _infinite(samples):
            notes.append(f"{infinite:,} of them infinite: they come back as samples without a value")
    scale = scales.over_range(flat)
    if _is_labels(flat):
        notes.insert(0, "few different values, like labels: a field blends neighbours and does not keep each one")
    meta = {
        "format": format_name,
        "axes": geometry.axes,
        "shape": list(shape),
        "channels": channels // (2 if volume.dtype.startswith("complex") else 1),
        "dtype": volume.dtype,
        "byteorder": volume.byteorder,
        "spacing": None if geometry.spacing is None else list(geometry.spacing),
        "origin": None if geometry.origin is None else list(geometry.origin),
        "units": None if geometry.units is None else [unit[:100] for unit in geometry.units],
        "affine": None if geometry.affine is None else list(geometry.affine),
        "space": geometry.space or None,
        "slope": geometry.slope,
        "intercept": geometry.intercept,
        "layout": dict(volume.layout),
        "missing": missing,
        "scale": scale.json(),
    }
    signal = Signal(
        "", np.require(flat, requirements=["C", "W"]), scale, meta, Grid(shape), notes=tuple(notes),
        attachments=attachments,
    )  # fmt: skip
    return signal if valid is None else replace(signal, grid=None, points=_points(shape, valid))


def _is_labels(flat: Array) -> bool:
    """Whether samples (n, c) look like labels, by some of them."""
    some = flat[:: max(1, len(flat) // _LABEL_SAMPLES) | 1]
    side = math.isqrt(len(some))
    bits = flat.dtype.itemsize * 8
    if not scales.is_labels(some[: side * side].reshape(side, side, -1), bits):
        return False
    return len(np.unique(flat)) <= scales.MAX_LABELS


def _valid(flat: Array, missing: float | None) -> npt.NDArray[np.bool_] | None:
    """Which samples (n, c) have a value in every channel; None if all have."""
    absent = np.zeros(len(flat), bool)
    if flat.dtype.kind == "f":
        absent |= ~np.isfinite(flat).all(axis=1)
    if missing is not None and math.isfinite(missing):
        absent |= (flat == flat.dtype.type(missing)).any(axis=1)
    return ~absent if absent.any() else None


def _infinite(samples: Array) -> int:
    """How many samples (*grid, c) are infinite in some channel."""
    return int(np.isinf(samples).any(axis=-1).sum()) if samples.dtype.kind == "f" else 0


def _points(shape: tuple[int, ...], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Coordinates (k, d) of the cells of a grid that are ``valid``, as ``Grid.coords`` computes them."""
    places = np.unravel_index(np.flatnonzero(valid), shape)
    return np.stack(
        [((2.0 * p + 1.0) / side - 1.0).astype(np.float32) for p, side in zip(places, shape, strict=True)], -1
    )


def mask_of(content: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which samples of a grid have a value, from the attachment. Raises ``UnreadableFile`` if it is damaged."""
    count = math.prod(shape)
    try:
        bits = zlib.decompressobj().decompress(content, -(-count // 8))
    except zlib.error:
        bits = b""
    if len(bits) < -(-count // 8):
        raise UnreadableFile("damaged: the mask of the samples that have a value is cut", "attachment")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool).reshape(shape)


def output_shape(meta: Mapping[str, Any], request: Request) -> tuple[int, ...]:
    """The sides of the requested grid. Raises ``UsageError`` if they are out of range."""
    shape = tuple(meta["shape"])
    if request.size is not None:
        if len(request.size) != len(shape) or None in request.size:
            example = "x".join(letter.upper() for letter in meta["axes"])
            raise UsageError(f"--size: give the {len(shape)} sides of the volume, as {example}", "request")
        shape = tuple(int(side or 0) for side in request.size)
    if request.scale is not None:
        if not 0 < request.scale <= MAX_SIDE:
            raise UsageError(f"--scale {request.scale:g}: must be above 0 and at most {MAX_SIDE:,}", "request")
        scaled = zip(meta["axes"], shape, strict=True)
        shape = tuple(max(1, round(side * request.scale)) if axis in SPATIAL else side for axis, side in scaled)
    if not all(1 <= side <= MAX_SIDE for side in shape):
        raise UsageError(f"{'x'.join(map(str, shape))}: each side must have 1 to {MAX_SIDE:,} samples", "request")
    return shape


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Array:
    """The volume (*grid, c) in the number type in which it was fitted. Fewer samples than the source has are means over
    their cells."""
    shape = output_shape(meta, request)
    size = math.prod(shape) * field_size(meta)[1] * np.dtype(meta["scale"]["dtype"]).itemsize
    limits.check("max_output", size, "decoded bytes")
    return raster_decode.decode(field, meta, shape, on_progress)


def with_missing(decoded: Array, meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Array:
    """``decoded`` (*grid, c) in the number type of the source, with the samples that have no value as they were; of
    another grid, those whose centre is in a cell of the source without a value."""
    if meta["missing"] is None or "mask" not in attachments:
        return in_file(decoded, meta["dtype"], sys.byteorder)
    source = tuple(meta["shape"])
    valid = mask_of(attachments["mask"], source)
    shape = decoded.shape[:-1]
    if shape != source:
        cells = [((np.arange(m) + 0.5) * n / m).astype(np.int64) for m, n in zip(shape, source, strict=True)]
        valid = valid[np.ix_(*cells)]
    decoded = decoded.copy()
    decoded[~valid] = math.nan if meta["missing"] == "nan" else meta["missing"]
    return in_file(decoded, meta["dtype"], sys.byteorder)


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """The suffix of the source's format."""
    if meta["format"] == "NIfTI" and meta["layout"].get("gzip"):
        return ".nii.gz", None
    return FORMATS[meta["format"]].suffixes[0], None


def check_writable(
    meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes]
) -> list[str]:
    """Notes on what a file of this suffix will not keep. Raises ``UsageError`` if it cannot hold the volume."""
    shape = output_shape(meta, request)
    if suffix.lower() == picture.SUFFIX:
        picture.check(shape, meta)
        return [picture.NOTE]
    name = _format_of(suffix, meta)
    if name in formats.FROM_THEMSELVES:
        _require_source(name, suffix.lower(), meta, shape)
    else:
        small = np.zeros((1,) * len(shape) + (field_size(meta)[1],), meta["scale"]["dtype"])
        _written(small, meta, name, suffix, {}, shape)
    notes = []
    if name in formats.FROM_THEMSELVES and shape != tuple(meta["shape"]):
        notes.append("arrays along the same axes not kept, but for their positions: they have no samples on this grid")
    geometry = meta["spacing"] is not None or meta["affine"] is not None or meta["origin"] is not None
    if name in ("NumPy", "NumPy archive", formats.RAW) and (geometry or meta["slope"] != 1 or meta["intercept"] != 0):
        notes.append("place, spacing, units and scaling not kept")
    elif name != meta["format"] and (meta["slope"] != 1 or meta["intercept"] != 0) and name != "NIfTI":
        notes.append("slope and intercept not kept: the samples are those that the source stores")
    return notes


def _require_source(name: str, suffix: str, meta: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Raises ``UsageError`` if a file of a format that is written only from one cannot be."""
    other_grid = shape != tuple(meta["shape"]) or "box" in meta["layout"]
    if meta["format"] != name or (name == "netCDF-3" and other_grid):
        grid = ", on its grid" if name == "netCDF-3" else ""
        raise UsageError(
            f"{name} is written only for a source of that format{grid}; choose .nii, .nrrd or .npy", "suffix"
        )
    if suffix == ".ozx" and not meta["layout"].get("ozx"):
        raise UsageError(".ozx holds only an image of OME-Zarr 0.5; choose .zarr.zip", "suffix")
    required = {"HDF5": hdf5_file.require, "netCDF-4": hdf5_file.require, "Zarr": zarr_store.require}
    if name in required:
        required[name]()


def _format_of(suffix: str, meta: Mapping[str, Any]) -> str:
    """The name of the format of a suffix. Raises ``UsageError`` if there is none."""
    found = format_of_suffix(suffix.lower(), meta["format"])
    if found is None:
        raise UsageError(f"{suffix!r}: volumes are written as {' '.join(formats.SUFFIXES)}", "suffix")
    return found


def write(
    decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes]
) -> bytes:
    """The bytes of a file in the format of ``suffix``; ``decoded`` is that of ``with_missing``."""
    if suffix.lower() == picture.SUFFIX:
        return picture.png(decoded, meta)
    return _written(decoded, meta, _format_of(suffix, meta), suffix, attachments, decoded.shape[:-1])


def _written(
    samples: Array, meta: Mapping[str, Any], name: str, suffix: str, attachments: Mapping[str, bytes],
    shape: tuple[int, ...],
) -> bytes:  # fmt: skip
    """The bytes of a file with ``samples`` on a grid of ``shape``, or some of them. Translates what a format cannot
    hold into a ``UsageError``."""
    own = name == meta["format"]
    geometry = geometry_of(meta)
    steps = tuple(n / m for n, m in zip(meta["shape"], shape, strict=True))
    geometry = geometry.at(tuple(0.5 * step - 0.5 for step in steps), steps)
    volume = RawVolume(
        samples,
        meta["dtype"],
        meta["byteorder"],
        geometry,
        meta["layout"] if own else {},
        attachments.get("header", b"") if own else b"",
        attachments.get("trailer", b"") if own else b"",
    )
    try:
        return (write_numpy if name == "NumPy" else FORMATS[name].write)(samples, volume, suffix.lower())
    except UnsupportedInput as error:
        raise UsageError(f"{suffix}: {error}", "suffix") from None


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "197x233x189 (zyx) uint8 NIfTI, 1 mm"."""
    return f"{_describe(tuple(meta['shape']), meta)} {meta['format']}"


def _describe(shape: tuple[int, ...], meta: Mapping[str, Any]) -> str:
    channels = f", {meta['channels']} channels" if meta["channels"] > 1 else ""
    return f"{'x'.join(map(str, shape))} ({meta['axes']}{channels}) {meta['dtype']}"


def describe_decoded(decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request) -> str:
    """A description such as "197x233x189 (zyx) uint8"."""
    return _describe(decoded.shape[:-1], meta)
