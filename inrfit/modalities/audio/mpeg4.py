"""M4A and AAC by PyAV (the extra ``video``)."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io import extras
from ...io.limits import Limits
from .sample_formats import Array

_TECHNICAL = ("major_brand", "minor_version", "compatible_brands", "encoder", "language", "handler_name", "vendor_id")
"""Metadata that says nothing about the sound."""


_MASKS = {
    "mono": 0x4, "stereo": 0x3, "3.0": 0x7, "quad": 0x33, "4.0": 0x107, "5.0": 0x607, "5.0(back)": 0x37,
    "5.1": 0x60F, "5.1(side)": 0x60F, "5.1(back)": 0x3F, "7.1": 0x63F,
}  # fmt: skip
"""Speaker masks by FFmpeg's names of layouts."""


@dataclass(frozen=True)
class Decoded:
    """Samples (n, c) in the order of WAV, their rate in Hz, the codec (AAC or ALAC), the names of the tags, and the
    speaker mask; None for a layout that is not known."""

    samples: Array
    rate: int
    codec: str
    tags: tuple[str, ...]
    mask: int | None


def decode(data: bytes, limits: Limits) -> Decoded:
    """The first sound of the file. Raises a ``RefusedInput``, and ``UsageError`` if PyAV is not installed."""
    av = extras.load("av", "sound in MP4 (M4A, AAC)")
    try:
        with av.open(BytesIO(data), "r") as file:
            if not file.streams.audio or any(not _is_cover(stream) for stream in file.streams.video):
                raise UnsupportedInput("MP4 with a film: not supported", "video")
            stream = file.streams.audio[0]
            codec = stream.codec_context.name.upper()
            if codec not in ("AAC", "ALAC"):
                raise UnsupportedInput(f"{codec} in MP4: not supported", "codec")
            limits.check("max_channels", stream.codec_context.channels, "channels")
            blocks: list[Array] = []
            total = 0
            for frame in file.decode(stream):
                block = frame.to_ndarray()
                if not frame.format.is_planar:
                    block = block.reshape(-1, frame.layout.nb_channels).T
                total += block.shape[1]
                limits.check("max_samples", total, "samples per channel")
                blocks.append(block.T)
            names = [name for name in (*file.metadata, *stream.metadata) if name not in _TECHNICAL]
            rate = int(stream.codec_context.sample_rate)
            mask = _MASKS.get(stream.codec_context.layout.name)
    except UnsupportedInput:
        raise
    except av.error.FFmpegError as error:
        raise UnreadableFile(f"damaged or cut short: {printable(error)[:120]}", "decode") from error
    if not blocks:
        raise UnreadableFile("the file has no samples", "empty")
    return Decoded(np.ascontiguousarray(np.concatenate(blocks)), rate, codec, tuple(map(printable, names)), mask)


def _is_cover(stream: Any) -> bool:
    """Whether a stream of pictures is the cover of a sound."""
    return stream.codec_context.name in ("mjpeg", "png", "bmp") or bool(stream.disposition & 0x400)
