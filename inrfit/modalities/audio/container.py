"""A sound file whose container was checked, and what the checks of all containers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import UnreadableFile

MAX_RATE = 2**31 - 1
"""Highest sample rate in Hz: that of libsndfile."""


@dataclass(frozen=True)
class Container:
    """A sound file whose container was checked.

    ``data``: the bytes to decode, with unknown lengths filled in. ``frames``: the number of frames by the header; None
    if only the decoder can tell. ``length_is_estimate``: whether the decoder's number of frames may be wrong. ``md5``:
    checksum of the samples (FLAC). ``mask``: speaker positions as in WAV; None if the file states none. ``valid_bits``:
    bits in use of each sample, if fewer than it has. ``attachments``: metadata that is kept as it is."""

    kind: str
    data: bytes
    frames: int | None = None
    length_is_estimate: bool = False
    md5: bytes | None = None
    mask: int | None = None
    valid_bits: int | None = None
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def truncated(content: str, claimed: int, present: int) -> UnreadableFile:
    """The error for a file that has fewer bytes of ``content`` than its header claims."""
    return UnreadableFile(
        f"the file ends early: the header says {claimed:,} bytes of {content}, the file has {present:,}", "truncated"
    )


def after_id3(data: bytes) -> int:
    """Position of the end of the ID3v2 tag; 0 if there is none."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if data[5] & 0x10 else 0)
