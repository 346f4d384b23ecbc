"""Clips: frames over time, fitted in RGB, and written back with the rate, the aspect and the colours of their file."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnreadableFile, UsageError
from ...io.checked_file import Output
from ...io.limits import Limits
from ...io.tables import write_npy
from ...signal import Grid, Signal
from .. import scales
from ..modality import DecodeNeed, OnProgress
from ..notes import PART, by_weight
from ..request import Request
from ..streaming import ArrayStream
from ..volume import raster_decode
from . import animation, container_writer, containers, frame_files, y4m
from .clip import NO_FRAMES, Array, Clip
from .meta import Options, clip_of, meta_of, packed_times

if TYPE_CHECKING:
    from ...fields.module import Field

MAX_SIDE = 65_535

_EBML, _RIFF = b"\x1a\x45\xdf\xa3", b"RIFF"
SUFFIXES = {
    "Y4M": ".y4m", "MP4": ".mp4", "Matroska": ".mkv", "WebM": ".webm", "QuickTime": ".mov", "GIF": ".gif",
    "WebP": ".webp", "APNG": ".png", "frames": ".zip",
}  # fmt: skip
"""The suffix of each format that is written."""

INPUT_SUFFIXES = (".y4m", ".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv",
                  ".apng")  # fmt: skip
OUTPUT_SUFFIXES = (".y4m", *container_writer.WRITTEN, ".gif", ".webp", ".png", ".apng", ".zip", ".npy")

HELD_FRAMES: Mapping[str, tuple[float, float]] = {
    ".npy": (3, 0), ".y4m": (16, 0), ".zip": (20, 0), ".gif": (12, 0.5), ".png": (12, 1.5), ".apng": (12, 1.5),
    ".webp": (20, 1), "h264": (140, 0), "hevc": (200, 0), "vp9": (150, 0), "ffv1": (45, 0),
}  # fmt: skip
"""Memory of a writer in frames, with the copies that it makes of each: at all times, and for each frame of the clip
(measured with 90 frames of 640x360 on two cores). By its suffix or its codec."""

PART_OPTIONS = ("frames", "crop", "resize")
"""Options that leave out some of the samples of a clip."""

PIPED = frozenset({".y4m", ".npy"})
"""Suffixes of the formats that are written from the beginning to the end."""


def recognised(data: bytes) -> str | None:
    """The name of the format of ``data``; None if it is no clip."""
    head = data[:64]
    if head.startswith(y4m.SIGNATURE):
        return "Y4M"
    if head.startswith(_EBML):
        return "WebM" if b"webm" in data[:4096] else "Matroska"
    if head[4:8] in (b"ftyp", b"moov", b"mdat") and b"vide" in data:
        return "QuickTime" if head[8:12] == b"qt  " or head[4:8] != b"ftyp" else "MP4"
    if head.startswith(_RIFF) and head[8:12] == b"AVI ":
        return "AVI"
    if head[:4] in (b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"\x30\x26\xb2\x75"):
        return "other video"
    if head.startswith(b"OggS") and b"theora" in data[:512]:
        return "other video"
    if animation.is_animated(data):
        return {b"GIF8": "GIF", _RIFF: "WebP"}.get(head[:4], "APNG")
    return "frames" if frame_files.is_archive(data) else None


def sniff(data: bytes) -> bool:
    """Whether the content is a clip."""
    return recognised(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The clip as a signal. Raises a ``RefusedInput``, and ``UsageError`` if it has none of the frames asked for."""
    format_name = recognised(data) or "other video"
    own = {"Y4M": y4m.read, "frames": frame_files.read, **dict.fromkeys(("GIF", "WebP", "APNG"), animation.read)}
    try:
        clip = own.get(format_name, containers.read)(data, limits, options.selection)
    except UnreadableFile as error:
        if error.reason == NO_FRAMES and options.frames is not None:
            raise UsageError(f"-O frames={options.frames}: the clip has fewer frames", "option") from None
        raise
    if given := [f"-O {name}={value}" for name in PART_OPTIONS if (value := getattr(options, name)) is not None]:
        clip = replace(clip, notes=(*clip.notes, f"{PART} ({' '.join(given)})"))
    if options.frame_rate is not None:
        notes = tuple(note for note in clip.notes if "-O rate=" not in note)
        clip = replace(clip, rate=options.frame_rate, times=None, time_base=None, notes=notes)
    return to_signal(format_name, clip)


def to_signal(format_name: str, clip: Clip) -> Signal:
    """The signal of a clip."""
    frames = clip.frames
    assert isinstance(frames, np.ndarray)
    scale = scales.linear(frames.dtype.name, 0.0, float((1 << clip.bits) - 1), 1.0)
    attachments = {"header": clip.header} if clip.header else {}
    if clip.times is not None:
        attachments["times"] = packed_times(clip.times)
    return Signal(
        "", frames.reshape(-1, frames.shape[-1]), scale, meta_of(format_name, clip, scale), Grid(frames.shape[:3]),
        notes=by_weight(clip.notes), attachments=attachments,
    )  # fmt: skip


def output_shape(meta: Mapping[str, Any], request: Request) -> tuple[int, int, int]:
    """Frames, rows and columns of the requested clip. Raises ``UsageError`` if they are out of range."""
    frames, own_height, own_width = meta["shape"]
    width, height = own_width, own_height
    if request.size is not None:
        if len(request.size) != 2:
            raise UsageError(f"--size: frames have a width and a height, not {len(request.size)} sides", "request")
        wide, high = request.size
        width = wide or max(1, round((high or 1) * own_width / own_height))
        height = high or max(1, round(width * own_height / own_width))
    if request.scale is not None:
        if not 0 < request.scale <= MAX_SIDE:
            raise UsageError(f"--scale {request.scale:g}: must be above 0 and at most {MAX_SIDE:,}", "request")
        width, height = max(1, round(width * request.scale)), max(1, round(height * request.scale))
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UsageError(f"{width}x{height}: each side must have 1 to {MAX_SIDE:,} pixels", "request")
    return frames, height, width


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Array:
    """The frames (n, h, w, c). Fewer pixels than the source has are means over their areas."""
    return raster_decode.decode(field, meta, _allowed_shape(meta, request, limits), on_progress)


def decode_frames(
    field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress
) -> ArrayStream:
    """The same frames, one after the other."""
    shape = _allowed_shape(meta, request, limits)
    frames = raster_decode.planes(field, meta, shape, on_progress)
    return ArrayStream((*shape, meta["channels"]), np.dtype(meta["dtype"]), frames)


def _allowed_shape(meta: Mapping[str, Any], request: Request, limits: Limits) -> tuple[int, int, int]:
    """``output_shape``, within ``limits``."""
    shape = output_shape(meta, request)
    limits.check("max_output", math.prod(shape) * meta["channels"] * np.dtype(meta["dtype"]).itemsize, "decoded bytes")
    return shape


def decode_need(meta: Mapping[str, Any], request: Request) -> DecodeNeed:
    """What decoding all frames needs, and writing them."""
    return raster_decode.decode_need(meta, output_shape(meta, request))


def decode_frames_need(meta: Mapping[str, Any], suffix: str, request: Request) -> DecodeNeed:
    """What decoding one frame after the other needs, and writing them in the format of ``suffix``."""
    shape, target = output_shape(meta, request), _target(meta, suffix.lower(), request)
    always, each = HELD_FRAMES[suffix.lower() if target is None else target.codec]
    frame = math.prod(shape[1:]) * meta["channels"] * np.dtype(meta["dtype"]).itemsize
    held = round((always + each * shape[0]) * frame)
    return replace(raster_decode.decode_need(meta, shape), held=held, finish=held)


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """The suffix of the source's format if that is written, else .mkv with a note."""
    found = SUFFIXES.get(meta["format"])
    return (found, None) if found else (".mkv", f"{meta['format']} is written as Matroska")


def _target(meta: Mapping[str, Any], suffix: str, request: Request) -> container_writer.Target | None:
    """What a clip is encoded as; None for formats without codecs. Raises ``UsageError`` for a suffix or a codec that is
    not written."""
    if suffix not in OUTPUT_SUFFIXES:
        raise UsageError(f"{suffix!r}: clips are written as {' '.join(OUTPUT_SUFFIXES)}", "suffix")
    if suffix not in container_writer.WRITTEN:
        if request.codec is not None:
            raise UsageError(f"--codec {request.codec}: {suffix} has no choice of codecs", "request")
        return None
    codecs = container_writer.WRITTEN[suffix][1]
    own = {"hevc": "hevc", "vp9": "vp9", "libvpx-vp9": "vp9", "ffv1": "ffv1"}
    codec = request.codec or own.get(str(meta["codec"]), codecs[0])
    if codec not in codecs:
        if request.codec is not None:
            raise UsageError(f"--codec {codec}: {suffix} is written with {', '.join(codecs)}", "request")
        codec = codecs[0]
    if codec == "hevc" and min(output_shape(meta, request)[1:]) < container_writer.LEAST_HEVC_SIDE:
        if request.codec is not None:
            least = container_writer.LEAST_HEVC_SIDE
            raise UsageError(f"--codec hevc: frames have at least {least}x{least} pixels", "request")
        codec = "h264"
    return container_writer.Target(suffix, codec, request.image_quality or container_writer.DEFAULT_QUALITY)


def _written_samples(meta: Mapping[str, Any], suffix: str, request: Request) -> tuple[int, int]:
    """Channels and bits a sample of a file in the format of ``suffix``, where they are fewer than those of the clip."""
    channels, bits, target = meta["channels"], meta["bits"], _target(meta, suffix, request)
    if target is not None:
        chroma = "grey" if channels == 1 else meta["chroma"]
        samples = container_writer.Samples(chroma, bits, output_shape(meta, request)[1:], meta["codec"])
        bits = min(bits, container_writer.pixel_format(samples, target.codec)[1])
    elif suffix in animation.FORMATS:
        bits = 8
    return min(channels, 3) if target is not None or suffix == ".y4m" else channels, bits


def check_writable(
    meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes]
) -> list[str]:
    """Notes on what a file of this suffix will not keep. Raises ``UsageError`` if it cannot hold the clip."""
    target, notes = _target(meta, suffix.lower(), request), []
    channels, bits = _written_samples(meta, suffix.lower(), request)
    if target is not None:
        if target.codec != "ffv1":
            notes.append(f"written with {target.codec}, which loses a little (less with --codec ffv1 in .mkv)")
        elif meta["aspect"] not in (None, [1, 1]):
            notes.append("FFV1 does not keep the aspect of pixels")
    if meta["bits"] > bits:
        notes.append(f"{meta['bits']} bits a sample are reduced to {bits}")
    if suffix.lower() == ".gif":
        notes.append("GIF has 256 colours a frame")
    if channels < meta["channels"]:
        notes.append("transparency not kept")
    if meta["time_base"] and suffix.lower() in (".y4m", ".zip", ".npy"):
        notes.append("time stamps of the frames not kept: they last equally long")
    return notes


def write(
    decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes]
) -> bytes:
    """The bytes of a file in the format of ``suffix``."""
    out = io.BytesIO()
    write_frames(decoded, meta, suffix, request, attachments, out)
    return out.getvalue()


def write_frames(
    decoded: Array | ArrayStream, meta: Mapping[str, Any], suffix: str, request: Request,
    attachments: Mapping[str, bytes], out: Output,
) -> None:  # fmt: skip
    """Writes a file in the format of ``suffix``, frame by frame."""
    suffix = suffix.lower()
    target, clip = _target(meta, suffix, request), clip_of(decoded, meta, attachments)
    if suffix == ".npy":
        write_npy(decoded.shape, decoded.dtype, decoded, out)
    elif suffix == ".zip":
        frame_files.write(clip, out)
    elif target is None and suffix != ".y4m":
        animation.write(clip, suffix, out)
    else:
        if decoded.shape[-1] == 4:
            opaque = (frame[..., :3] for frame in decoded)
            clip = replace(clip, frames=ArrayStream((*decoded.shape[:-1], 3), decoded.dtype, opaque))
        if target is None:
            y4m.write(clip, out)
        else:
            container_writer.write(clip, target, out)


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "64 frames of 176x144 RGB, 29.97 a second, MP4 (h264)"."""
    codec = f" ({meta['codec']})" if meta["codec"] else ""
    return f"{_describe(tuple(meta['shape']), meta)}, {meta['format']}{codec}"


def _describe(shape: tuple[int, ...], meta: Mapping[str, Any]) -> str:
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(meta["channels"], f"{meta['channels']} channels")
    deep = f" {meta['bits']}-bit" if meta["bits"] > 8 else ""
    rate = f"{float(Fraction(*meta['rate'])):.5g}"
    frames = f"{shape[0]} frame" + "s" * (shape[0] != 1)
    return f"{frames} of {shape[2]}x{shape[1]} {kind}{deep}, {rate} a second"


def describe_decoded(decoded: Array | ArrayStream, meta: Mapping[str, Any], suffix: str, request: Request) -> str:
    """A description such as "64 frames of 176x144 RGB, 29.97 a second"."""
    try:
        channels, bits = _written_samples(meta, suffix.lower(), request)
    except UsageError:  # decoded only, where PyAV is missing
        return _describe(decoded.shape[:3], meta)
    return _describe(decoded.shape[:3], {**meta, "channels": channels, "bits": bits})
