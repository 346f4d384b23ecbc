"""How much compressed chunks unpack to, judged before a library unpacks all of it."""

from __future__ import annotations

import zlib

from ...errors import UnreadableFile, UnsupportedInput

SAFE_BYTES = 250_000
"""Bytes of a stream of zlib that cannot unpack to more than 258 MB: its ratio is at most 1,032."""

_BLOCK = 1 << 17
"""Most bytes of a block of Zstandard, unpacked."""

_PIECE = 1 << 20


def require_inflated(stored: bytes | memoryview, kind: str, most: int, label: str) -> None:
    """Raises ``UnreadableFile`` if a chunk unpacks to more than ``most`` bytes, or the stream is damaged. ``kind`` is
    zlib, gzip, zstd, blosc or lz4."""
    size = {"zlib": _deflated, "gzip": _gzipped, "zstd": _zstd, "blosc": _blosc, "lz4": _lz4}[kind](stored, most)
    if size > most:
        raise UnreadableFile(
            f"damaged: a chunk of {label} unpacks to more than the {most:,} bytes of a chunk", "corrupt"
        )


def _deflated(stored: bytes | memoryview, most: int) -> int:
    return _unpacked(stored, most, several=False)


def _gzipped(stored: bytes | memoryview, most: int) -> int:
    return _unpacked(stored, most, several=True)


def _unpacked(stored: bytes | memoryview, most: int, several: bool) -> int:
    """The size of a stream of zlib or gzip, of one or ``several`` members, which is unpacked in pieces; 0 for one that
    is too short to be large."""
    unpacker, total, rest = zlib.decompressobj(wbits=47), 0, bytes(stored) if len(stored) > SAFE_BYTES else b""
    while rest and total <= most:
        try:
            total += len(unpacker.decompress(rest, _PIECE))
        except zlib.error as error:
            raise UnreadableFile(f"damaged: a chunk is no stream of zlib ({error})", "corrupt") from None
        rest = unpacker.unconsumed_tail
        if unpacker.eof:
            rest = unpacker.unused_data if several else b""
            unpacker = zlib.decompressobj(wbits=47)
    return total


def _blosc(stored: bytes | memoryview, most: int) -> int:
    return int.from_bytes(stored[4:8], "little")


def _lz4(stored: bytes | memoryview, most: int) -> int:
    return int.from_bytes(stored[:4], "little")


def _zstd(stored: bytes | memoryview, most: int) -> int:
    """The size of a frame of Zstandard (RFC 8878) by its header. A frame that does not say it is refused if its blocks
    may hold far more than ``most``."""
    if stored[:4] != b"\x28\xb5\x2f\xfd" or len(stored) < 6:
        raise UnreadableFile("damaged: a chunk is no frame of Zstandard", "corrupt")
    flags = stored[4]
    single, wide = flags >> 5 & 1, flags >> 6
    place = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    length = (1 if single else 0, 2, 4, 8)[wide]
    if length:
        return int.from_bytes(stored[place : place + length], "little") + (256 if length == 2 else 0)
    total, last = 0, False
    while not last and place + 3 <= len(stored):
        head = int.from_bytes(stored[place : place + 3], "little")
        last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        total += _BLOCK if kind == 2 else size
        place += 3 + (1 if kind == 1 else size)
    if total > 256_000_000 + 4 * most:
        raise UnsupportedInput("a chunk of Zstandard that does not say its size is too large", "compression")
    return min(total, most)
