"""Video files: GIF with Pillow, MP4 with PyAV if it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..io import extras

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".gif", ".mp4")
FRAMES_PER_SECOND = 8

LAST_FRAME_REPEATS = 16
"""How long the last frame is shown, in frames."""


def check_suffix(suffix: str) -> None:
    """Raises ``UsageError`` if no video can be written with ``suffix`` (.gif, .mp4), or not on this machine."""
    if suffix.lower() not in SUFFIXES:
        raise UsageError(f"a video file ends in {' or '.join(SUFFIXES)}, not in {suffix!r}", "suffix")
    if suffix.lower() == ".mp4":
        extras.require("av", "a video as .mp4, and not as .gif,")


def encode_video(frames: Sequence[Image.Image], suffix: str) -> bytes:
    """``frames`` (RGB, all of one size) as a file of the kind that ``suffix`` names, at FRAMES_PER_SECOND."""
    check_suffix(suffix)
    return encode_mp4(frames) if suffix.lower() == ".mp4" else encode_gif(frames)


def encode_gif(frames: Sequence[Image.Image]) -> bytes:
    """A GIF that loops; each frame has 256 colours of its own, chosen so that rare colours are kept."""
    from PIL import Image

    file = BytesIO()
    frames = [frame.quantize(256, Image.Quantize.MAXCOVERAGE) for frame in frames]
    milliseconds = 1000 // FRAMES_PER_SECOND
    durations = [milliseconds] * (len(frames) - 1) + [milliseconds * LAST_FRAME_REPEATS]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def encode_mp4(frames: Sequence[Image.Image]) -> bytes:
    """An MP4 with H.264, or MPEG-4 if PyAV was built without x264. Both need even sides, so that an odd side loses one
    row or column."""
    import av

    file = BytesIO()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=FRAMES_PER_SECOND)
        stream.width, stream.height = (side // 2 * 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for image in [*frames, *[frames[-1]] * (LAST_FRAME_REPEATS - 1)]:
            pixels = np.asarray(image)[: stream.height, : stream.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
