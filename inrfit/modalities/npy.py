"""The arrays of .npy files, as they are and in archives. Nothing is unpickled."""

from __future__ import annotations

import io
import math
import tokenize
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UnreadableFile, UnsupportedInput, printable

MAX_HEADER = 1 << 16
"""Most bytes of a .npy header."""


def header(data: bytes) -> tuple[bytes, np.dtype[Any], bool, tuple[int, ...]]:
    """The header, number type, whether the first axis is the fastest, and shape. Raises a ``RefusedInput``."""
    stream = io.BytesIO(data[:MAX_HEADER])
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise UnreadableFile(f"damaged: .npy of the version {version[0]}.{version[1]}", "header")
        reader = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        shape, fortran, dtype = reader(stream, MAX_HEADER)
    except (ValueError, KeyError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise UnreadableFile(f"damaged: no .npy header ({printable(str(error))[:80]})", "header") from None
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None or dtype.kind not in "biufc":
        raise UnsupportedInput(f"arrays of {dtype} are not supported", "samples")
    if any(side < 0 for side in shape):
        raise UnreadableFile(f"damaged: an array of the shape {shape}", "header")
    return data[: stream.tell()], dtype, bool(fortran), tuple(int(side) for side in shape)


def array(data: bytes) -> npt.NDArray[Any]:
    """The array of the whole content of a .npy file. Raises a ``RefusedInput``."""
    start, dtype, fortran, shape = header(data)
    count, available = math.prod(shape), len(data) - len(start)
    if available < count * dtype.itemsize:
        raise UnreadableFile(
            f"the file ends early: {count * dtype.itemsize:,} bytes of samples are declared, {available:,} are there",
            "truncated",
        )
    return np.frombuffer(data, dtype, count, len(start)).reshape(shape, order="F" if fortran else "C")
