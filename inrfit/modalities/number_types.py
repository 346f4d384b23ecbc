"""Number types of files that are fitted as another one, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedInput

Array = npt.NDArray[Any]

FILE_TYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
    "complex64", "complex128",
)  # fmt: skip
"""Number types of samples that are read."""

FITTED_TYPES = {"bool": "uint8", "complex64": "float32", "complex128": "float64", "int64": "int32", "uint64": "uint32"}
"""Number types that are fitted as another one: complex numbers as two channels, 64-bit integers if they fit."""


def fitted(array: Array) -> Array:
    """``array`` (*grid, c) in a native type that can be fitted. Raises ``UnsupportedInput`` for other numbers."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    name = array.dtype.name
    if name == "bool":
        return array.view(np.uint8) if array.flags.c_contiguous else array.astype(np.uint8)
    if array.dtype.kind == "c" and name in FITTED_TYPES:
        parts: Array = np.ascontiguousarray(array).view(FITTED_TYPES[name])
        return parts
    if name in ("int64", "uint64"):
        target = np.iinfo(FITTED_TYPES[name])
        if array.size and (int(array.min()) < target.min or int(array.max()) > target.max):
            raise UnsupportedInput(f"{name} samples beyond 32 bits are not supported", "samples")
        return array.astype(target.dtype)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise UnsupportedInput(f"samples of type {name} are not supported", "samples")
    return array


def in_file(samples: Array, dtype: str, byteorder: str) -> Array:
    """Decoded ``samples`` (*grid, c) in the type and byte order of the file: the inverse of ``fitted``."""
    target = np.dtype(dtype)
    if target.kind == "c" and samples.dtype.kind != "c":
        samples = np.ascontiguousarray(samples).view(target)
    elif target.kind == "b":
        samples = samples > 0
    ordered: Array = samples.astype(target.newbyteorder("<" if byteorder == "little" else ">"), copy=False)
    return ordered
