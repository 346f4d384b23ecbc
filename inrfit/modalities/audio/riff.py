"""WAV and its relatives: RIFF, RIFX, RF64, BW64 and W64. Their headers are compared with the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from ...errors import UnreadableFile, UnsupportedInput, printable
from .container import MAX_RATE, Container, truncated

MIN_UNKNOWN_SIZE = 0x7FFF_F000
"""From this value on, the data size in a WAV file means "unknown", as SoX, arecord and ffmpeg write it to a pipe."""

EXTENSIBLE = 0xFFFE
_IGNORED_CHUNKS = (b"fmt ", b"data", b"fact", b"PEAK", b"JUNK", b"junk", b"PAD ", b"FLLR", b"ds64")
KEPT_CHUNKS = (
    b"LIST",
    b"bext",
    b"cue ",
    b"smpl",
    b"inst",
    b"iXML",
    b"axml",
    b"acid",
    b"id3 ",
    b"ID3 ",
    b"cart",
    b"plst",
    b"umid",
)
"""Chunks that are kept as they are: tags, broadcast data, cue points, loops."""

W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_GUID_END = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


def riff_chunks(data: bytes | bytearray | memoryview) -> Iterator[tuple[bytes, int, int]]:
    """(tag, start of the content, claimed size) of each RIFF chunk. Raises ``UnreadableFile`` after 10,000 chunks."""
    order = byte_order(data)
    position = 12
    for _ in range(10_000):
        if position + 8 > len(data):
            return
        size = int.from_bytes(data[position + 4 : position + 8], order)
        yield bytes(data[position : position + 4]), position + 8, size
        position += 8 + size + (size & 1)
    raise UnreadableFile("more than 10,000 chunks", "header")


def byte_order(data: bytes | bytearray | memoryview) -> Literal["big", "little"]:
    """Byte order of a RIFF or RIFX file."""
    return "big" if bytes(data[:4]) == b"RIFX" else "little"


def check_wav(data: bytes) -> Container:
    """Checks RIFF and RIFX: there is one data chunk, and it is complete."""
    order, fmt, fact, body, size = byte_order(data), b"", None, 0, 0
    notes, kept, lost = [], b"", []
    for tag, start, claimed in riff_chunks(data):
        if tag == b"data":
            if body:
                raise UnsupportedInput("WAV with two data chunks is not supported", "layout")
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
        elif tag in KEPT_CHUNKS and start + claimed <= len(data):
            kept += data[start - 8 : start + claimed] + bytes(claimed & 1)
        elif tag not in _IGNORED_CHUNKS:
            lost.append(printable(tag.decode("latin-1")).strip())
    if not body or len(fmt) < 16:
        raise UnreadableFile(f"there is no {'data' if fmt else 'fmt'} chunk", "header")
    if body + size > len(data):
        raise truncated("samples", size, len(data) - body)
    claimed = int.from_bytes(data[4:8], order) + 8
    if len(data) < claimed < MIN_UNKNOWN_SIZE:
        notes.append(f"the header says {claimed:,} bytes, the file has {len(data):,}; the samples are complete")
    if lost:
        notes.append(f"chunks not kept: {', '.join(lost[:8])}")
    return _with_format(Container("WAV", data, notes=tuple(notes), attachments=_attached(kept)), fmt, size, fact, order)


def _attached(chunks: bytes) -> dict[str, bytes]:
    """The chunks that are kept, as an attachment."""
    return {"riff": chunks} if chunks else {}


def _has_unknown_size(data: bytes, start: int, claimed: int) -> bool:
    """Whether the writer of the file could not seek back to enter the size of the data chunk at ``start``."""
    order, present = byte_order(data), len(data) - start
    if claimed == 0:
        return present > 0 and not start < int.from_bytes(data[4:8], order) + 8 < MIN_UNKNOWN_SIZE
    return claimed >= MIN_UNKNOWN_SIZE and claimed > present


def _with_format(
    container: Container, fmt: bytes, size: int, fact: int | None, order: Literal["big", "little"]
) -> Container:
    """``container`` with the number of frames in ``size`` bytes of samples with the fmt chunk ``fmt`` (for block codecs
    that of the fact chunk), the speaker mask and the valid bits."""
    code, channels, rate, _, align, bits = (
        int.from_bytes(fmt[a:b], order) for a, b in ((0, 2), (2, 4), (4, 8), (8, 12), (12, 14), (14, 16))
    )
    mask = valid = None
    if code == EXTENSIBLE and len(fmt) >= 26:
        code, mask = int.from_bytes(fmt[24:26], order), int.from_bytes(fmt[20:24], order)
        stated = int.from_bytes(fmt[18:20], order)
        valid = stated if 0 < stated < bits and code == 1 else None
    if not channels or not rate or not align or (code in (1, 3) and not bits):
        raise UnreadableFile(f"damaged: {channels} channels, {rate} Hz, {bits} bits, {align} bytes per frame", "header")
    if rate > MAX_RATE:
        raise UnsupportedInput(f"a sample rate of {rate:,} Hz: at most {MAX_RATE:,} are read", "rate")
    container = replace(container, mask=mask, valid_bits=valid)
    if code not in (1, 3, 6, 7):
        return replace(container, frames=fact or None)
    notes = container.notes
    if size % align:
        notes += (f"the last {size % align} bytes are not a whole frame and not kept",)
    return replace(container, frames=size // align, notes=notes)


def check_rf64(data: bytes) -> Container:
    """Checks RF64 and BW64: WAV whose size is in a chunk ds64."""
    if data[12:16] != b"ds64" or len(data) < 44:
        raise UnreadableFile("damaged: RF64 without a ds64 chunk", "header")
    size = int.from_bytes(data[28:36], "little")
    fmt, body, kept, lost, position = b"", 0, b"", list[str](), 12
    while position + 8 <= len(data):
        tag, claimed = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        start = position + 8
        if tag == b"data" and not body:
            body = start
            claimed = size = size if claimed == 0xFFFF_FFFF else claimed
        elif tag == b"fmt ":
            fmt = data[start : start + claimed]
        elif tag in KEPT_CHUNKS and start + claimed <= len(data):
            kept += data[start - 8 : start + claimed] + bytes(claimed & 1)
        elif tag not in _IGNORED_CHUNKS:
            lost.append(printable(tag.decode("latin-1")).strip())
        position = start + claimed + (claimed & 1)
    if not body or len(fmt) < 16:
        raise UnreadableFile(f"there is no {'data' if fmt else 'fmt'} chunk", "header")
    if body + size > len(data):
        raise truncated("samples", size, len(data) - body)
    notes = (f"chunks not kept: {', '.join(lost[:8])}",) if lost else ()
    container = Container("RF64", b"RF64" + data[4:], notes=notes, attachments=_attached(kept))
    return _with_format(container, fmt, size, None, "little")


def check_w64(data: bytes) -> Container:
    """Checks Sony Wave64: RIFF with 64-bit sizes."""
    if len(data) < 40 or data[:16] != W64_RIFF:
        raise UnreadableFile("damaged: the header of Wave64 is incomplete", "header")
    position, fmt = 40, b""
    while position + 24 <= len(data):
        size = int.from_bytes(data[position + 16 : position + 24], "little")
        if size < 24:
            raise UnreadableFile("damaged: a chunk of Wave64 is smaller than its header", "header")
        if data[position : position + 4] == b"fmt ":
            fmt = data[position + 24 : position + size]
        elif data[position : position + 4] == b"data":
            if position + size > len(data):
                raise truncated("samples", size - 24, len(data) - position - 24)
            if len(fmt) < 16:
                break
            return _with_format(Container("W64", data), fmt, size - 24, None, "little")
        position += -(-size // 8) * 8
    raise UnreadableFile(f"there is no {'data' if fmt else 'fmt'} chunk", "header")


def finished(view: bytearray, mask: int | None, valid_bits: int | None, frames: int | None, chunks: bytes) -> bytes:
    """A WAV file that libsndfile wrote, with speaker mask and valid bits in an extensible fmt chunk, the number of
    ``frames`` of a block codec (libsndfile counts the padding of the last block as well), no time stamp in the PEAK
    chunk, so that the same sound gives the same bytes, and ``chunks`` at its end."""
    order = byte_order(view)
    for tag, start, size in riff_chunks(view):
        if tag == b"PEAK":
            view[start + 4 : start + 8] = bytes(4)
        elif tag == b"fact" and frames is not None:
            view[start : start + 4] = frames.to_bytes(4, order)
        elif tag == b"fmt " and size >= 40 and int.from_bytes(view[start : start + 2], order) == EXTENSIBLE:
            if mask is not None:
                view[start + 20 : start + 24] = mask.to_bytes(4, order)
            if valid_bits is not None:
                view[start + 18 : start + 20] = valid_bits.to_bytes(2, order)
    if chunks and len(view) + len(chunks) < 0xFFFF_FFFF:
        view += bytes(len(view) & 1) + chunks
        view[4:8] = (len(view) - 8).to_bytes(4, order)
    return bytes(view)
