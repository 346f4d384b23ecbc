"""Animated GIF, WebP and APNG, by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from ...errors import InrfitError, UnreadableFile, machine_error, printable
from ...io.checked_file import Output
from ...io.limits import Limits
from .clip import Array, Clip, collected, rescaled
from .selection import Selection

MILLISECOND = Fraction(1, 1000)

FORMATS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
"""Pillow's format for each suffix."""


def is_animated(data: bytes) -> bool:
    """Whether GIF, WebP or PNG data have several frames."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return b"acTL" in data[:4096]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)
    if data[:4] != b"GIF8":
        return False
    try:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            image.seek(1)
            return True
    except Exception:  # one frame, or damaged
        return False


def read(data: bytes, limits: Limits, selection: Selection) -> Clip:
    """Reads the selected frames as they are shown. Raises a ``RefusedInput``."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            count = int(getattr(image, "n_frames", 1))
            limits.check("max_voxels", selection.count(count) * image.width * image.height, "clip of pixels")
            durations: list[int] = []
            frames = collected(_frames(image, count, selection, durations), selection.count(count), limits)
    except InrfitError:
        raise
    except Exception as error:
        raise machine_error(error) or UnreadableFile(f"damaged: {printable(str(error)[:200])}", "decode") from error
    if frames.shape[-1] == 4 and bool((frames[..., 3] == 255).all()):
        frames = frames[..., :3]
    usual = max(set(durations), key=durations.count)
    times = None if len(set(durations)) == 1 else tuple(int(t) for t in np.cumsum([0, *durations[:-1]]))
    rate = 1 / (usual * MILLISECOND) if times is None else Fraction(1000 * len(durations), sum(durations))
    return Clip(frames, 8, rate, times=times, time_base=MILLISECOND if times else None, last=durations[-1])


def _frames(image: Any, count: int, selection: Selection, durations: list[int]) -> Iterator[Array]:
    for number in range(count):
        if selection.is_over(number):
            return
        image.seek(number)  # also to those before: each is drawn over the one before it
        if selection.has(number):
            picture = np.asarray(image.convert("RGBA"))
            durations.append(max(1, round(image.info.get("duration", 0) or 100)))
            yield selection.shaped(picture, 8)


def write(clip: Clip, suffix: str, out: Output) -> None:
    """Writes an animation. WebP is lossless, GIF has 256 colours a frame. Pillow holds all pictures of a GIF or PNG
    before it writes them, those of a WebP compressed."""
    from .picture_sequence import PictureSequence

    count, height, width, channels = clip.frames.shape
    frames: Iterable[Array] = clip.frames
    if clip.bits > 8:
        frames = (rescaled(frame, clip.bits, 8) for frame in frames)
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    if suffix == ".gif":
        options = {"disposal": 2} if channels == 4 else {"disposal": 1}
    PictureSequence(frames, count, width, height, channels).save(
        out,  # type: ignore[arg-type]
        FORMATS[suffix],
        save_all=True,
        duration=durations(clip, 10 if suffix == ".gif" else 1),
        loop=0,
        **options,
    )


def durations(clip: Clip, unit: int) -> list[int]:
    """The milliseconds of each frame, multiples of ``unit``."""
    count = len(clip.frames)
    if clip.times is None or clip.time_base is None:
        times = [number / clip.rate for number in range(count + 1)]
    else:
        times = [time * clip.time_base for time in clip.times]
        times.append(times[-1] + (clip.last * MILLISECOND if clip.last else 1 / clip.rate))
    edges = [unit * round(time / (unit * MILLISECOND)) for time in times]
    return [max(unit, b - a) for a, b in pairwise(edges)]
