"""Writing MP4, QuickTime, Matroska and WebM, by PyAV (FFmpeg)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...io.checked_file import Output
from .clip import UNSPECIFIED, Array, Clip, rescaled
from .colour import MATRICES, SUBSAMPLED, from_rgb
from .containers import chroma_of, library

CODECS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "ffv1": "ffv1"}
"""Encoders by the names of their formats. AV1 is not written: for root, its encoder SVT-AV1 makes the process that
calls it a real-time one, which stops all others."""

WRITTEN = {
    ".mp4": ("mp4", ("h264", "hevc")),
    ".mov": ("mov", ("h264", "hevc")),
    ".mkv": ("matroska", ("h264", "hevc", "vp9", "ffv1")),
    ".webm": ("webm", ("vp9",)),
}
"""The container of each suffix, and its codecs, the default first."""

LARGEST_CRF = {"h264": 51, "hevc": 51, "vp9": 63}
"""The coarsest quantisation of each codec, of ``--image-quality`` 1; 100 is a CRF of a twelfth."""

DEFAULT_QUALITY = 75

LEAST_HEVC_SIDE = 64
"""Pixels of a side below which x265 writes beyond its memory (version 4.2)."""

DEPTHS = (8, 9, 10, 12, 14, 16)
"""Bits a sample of pixel formats."""


@cache
def _has_avx512() -> bool:
    """Whether the processor is known to have AVX-512, for which x264's code (FFmpeg 7 and 8) writes other bytes in some
    runs."""
    info = Path("/proc/cpuinfo")
    return info.exists() and " avx512f " in info.read_text(errors="replace")


@dataclass(frozen=True)
class Target:
    """What a clip is written as: container and codec, and its quality from 1 to 100."""

    suffix: str
    codec: str
    quality: int

    @property
    def options(self) -> dict[str, str]:
        """Options of the encoder."""
        if self.codec == "ffv1":
            return {"level": "3"}
        largest = LARGEST_CRF[self.codec]
        crf = str(round(largest / 12 + (largest - largest / 12) * (100 - self.quality) / 99))
        further = {"vp9": {"b": "0"}, "hevc": {"x265-params": "log-level=none"}}
        if _has_avx512():
            further["h264"] = {"x264-params": "asm=avx2"}
        return {"crf": crf, **further.get(self.codec, {})}


@dataclass(frozen=True)
class Samples:
    """What decides on the pixel format of a clip: its chroma, its bits, its rows and columns, and the codec that its
    source had, if any."""

    chroma: str
    bits: int
    sides: tuple[int, int]
    codec: str | None


def samples_of(clip: Clip) -> Samples:
    """Those of a clip."""
    _, height, width, channels = clip.frames.shape
    return Samples("grey" if channels == 1 else clip.colours.chroma, clip.bits, (height, width), clip.codec)


def pixel_format(samples: Samples, codec: str) -> tuple[str, int]:
    """The name of a pixel format that the encoder of ``codec`` has, and its bits a sample: at least those of the clip
    if it has such, in the first of ``_chroma_choices``."""
    known = {kind.name for kind in library().Codec(CODECS[codec], "w").video_formats or ()}
    ways = [(bits, _format_name(way, bits)) for way in _chroma_choices(samples, codec) for bits in DEPTHS]
    ways = [(bits, name) for bits, name in ways if name in known]
    most = max(bits for bits, _ in ways)
    return next((name, bits) for bits, name in ways if bits >= min(samples.bits, most))


def _chroma_choices(samples: Samples, codec: str) -> list[str]:
    """Ways to store colours, the best first. Players know few of them: what loses something is written as 4:2:0, 4:2:2
    or 4:4:4, grey only if the source was, in the same codec."""
    chroma, (height, width) = samples.chroma, samples.sides
    if codec == "ffv1":
        return [*([chroma] if chroma not in ("411", "410") else []), "444"]  # FFmpeg damages 4:1:1 of some widths
    if chroma == "grey":
        return [*(["grey"] if samples.codec == codec else []), *([] if width % 2 or height % 2 else ["420"]), "444"]
    rows, columns = SUBSAMPLED.get(chroma, (1, 1))
    whole = height % rows == 0 and width % columns == 0
    return [*([chroma] if chroma in ("420", "422") and (whole or codec == "vp9") else []), "444"]


def _format_name(chroma: str, bits: int) -> str:
    """The name of a planar pixel format; that of packed RGB for 8 bits, which FFV1 has instead."""
    depth = "" if bits == 8 else f"{bits}le"
    if chroma == "rgb":
        return f"gbrp{depth}" if depth else "bgr0"
    return f"gray{depth}" if chroma == "grey" else f"yuv{chroma}p{depth}"


def write(clip: Clip, target: Target, out: Output) -> None:
    """Writes a file."""
    av = library()
    container_name = WRITTEN[target.suffix][0]
    with av.open(out, "w", format=container_name, container_options={"fflags": "+bitexact"}) as container:
        name = pixel_format(samples_of(clip), target.codec)[0]
        stream = container.add_stream(CODECS[target.codec], rate=clip.rate, options=target.options)
        height, width = clip.frames.shape[1:3]
        stream.width, stream.height, stream.pix_fmt = width, height, name
        context = stream.codec_context
        colours = clip.colours
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        context.colorspace = colours.matrix if colours.matrix in MATRICES else UNSPECIFIED
        context.color_range = {None: 0, False: 1, True: 2}[colours.full_range]
        context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
        if target.codec == "hevc" and container_name != "matroska":
            context.codec_tag = "hvc1"  # Apple's players open no other one
        if clip.aspect is not None:
            context.sample_aspect_ratio = clip.aspect
        base = clip.time_base if clip.times is not None and clip.time_base else 1 / clip.rate
        context.time_base = base
        for number, picture in enumerate(clip.frames):
            frame = _frame(av, picture, clip, name)
            frame.pts, frame.time_base = number if clip.times is None else clip.times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _frame(av: Any, picture: Array, clip: Clip, name: str) -> Any:
    """A frame of the pixel format ``name``."""
    kind = av.VideoFormat(name)
    bits, chroma = kind.components[0].bits, chroma_of(kind)
    values = rescaled(picture, clip.bits, bits)
    if name == "bgr0":
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24").reformat(format=name)
    if picture.shape[-1] == 1 and chroma != "grey":
        values = np.repeat(values, 3, -1)
    if chroma == "rgb":
        planes = [values[..., channel] for channel in (1, 2, 0)]
    else:
        planes = from_rgb(values, bits, replace(clip.colours, chroma=chroma), centred=False)
    frame = av.VideoFrame(picture.shape[1], picture.shape[0], name)
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        rows[:, : samples.shape[1]] = samples[: plane.height]
        plane.update(rows.tobytes())
    return frame
