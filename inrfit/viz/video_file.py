"""Frames into a moving picture: GIF with Pillow, MP4 with PyAV where that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".gif", ".mp4")
RATE = 8
"""Frames per second."""

HELD = 16
"""How many frames long the last one is shown."""


def check(suffix: str) -> None:
    """Raises ``UsageError`` for a suffix that is not written, or not on this machine."""
    if suffix.lower() not in SUFFIXES:
        raise UsageError(f"a video is written as {' or '.join(SUFFIXES)}, not {suffix!r}", "suffix")
    if suffix.lower() == ".mp4" and find_spec("av") is None:
        raise UsageError("mp4 needs PyAV: pip install 'inrfit[video]', or write a .gif", "no-video")


def encoded(frames: Sequence[Image.Image], suffix: str) -> bytes:
    """``frames``, RGB and of one size, as a file that shows RATE of them a second."""
    check(suffix)
    return mp4(frames) if suffix.lower() == ".mp4" else gif(frames)


def gif(frames: Sequence[Image.Image]) -> bytes:
    """Looped for ever; each frame has its own 256 colours, chosen so that rare ones survive."""
    from PIL import Image

    file = BytesIO()
    frames = [frame.quantize(256, Image.Quantize.MAXCOVERAGE) for frame in frames]
    milliseconds = 1000 // RATE
    durations = [milliseconds] * (len(frames) - 1) + [milliseconds * HELD]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def mp4(frames: Sequence[Image.Image]) -> bytes:
    """H.264, or MPEG-4 where PyAV was built without x264; an odd side loses a row or column, which both ask for."""
    import av

    file = BytesIO()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height = (side // 2 * 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for image in [*frames, *[frames[-1]] * (HELD - 1)]:
            pixels = np.asarray(image)[: stream.height, : stream.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
