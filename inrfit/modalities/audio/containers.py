"""Containers of sound files: their headers are compared with the data before it is decoded.

libsndfile shortens truncated WAV and Ogg files without an error, and trusts any count in a header. Here, no samples are
decoded, and no memory is allocated by what a header claims.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

from ...errors import UnreadableFile, UnsupportedInput
from ...io.signatures import Signatures, detect_format
from . import tags
from .container import Container, after_id3, truncated
from .flac import check_flac
from .iff import check_aiff, check_au, check_caf
from .riff import check_rf64, check_w64, check_wav

FORMATS = ("WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "M4A", "AAC")
"""Formats that are read. M4A and AAC need PyAV."""

_SIGNATURES: Signatures = {
    "AU": rb"\.snd|dns\.",
    "CAF": rb"caff",
    "RF64": rb"RF64....WAVE|BW64....WAVE",
    "W64": rb"riff\x2e\x91\xcf\x11",
    "AIFF": rb"FORM....AIF[FC]",
    "M4A": rb"....ftyp(?:M4[AB]|mp4[12]|isom|iso[2-9]|dash)",
    "AAC": rb"ADIF|\xff[\xf0\xf1\xf8\xf9]",
    "WavPack": rb"wvpk",
    "Monkey's Audio": rb"MAC ",
    "Musepack": rb"MPCK",
    "TTA": rb"TTA1",
    "DSD": rb"DSD |FRM8",
    "AMR": rb"#!AMR",
    "NIST": rb"NIST_1A",
    "VOC": rb"Creative Voice File",
    "8SVX": rb"FORM....8SVX",
}
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def signature(data: bytes) -> str | None:
    """The name of the sound format that the content has, supported or not; None for anything else."""
    if data[:4] in (b"RIFF", b"RIFX") and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] in (b"fLaC", b"OggS"):
        return "FLAC" if data[:1] == b"f" else "OGG"
    if data[:3] == b"ID3":
        behind = data[after_id3(data) :][:12]
        return "FLAC" if behind[:4] == b"fLaC" else "WAV" if _is_wav(behind) else "MP3"
    return detect_format(data, _SIGNATURES) or ("MP3" if _is_mpeg_frame(data[:4]) else None)


def _is_wav(data: bytes) -> bool:
    """Whether the data begins like a WAV file."""
    return data[:4] in (b"RIFF", b"RIFX") and data[8:12] == b"WAVE"


def check(data: bytes) -> Container:
    """Checks the container of a sound file. Raises ``UnreadableFile`` or ``UnsupportedInput``."""
    kind = signature(data)
    if kind in _READERS:
        return _READERS[kind](data)
    if not data:
        raise UnreadableFile("the file is empty", "empty")
    problem = f"{kind} sound is not supported" if kind else "not a known sound format"
    raise UnsupportedInput(f"{problem} (supported: {', '.join(FORMATS)})", "format")


def _wav(data: bytes) -> Container:
    """Checks WAV, which may have an ID3 tag before it."""
    if data[:3] != b"ID3":
        return check_wav(data)
    container = check_wav(data[after_id3(data) :])
    return replace(container, notes=("ID3 tag before the sound not kept", *container.notes))


def _ogg(data: bytes) -> Container:
    """Checks Ogg: complete pages with correct checksums, and a single stream. A missing end mark gives a note."""
    position, flags, streams = 0, 0, 0
    while data[position : position + 4] == b"OggS":
        end = position + 27 + (data[position + 26] if position + 26 < len(data) else 0)
        end += sum(data[position + 27 : end])
        if end > len(data) or position + 27 > len(data):
            raise truncated("Ogg pages", max(end, position + 27), len(data))
        if int.from_bytes(data[position + 22 : position + 26], "little") != _ogg_crc(data[position:end]):
            raise UnreadableFile(f"damaged: wrong checksum in the Ogg page at byte {position:,}", "checksum")
        flags = data[position + 5]
        streams += bool(flags & 2)
        position = end
    if streams > 1:
        raise UnsupportedInput(f"{streams} streams in one Ogg file; only files with one are supported", "ogg.streams")
    codecs = {b"\x7fFLAC": "FLAC", b"Speex   ": "Speex", b"\x80theora": "Theora", b"OpusHead": "", b"\x01vorbis": ""}
    first = data[28 : 28 + 64]
    codec = next((name for mark, name in codecs.items() if first.startswith(mark)), "an unknown codec")
    if codec:
        raise UnsupportedInput(f"{codec} in Ogg is not read (Vorbis and Opus are)", "ogg.codec")
    notes: list[str] = []
    if not flags & 4:
        if position < len(data):
            raise UnreadableFile(f"damaged: no Ogg page at byte {position:,}", "damaged")
        notes.append("the Ogg stream has no end mark: it may have been cut short")
    elif position < len(data):
        notes.append(f"{len(data) - position:,} bytes after the end of the sound not kept")
    if names := tags.ogg_losses(data):
        notes.append(f"tags not kept: {', '.join(names)}")
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
    start = after_id3(data)
    if start > len(data):
        raise truncated("the ID3 tag", start, len(data))
    losses = tags.id3_losses(data)
    notes = (f"tags not kept: {', '.join(losses)}",) if losses else ()
    header = data[start : start + 4]
    xing = flags = 0
    if _is_mpeg_frame(header):
        version1, mono = header[1] >> 3 & 3 == 3, header[3] >> 6 == 3
        xing = start + 4 + (17 if version1 == mono else 32 if version1 else 9)
        flags = int.from_bytes(data[xing + 4 : xing + 8], "big")
    if data[xing : xing + 4] not in (b"Xing", b"Info") or flags & 3 != 3:
        note = "this MP3 records no length: a missing end would not be noticed"
        return Container("MP3", data, length_is_estimate=True, notes=(note, *notes))
    claimed, present = int.from_bytes(data[xing + 12 : xing + 16], "big"), len(data) - start
    if claimed > present:
        raise truncated("sound", claimed, present)
    # mpg123 prints a warning on stderr if tags after the sound make the two differ.
    return Container("MP3", data[: xing + 12] + present.to_bytes(4, "big") + data[xing + 16 :], notes=notes)


def _is_mpeg_frame(header: bytes) -> bool:
    """Whether four bytes are the header of an MPEG audio frame without reserved values. 0xFFFE would be a valid one,
    but is the byte order mark of UTF-16 text."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0 or header[1] == 0xFE:
        return False
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    return version != 1 and layer != 0 and header[2] >> 4 not in (0, 15) and header[2] >> 2 & 3 != 3


_READERS: dict[str, Callable[[bytes], Container]] = {
    "WAV": _wav,
    "RF64": check_rf64,
    "W64": check_w64,
    "AIFF": check_aiff,
    "AU": check_au,
    "CAF": check_caf,
    "FLAC": check_flac,
    "OGG": _ogg,
    "MP3": _mp3,
    "M4A": lambda data: Container("M4A", data),
    "AAC": lambda data: Container("AAC", data),
}
