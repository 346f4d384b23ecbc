"""MP4, Matroska, WebM, QuickTime, AVI and others, by PyAV (FFmpeg)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from ...errors import InrfitError, UnreadableFile, UnsupportedInput, machine_error, printable
from ...io.checked_file import Output
from ...io.limits import Limits
from .clip import UNSPECIFIED, Array, Clip, Colours, collected, usable_rate
from .colour import MATRICES, SUBSAMPLED, from_rgb, to_rgb, weights_of
from .selection import Selection

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


def library() -> Any:
    """PyAV. Raises ``UnsupportedInput`` if it is not installed."""
    try:
        import av
    except ImportError:
        raise UnsupportedInput("this kind of video needs inrfit[video]: pip install 'inrfit[video]'", "extra") from None
    av.logging.set_level(None)
    return av


def read(data: bytes, limits: Limits, selection: Selection) -> Clip:
    """Reads the selected frames of the first stream of pictures, upright. Raises a ``RefusedInput``."""
    av = library()
    try:
        with av.open(io.BytesIO(data)) as container:
            if not container.streams:
                raise UnreadableFile("the file is cut short: it has no streams", "truncated")
            if not container.streams.video:
                raise UnsupportedInput("no pictures: the file has no stream of video", "video")
            return _Reader(container, limits, selection).clip()
    except InrfitError:
        raise
    except Exception as error:
        raise machine_error(error) or UnreadableFile(
            f"damaged or cut short: {printable(str(error))}", "decode"
        ) from error


class _Reader:
    """Reads one container."""

    def __init__(self, container: Any, limits: Limits, selection: Selection) -> None:
        self.container, self.limits, self.selection = container, limits, selection
        self.stream = container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.times: list[int | None] = []
        self.colours, self.bits, self.rotation = Colours(), 8, 0
        self.notes: list[str] = []

    def clip(self) -> Clip:
        """The clip."""
        stream, selection = self.stream, self.selection
        rate = usable_rate(Fraction(stream.average_rate or stream.guessed_rate or 25)) or Fraction(25)
        expected = stream.frames or round(float((stream.duration or 0) * (stream.time_base or 0)) * float(rate))
        frames = collected(self._frames(), selection.count(expected or 1 << 6), self.limits)
        aspect = stream.sample_aspect_ratio or None
        if aspect is not None and self.rotation % 180:
            aspect = 1 / Fraction(aspect)
        times, base = self._times(rate, stream.time_base)
        self._note_others()
        return Clip(
            frames, self.bits, rate, self.colours, times, base, aspect and Fraction(aspect), notes=tuple(self.notes),
            codec=str(stream.codec_context.name),
        )  # fmt: skip

    def _frames(self) -> Iterator[Array]:
        """The selected frames as RGB or grey."""
        for number, frame in enumerate(self.container.decode(self.stream)):
            if self.selection.is_over(number):
                return
            if number == 0:
                self._begin(frame)
            if self.selection.has(number):
                self.times.append(frame.pts)
                picture = self._picture(frame)
                yield self.selection.shaped(
                    np.rot90(picture, self.rotation // 90) if self.rotation else picture, self.bits
                )

    def _begin(self, frame: Any) -> None:
        """Takes bits and colours from the first frame, and checks the size of the clip."""
        context, kind = self.stream.codec_context, frame.format
        count = self.selection.count(self.stream.frames or 1)
        self.limits.check("max_voxels", count * frame.width * frame.height, "clip of pixels")
        self.bits = max(8, *(component.bits for component in kind.components))
        if self.bits > 16:
            raise UnsupportedInput(f"video of the pixel format {kind.name} is not supported", "format")
        full = {1: False, 2: True}.get(int(context.color_range), True if kind.name.startswith("yuvj") else None)
        self.colours = Colours(
            int(context.color_primaries), int(context.color_trc), int(context.colorspace), full, _chroma_of(kind)
        )
        self.rotation = int(getattr(frame, "rotation", 0) or 0) % 360
        if self.rotation % 90:
            self.rotation = 0
        if self.rotation:
            self.notes.append(f"frames that are stored turned by {self.rotation} degrees are written upright")
        if frame.interlaced_frame:
            self.notes.append("interlaced: the two fields of a frame are fitted as one picture")
        if kind.name.startswith("yuva") or (kind.is_rgb and len(kind.components) == 4):
            self.notes.append("transparency not kept")
        if not kind.is_rgb:
            weights_of(self.colours.matrix, frame.height)  # raises for a matrix that is not known

    def _picture(self, frame: Any) -> Array:
        """One frame as RGB or grey."""
        if frame.format.is_rgb or self.colours.chroma == "rgb":
            target = "rgb24" if self.bits <= 8 else "rgb48le"
            picture: Array = frame.to_ndarray(format=target)
            return picture if self.bits in (8, 16) else picture >> np.uint16(16 - self.bits)
        kind = frame.format
        if (
            not kind.name.startswith(("yuv4", "yuvj4", "gray"))
            or kind.name.endswith("be")
            or kind.components[0].bits < 8
        ):
            name = f"yuv{self.colours.chroma}p" + (f"{self.bits}le" if self.bits > 8 else "")
            if self.colours.chroma == "grey":
                name = "gray" + (f"{self.bits}le" if self.bits > 8 else "")
            frame = frame.reformat(format=name)
        planes = [_plane(plane, self.bits) for plane in frame.planes]
        return to_rgb(planes, self.bits, self.colours, centred=False)

    def _times(self, rate: Fraction, base: Any) -> tuple[tuple[int, ...] | None, Fraction | None]:
        """Time stamps from that of the first frame on, if the frames do not last equally long to within a unit."""
        known = [time for time in self.times if time is not None]
        if len(known) < len(self.times) or not base or len(known) < 2:
            return None, None
        since = [time - known[0] for time in known]
        even = all(abs(time - round(number / (rate * base))) <= 1 for number, time in enumerate(since))
        if even or any(b <= a for a, b in pairwise(since)):
            return None, None
        return tuple(since), Fraction(base)

    def _note_others(self) -> None:
        """Notes the streams that are not kept."""
        streams = self.container.streams
        for kind, many in (("audio", "sound"), ("subtitles", "subtitles"), ("data", "data")):
            if count := len(getattr(streams, kind)):
                self.notes.append(f"{many} not kept ({count} {'stream' if count == 1 else 'streams'})")
        if len(streams.video) > 1:
            self.notes.append(f"only the first of {len(streams.video)} streams of pictures is read")


def _chroma_of(kind: Any) -> str:
    """How a pixel format samples chroma."""
    if kind.is_rgb or kind.name.startswith("pal"):
        return "rgb"
    if len(kind.components) < 3:
        return "grey"
    rows, columns = 16 // kind.chroma_height(16), 16 // kind.chroma_width(16)
    found = {sides: name for name, sides in SUBSAMPLED.items()}.get((rows, columns))
    if found is None:
        raise UnsupportedInput(f"video of the pixel format {kind.name} is not supported", "format")
    return found


def _plane(plane: Any, bits: int) -> Array:
    """The samples of a plane."""
    dtype = np.dtype("<u2" if bits > 8 else "u1")
    rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    return rows[:, : plane.width]


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
        return {"crf": crf, **further.get(self.codec, {})}


def write(clip: Clip, target: Target, out: Output) -> None:
    """Writes a file."""
    av = library()
    container_name = WRITTEN[target.suffix][0]
    with av.open(out, "w", format=container_name, container_options={"fflags": "+bitexact"}) as container:
        name = _pixel_format(clip, target)
        stream = container.add_stream(CODECS[target.codec], rate=clip.rate, options=target.options)
        height, width = clip.frames.shape[1:3]
        stream.width, stream.height, stream.pix_fmt = width, height, name
        context = stream.codec_context
        colours = clip.colours
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        context.colorspace = colours.matrix if colours.matrix in MATRICES else UNSPECIFIED
        context.color_range = {None: 0, False: 1, True: 2}[colours.full_range]
        context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
        if clip.aspect is not None:
            context.sample_aspect_ratio = clip.aspect
        base = clip.time_base if clip.times is not None and clip.time_base else 1 / clip.rate
        context.time_base = base
        for number, picture in enumerate(clip.frames):
            frame = _frame(av, picture, clip, name)
            frame.pts, frame.time_base = number if clip.times is None else clip.times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _pixel_format(clip: Clip, target: Target) -> str:
    """The pixel format with the bits and the chroma of the clip, or the next one that the codec has."""
    chroma, deep = clip.colours.chroma, clip.bits > 8
    height, width = clip.frames.shape[1:3]
    if target.codec == "ffv1":
        bits = "" if not deep else f"{clip.bits}le"
        return ("gray" if chroma == "grey" else f"yuv{chroma if chroma in SUBSAMPLED else '444'}p") + bits
    if chroma not in ("420", "422", "444") or (width % 2 or height % 2):
        chroma = "420" if chroma == "grey" and not (width % 2 or height % 2) else "444"
    return f"yuv{chroma}p" + ("10le" if deep and not only_8_bits(target.codec) else "")


def only_8_bits(codec: str) -> bool:
    """Whether the encoder of a codec takes no more bits a sample than 8, as libvpx often does."""
    formats = library().Codec(CODECS[codec], "w").video_formats or ()
    return not any(kind.components[0].bits > 8 for kind in formats)


def _frame(av: Any, picture: Array, clip: Clip, name: str) -> Any:
    """A frame of the pixel format ``name``."""
    kind = av.VideoFormat(name)
    bits = kind.components[0].bits
    chroma = _chroma_of(kind)
    if picture.shape[-1] == 1 and chroma != "grey":
        picture = np.repeat(picture, 3, -1)
    values = picture if bits == clip.bits else (picture.astype(np.float64) * ((1 << bits) - 1) / ((1 << clip.bits) - 1))
    values = values if bits == clip.bits else values.round().astype(np.uint16 if bits > 8 else np.uint8)
    height, width = picture.shape[:2]
    planes = from_rgb(values, bits, replace(clip.colours, chroma=chroma), centred=False)
    frame = av.VideoFrame(width, height, name)
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        rows[:, : samples.shape[1]] = samples[: plane.height]
        plane.update(rows.tobytes())
    return frame
