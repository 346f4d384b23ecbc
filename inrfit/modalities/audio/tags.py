"""Tags of sounds: which are kept, and the names of those that are not.

The tags of TAGS are kept in every format that has them. Beyond these, chunks of WAV and metadata blocks of FLAC are
kept as they are, for files of the same format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from ...errors import printable
from . import flac
from .container import after_id3

Order = Literal["little", "big"]

TAGS = ("title", "artist", "album", "date", "tracknumber", "genre", "comment", "copyright", "license")
"""The tags that libsndfile reads and writes, by its names, without the name of the software."""

MAX_CHARACTERS = 4_000
"""Longest value of a tag that is kept."""

MAX_BYTES = 65_536
"""Largest size of chunks or blocks that are kept, in bytes."""

_CHUNKS = {
    b"LIST": "tags", b"bext": "broadcast data", b"cue ": "cue points", b"smpl": "loops", b"inst": "instrument data",
    b"iXML": "iXML", b"axml": "axml", b"acid": "loop data", b"id3 ": "ID3 tag", b"ID3 ": "ID3 tag",
    b"cart": "cart data", b"plst": "playlist", b"umid": "UMID",
}  # fmt: skip
_BLOCKS = {flac.APPLICATION: "application data", flac.CUE_SHEET: "cue sheet", flac.PICTURE: "cover"}
_VORBIS_NAMES = {"DESCRIPTION": "comment", "COMMENT": "comment", "TRACKNUMBER": "tracknumber", "ORGANIZATION": ""}
_INFO_KEPT = ("INAM", "IART", "IPRD", "ICRD", "IGNR", "ICMT", "ICOP", "ITRK", "ISFT")
_ID3_KEPT = ("TIT2", "TPE1", "TALB", "TYER", "TDRC", "TRCK", "TCON", "COMM", "TCOP")
_ID3_NAMES = {"APIC": "cover", "USLT": "lyrics", "SYLT": "lyrics", "CHAP": "chapters", "PRIV": "private data"}
TAGS_BY_CONTAINER = {
    **dict.fromkeys(("WAV", "WAVEX", "RF64"), frozenset(TAGS) - {"license"}),
    "AIFF": frozenset({"title", "artist", "comment", "copyright"}),
    **dict.fromkeys(("OGG", "OPUS", "FLAC", "CAF"), frozenset(TAGS)),
}
"""The tags that libsndfile writes into each container; none into others."""

TIMED = (b"cue ", b"smpl", b"plst", b"acid")
"""Chunks that hold positions in samples, which another rate would make wrong."""


def bounded(attachments: Mapping[str, bytes], notes: list[str]) -> dict[str, bytes]:
    """The attachments that are not too large; others are named."""
    kept = {}
    for name, content in attachments.items():
        if len(content) <= MAX_BYTES:
            kept[name] = content
        else:
            what = ", ".join(dict.fromkeys(names_in({name: content})))
            notes.append(f"{what} of {len(content):,} bytes not kept (the limit is {MAX_BYTES:,})")
    return kept


def names_in(attachments: Mapping[str, bytes], order: Order = "little") -> list[str]:
    """What the attachments hold, in words: names of tags, cover, cue points."""
    names = []
    for tag, chunk in riff_items(attachments.get("riff", b""), order):
        names += _list_names(chunk, order) if tag == b"LIST" else [_CHUNKS.get(tag, "chunks")]
    for kind, content in flac_items(attachments.get("flac", b"")):
        if kind == flac.COMMENT:
            names += comment_losses(flac.comments(content))
        else:
            names.append(_BLOCKS.get(kind, "metadata"))
    return [name for name in names if name]


def comment_losses(comments: list[str]) -> list[str]:
    """The names of the comments (NAME=value) that are not among TAGS, or are there a second time."""
    names, seen = [], set[str]()
    for comment in comments:
        name = printable(comment.partition("=")[0])
        if not is_standard(comment):
            names.append("cover" if name.upper() == "METADATA_BLOCK_PICTURE" else name)
        elif name.upper() in seen:
            names.append(f"further {name.lower()}")
        seen.add(name.upper())
    return names


def _list_names(chunk: bytes, order: Order) -> list[str]:
    """What a LIST chunk of WAV holds besides TAGS, in words."""
    if chunk[8:12] == b"INFO":
        items = (printable(tag.decode("latin-1")) for tag, _ in riff_items(chunk[12:], order))
        return [tag for tag in items if tag not in _INFO_KEPT]
    return ["labels" if chunk[8:12] == b"adtl" else "a list"]


def is_standard(comment: str) -> bool:
    """Whether a comment NAME=value is one of TAGS, or the speaker mask."""
    name = comment.partition("=")[0].upper()
    return name == flac.MASK_TAG or _VORBIS_NAMES.get(name, name.lower()) in (*TAGS, "encoder", "")


def riff_items(chunks: bytes, order: Order = "little") -> Iterator[tuple[bytes, bytes]]:
    """(tag, whole chunk with its header and padding) of chunks of WAV."""
    position = 0
    while position + 8 <= len(chunks):
        size = int.from_bytes(chunks[position + 4 : position + 8], order)
        end = position + 8 + size + (size & 1)
        if end > len(chunks):
            return
        yield chunks[position : position + 4], chunks[position:end]
        position = end


def flac_items(blocks: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of metadata blocks of FLAC."""
    position = 0
    while position + 4 <= len(blocks):
        size = int.from_bytes(blocks[position + 1 : position + 4], "big")
        if position + 4 + size > len(blocks):
            return
        yield blocks[position], blocks[position + 4 : position + 4 + size]
        position += 4 + size


def lost(
    attachments: Mapping[str, bytes], found: Mapping[str, str], container: str, other_rate: bool, order: Order
) -> list[str]:
    """What a file in ``container`` will not have of the attachments and the tags ``found``, in words. ``other_rate``:
    whether its sample rate differs from that of the source. ``order``: byte order of the source's chunks."""
    names = []
    kept_tags = TAGS_BY_CONTAINER.get(container, frozenset())
    own = ("riff" in attachments and container in ("WAV", "WAVEX")) or ("flac" in attachments and container == "FLAC")
    if not own:
        names += [name for name in found if name not in kept_tags]
        names += [f"the end of a long {name}" for name, text in found.items() if len(text) == MAX_CHARACTERS]
    if "riff" in attachments and container not in ("WAV", "WAVEX"):
        names += names_in({"riff": attachments["riff"]}, order)
    elif "riff" in attachments and other_rate:
        names += [_CHUNKS[tag] for tag, _ in riff_items(attachments["riff"], order) if tag in TIMED]
    if "flac" in attachments and container != "FLAC":
        names += names_in({"flac": attachments["flac"]})
    elif "flac" in attachments and other_rate:
        names += ["cue sheet" for kind, _ in flac_items(attachments["flac"]) if kind == flac.CUE_SHEET]
    return list(dict.fromkeys(names))


def for_rate(attachments: Mapping[str, bytes], same_rate: bool, order: Order) -> dict[str, bytes]:
    """The attachments without what holds positions in samples, unless the rate is that of the source. Chunks and blocks
    that are incomplete, or of kinds that are not kept, are left out: a file may have been made up."""
    riff = b"".join(
        chunk
        for tag, chunk in riff_items(attachments.get("riff", b""), order)
        if tag in _CHUNKS and (same_rate or tag not in TIMED)
    )
    blocks = b"".join(
        bytes([kind]) + len(content).to_bytes(3, "big") + content
        for kind, content in flac_items(attachments.get("flac", b""))
        if kind in flac.KEPT_BLOCKS and (same_rate or kind != flac.CUE_SHEET)
    )
    return {name: content for name, content in (("riff", riff), ("flac", blocks)) if content}


def id3_losses(data: bytes) -> list[str]:
    """What is in the ID3v2 tag at the beginning of a file besides TAGS, in words."""
    end, position, names = after_id3(data), 10, []
    size_bits = 7 if data[3:4] == b"\4" else 8
    while position + 10 <= end:
        kind = data[position : position + 4]
        if not kind.strip(b"\0"):
            break
        size = 0
        for byte in data[position + 4 : position + 8]:
            size = size << size_bits | byte
        name = printable(kind.decode("latin-1"))
        if name not in (*_ID3_KEPT, "TSSE", "TENC"):
            names.append(_ID3_NAMES.get(name, name))
        position += 10 + size
    return list(dict.fromkeys(names))


def ogg_losses(data: bytes) -> list[str]:
    """The names of the comments of an Ogg file that are not kept."""
    payload, position = b"", 0
    while data[position : position + 4] == b"OggS" and len(payload) < 1 << 20:
        segments = data[position + 27 : position + 27 + data[position + 26]]
        start = position + 27 + len(segments)
        payload += data[start : start + sum(segments)]
        position = start + sum(segments)
    for mark in (b"\x03vorbis", b"OpusTags"):
        if (at := payload.find(mark)) >= 0:
            texts = flac.comments(payload[at + len(mark) :])
            return list(dict.fromkeys(comment_losses(texts)))
    return []
