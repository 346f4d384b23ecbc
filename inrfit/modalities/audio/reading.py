"""Reading sound files as signals: by libsndfile, and by PyAV for M4A and AAC."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from ...runtime import captured_output
from ...signal import Grid, Scale, Signal
from ..notes import by_weight
from . import containers, mpeg4, sample_formats, speakers, tags
from .container import Container
from .sample_formats import FRAMES_PER_BLOCK, Array


class _Bytes(io.BytesIO):
    """A file in memory that stays where it is when libsndfile, misled by a damaged header, seeks before its beginning.
    An exception would be printed with its traceback, because it cannot pass through the library."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with contextlib.suppress(ValueError, OverflowError):
            return super().seek(offset, whence)
        return self.tell()


def read(data: bytes, keep_metadata: bool, limits: Limits) -> Signal:
    """The sound as a signal over time. Raises a ``RefusedInput``, and exceptions of libraries."""
    import soundfile

    container = containers.check(data)
    if container.kind in ("M4A", "AAC"):
        return _load_mpeg4(container.kind, data, limits)
    # Decoders print messages about damaged frames.
    with captured_output(1, 2), soundfile.SoundFile(_Bytes(container.data)) as file:
        claimed = _claimed_frames(file, container)
        _require_writable_ogg(container.kind, file.samplerate, file.channels)
        limits.check("max_channels", file.channels, "channels")
        limits.check("max_samples", claimed, "samples per channel")
        scale = sample_formats.raw_scale(file.subtype)
        samples = read_frames(file, scale.dtype)
        if len(samples) != claimed and not container.length_is_estimate:
            raise UnreadableFile(f"the header says {claimed:,} samples, the file has {len(samples):,}", "truncated")
        if file.subtype in sample_formats.BLOCK_SUBTYPES:
            samples = samples[: _length_without_padding(container.frames, claimed)]
        meta: dict[str, Any] = {
            "format": file.format,
            "subtype": file.subtype,
            "endian": file.endian,
            "rate": file.samplerate,
            "channels": file.channels,
            "mask": _mask(container, file.channels),
            "valid_bits": container.valid_bits,
            "tags": _tags(file.copy_metadata()),
        }
    if not len(samples):
        raise UnreadableFile("the file has no samples", "empty")
    if container.md5 and sample_formats.md5(samples, meta["subtype"]) != container.md5:
        raise UnreadableFile("damaged: the samples do not match the file's own checksum", "checksum")
    notes = [*container.notes, *_notes(meta)]
    attachments = tags.bounded(container.attachments, notes)
    if not keep_metadata:
        attachments, meta["tags"] = {}, {}
    if container.kind == "OGG" and (places := speakers.from_vorbis(meta["channels"])) is not None:
        samples = np.ascontiguousarray(samples[:, places])
    return _signal(samples, meta, scale, notes, attachments)


def _signal(
    samples: Array, meta: dict[str, Any], scale: Scale, notes: list[str], attachments: Mapping[str, bytes]
) -> Signal:
    """The signal of samples (n, c)."""
    scale = dataclasses.replace(scale, factor=1 / peak_of(samples))
    meta |= {"frames": len(samples), "scale": scale.json()}
    return Signal("", samples, scale, meta, Grid((len(samples),)), notes=by_weight(notes), attachments=attachments)


def _load_mpeg4(kind: str, data: bytes, limits: Limits) -> Signal:
    """The signal of an M4A or AAC file."""
    decoded = mpeg4.decode(data, limits)
    samples = decoded.samples
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise UnreadableFile("the sound has samples that are not finite", "nonfinite")
    subtype = {"int16": "PCM_16", "int32": "PCM_24"}.get(samples.dtype.name, "AAC")
    meta = {
        "format": kind,
        "subtype": subtype,
        "endian": "FILE",
        "rate": decoded.rate,
        "channels": samples.shape[1],
        "mask": decoded.mask,
        "valid_bits": None,
        "tags": {},
    }
    notes = _notes(meta)
    if decoded.tags:
        notes.append(f"tags not kept: {', '.join(dict.fromkeys(decoded.tags))}")
    if subtype == "AAC":
        samples = samples.astype(np.float32)
    return _signal(samples, meta, sample_formats.raw_scale(subtype), notes, {})


def _mask(container: Container, channels: int) -> int | None:
    """The speaker positions of a file, as the mask of WAV; None if they are unknown."""
    if container.kind == "OGG":
        return speakers.vorbis_mask(channels)
    if container.kind == "FLAC" and container.mask is None:
        return speakers.FLAC_MASKS.get(channels)
    return container.mask


def _tags(found: Mapping[str, str]) -> dict[str, str]:
    """The tags that are kept in every format that has them."""
    return {name: found[name][: tags.MAX_CHARACTERS] for name in tags.TAGS if found.get(name)}


def _claimed_frames(file: Any, container: Container) -> int:
    """The number of frames by the decoder. Raises a ``RefusedInput`` if the format is not supported or the container
    has another number."""
    formats = ("WAV", "WAVEX") if container.kind == "WAV" else (container.kind,)
    if file.format not in formats or file.subtype not in sample_formats.SUBTYPES:
        raise UnsupportedInput(f"{file.format} {file.subtype} sound is not supported", "format")
    claimed, in_header = int(file.frames), container.frames
    if in_header is not None and in_header != claimed and file.subtype not in sample_formats.BLOCK_SUBTYPES:
        raise UnreadableFile(f"damaged: the header says {in_header:,} samples, the decoder {claimed:,}", "header")
    return claimed


def _require_writable_ogg(kind: str, rate: int, channels: int) -> None:
    """Raises ``UnsupportedInput`` for an Ogg file that can be read but not written, because ``measure`` and ``decode``
    write files of the source's format."""
    if kind == "OGG" and sample_formats.exceeds_ogg_limits(rate, channels):
        limit = f"at most {sample_formats.MAX_OGG_CHANNELS} channels and {sample_formats.MAX_OGG_RATE} Hz"
        raise UnsupportedInput(
            f"Ogg with {channels} channels at {rate} Hz is not supported ({limit}): convert it to WAV first",
            "ogg.range",
        )


def _length_without_padding(in_header: int | None, decoded: int) -> int:
    """The number of frames without the padding of the last block: that of the header if it is plausible."""
    return in_header if in_header and decoded - FRAMES_PER_BLOCK < in_header <= decoded else decoded


def read_frames(file: Any, dtype: str) -> Array:
    """All frames (n, c), read in blocks. Raises ``UnreadableFile`` at the first sample that is not finite."""
    blocks: list[Array] = []
    total = 0
    while True:
        block = file.read(FRAMES_PER_BLOCK, dtype=dtype, always_2d=True)
        if dtype.startswith("float") and not np.isfinite(block).all():
            index, channel = np.argwhere(~np.isfinite(block))[0]
            position = f"sample {total + index} of channel {channel} (counted from 0)"
            raise UnreadableFile(f"{position} is {block[index, channel]}", "nonfinite")
        total += len(block)
        blocks.append(block)
        if len(block) < FRAMES_PER_BLOCK:
            return np.ascontiguousarray(np.concatenate(blocks))


def peak_of(samples: Array) -> float:
    """The largest magnitude, so that raw / peak is in [-1, 1]. 1 for silence, and at least 1e-300 otherwise, because
    the reciprocal of a denormal double is infinite."""
    peak = max(float(samples.max()), -float(samples.min()))
    return max(peak, 1e-300) if peak else 1.0


def _notes(meta: Mapping[str, Any]) -> list[str]:
    """Notes on what a decoded file will not have."""
    subtype, notes = meta["subtype"], []
    if subtype in sample_formats.LOSSY_SUBTYPES:
        again = ", and writing it loses again" if meta["format"] == "OGG" else ""
        notes.append(f"{subtype} is lossy: its decoded samples are fitted" + again)
    if subtype in ("PCM_24", "PCM_32", "DOUBLE", "ALAC_24", "ALAC_32"):
        arithmetic = "samples of 24 bits and more are fitted in float32 arithmetic"
        notes.append(f"{arithmetic}: precision beyond 24 bits cannot be kept")
    if meta["endian"] == "BIG" and meta["format"] == "WAVEX":
        notes.append("written back as a big-endian WAV without the extensible header")
    return notes
