"""FLAC: metadata blocks are read and written here, because libsndfile keeps only a few tags."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import UnreadableFile, UnsupportedInput
from .container import Container, after_id3, truncated

STREAMINFO, APPLICATION, COMMENT, CUE_SHEET, PICTURE = 0, 2, 4, 5, 6
KEPT_BLOCKS = (APPLICATION, COMMENT, CUE_SHEET, PICTURE)
MASK_TAG = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""The comment that holds the speaker mask of a FLAC file."""


def check_flac(data: bytes) -> Container:
    """Checks FLAC: STREAMINFO comes first, metadata is complete, and the claimed samples could be in the file."""
    notes: list[str] = []
    if data[:3] == b"ID3":
        data, notes = data[after_id3(data) :], ["ID3 tag not kept"]
    if len(data) < 42 or data[4] & 0x7F != 0 or int.from_bytes(data[5:8], "big") != 34:
        raise UnreadableFile("the STREAMINFO block is missing or incomplete", "header")
    kept, mask, position = b"", None, 4
    for kind, start, size in _blocks(data):
        content = data[start : start + size]
        position = start + size
        if kind == COMMENT:
            mask = _mask(content)
        if kind in KEPT_BLOCKS and not (kind == COMMENT and len(comments(content)) == 0):
            kept += bytes([kind]) + size.to_bytes(3, "big") + content
    bits = (int.from_bytes(data[20:22], "big") >> 4 & 31) + 1
    if bits not in (8, 16, 24):
        raise UnsupportedInput(f"FLAC of {bits} bits: not supported (8, 16 and 24 are)", "samples")
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
    return Container(
        "FLAC",
        data,
        frames,
        md5=data[26:42] if any(data[26:42]) else None,
        mask=mask,
        attachments={"flac": kept} if kept else {},
        notes=tuple(notes),
    )


def _blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, start of the content, size) of each metadata block. Raises ``UnreadableFile`` if one is incomplete."""
    position, last = 4, False
    while not last:
        size = int.from_bytes(data[position + 1 : position + 4], "big")
        if position + 4 + size > len(data):
            raise truncated("metadata", size, max(len(data) - position - 4, 0))
        last, kind = bool(data[position] & 0x80), data[position] & 0x7F
        yield kind, position + 4, size
        position += 4 + size


def comments(block: bytes) -> list[str]:
    """The comments (NAME=value) in a block of Vorbis comments; none of a damaged one."""
    try:
        at = 4 + int.from_bytes(block[:4], "little")
        count = int.from_bytes(block[at : at + 4], "little")
        at += 4
        found: list[str] = []
        for _ in range(min(count, 10_000)):
            size = int.from_bytes(block[at : at + 4], "little")
            if at + 4 + size > len(block):
                return found
            found.append(block[at + 4 : at + 4 + size].decode("utf-8", "replace"))
            at += 4 + size
        return found
    except (IndexError, OverflowError):
        return []


def comment_block(texts: list[str]) -> bytes:
    """The content of a block of Vorbis comments."""
    vendor = b"inrfit"
    encoded = [text.encode("utf-8", "replace") for text in texts]
    items = b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
    return len(vendor).to_bytes(4, "little") + vendor + len(encoded).to_bytes(4, "little") + items


def _mask(block: bytes) -> int | None:
    """The speaker mask in a block of comments."""
    for comment in comments(block):
        name, _, value = comment.partition("=")
        if name.upper() == MASK_TAG:
            try:
                return int(value, 0) & 0xFFFF_FFFF
            except ValueError:
                return None
    return None


def with_metadata(data: bytes, kept: bytes, mask: int | None, more: list[str]) -> bytes:
    """A FLAC file that libsndfile wrote, with the metadata blocks ``kept`` of the source, the comments ``more`` and the
    speaker ``mask`` in place of its own."""
    end = max(start + size for _, start, size in _blocks(data))
    texts, others, position = list(more), b"", 0
    while position + 4 <= len(kept):
        size = int.from_bytes(kept[position + 1 : position + 4], "big")
        content = kept[position + 4 : position + 4 + size]
        if kept[position] == COMMENT:
            texts += comments(content)
        else:
            others += kept[position : position + 4] + content
        position += 4 + size
    texts = [text for text in texts if text.partition("=")[0].upper() != MASK_TAG]
    if mask is not None:
        texts.append(f"{MASK_TAG}=0x{mask:04X}")
    if texts:
        block = comment_block(texts)
        others = bytes([COMMENT]) + len(block).to_bytes(3, "big") + block + others
    if not others:
        return data
    first = data[:4] + bytes([STREAMINFO]) + data[5:42]
    return first + others + b"\x81\0\0\0" + data[end:]  # an empty block of padding ends the metadata
