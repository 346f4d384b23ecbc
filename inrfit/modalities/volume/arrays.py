"""NumPy arrays as volumes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...io.limits import Limits
from .numpy_files import require_count


def from_array(array: npt.NDArray[Any], axes: str, spacing: Any = None, units: Any = None) -> bytes:
    """The bytes of a .npy file. Masked samples are NaN. Raises ``UsageError`` for axes that are not those
    of the array."""
    if not array.size:
        raise UsageError(f"the array is empty: its shape is {array.shape}", "array")
    require_count(array.shape, axes, Limits(max_voxels=2**62))
    if np.ma.is_masked(array):
        if array.dtype.kind not in "fc":
            raise UsageError(
                f"a masked array of {array.dtype}: give floats, which have NaN where there is none", "array"
            )
        array = np.ma.filled(array, np.nan)
    content = io.BytesIO()
    try:
        np.lib.format.write_array(content, array, allow_pickle=False)
    except ValueError:
        raise UsageError(f"an array of {array.dtype} is not supported", "array") from None
    return content.getvalue()


def options_of(array: npt.NDArray[Any], axes: str, spacing: Any = None, units: Any = None) -> dict[str, Any]:
    """The options that a volume is read with, from the arguments of ``inrfit.encode``."""
    options: dict[str, Any] = {"axes": axes}
    if spacing is not None:
        if isinstance(spacing, str) or not isinstance(spacing, Sequence | np.ndarray):
            raise UsageError("spacing: must be numbers, one for each axis but c", "array")
        options["spacing"] = "x".join(repr(float(number)) for number in spacing)
    if units is not None:
        if not isinstance(units, Sequence):
            raise UsageError("units: must be a name, or one for each axis but c", "array")
        options["units"] = units if isinstance(units, str) else ",".join(map(str, units))
    return options
