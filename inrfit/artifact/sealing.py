"""Checksums of coded weights, and their deflated parts."""

from __future__ import annotations

import zlib

from ..errors import UnreadableFile


def sealed(content: bytes) -> bytes:
    """``content`` with its checksum before it."""
    return zlib.crc32(content).to_bytes(4, "little") + content


def opened(code: bytes, least: int) -> bytes:
    """The inverse of ``sealed``, for a content of at least so many bytes. Raises ``UnreadableFile``."""
    if len(code) < 4 + least or zlib.crc32(code[4:]) != int.from_bytes(code[:4], "little"):
        raise UnreadableFile("damaged: the checksum of the coded weights is wrong", "code")
    return code[4:]


def deflated(content: bytes) -> bytes:
    """``content`` deflated, after the number of bytes that it takes then (4 bytes)."""
    packed = zlib.compress(content, 9) if content else b""
    return len(packed).to_bytes(4, "little") + packed


def inflated(code: bytes, limit: int) -> tuple[bytes, bytes]:
    """The content of what ``deflated`` returned, at most ``limit`` bytes, and what follows it in ``code``. Raises
    ``UnreadableFile`` if it is damaged."""
    size = int.from_bytes(code[:4], "little")
    packed, rest = code[4 : 4 + size], code[4 + size :]
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(packed, limit) if packed else b""
    except zlib.error:
        raise damaged() from None
    if packed and not inflate.eof:
        raise damaged()
    return plain, rest


def damaged() -> UnreadableFile:
    """The error of a code that does not decode."""
    return UnreadableFile("damaged: the coded weights do not decode", "code")
