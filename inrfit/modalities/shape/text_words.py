"""Lines and words of a text file, made as they are needed: all words of a file take twenty times its size."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PIECE_BYTES = 1 << 18
"""Bytes that are split into words at a time."""

_BLANK = re.compile(rb"\s")


def text_lines(data: bytes) -> Iterator[bytes]:
    """The lines of a text that are not empty."""
    return (match[0] for match in re.finditer(rb"[^\r\n]+", data))


def text_words(data: bytes, start: int = 0) -> Iterator[bytes]:
    """The words of a text from the byte ``start`` on."""
    while start < len(data):
        blank = _BLANK.search(data, start + _PIECE_BYTES)
        end = len(data) if blank is None else blank.start()
        yield from data[start:end].split()
        start = end
