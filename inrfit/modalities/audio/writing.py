"""Samples into the bytes of a WAV, FLAC or Ogg file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UsageError, printable
from ..modality import Request
from . import containers, sample_formats
from .sample_formats import BLOCK, Array

WRITES: tuple[str, ...] = (".wav", ".flac", ".ogg")


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """The source's own container, but for MP3: its encoder pads the sound and takes few rates."""
    if meta["format"] == "MP3":
        return ".wav", "mp3 decodes to wav (16-bit)"
    return {"FLAC": ".flac", "OGG": ".ogg"}.get(meta["format"], ".wav"), None


def check_rate(request: Request) -> None:
    """Raises ``UsageError`` for a rate that a sound cannot have."""
    if request.rate is not None and not 1 <= request.rate < 2**31:
        raise UsageError(f"a rate of {request.rate} Hz: it must be from 1 to {2**31 - 1}", "request")


def check_writable(meta: Mapping[str, Any], suffix: str, request: Request) -> None:
    """Writes one silent frame, so that what ``write`` refuses is refused before a sound is decoded."""
    check_rate(request)
    write(np.zeros((1, meta["channels"]), meta["scale"]["dtype"]), meta, suffix, request)


def write(decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request) -> bytes:
    """A .wav, .flac or .ogg file of the source's own coding where the container has it, else of the nearest:
    FLAC has 8, 16 and 24 bits (floats and 32 bits become 24), wav takes Vorbis, Opus and MP3 as 16 bits, Ogg
    takes all but Opus as Vorbis. Floats beyond +-1 are clipped where they become integers. Raises
    ``UsageError``."""
    import soundfile

    if suffix.lower() not in WRITES:
        raise UsageError(f"sound cannot be written as {suffix!r} (choose {', '.join(WRITES)})", "suffix")
    container = suffix[1:].upper()
    rate = request.rate or meta["rate"]
    subtype = sample_formats.nearest(container, meta["subtype"], rate)
    shape = f"{decoded.shape[1]} channels at {rate} Hz"
    if container == "OGG" and sample_formats.beyond_ogg(rate, decoded.shape[1]):
        most = f"Ogg holds {sample_formats.OGG_CHANNELS} channels and {sample_formats.OGG_RATE} Hz at most"
        advice = "choose .wav (-o) or a lower rate (--rate)"
        raise UsageError(f"{shape} cannot be written as {suffix} {subtype}: {most}; {advice}", "suffix")
    big = container == "WAV" and meta["endian"] == "BIG"
    if container == "WAV" and meta["format"] == "WAVEX" and not big and subtype == meta["subtype"]:
        container = "WAVEX"
    buffer = io.BytesIO()
    kind = (rate, decoded.shape[1], subtype, "BIG" if big else "FILE", container)
    try:
        with soundfile.SoundFile(buffer, "w", *kind) as file:
            for start in range(0, len(decoded), BLOCK):
                file.write(sample_formats.coded(decoded[start : start + BLOCK], subtype))
    except (soundfile.SoundFileError, ValueError) as error:
        why = printable(getattr(error, "error_string", error))
        raise UsageError(f"{shape} cannot be written as {suffix} {subtype}: {why}", "suffix") from error
    if container in ("WAV", "WAVEX"):
        _finish(buffer, len(decoded) if subtype in sample_formats.BLOCKS else None)
    return buffer.getvalue()


def _finish(buffer: io.BytesIO, frames: int | None) -> None:
    """Zeroes the time of day in the PEAK chunk of float WAVs, so that the same sound gives the same bytes;
    enters ``frames``, if given, where libsndfile counts the padding of the last block."""
    view = buffer.getbuffer()
    for tag, start, _ in containers.chunks(view):
        if tag == b"PEAK":
            view[start + 4 : start + 8] = bytes(4)
        elif tag == b"fact" and frames is not None:
            view[start : start + 4] = frames.to_bytes(4, "big" if view[3] == ord("X") else "little")
    view.release()
