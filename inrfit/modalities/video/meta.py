"""What is stored about a clip, and the options that it is read with."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ...errors import UnreadableFile
from ...io.json_schema import Schema, boolean, integer, items, matching, one_of, optional
from ...io.options import setting
from ...signal import SCALE, Scale
from .. import scales
from ..streaming import ArrayStream
from .clip import Array, Clip, Colours, usable_rate
from .colour import MATRICES, SUBSAMPLED, UNNAMED
from .selection import Selection

FORMATS = ("Y4M", "MP4", "Matroska", "WebM", "QuickTime", "AVI", "other video", "GIF", "WebP", "APNG", "frames")

_RATIO = items(integer(1, 1 << 40), 2, 2)

META: Schema = {
    "format": one_of(*FORMATS),
    "shape": items(integer(1, 1 << 24), 3, 3),
    "channels": integer(1, 4),
    "bits": integer(8, 16),
    "dtype": one_of("uint8", "uint16"),
    "rate": _RATIO,
    "time_base": optional(_RATIO),
    "last": optional(integer(1, 1 << 31)),
    "aspect": optional(_RATIO),
    "primaries": integer(0, 255),
    "transfer": integer(0, 255),
    "matrix": integer(0, 255),
    "full_range": optional(boolean),
    "chroma": one_of(*SUBSAMPLED, "rgb", "grey"),
    "centred": boolean,
    "codec": optional(matching(r"[A-Za-z0-9_.-]{1,40}", "the name of a codec")),
    "scale": SCALE,
}


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if values of ``meta`` that match META contradict each other."""
    scale = Scale.from_json(meta["scale"])
    scales.check_scale(scale, meta["channels"])
    peak = (1 << meta["bits"]) - 1
    if meta["dtype"] != ("uint8" if meta["bits"] == 8 else "uint16") or scale.dtype != meta["dtype"]:
        raise ValueError(f"dtype is {meta['dtype']} for {meta['bits']} bits")
    if (scale.low, scale.high) != (0, peak):
        raise ValueError(f"scale goes from {scale.low} to {scale.high} for {meta['bits']} bits")
    if meta["matrix"] not in (*MATRICES, *UNNAMED):
        raise ValueError(f"matrix is {meta['matrix']}, by which colours are not converted")
    if meta["rate"][0] > 10**6 * meta["rate"][1] or meta["rate"][1] > 86_400 * meta["rate"][0]:
        raise ValueError("rate is beyond a frame a day or a million a second")
    if max(meta["shape"][1:]) > 65_535:
        raise ValueError("frames have at most 65,535 pixels along a side")


def meta_of(format_name: str, clip: Clip, scale: Scale) -> dict[str, Any]:
    """``Signal.meta`` of a clip."""
    colours = clip.colours
    return {
        "format": format_name,
        "shape": list(clip.frames.shape[:3]),
        "channels": clip.frames.shape[3],
        "bits": clip.bits,
        "dtype": clip.frames.dtype.name,
        "rate": _pair(clip.rate),
        "time_base": clip.time_base and _pair(clip.time_base),
        "last": clip.last,
        "aspect": clip.aspect and _pair(clip.aspect),
        "primaries": colours.primaries,
        "transfer": colours.transfer,
        "matrix": colours.matrix,
        "full_range": colours.full_range,
        "chroma": colours.chroma,
        "centred": clip.centred,
        "codec": clip.codec,
        "scale": scale.json(),
    }


def _pair(ratio: Fraction) -> list[int]:
    return [ratio.numerator, ratio.denominator]


def clip_of(frames: Array | ArrayStream, meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> Clip:
    """The clip with decoded ``frames``."""
    colours = Colours(meta["primaries"], meta["transfer"], meta["matrix"], meta["full_range"], meta["chroma"])
    times = times_of(attachments, len(frames)) if meta["time_base"] else None
    base, aspect = (meta[name] and Fraction(*meta[name]) for name in ("time_base", "aspect"))
    return Clip(
        frames, meta["bits"], Fraction(*meta["rate"]), colours, times, base, aspect, attachments.get("header", b""),
        last=meta["last"], centred=meta["centred"], codec=meta["codec"],
    )  # fmt: skip


def packed_times(times: tuple[int, ...]) -> bytes:
    """Time stamps as an attachment: compressed differences."""
    return zlib.compress(np.diff(np.array(times, np.int64), prepend=0).astype("<i8").tobytes(), 9)


def times_of(attachments: Mapping[str, bytes], count: int) -> tuple[int, ...] | None:
    """The time stamps of ``count`` frames. Raises ``UnreadableFile`` if they are damaged; None if there are none."""
    if "times" not in attachments:
        return None
    try:
        data = zlib.decompressobj().decompress(attachments["times"], 8 * count)
    except zlib.error:
        data = b""
    steps = np.frombuffer(data, "<i8") if len(data) == 8 * count else None
    if steps is None or steps[0] < 0 or (steps[1:] < 1).any() or (steps > 1 << 40).any():
        raise UnreadableFile("damaged: the time stamps of the frames", "attachment")
    return tuple(np.cumsum(steps).tolist())


def _sides(value: Any) -> tuple[int, int]:
    """The numbers in a text such as 256x256. Raises ``ValueError``."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(value))
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError("must be pixels, as in 256x256")
    return int(match[1]), int(match[2])


def _range(value: Any) -> tuple[int, int | None]:
    """The numbers in a text such as 20:84. Raises ``ValueError``."""
    match = re.fullmatch(r"(\d{0,9}):(\d{0,9})", str(value))
    if match is None:
        raise ValueError("must be numbers of frames, as in 20:84")
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and stop <= start:
        raise ValueError("ends before it begins")
    return start, stop


def _rate(value: Any) -> Fraction:
    """The ratio in a text such as 25, 29.97 or 30000/1001. Raises ``ValueError``."""
    try:
        rate = Fraction(str(value)).limit_denominator(100_000)
    except ZeroDivisionError:
        raise ValueError(value) from None
    if usable_rate(rate) is None:
        raise ValueError(value)
    return rate


@dataclass(frozen=True)
class Options:
    """How a clip is read."""

    frames: str | None = setting(None, "the frames that are read, from 0, without the last: 20:84", parse=_range)
    crop: str | None = setting(None, "the middle of each frame, in pixels: 720x720", parse=_sides)
    resize: str | None = setting(None, "the frames, or their crop, reduced or enlarged to: 256x256", parse=_sides)
    rate: str | None = setting(None, "frames per second: 25, or 30000/1001", parse=_rate)

    @property
    def selection(self) -> Selection:
        """What is read of the frames."""
        start, stop = _range(self.frames) if self.frames else (0, None)
        crop, size = (None if text is None else _sides(text) for text in (self.crop, self.resize))
        return Selection(start, stop, crop, size)

    @property
    def frame_rate(self) -> Fraction | None:
        """The rate that was asked for."""
        return _rate(self.rate) if self.rate else None
