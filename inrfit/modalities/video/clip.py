"""A clip as it was read: its frames, and what else its file says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile
from ...io.limits import Limits
from ..streaming import ArrayStream

Array = npt.NDArray[Any]

FILE_BYTES = 1_000_000_000
"""Frames of more bytes are kept in an unlinked temporary file, which the system writes out when memory is short."""

NO_FRAMES = "no-frames"
"""The reason of the error for a clip without frames, or without those that are read."""

UNSPECIFIED = 2
"""The code of ITU-T H.273 for primaries, transfer and matrix that a file does not name."""


@dataclass(frozen=True)
class Colours:
    """What a file says about its colours: the codes of ITU-T H.273, whether samples have the full range (None: it does
    not say), and how chroma is subsampled (420, 422, 444, 411, 410, 440; "rgb" or "grey")."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool | None = None
    chroma: str = "rgb"


@dataclass(frozen=True)
class Clip:
    """A clip.

    - ``frames`` (n, h, w, c): RGB, grey or RGBA, of ``bits`` bits a sample. Of a clip that is written it may be an
      ``ArrayStream``.
    - ``rate``: frames per second. ``times``: time stamps in units of ``time_base`` seconds, None if all frames last
      equally long; ``last``: milliseconds of the last frame of an animation.
    - ``aspect``: width of a pixel by its height, None if the file does not say.
    - ``centred``: whether chroma lies between columns of luma. ``codec``: that of the file.
    - ``header``: the file's own header, if it is kept. ``notes``: what is not kept."""

    frames: Array | ArrayStream
    bits: int
    rate: Fraction
    colours: Colours = Colours()
    times: tuple[int, ...] | None = None
    time_base: Fraction | None = None
    aspect: Fraction | None = None
    header: bytes = b""
    notes: tuple[str, ...] = ()
    last: int | None = None
    centred: bool = False
    codec: str | None = None


def rescaled(frame: Array, bits: int, wanted: int) -> Array:
    """Samples of ``bits`` bits as samples of ``wanted`` ones."""
    if bits == wanted:
        return frame
    values = frame * (((1 << wanted) - 1) / ((1 << bits) - 1))
    found: Array = values.round().astype(np.uint8 if wanted == 8 else np.uint16)
    return found


def usable_rate(rate: Fraction | None) -> Fraction | None:
    """``rate`` if it is between a frame a day and a million a second, else None."""
    return rate if rate is not None and Fraction(1, 86_400) <= rate <= 1_000_000 else None


def new_frames(count: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array (count, *shape), in an unlinked file if it is large."""
    dtype = np.dtype(dtype)
    size = count * int(np.prod(shape)) * dtype.itemsize
    if size <= FILE_BYTES:
        return np.empty((count, *shape), dtype)
    with tempfile.TemporaryFile(prefix="inrfit-") as file:
        file.truncate(size)
        return np.memmap(file, dtype, "r+", shape=(count, *shape))


def collected(frames: Iterable[Array], expected: int, limits: Limits) -> Array:
    """All ``frames``, about ``expected`` of them, which must have equal shapes. Raises ``UnreadableFile``, and
    ``OverLimit`` for more pixels than ``limits`` allow, before they are kept."""
    held: Array | None = None
    count = 0
    for frame in frames:
        limits.check("max_voxels", (count + 1) * frame.shape[0] * frame.shape[1], "clip of pixels")
        if held is None:
            held = new_frames(max(1, expected), frame.shape, frame.dtype)
        if frame.shape != held.shape[1:] or frame.dtype != held.dtype:
            raise UnreadableFile(
                f"frame {count + 1} is {frame.shape[1]}x{frame.shape[0]} {frame.dtype}, the first one is "
                f"{held.shape[2]}x{held.shape[1]} {held.dtype}",
                "frames",
            )
        if count == len(held):
            larger = new_frames(count * 2, frame.shape, frame.dtype)
            larger[:count] = held
            held = larger
        held[count] = frame
        count += 1
    if held is None:
        raise UnreadableFile("there are no frames", NO_FRAMES)
    return held[:count]
