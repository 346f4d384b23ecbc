"""What is stored about a volume, and the options that it is read with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import UsageError
from ...io.json_schema import Schema, boolean, check, either, integer, items, matching, number, one_of, optional, text
from ...io.options import setting
from ...signal import SCALE, Scale
from .. import scales
from ..number_types import FILE_TYPES, FITTED_TYPES
from . import formats
from .formats import FORMATS
from .raw_samples import parsed_dtype, parsed_shape
from .raw_volume import Geometry, RawVolume

MAX_SIDE = 1 << 24
"""Most samples along an axis: neighbours have distinct float32 coordinates."""


def _unsaved(value: Any) -> None:
    """The schema of what only parts of a field have, which are not saved."""
    raise ValueError("must not be there")


_LAYOUT: dict[str, Schema] = {
    "channel": integer(-1, 4),
    "name": text(500),
    "fortran": boolean,
    "packed": boolean,
    "version": integer(1, 2),
    "gzip": boolean,
    "datatype": integer(0, 32_767),
    "encoding": one_of("raw", "gzip", "bzip2", "ascii"),
    "compressed": boolean,
    "text": boolean,
    "cells": boolean,
    "active": matching(r"[A-Za-z]{0,40}", "a name of letters"),
    "WholeExtent": text(500),
    "Origin": text(500),
    "Spacing": text(500),
    "Direction": text(500),
    "form": one_of("BINARY", "ASCII"),
    "vtk": boolean,
    "kind": one_of("pages", "imagej", "ome"),
    "compression": text(20),
    "bytes": integer(1, 2**40),
    "netcdf": boolean,
    "ozx": boolean,
    "box": _unsaved,
}
"""What the formats store about the arrangement of their files; each has some of these keys."""

_FAR = 1e30
"""Largest number of a place or of a scaling: products of a few of them are finite in float32."""


def _layout(value: Any) -> None:
    """The schema of an object with some of the keys of _LAYOUT."""
    if type(value) is not dict:
        raise ValueError("must be an object")
    check(value, {key: _LAYOUT[key] for key in value if key in _LAYOUT}, "")


META: Schema = {
    "format": one_of(*FORMATS),
    "axes": matching(r"[a-z]{1,4}", "one to four letters"),
    "shape": items(integer(1, MAX_SIDE), 1, 4),
    "channels": integer(1, 65_535),
    "dtype": one_of(*FILE_TYPES),
    "byteorder": one_of("little", "big"),
    "spacing": optional(items(number(-_FAR, _FAR), 1, 4)),
    "origin": optional(items(number(-_FAR, _FAR), 1, 4)),
    "units": optional(items(matching(r'[^\x00-\x1f"]{0,100}', "a unit"), 1, 4)),
    "affine": optional(items(number(-_FAR, _FAR), 16, 16)),
    "space": optional(one_of("RAS", "LPS")),
    "slope": number(-_FAR, _FAR),
    "intercept": number(-_FAR, _FAR),
    "layout": _layout,
    "missing": optional(either(number(), one_of("nan"))),
    "scale": SCALE,
}


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if values of ``meta`` that match META contradict each other."""
    axes = len(meta["shape"])
    if len(meta["axes"]) != axes or len(set(meta["axes"])) != axes:
        raise ValueError("axes does not name each side of shape once")
    for name in ("spacing", "origin", "units"):
        if meta[name] is not None and len(meta[name]) != axes:
            raise ValueError(f"{name} has {len(meta[name])} numbers for {axes} axes")
    outputs = field_size(meta)[1]
    scale = Scale.from_json(meta["scale"])
    scales.check_scale(scale, outputs)
    if scale.dtype != FITTED_TYPES.get(meta["dtype"], meta["dtype"]):
        raise ValueError(f"scale.dtype is {scale.dtype} for samples of type {meta['dtype']}")
    missing, channel = meta["missing"], meta["layout"].get("channel", 0)
    if missing is not None and not scale.dtype.startswith("float"):
        limits = np.iinfo(scale.dtype)
        if missing == "nan" or not limits.min <= missing <= limits.max or missing != int(missing):
            raise ValueError(f"missing is no {scale.dtype}")
    if channel > axes or (channel < 0 and meta["channels"] > 1):
        raise ValueError(f"layout.channel is {channel} for {axes} axes and {meta['channels']} channels")


def field_size(meta: Mapping[str, Any]) -> tuple[int, int]:
    """Coordinates, and values per sample: a complex number has two."""
    return len(meta["shape"]), meta["channels"] * (2 if meta["dtype"].startswith("complex") else 1)


def parsed_spacing(value: Any) -> tuple[float, ...]:
    """The numbers in a text such as "2x0.5x0.5". Raises ``ValueError``."""
    numbers = tuple(float(number) for number in str(value).lower().split("x"))
    if not all(0 < number < math.inf for number in numbers):
        raise ValueError("must be numbers above 0")
    return numbers


def _shape_option(value: Any) -> None:
    parsed_shape(str(value))


def _dtype_option(value: Any) -> None:
    parsed_dtype(str(value))


def _axes_option(value: Any) -> None:
    letters = str(value)
    if not letters.isalpha() or not letters.islower() or len(set(letters)) < len(letters) or len(letters) > 5:
        raise ValueError(value)


@dataclass(frozen=True)
class Options:
    """How a volume is read."""

    axes: str | None = setting(
        None, "letters of an array's axes, slowest first: t, z, y, x, and c for channels", parse=_axes_option
    )
    array: str | None = setting(None, "name of the array or variable in a file with several")
    spacing: str | None = setting(
        None, "distances of samples along the axes of an array, as in 2x0.5x0.5", parse=parsed_spacing
    )
    units: str | None = setting(None, "unit of the spacing: mm; or one for each axis: s,mm,mm,mm")
    shape: str | None = setting(None, "sides of raw samples, slowest first, as in 64x128x128", parse=_shape_option)
    dtype: str | None = setting(None, "number type of raw samples: uint8, int16, float32; >i2 is big-endian",
                                parse=_dtype_option)  # fmt: skip


def options_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which the source is read again as it was."""
    layout, channel = meta["layout"], int(meta["layout"].get("channel", -1))
    given: dict[str, Any] = {}
    if meta["format"] in ("NumPy", "NumPy archive", formats.RAW, "HDF5", "netCDF-4", "Zarr"):
        given["axes"] = meta["axes"] if channel < 0 else meta["axes"][:channel] + "c" + meta["axes"][channel:]
    if meta["format"] in ("NumPy", "NumPy archive", formats.RAW):
        if meta["spacing"] is not None:
            given["spacing"] = "x".join(map(repr, meta["spacing"]))
        if meta["units"] is not None:
            given["units"] = ",".join(meta["units"])
    if layout.get("name") and meta["format"] in ("NumPy archive", "VTK XML", "VTK", *formats.FROM_THEMSELVES):
        given["array"] = layout["name"]
    if meta["format"] == formats.RAW:
        sides = list(meta["shape"])
        if channel >= 0:
            sides.insert(channel, meta["channels"])
        order = ">" if meta["byteorder"] == "big" else "<"
        given |= {"shape": "x".join(map(str, sides)), "dtype": np.dtype(meta["dtype"]).newbyteorder(order).str}
    return given


def placed(volume: RawVolume, options: Options) -> RawVolume:
    """``volume`` with the spacing and the units of the options. Raises ``UsageError`` if they are not one for each
    axis."""
    geometry, axes = volume.geometry, len(volume.geometry.axes)
    if options.spacing is not None:
        spacing = parsed_spacing(options.spacing)
        if len(spacing) != axes:
            raise UsageError(f"-O spacing={options.spacing}: the volume has {axes} axes, {geometry.axes}", "option")
        geometry = replace(geometry, spacing=spacing)
    if options.units is not None:
        units = tuple(options.units.split(","))
        if len(units) not in (1, axes):
            raise UsageError(f"-O units={options.units}: one for all, or for each of {axes} axes", "option")
        geometry = replace(geometry, units=units * axes if len(units) == 1 else units)
    return replace(volume, geometry=geometry)


def geometry_of(meta: Mapping[str, Any]) -> Geometry:
    """The place of the source's grid."""
    spacing, origin, units, affine = (meta[name] for name in ("spacing", "origin", "units", "affine"))
    return Geometry(
        meta["axes"],
        spacing and tuple(map(float, spacing)),
        origin and tuple(map(float, origin)),
        units and tuple(units),
        affine and tuple(map(float, affine)),
        meta["slope"],
        meta["intercept"],
        meta["space"] or "",
    )
