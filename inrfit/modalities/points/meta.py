"""What is stored about samples at points, and the options that they are read with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...io.json_schema import Schema, integer, items, matching, number, one_of, optional
from ...io.options import setting
from ...signal import SCALE, Scale
from .. import scales
from ..number_types import FILE_TYPES, FITTED_TYPES

ARRAYS, TABLE = "NumPy archive", "table"
"""Formats: a .npz file of coords and values; rows of numbers."""

DEFAULT_AXES = "xyzt"
"""Letters of the coordinates, of which so many are taken as there are columns."""

MAX_AXES, MAX_CHANNELS = 4, 65_535
"""Most coordinates of a sample, and most values."""

CELLS_PER_SAMPLE = 0.5
"""Cells for which feature grids are sized: with one for each sample they follow the samples and lose up to 11 dB
between them (docs/architectures.md)."""

_FAR, _LEAST_EXTENT = 1e300, 1e-290
_UNIT = r'[^\x00-\x1f",]{0,100}'

META: Schema = {
    "format": one_of(ARRAYS, TABLE),
    "axes": matching(r"[a-z]{1,4}", "one to four letters"),
    "low": items(number(-_FAR, _FAR), 1, MAX_AXES),
    "high": items(number(-_FAR, _FAR), 1, MAX_AXES),
    "units": optional(items(matching(_UNIT, "a unit"), 1, MAX_AXES)),
    "samples": integer(1, 1 << 40),
    "channels": integer(1, MAX_CHANNELS),
    "dtype": one_of(*FILE_TYPES),
    "scale": SCALE,
}
"""Schema of ``Signal.meta``. ``low`` and ``high`` are the corners of the box of the samples, in the order of ``axes``;
the field's axes run from -1 to 1 between them. ``samples`` are those that were fitted."""


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if values of ``meta`` that match META contradict each other."""
    axes = len(meta["axes"])
    if len(set(meta["axes"])) != axes:
        raise ValueError("axes names a letter twice")
    for name in ("low", "high", "units"):
        if meta[name] is not None and len(meta[name]) != axes:
            raise ValueError(f"{name} has {len(meta[name])} entries for {axes} axes")
    if any(low > high for low, high in zip(meta["low"], meta["high"], strict=True)):
        raise ValueError("low is above high")
    scale = Scale.from_json(meta["scale"])
    scales.check_scale(scale, field_size(meta)[1])
    if scale.dtype != FITTED_TYPES.get(meta["dtype"], meta["dtype"]):
        raise ValueError(f"scale.dtype is {scale.dtype} for samples of type {meta['dtype']}")


def field_size(meta: Mapping[str, Any]) -> tuple[int, int]:
    """Coordinates, and values per sample: a complex number has two."""
    return len(meta["axes"]), meta["channels"] * (2 if meta["dtype"].startswith("complex") else 1)


def flat_axes(meta: Mapping[str, Any]) -> tuple[int, ...]:
    """The axes along which all samples have the same coordinate, or differ by less than float64 can scale."""
    return tuple(axis for axis, half in enumerate(_halves(meta)) if half < _LEAST_EXTENT)


def _halves(meta: Mapping[str, Any]) -> list[float]:
    """Half of each side of the box."""
    return [high / 2 - low / 2 for low, high in zip(meta["low"], meta["high"], strict=True)]


def centre_and_halves(meta: Mapping[str, Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The middle of the box (d,), and the length that is 1 on each axis of the field (d,): half a side of the box; for
    a flat axis, of which only the middle is known, the magnitude of its numbers."""
    centre = np.array([low / 2 + high / 2 for low, high in zip(meta["low"], meta["high"], strict=True)])
    halves = np.array(_halves(meta))
    flat = list(flat_axes(meta))
    halves[flat] = np.maximum(1.0, np.abs(centre[flat]))
    return centre, halves


def sized_like(meta: Mapping[str, Any]) -> tuple[int, ...]:
    """The sides of a regular grid of CELLS_PER_SAMPLE times as many cells as there are samples: as many along each
    axis, and 1 along flat ones."""
    flat, axes = flat_axes(meta), len(meta["axes"])
    side = max(1, round((CELLS_PER_SAMPLE * meta["samples"]) ** (1 / max(1, axes - len(flat)))))
    return tuple(1 if axis in flat else side for axis in range(axes))


def _axes_option(value: Any) -> None:
    letters = str(value)
    if not re.fullmatch(r"[a-z]{1,4}", letters) or len(set(letters)) < len(letters):
        raise ValueError("must be one to four different letters, such as xyz")


def _units_option(value: Any) -> None:
    if not all(re.fullmatch(_UNIT, unit) for unit in str(value).split(",")):
        raise ValueError("must be one unit, such as mm, or one for each axis: deg,deg,m")


@dataclass(frozen=True)
class Options:
    """How samples at points are read."""

    axes: str | None = setting(
        None, "letters of the coordinates of points, such as xyz; in a table they name or count the columns",
        parse=_axes_option,
    )  # fmt: skip
    units: str | None = setting(
        None, "unit of the coordinates of points: mm; or one for each: deg,deg,m", parse=_units_option
    )


def options_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which the source is read again as it was."""
    units = {} if meta["units"] is None else {"units": ",".join(meta["units"])}
    return {"axes": meta["axes"], **units}


def extent_text(meta: Mapping[str, Any]) -> str:
    """The box as text, such as "x 0 to 4 km, y -1 to 1 km"."""
    sides = zip(meta["axes"], meta["low"], meta["high"], meta["units"] or [""] * len(meta["axes"]), strict=True)
    return ", ".join(f"{axis} {_span(low, high)} {unit}".rstrip() for axis, low, high, unit in sides)


def _span(low: float, high: float) -> str:
    digits = 4 if low == high else min(12, 4 + max(0, math.ceil(math.log10(max(abs(low), abs(high)) / (high - low)))))
    return f"{low:.{digits}g}" if low == high else f"{low:.{digits}g} to {high:.{digits}g}"
