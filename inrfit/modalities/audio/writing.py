"""Writing samples as WAV, FLAC or Ogg files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UsageError, printable
from ..modality import NONE, Request
from . import containers, sample_formats
from .sample_formats import FRAMES_PER_BLOCK, Array

OUTPUT_SUFFIXES: tuple[str, ...] = (".wav", ".flac", ".ogg")


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """The suffix of the source's own container. For MP3 it is .wav, because MP3 encoders pad the sound and support few
    rates."""
    if meta["format"] == "MP3":
        return ".wav", "MP3 is written as 16-bit WAV"
    return {"FLAC": ".flac", "OGG": ".ogg"}.get(meta["format"], ".wav"), None


def check_rate(request: Request) -> None:
    """Raises ``UsageError`` if the requested rate is out of range."""
    if request.rate is not None and not 1 <= request.rate < 2**31:
        raise UsageError(f"--rate {request.rate}: must be from 1 to {2**31 - 1} Hz", "request")


def check_writable(
    meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE
) -> list[str]:
    """Raises the ``UsageError`` of ``write`` before a sound is decoded, by writing one silent frame."""
    check_rate(request)
    write(np.zeros((1, meta["channels"]), meta["scale"]["dtype"]), meta, suffix, request, attachments)
    return []


def write(
    decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE
) -> bytes:
    """The bytes of ``decoded`` (n, c) as a .wav, .flac or .ogg file, in the source's subtype if the container supports
    it, else in the closest one: FLAC has 8, 16 and 24 bits (floats and 32 bits become 24), WAV stores Vorbis, Opus and
    MP3 as 16 bits, and Ogg stores everything but Opus as Vorbis. Floats beyond +-1 are clipped if they are stored as
    integers. Raises ``UsageError`` for another suffix, and for rates or channels that the container does not
    support."""
    import soundfile

    if suffix.lower() not in OUTPUT_SUFFIXES:
        raise UsageError(f"a sound cannot be written as {suffix!r} (choose {', '.join(OUTPUT_SUFFIXES)})", "suffix")
    container = suffix[1:].upper()
    rate = request.rate or meta["rate"]
    subtype = sample_formats.closest_subtype(container, meta["subtype"], rate)
    shape = f"{decoded.shape[1]} channels at {rate} Hz"
    if container == "OGG" and sample_formats.exceeds_ogg_limits(rate, decoded.shape[1]):
        limit = f"Ogg holds at most {sample_formats.MAX_OGG_CHANNELS} channels and {sample_formats.MAX_OGG_RATE} Hz"
        advice = "choose .wav (-o) or a lower rate (--rate)"
        raise UsageError(f"{shape} cannot be written as {suffix} {subtype}: {limit}; {advice}", "suffix")
    big_endian = container == "WAV" and meta["endian"] == "BIG"
    if container == "WAV" and meta["format"] == "WAVEX" and not big_endian and subtype == meta["subtype"]:
        container = "WAVEX"
    buffer = io.BytesIO()
    file_format = (rate, decoded.shape[1], subtype, "BIG" if big_endian else "FILE", container)
    try:
        with soundfile.SoundFile(buffer, "w", *file_format) as file:
            for start in range(0, len(decoded), FRAMES_PER_BLOCK):
                file.write(sample_formats.to_subtype(decoded[start : start + FRAMES_PER_BLOCK], subtype))
    except (soundfile.SoundFileError, ValueError) as error:
        cause = printable(getattr(error, "error_string", error))
        raise UsageError(f"{shape} cannot be written as {suffix} {subtype}: {cause}", "suffix") from error
    if container in ("WAV", "WAVEX"):
        _fix_chunks(buffer, len(decoded) if subtype in sample_formats.BLOCK_SUBTYPES else None)
    return buffer.getvalue()


def _fix_chunks(buffer: io.BytesIO, frames: int | None) -> None:
    """Clears the time stamp in the PEAK chunk of a WAV file, so that the same sound gives the same bytes. Writes
    ``frames``, if given, into the fact chunk, where libsndfile counts the padding of the last block as well."""
    view = buffer.getbuffer()
    for tag, start, _ in containers.riff_chunks(view):
        if tag == b"PEAK":
            view[start + 4 : start + 8] = bytes(4)
        elif tag == b"fact" and frames is not None:
            view[start : start + 4] = frames.to_bytes(4, "big" if view[3] == ord("X") else "little")
    view.release()
