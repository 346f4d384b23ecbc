"""NumPy arrays as sounds."""

from __future__ import annotations

import io
from typing import Any

import numpy.typing as npt

from ...errors import UsageError
from .container import MAX_RATE

_LIKELY_CHANNELS = 8
"""Channels up to which an array may have more of them than samples."""


def from_array(array: npt.NDArray[Any], rate: int) -> bytes:
    """The bytes of a WAV file with the samples of ``array``: int16 or float, (n,) or (n, c), at ``rate`` Hz. Raises
    ``UsageError`` for any other array."""
    import soundfile

    subtypes = {"int16": "PCM_16", "float32": "FLOAT", "float64": "DOUBLE"}
    expected = "the array of a sound must be int16, float32 or float64, (n,) or (n, c)"
    if array.dtype.name not in subtypes or array.ndim not in (1, 2):
        raise UsageError(f"{expected}, not {array.dtype.name} of the shape {array.shape}", "array")
    if not array.size:
        raise UsageError(f"the array is empty: its shape is {array.shape}", "array")
    if array.ndim == 2 and array.shape[1] > max(len(array), _LIKELY_CHANNELS):
        raise UsageError(f"{expected}: {array.shape} has more channels than samples; transpose it", "array")
    if not 1 <= rate <= MAX_RATE:
        raise UsageError(f"rate: must be 1 to {MAX_RATE:,} Hz, not {rate:,}", "array")
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, array, int(rate), subtype=subtypes[array.dtype.name], format="WAV")
    except soundfile.LibsndfileError as error:
        raise UsageError(f"an array of the shape {array.shape} at {rate:,} Hz is no sound: {error}", "array") from None
    return buffer.getvalue()
