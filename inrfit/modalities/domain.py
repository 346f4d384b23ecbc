"""The domain and the values of a field in the terms of its file: samples, positions, units.

Three kinds of coordinates name a point, one number for each axis in array order (slowest first):

- ``index``: in samples; sample i is at i, and covers i - 1/2 to i + 1/2.
- ``unit``: from -1 to 1 over all samples, which a field takes itself.
- ``physical``: positions in the units of the file, such as mm or seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError
from ..signal import Scale

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    Array = npt.NDArray[Any]

Coordinates = Literal["index", "unit", "physical"]
COORDINATES: tuple[Coordinates, ...] = ("index", "unit", "physical")

_UNITS = {
    "m": (1.0, "length"), "cm": (1e-2, "length"), "mm": (1e-3, "length"), "um": (1e-6, "length"),
    "nm": (1e-9, "length"), "inch": (0.0254, "length"),
    "h": (3600.0, "time"), "min": (60.0, "time"), "s": (1.0, "time"), "ms": (1e-3, "time"), "us": (1e-6, "time"),
}  # fmt: skip
_SPELLINGS = {
    "metre": "m", "meter": "m", "millimetre": "mm", "millimeter": "mm", "micron": "um", "micrometer": "um",
    "µm": "um", "μm": "um", "\\u00B5m": "um", "in": "inch", "sec": "s", "second": "s", "seconds": "s", "msec": "ms",
    "usec": "us", "µs": "us", "μs": "us",
}  # fmt: skip


def unrounded(scale: Scale) -> Callable[[Tensor], Tensor]:
    """A function from the values (n, c) of a field to samples in float64, neither rounded nor clamped, which autograd
    differentiates."""
    free = Scale(scale.dtype, scale.factor, scale.offset, float("-inf"), float("inf"), 0.0, scale.knee)
    return free.raw


@dataclass(frozen=True)
class Domain:
    """Where a field is defined, and what its values mean.

    - ``axes``: a letter for each coordinate.
    - ``shape``: samples along each axis; None for a field that was fitted to points of space, which have no indices.
    - ``matrix`` (d + 1, d + 1): maps (coordinates, 1) to (physical coordinates, 1), both in the order of ``axes``, from
      indices, or without ``shape`` from unit coordinates. None if the file says neither place nor spacing.
    - ``units``: the unit along each axis; "" if it is unknown.
    - ``samples``: maps the field's values (n, k) to those of the file (n, c), unrounded, in float64.
    - ``valid`` (*shape): which samples of the file have a value; None if all have.
    - ``uneven``: positions of the samples, by axis, where these are not evenly spaced; ``matrix`` has their mean.
    - ``flat``: the axes along which all samples have one place, the middle of the box: elsewhere nothing is known.
    - ``surface``: whether the field describes a surface.
    - ``distance``: a signed distance in physical units per value of a field of distances, positive outside; None for
      other fields. ``outward``: 1 if values grow from the inside of a surface to its outside, -1 if they fall."""

    axes: str
    shape: tuple[int, ...] | None
    matrix: Array | None
    units: tuple[str, ...]
    samples: Callable[[Tensor], Tensor]
    valid: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    distance: float | None = None
    uneven: Mapping[int, Array] = field(default_factory=dict, repr=False)
    outward: int = 1
    surface: bool = False
    flat: tuple[int, ...] = ()

    @property
    def natural(self) -> Coordinates:
        """The coordinates that are meant if none are named: indices, where there are samples."""
        return "physical" if self.shape is None else "index"

    @property
    def without_slope(self) -> list[int]:
        """The axes along which all samples have one place, so that no slope is known."""
        single = [axis for axis, side in enumerate(self.shape or ()) if side == 1]
        return sorted({*self.flat, *single})

    def to_unit(self, points: Array, coordinates: Coordinates) -> Array:
        """Unit coordinates (n, d) of ``points`` (n, d). Raises ``UsageError`` for a kind that the field lacks."""
        import numpy as np

        matrix = self.to_unit_matrix(coordinates)
        if coordinates == "index":  # as exact as Grid.coords
            result: Array = (2 * points + 1) / np.array(self.shape) - 1
            return result
        return points @ matrix[:-1, :-1].T + matrix[:-1, -1]

    def from_unit(self, unit: Array, coordinates: Coordinates) -> Array:
        """The inverse of ``to_unit``."""
        import numpy as np

        if coordinates == "index":
            result: Array = ((unit + 1) * np.array(self.shape) - 1) / 2
            return result
        matrix = np.linalg.inv(self.to_unit_matrix(coordinates))
        return unit @ matrix[:-1, :-1].T + matrix[:-1, -1]

    def to_unit_matrix(self, coordinates: Coordinates) -> Array:
        """The matrix (d + 1, d + 1) that maps (coordinates, 1) to (unit coordinates, 1)."""
        import numpy as np

        if coordinates == "unit":
            return np.eye(len(self.axes) + 1)
        if coordinates == "index":
            if self.shape is None:
                raise UsageError(
                    "index coordinates: this field was fitted to points of space, not to the samples of a grid", "query"
                )
            return self._from_index()
        if self.uneven:
            raise UsageError("physical coordinates: the samples of this file are not evenly spaced; use index", "query")
        if self.matrix is None:
            raise UsageError("physical coordinates: the file says neither the spacing nor the place of its samples",
                             "query")  # fmt: skip
        found: Array = np.linalg.inv(self.matrix)
        return found if self.shape is None else self._from_index() @ found

    def _from_index(self) -> Array:
        """The matrix from indices to unit coordinates."""
        import numpy as np

        sides = np.array(self.shape, np.float64)
        matrix = np.diag([*(2 / sides), 1.0])
        matrix[:-1, -1] = 1 / sides - 1
        return matrix

    def along(self, axis: int, value: float, unit: str) -> float:
        """The index, or without samples the unit coordinate, at the position ``value`` in ``unit`` along one axis.
        Raises ``UsageError`` if the file does not say the unit, or the axis is oblique to those of space."""
        import numpy as np

        letter, own = self.axes[axis], self.units[axis]
        if self.matrix is None:
            raise UsageError(f"{letter}={value:g}{unit}: the file does not say the spacing of its samples", "query")
        factor = _conversion(unit, own)
        if factor is None:
            known = f"the unit of this axis is {own!r}" if own else f"the file names no unit: write {letter}={value:g}u"
            raise UsageError(f"{letter}={value:g}{unit}: {known}", "query")
        if axis in self.uneven:
            places = self.uneven[axis]
            if places[0] <= value * factor <= places[-1]:
                return float(np.interp(value * factor, places, np.arange(len(places))))
            return -1.0 if value * factor < places[0] else float(len(places))
        row, column = self.matrix[axis, :-1], self.matrix[:-1, axis]
        step = float(row[axis])
        others = np.abs(np.delete(row, axis)).max(initial=0) + np.abs(np.delete(column, axis)).max(initial=0)
        if others > 1e-4 * abs(step):
            raise UsageError(
                f"{letter}={value:g}{unit}: the axes of this grid are oblique to those of space; give samples, or "
                "--points with --coords physical",
                "query",
            )
        return (value * factor - float(self.matrix[axis, -1])) / step

    def position(self, axis: int, index: float) -> float:
        """The position of an index along an axis."""
        import numpy as np

        assert self.matrix is not None
        if axis in self.uneven:
            return float(np.interp(index, np.arange(len(self.uneven[axis])), self.uneven[axis]))
        return float(self.matrix[axis, axis] * index + self.matrix[axis, -1])


def _conversion(unit: str, own: str) -> float | None:
    """The factor from ``unit`` to ``own``; None if they differ in kind or are unknown."""
    if unit in ("u", own):
        return 1.0
    found = [_UNITS.get(_SPELLINGS.get(name.lower(), name.lower())) for name in (unit, own)]
    if found[0] is None or found[1] is None or found[0][1] != found[1][1]:
        return None
    return found[0][0] / found[1][0]


def axis_matrix(spacing: Any, origin: Any) -> Array:
    """The matrix of a grid along the axes of space: position = origin + spacing * index."""
    import numpy as np

    matrix = np.diag([*map(float, spacing), 1.0])
    matrix[:-1, -1] = origin
    return matrix
