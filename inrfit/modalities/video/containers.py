"""Reading MP4, Matroska, WebM, QuickTime, AVI and others, by PyAV (FFmpeg)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from ...errors import InrfitError, UnreadableFile, UnsupportedInput, machine_error, printable
from ...io import extras
from ...io.limits import Limits
from .clip import Array, Clip, Colours, collected, usable_rate
from .colour import SUBSAMPLED, to_rgb, weights_of
from .selection import Selection


def library() -> Any:
    """PyAV. Raises ``UsageError`` if it is not installed."""
    av = extras.load("av", "this kind of video")
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
            f"damaged or cut short: {printable(_words_of(error))}", "decode"
        ) from error


def _words_of(error: Exception) -> str:
    """What the library says of a file, without numbers of errors and names of its buffers."""
    return str(getattr(error, "strerror", None) or error)


class _Reader:
    """Reads one container."""

    def __init__(self, container: Any, limits: Limits, selection: Selection) -> None:
        self.container, self.limits, self.selection = container, limits, selection
        self.stream = container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.times: list[int | None] = []
        self.colours, self.bits, self.rotation = Colours(), 8, 0
        self.notes: list[str] = []
        self.damaged = 0

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
        if self.damaged:
            self.notes.append(
                f"damaged: {self.damaged:,} of {len(self.times):,} frames are as the decoder repaired them"
            )
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
                self.damaged += bool(frame.is_corrupt)
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
            int(context.color_primaries), int(context.color_trc), int(context.colorspace), full, chroma_of(kind)
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


def chroma_of(kind: Any) -> str:
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
