"""Containers of sound files: their headers are compared with the data before it is decoded.

libsndfile shortens truncated WAV and Ogg files without an error, and trusts any count in a header. Here, no samples are
decoded, and no memory is allocated by what a header claims.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.signatures import Signatures, detect_format

FORMATS = ("WAV", "FLAC", "OGG", "MP3")
MIN_UNKNOWN_SIZE = 0x7FFF_F000
"""From this value on, the data size in a WAV file means "unknown", as SoX, arecord and ffmpeg write it to a pipe."""

_UNSUPPORTED: Signatures = {
    "AU": rb"\.snd|dns\.",
    "CAF": rb"caff",
    "RF64": rb"RF64",
    "BW64": rb"BW64",
    "W64": rb"riff\x2e\x91\xcf\x11",
    "WavPack": rb"wvpk",
    "Monkey's Audio": rb"MAC ",
    "Musepack": rb"MPCK",
    "TTA": rb"TTA1",
    "DSD": rb"DSD |FRM8",
    "AMR": rb"#!AMR",
    "AAC": rb"ADIF|\xff[\xf0\xf1\xf8\xf9]",
    "NIST": rb"NIST_1A",
    "VOC": rb"Creative Voice File",
    "M4A": rb"....ftypM4",
    "AIFF": rb"FORM....AIF[FC]",
    "8SVX": rb"FORM....8SVX",
}
_IGNORED_CHUNKS = (b"fmt ", b"data", b"fact", b"PEAK", b"JUNK", b"junk", b"PAD ", b"FLLR")
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_DEFAULT_SPEAKERS = {1: 0x4, 2: 0x3, 4: 0x33, 6: 0x3F, 8: 0xFF}
"""Bit masks of the usual speaker positions, by number of channels."""


@dataclass(frozen=True)
class Container:
    """A sound file whose container was checked. ``data``: the bytes to decode, with unknown lengths filled in.
    ``frames``: the number of frames by the header; None if only the decoder can tell. ``length_is_estimate``: whether
    the decoder's number of frames may be wrong. ``md5``: checksum of the samples (FLAC)."""

    kind: str
    data: bytes
    frames: int | None = None
    length_is_estimate: bool = False
    md5: bytes | None = None
    notes: tuple[str, ...] = ()


def signature(data: bytes) -> str | None:
    """The name of the sound format that the content has, supported or not; None for anything else."""
    if data[:4] in (b"RIFF", b"RIFX") and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] in (b"fLaC", b"OggS"):
        return "FLAC" if data[:1] == b"f" else "OGG"
    if data[:3] == b"ID3":
        return "FLAC" if data[_after_id3(data) :][:4] == b"fLaC" else "MP3"
    return detect_format(data, _UNSUPPORTED) or ("MP3" if _is_mpeg_frame(data[:4]) else None)


def check(data: bytes) -> Container:
    """Checks the container of a sound file. Raises ``UnreadableFile`` or ``UnsupportedInput``."""
    kind = signature(data)
    readers = {"WAV": _wav, "FLAC": _flac, "OGG": _ogg, "MP3": _mp3}
    if kind in readers:
        return readers[kind](data)
    if not data:
        raise UnreadableFile("the file is empty", "empty")
    problem = f"{kind} sound is not supported" if kind else "not a known sound format"
    raise UnsupportedInput(f"{problem} (supported: {', '.join(FORMATS)})", "format")


def riff_chunks(data: bytes | memoryview) -> Iterator[tuple[bytes, int, int]]:
    """(tag, start of the content, claimed size) of each RIFF chunk. Raises ``UnreadableFile`` after 10,000 chunks."""
    order = _byte_order(data)
    position = 12
    for _ in range(10_000):
        if position + 8 > len(data):
            return
        size = int.from_bytes(data[position + 4 : position + 8], order)
        yield bytes(data[position : position + 4]), position + 8, size
        position += 8 + size + (size & 1)
    raise UnreadableFile("more than 10,000 chunks", "header")


def _byte_order(data: bytes | memoryview) -> Literal["big", "little"]:
    """Byte order of a RIFF or RIFX file."""
    return "big" if bytes(data[:4]) == b"RIFX" else "little"


def _wav(data: bytes) -> Container:
    """Checks RIFF and RIFX: the data chunk must be complete."""
    order, fmt, fact, body, size = _byte_order(data), b"", None, 0, 0
    discarded, notes = [], []
    for tag, start, claimed in riff_chunks(data):
        if tag == b"data" and not body:
            body, size = start, claimed
            if _has_unknown_size(data, start, claimed):
                size = len(data) - start
                notes.append("streamed WAV without a recorded length: read to the end of the file")
                data = data[: start - 4] + size.to_bytes(4, order) + data[start:]
                break
        elif tag == b"fmt ":
            fmt = data[start : start + claimed]
        elif tag == b"fact":
            fact = int.from_bytes(data[start : start + 4], order)
        elif tag not in _IGNORED_CHUNKS:
            discarded.append(printable(tag.decode("latin-1")).strip())
    if not body or len(fmt) < 16:
        raise UnreadableFile(f"there is no {'data' if fmt else 'fmt'} chunk", "header")
    if body + size > len(data):
        raise _truncated("samples", size, len(data) - body)
    claimed = int.from_bytes(data[4:8], order) + 8
    if len(data) < claimed < MIN_UNKNOWN_SIZE:
        notes.append(f"the header says {claimed:,} bytes, the file has {len(data):,}; the samples are complete")
    if discarded:
        notes.append(f"chunks not kept: {', '.join(discarded[:8])}")
    frames, frame_notes = _wav_frames(fmt, size, fact, order)
    return Container("WAV", data, frames, notes=(*notes, *frame_notes))


def _has_unknown_size(data: bytes, start: int, claimed: int) -> bool:
    """Whether the writer of the file could not seek back to enter the size of the data chunk at ``start``."""
    order, present = _byte_order(data), len(data) - start
    if claimed == 0:
        return present > 0 and not start < int.from_bytes(data[4:8], order) + 8 < MIN_UNKNOWN_SIZE
    return claimed >= MIN_UNKNOWN_SIZE and claimed > present


def _wav_frames(
    fmt: bytes, size: int, fact: int | None, order: Literal["big", "little"]
) -> tuple[int | None, list[str]]:
    """The number of frames in ``size`` bytes of samples with the fmt chunk ``fmt``, or for block codecs that of the
    fact chunk; and notes."""
    code, channels, rate, _, align, bits = (
        int.from_bytes(fmt[a:b], order) for a, b in ((0, 2), (2, 4), (4, 8), (8, 12), (12, 14), (14, 16))
    )
    notes = []
    if code == 0xFFFE and len(fmt) >= 26:
        code, mask = int.from_bytes(fmt[24:26], order), int.from_bytes(fmt[20:24], order)
        if mask and mask != _DEFAULT_SPEAKERS.get(channels, 0):
            notes.append("speaker positions not kept")
    if not channels or not rate or not align or (code in (1, 3) and not bits):
        raise UnreadableFile(f"damaged: {channels} channels, {rate} Hz, {bits} bits, {align} bytes per frame", "header")
    if code not in (1, 3, 6, 7):
        return fact or None, notes
    if size % align:
        notes.append(f"the last {size % align} bytes are not a whole frame and not kept")
    return size // align, notes


def _flac(data: bytes) -> Container:
    """Checks FLAC: STREAMINFO comes first, metadata is complete, and the claimed samples could be in the file."""
    notes: list[str] = []
    if data[:3] == b"ID3":
        data, notes = data[_after_id3(data) :], ["ID3 tag not kept"]
    if len(data) < 42 or data[4] & 0x7F != 0 or int.from_bytes(data[5:8], "big") != 34:
        raise UnreadableFile("the STREAMINFO block is missing or incomplete", "header")
    discarded, position, last = set(), 4, False
    while not last:
        size = int.from_bytes(data[position + 1 : position + 4], "big")
        if position + 4 + size > len(data):
            raise _truncated("metadata", size, max(len(data) - position - 4, 0))
        last, kind = bool(data[position] & 0x80), data[position] & 0x7F
        discarded |= {
            name for number, name in ((2, "application data"), (5, "cue sheet"), (6, "picture")) if kind == number
        }
        position += 4 + size
    notes += [f"{name} not kept" for name in sorted(discarded)]
    frames = int.from_bytes(data[18:26], "big") & (1 << 36) - 1
    if not frames:
        raise UnreadableFile(
            "length not recorded (FLAC from a pipe): rewrite the file with flac or ffmpeg", "no-length"
        )
    # A frame takes at least 10 bytes and holds at most 65,535 samples.
    if frames > ((len(data) - position) // 10 + 1) * 65_535:
        raise UnreadableFile(
            f"the file ends early: the header says {frames:,} samples per channel, which cannot be in the "
            f"{len(data) - position:,} bytes after it",
            "truncated",
        )
    return Container("FLAC", data, frames, md5=data[26:42] if any(data[26:42]) else None, notes=tuple(notes))


def _ogg(data: bytes) -> Container:
    """Checks Ogg: complete pages with correct checksums, and a single stream. A missing end mark gives a note."""
    position, flags, streams = 0, 0, 0
    while data[position : position + 4] == b"OggS":
        end = position + 27 + (data[position + 26] if position + 26 < len(data) else 0)
        end += sum(data[position + 27 : end])
        if end > len(data) or position + 27 > len(data):
            raise _truncated("Ogg pages", max(end, position + 27), len(data))
        if int.from_bytes(data[position + 22 : position + 26], "little") != _ogg_crc(data[position:end]):
            raise UnreadableFile(f"damaged: wrong checksum in the Ogg page at byte {position:,}", "checksum")
        flags = data[position + 5]
        streams += bool(flags & 2)
        position = end
    if streams > 1:
        raise UnsupportedInput(f"{streams} streams in one Ogg file; only files with one are supported", "ogg.streams")
    notes: list[str] = []
    if not flags & 4:
        if position < len(data):
            raise UnreadableFile(f"damaged: no Ogg page at byte {position:,}", "damaged")
        notes.append("the Ogg stream has no end mark: it may have been cut short")
    elif position < len(data):
        notes.append(f"{len(data) - position:,} bytes after the end of the sound not kept")
    return Container("OGG", data[:position], notes=tuple(notes))


def _ogg_crc(page: bytes) -> int:
    """CRC-32 of a page whose checksum field is zero. Ogg processes bits from high to low, zlib from low to high, so the
    bits are reversed before and after."""
    zeroed = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(zeroed.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def _mp3(data: bytes) -> Container:
    """Checks MP3: the size in the Xing or Info frame, which most encoders write first. Other MP3 files record no
    length."""
    start = _after_id3(data)
    if start > len(data):
        raise _truncated("the ID3 tag", start, len(data))
    header = data[start : start + 4]
    xing = flags = 0
    if _is_mpeg_frame(header):
        version1, mono = header[1] >> 3 & 3 == 3, header[3] >> 6 == 3
        xing = start + 4 + (17 if version1 == mono else 32 if version1 else 9)
        flags = int.from_bytes(data[xing + 4 : xing + 8], "big")
    if data[xing : xing + 4] not in (b"Xing", b"Info") or flags & 3 != 3:
        note = "this MP3 records no length: a missing end would not be noticed"
        return Container("MP3", data, length_is_estimate=True, notes=(note,))
    claimed, present = int.from_bytes(data[xing + 12 : xing + 16], "big"), len(data) - start
    if claimed > present:
        raise _truncated("sound", claimed, present)
    # mpg123 prints a warning on stderr if tags after the sound make the two differ.
    return Container("MP3", data[: xing + 12] + present.to_bytes(4, "big") + data[xing + 16 :])


def _after_id3(data: bytes) -> int:
    """Position of the end of the ID3v2 tag; 0 if there is none."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if data[5] & 0x10 else 0)


def _is_mpeg_frame(header: bytes) -> bool:
    """Whether four bytes are the header of an MPEG audio frame without reserved values. 0xFFFE would be a valid one,
    but is the byte order mark of UTF-16 text."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0 or header[1] == 0xFE:
        return False
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    return version != 1 and layer != 0 and header[2] >> 4 not in (0, 15) and header[2] >> 2 & 3 != 3


def _truncated(content: str, claimed: int, present: int) -> UnreadableFile:
    """The error for a file that has fewer bytes of ``content`` than its header claims."""
    return UnreadableFile(
        f"the file ends early: the header says {claimed:,} bytes of {content}, the file has {present:,}", "truncated"
    )


@contextmanager
def suppressed_stderr(kind: str) -> Iterator[None]:
    """Context in which mpg123 cannot print messages about damaged MP3 frames. Only redirecting the descriptor of stderr
    prevents them, so what other threads print meanwhile is lost. Does nothing for other formats than MP3."""
    try:
        stderr = os.dup(2) if kind == "MP3" else None
    except OSError:  # stderr is closed
        stderr = None
    if stderr is None:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
