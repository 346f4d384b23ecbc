"""Compressed samples, which are unpacked only as far as the header says that they go."""

from __future__ import annotations

import bz2
import gzip
import zlib

from ...errors import UnreadableFile


def gunzipped(data: bytes | memoryview, most: int) -> bytes:
    """At most ``most`` bytes of a gzip stream, of one or several members. Raises ``UnreadableFile``."""
    parts: list[bytes] = []
    total = 0
    while len(data) and total < most:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            part = unpacker.decompress(data, most - total)
        except zlib.error as error:
            if parts:
                break  # bytes after the last member
            raise UnreadableFile(f"damaged: not a gzip stream ({error})", "corrupt") from None
        parts.append(part)
        total += len(part)
        if not unpacker.eof:
            break
        data = unpacker.unused_data
    return b"".join(parts)


def inflated(data: bytes | memoryview, most: int) -> bytes:
    """At most ``most`` bytes of a zlib stream. Raises ``UnreadableFile``."""
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error as error:
        raise UnreadableFile(f"damaged: not a zlib stream ({error})", "corrupt") from None


def bunzipped(data: bytes | memoryview, most: int) -> bytes:
    """At most ``most`` bytes of a bzip2 stream. Raises ``UnreadableFile``."""
    try:
        return bz2.BZ2Decompressor().decompress(bytes(data), most)
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"damaged: not a bzip2 stream ({error})", "corrupt") from None


def gzipped(data: bytes) -> bytes:
    """A gzip stream of ``data``, always the same."""
    return gzip.compress(data, 6, mtime=0)
