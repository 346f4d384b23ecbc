"""NumPy arrays as samples at points."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...io.arguments import array_of
from .reading import shape_fault

Array = npt.NDArray[Any]


def from_arrays(values: Array, coords: Any, axes: str | None = None, units: Any = None) -> bytes:
    """The bytes of a .npz file of ``coords`` (n, d) and ``values`` (n, c). Masked numbers become NaN. Raises
    ``UsageError`` for arrays that are not such numbers."""
    places = _unmasked(array_of("coords", coords))
    given = _unmasked(values)
    if fault := shape_fault(places, given):
        raise UsageError(fault, "array")
    dimensions = 1 if places.ndim == 1 else places.shape[1]
    if axes is not None and len(axes) != dimensions:
        raise UsageError(f"axes={axes!r}: coords has {dimensions} columns, which need a letter each", "array")
    content = io.BytesIO()
    np.savez(content, coords=places, values=given)
    return content.getvalue()


def _unmasked(array: Array) -> Array:
    """A masked array as a plain one, in a type that has NaN if a number is masked."""
    if not np.ma.is_masked(array):
        return np.asarray(array)
    return np.asarray(np.ma.filled(array.astype(np.result_type(array.dtype, np.float32)), np.nan))


def options_of(values: Array, coords: Any, axes: str | None = None, units: Any = None) -> dict[str, Any]:
    """The options that the samples are read with, from the arguments of ``inrfit.encode``."""
    options: dict[str, Any] = {} if axes is None else {"axes": axes}
    if units is not None:
        if not isinstance(units, str | Sequence):
            raise UsageError("units: must be one name, or one for each axis", "array")
        options["units"] = units if isinstance(units, str) else ",".join(map(str, units))
    return options
