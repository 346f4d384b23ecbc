"""Named axes with positions, as netCDF, HDF5 and Zarr have them, and where another grid lies on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UsageError, printable
from ...io.limits import Limits
from .numpy_files import require_count
from .raw_volume import MAX_AXES, Array, Geometry

_LETTERS = {"time": "t", "t": "t", "z": "z", "lev": "z", "level": "z", "depth": "z", "height": "z", "plev": "z",
            "y": "y", "lat": "y", "latitude": "y", "x": "x", "lon": "x", "longitude": "x"}  # fmt: skip
_CHANNELS = ("c", "channel", "channels")

_EVEN = 1e-3
"""Largest difference between steps that count as even, as a part of a step."""


@dataclass(frozen=True)
class Axis:
    """An axis of an array: its name and unit ("" if it has none), and the positions of its samples (n,), or None."""

    name: str = ""
    positions: Array | None = None
    unit: str = ""


@dataclass(frozen=True)
class Place:
    """Where the samples of another grid lie on an axis: sample j is at the index ``start + j * step`` of the source."""

    start: float
    step: float
    count: int

    @property
    def is_part(self) -> bool:
        """Whether all samples are samples of the source."""
        return self.step == 1 and self.start == int(self.start)

    def leaves(self, side: int) -> bool:
        """Whether these are all ``side`` samples of the source."""
        return (self.start, self.step, self.count) == (0, 1, side)

    def of(self, values: Array) -> Array:
        """The ``values`` (n, ...) of the source at these places: interpolated, and beyond the ends extrapolated."""
        if self.is_part:
            return values[int(self.start) : int(self.start) + self.count]
        places = self.start + self.step * np.arange(self.count)
        below = np.clip(np.floor(places), 0, max(0, len(values) - 2)).astype(np.int64)
        above = np.minimum(below + 1, len(values) - 1)
        low = values[below].astype(np.float64)
        found: Array = low + (places - below) * (values[above].astype(np.float64) - low)
        return found


def letters_of(names: Sequence[str]) -> str:
    """A letter for each of at most four axes by the names of their dimensions. Unknown names get those that are
    free."""
    letters = ""
    for axis, name in enumerate(names):
        rest = [letter for letter in "tzyx"[4 - len(names) + axis :] + "tzyx" if letter not in letters]
        wanted = _LETTERS.get(name.lower(), rest[0])
        letters += wanted if wanted not in letters else rest[0]
    return letters


def lettered(names: Sequence[str], shape: tuple[int, ...], axes: str | None, limits: Limits) -> tuple[str, int | None]:
    """The letters of the grid axes and the axis of the channels, by the option ``axes`` or the ``names`` of dimensions;
    without either as for an array of NumPy. Raises ``UsageError`` and ``OverLimit``."""
    if axes is not None or not any(names):
        return require_count(shape, axes, limits)
    channel = next((axis for axis, name in enumerate(names) if name.lower() in _CHANNELS), None)
    grid = [name for axis, name in enumerate(names) if axis != channel]
    if len(grid) > MAX_AXES:
        listed = ", ".join(map(printable, names))
        raise UsageError(
            f"the array has the dimensions {listed}: at most {MAX_AXES} and channels are supported; name them with "
            "-O axes=, such as ctzyx (c: channels)",
            "option",
        )
    letters = letters_of(grid) if grid else ""
    return require_count(shape, letters if channel is None else letters[:channel] + "c" + letters[channel:], limits)


def even(positions: Array | None, side: int) -> tuple[float, float] | None:
    """The step and the first of evenly spaced ``positions`` of ``side`` samples; None if they are not, or unknown."""
    if positions is None or positions.shape != (side,) or not np.isfinite(positions).all():
        return None
    if side == 1:
        return 1.0, float(positions[0])
    steps = np.diff(positions)
    step = float(positions[-1] - positions[0]) / (side - 1)
    return (step, float(positions[0])) if step and np.abs(steps - step).max() <= _EVEN * abs(step) else None


def geometry(letters: str, axes: Sequence[Axis], shape: Sequence[int]) -> tuple[Geometry, tuple[str, ...]]:
    """The place of a grid, and notes on axes whose positions are not evenly spaced."""
    found = [even(axis.positions, side) for axis, side in zip(axes, shape, strict=True)]
    uneven = [axis for axis, place in zip(axes, found, strict=True) if axis.positions is not None and place is None]
    notes = tuple(
        f"positions along {printable(axis.name)[:80]} are not evenly spaced: regions and queries count its samples"
        for axis in uneven
    )
    if not any(found):
        return Geometry(letters), notes
    units = tuple(unit_name(axis.unit) if place else "" for axis, place in zip(axes, found, strict=True))
    spacing, origin = (tuple(place[k] if place else 1.0 - k for place in found) for k in (0, 1))
    return Geometry(letters, spacing, origin, units if any(units) else None), notes


def unit_name(text: object) -> str:
    """A unit as it can be stored."""
    name = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return re.sub(r'[\x00-\x1f"]', "", name)[:100]


def number_of(value: Any) -> float | None:
    """The first number of an attribute; None if there is none, or it is not finite or not a number."""
    array = np.ravel(np.asarray(value))
    if not array.size or array.dtype.kind not in "iuf" or not np.isfinite(array[0]):
        return None
    return float(array[0])


def scaling(attributes: Mapping[str, Any]) -> tuple[float, float]:
    """Slope and intercept by ``scale_factor`` and ``add_offset``."""
    slope, intercept = (number_of(attributes.get(name)) for name in ("scale_factor", "add_offset"))
    return slope or 1.0, intercept or 0.0


def without_missing(samples: Array, attributes: Mapping[str, Any]) -> tuple[Array, float | None]:
    """The samples, and the one that stands for no value, by ``_FillValue`` and ``missing_value``: where a file has
    both, samples are given the first."""
    values = [number_of(attributes.get(name)) for name in ("_FillValue", "missing_value")]
    known = [value for value in values if value is not None and _holds(samples.dtype, value)]
    if samples.dtype.kind not in "iuf" or not known:
        return samples, None
    for other in set(known[1:]) - {known[0]}:
        equal = samples == samples.dtype.type(other)
        if equal.any():
            samples = np.where(equal, samples.dtype.type(known[0]), samples)
    return samples, known[0]


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether samples of this type, of which at most 32 bits are kept of integers, can be ``value``."""
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype if dtype.itemsize < 8 else np.dtype(f"{dtype.kind}4"))
    return value == int(value) and limits.min <= value <= limits.max


def places_of(layout: Mapping[str, Any], source: Sequence[int], shape: Sequence[int]) -> tuple[Place, ...]:
    """Where a grid of ``shape`` lies on that of the ``source``, or on the part of it that ``layout`` says."""
    text = str(layout.get("box") or ",".join(f"0:{side}" for side in source))
    box = [tuple(map(int, side.split(":"))) for side in text.split(",")]
    found = []
    for (first, last), side in zip(box, shape, strict=True):
        step = (last - first) / side
        found.append(Place(first + 0.5 * step - 0.5, step, side))
    return tuple(found)


def boxed(layout: Mapping[str, Any], box: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """``layout`` with the part of the source that ``box`` is, of the part that it says already."""
    before = (
        [int(side.split(":")[0]) for side in str(layout["box"]).split(",")] if layout.get("box") else [0] * len(box)
    )
    return {**layout, "box": ",".join(f"{first + a}:{first + b}" for first, (a, b) in zip(before, box, strict=True))}
