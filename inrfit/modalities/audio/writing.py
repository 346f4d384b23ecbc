"""Writing samples as sound files: what each container holds, and its metadata."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UsageError, printable
from ..request import NONE, Request
from . import flac, riff, sample_formats, speakers, tags
from .sample_formats import FRAMES_PER_BLOCK, Array

Meta = Mapping[str, Any]
MAX_RATE = 768_000
"""Highest sample rate that may be asked for, in Hz, unless the source has a higher one."""


MAX_RATIO = 1_000_000
"""Largest denominator of the ratio of two rates: the length of the filter grows with it."""


@dataclass(frozen=True)
class Target:
    """A container that is written: ``format`` is libsndfile's name, or OPUS for Opus in Ogg; ``max_bytes`` is the
    largest size of its samples."""

    format: str
    max_rate: int
    max_channels: int
    max_bytes: int = 1 << 62

    @property
    def container(self) -> str:
        """libsndfile's name of the container."""
        return "OGG" if self.format == "OPUS" else self.format


TARGETS: Mapping[str, Target] = {
    ".wav": Target("WAV", 2**31 - 1, 1024, 0xFFFF_0000),
    ".flac": Target("FLAC", 655_350, 8),
    ".ogg": Target("OGG", sample_formats.MAX_OGG_RATE, sample_formats.MAX_OGG_CHANNELS),
    ".opus": Target("OPUS", 48_000, 255),
    ".aiff": Target("AIFF", 2**31 - 1, 1024, 0x7FFF_0000),
    ".au": Target("AU", 2**31 - 1, 1024, 0xFFFF_0000),
    ".w64": Target("W64", 2**31 - 1, 1024),
    ".rf64": Target("RF64", 2**31 - 1, 1024),
    ".caf": Target("CAF", 2**31 - 1, 1024),
}
"""The containers that are written, by their suffix, with the limits of format and library."""

ALIASES = {".oga": ".ogg", ".aif": ".aiff", ".aifc": ".aiff", ".snd": ".au", ".wave": ".wav"}
OUTPUT_SUFFIXES: tuple[str, ...] = (*TARGETS, *ALIASES)

_SUFFIXES = {"FLAC": ".flac", "OGG": ".ogg", "AIFF": ".aiff", "AU": ".au", "W64": ".w64", "CAF": ".caf", "RF64": ".wav"}


def suffix(meta: Meta) -> tuple[str, str | None]:
    """The suffix of the source's own container. For MP3, M4A and AAC it is .wav, because their encoders pad the sound
    and support few rates."""
    if meta["format"] in ("MP3", "M4A", "AAC"):
        return ".wav", f"{meta['format']} is written as WAV"
    if meta["subtype"] == "OPUS":
        return ".opus", None
    return _SUFFIXES.get(meta["format"], ".wav"), None


def check_rate(meta: Meta, request: Request) -> None:
    """Raises ``UsageError`` if the requested rate is out of range."""
    highest = max(MAX_RATE, meta["rate"])
    if request.rate is not None and not 1 <= request.rate <= highest:
        raise UsageError(f"--rate {request.rate}: must be from 1 to {highest} Hz", "request")
    if request.rate is not None and request.rate < meta["rate"]:
        ratio = meta["rate"] // math.gcd(meta["rate"], request.rate)
        if ratio > MAX_RATIO:
            raise UsageError(f"--rate {request.rate}: {meta['rate']} Hz cannot be resampled to it", "request")


def target_of(meta: Meta, suffix: str, request: Request) -> tuple[Target, str, int]:
    """The container of ``suffix``, the subtype that is written, and the rate. Raises ``UsageError`` if the container
    cannot hold the sound."""
    check_rate(meta, request)
    ending = ALIASES.get(suffix.lower(), suffix.lower())
    if ending not in TARGETS:
        raise UsageError(f"a sound cannot be written as {suffix!r} (choose {', '.join(TARGETS)})", "suffix")
    target, rate = TARGETS[ending], request.rate or meta["rate"]
    if ending == ".ogg" and meta["subtype"] == "OPUS" and rate in sample_formats.OPUS_RATES:
        target = TARGETS[".opus"]
    subtype = sample_formats.closest_subtype(target.format, meta["subtype"])
    label = f"{meta['channels']} channels at {rate} Hz cannot be written as {suffix} {subtype}"
    if rate > target.max_rate or meta["channels"] > target.max_channels:
        limit = f"{target.format} holds at most {target.max_channels} channels and {target.max_rate} Hz"
        raise UsageError(f"{label}: {limit}; choose .wav (-o) or a lower rate (--rate)", "suffix")
    if target.format == "OPUS" and rate not in sample_formats.OPUS_RATES:
        rates = ", ".join(map(str, sample_formats.OPUS_RATES))
        raise UsageError(f"{label}: Opus has the rates {rates} Hz (--rate)", "suffix")
    frames = round(meta["frames"] * rate / meta["rate"])
    bits = sample_formats.PCM_BITS.get(subtype, 64 if subtype == "DOUBLE" else 32 if subtype == "FLOAT" else 16)
    if frames * meta["channels"] * bits // 8 > target.max_bytes:
        raise UsageError(f"{label}: more than {target.max_bytes:,} bytes; choose .w64, .rf64 or .flac (-o)", "suffix")
    return target, subtype, rate


def check_writable(meta: Meta, suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE) -> list[str]:
    """Notes on what a file of ``suffix`` will not keep. Raises the ``UsageError`` of ``write`` before a sound is
    decoded, by writing one silent frame."""
    target, subtype, rate = target_of(meta, suffix, request)
    write(np.zeros((1, meta["channels"]), meta["scale"]["dtype"]), meta, suffix, request, attachments)
    notes = []
    bits = {**sample_formats.PCM_BITS, "FLOAT": 25, "DOUBLE": 54}
    if subtype in ("VORBIS", "OPUS"):
        notes.append(f"{subtype.capitalize()} is written with loss, which the SNR of the field does not include")
    elif bits.get(subtype, 0) < bits.get(meta["subtype"], 0):
        notes.append(f"{meta['subtype']} is written as {subtype}: fewer bits than the source has")
    mask, channels = meta["mask"], meta["channels"]
    if target.container == "OGG" and mask and mask & speakers.LFE:
        notes.append(f"{subtype.capitalize()} keeps the lowest frequencies only of the channel LFE")
    if target.container == "OGG" and channels > 2 and not (mask and speakers.holds(mask, channels)):
        notes.append(f"Ogg assigns its own speaker positions to {channels} channels")
    elif target.container in ("AIFF", "AU", "CAF", "W64", "RF64") and channels > 2 and mask:
        notes.append(
            f"{target.format} does not keep the speaker positions {speakers.describe(mask, channels)}".rstrip()
        )
    if subtype == "PCM_24" and meta["valid_bits"] and target.container == "FLAC":
        notes.append(f"the number of valid bits ({meta['valid_bits']}) is not kept")
    if mask and channels <= 2 and mask != speakers.FLAC_MASKS[channels] and target.format not in ("WAV", "FLAC"):
        notes.append("the speaker positions are not kept")
    lost = tags.lost(attachments, meta["tags"], target.format, rate != meta["rate"], chunk_order(meta))
    return [*notes, *([f"{target.format} does not keep: {', '.join(lost)}"] if lost else [])]


def losses(decoded: Array, meta: Meta, suffix: str, request: Request) -> list[str]:
    """Notes on samples that are clipped when they are written."""
    _, subtype, _ = target_of(meta, suffix, request)
    count = sample_formats.clipped(decoded, subtype)
    return [f"{count:,} of {decoded.size:,} samples clipped to full scale"] if count else []


def write(decoded: Array, meta: Meta, suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE) -> bytes:
    """The bytes of ``decoded`` (n, c) as a sound file, in the source's subtype if the container supports it, else in
    the closest one: FLAC has 8, 16 and 24 bits (floats and 32 bits become 24), others store Vorbis, Opus, MP3 and AAC
    as 16 bits. Floats beyond +-1 are clipped if they are stored as integers. Raises ``UsageError`` for another suffix,
    and for rates or channels that the container does not support."""
    import soundfile

    target, subtype, rate = target_of(meta, suffix, request)
    container = target.container
    big_endian = container == "WAV" and meta["endian"] == "BIG"
    if container == "WAV" and _is_extensible(meta, subtype) and not big_endian:
        container = "WAVEX"
    if container == "WAV" and meta["format"] == "RF64":
        container = "RF64"
    buffer = io.BytesIO()
    places = speakers.to_vorbis(meta["mask"], meta["channels"]) if container == "OGG" else None
    kept = tags.for_rate(attachments, rate == meta["rate"], chunk_order(meta))
    file_format = (rate, decoded.shape[1], subtype, "BIG" if big_endian else "FILE", container)
    try:
        with soundfile.SoundFile(buffer, "w", *file_format) as file:
            if not _has_own_tags(container, kept):
                allowed = tags.TAGS_BY_CONTAINER.get(container, frozenset())
                for name, value in meta["tags"].items():
                    if value and name in allowed:
                        setattr(file, name, value)
            for start in range(0, len(decoded), FRAMES_PER_BLOCK):
                block = decoded[start : start + FRAMES_PER_BLOCK]
                block = block if places is None else block[:, places]
                file.write(sample_formats.to_subtype(block, subtype))
    except (soundfile.SoundFileError, ValueError) as error:
        cause = printable(getattr(error, "error_string", error))
        shape = f"{decoded.shape[1]} channels at {rate} Hz"
        raise UsageError(f"{shape} cannot be written as {suffix} {subtype}: {cause}", "suffix") from error
    if container in ("WAV", "WAVEX"):
        frames = len(decoded) if subtype in sample_formats.BLOCK_SUBTYPES else None
        chunks = kept.get("riff", b"") if big_endian == (meta["endian"] == "BIG") else b""
        return riff.finished(bytearray(buffer.getbuffer()), meta["mask"], meta["valid_bits"], frames, chunks)
    if container == "FLAC":
        usual = meta["channels"] <= 2 and meta["mask"] == speakers.FLAC_MASKS.get(meta["channels"])
        mask = None if usual else meta["mask"]
        return flac.with_metadata(buffer.getvalue(), kept.get("flac", b""), mask, _comments(meta, kept))
    return buffer.getvalue()


def chunk_order(meta: Meta) -> tags.Order:
    """The byte order of the chunks of the source."""
    return "big" if meta["endian"] == "BIG" else "little"


def _is_extensible(meta: Meta, subtype: str) -> bool:
    """Whether a WAV file gets the extensible header, which has speaker positions and valid bits."""
    if meta["format"] == "WAVEX":
        return bool(subtype == meta["subtype"])
    return bool(meta["mask"] and meta["channels"] > 2 and subtype in (*sample_formats.PCM_BITS, "FLOAT", "DOUBLE"))


def _has_own_tags(container: str, kept: Mapping[str, bytes]) -> bool:
    """Whether the tags are in the metadata that is written after the sound."""
    return container == "FLAC" or (container in ("WAV", "WAVEX") and "riff" in kept)


def _comments(meta: Meta, kept: Mapping[str, bytes]) -> list[str]:
    """The tags as comments of FLAC, unless the source's own comments are kept."""
    if any(kind == flac.COMMENT for kind, _ in tags.flac_items(kept.get("flac", b""))):
        return []
    return [f"{name.upper()}={value}" for name, value in meta["tags"].items()]
