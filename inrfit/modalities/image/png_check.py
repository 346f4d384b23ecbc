"""PNG, checked chunk by chunk before a decoder sees it.

Pillow ignores bad checksums behind the pixels, leaves rows black when a stream ends early, refuses files for
their metadata and inflates it. So a file is reduced here to header, palette, pixels and orientation.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import UnreadableFile, UnsupportedInput

SIGNATURE = b"\x89PNG\r\n\x1a\n"

METADATA = {
    b"tEXt": "text",
    b"zTXt": "text",
    b"iTXt": "text",
    b"iCCP": "ICC profile",
    b"cICP": "colour space",
    b"mDCV": "mastering display",
    b"cLLI": "light level",
    b"gAMA": "gamma",
    b"cHRM": "chromaticities",
    b"sRGB": "sRGB mark",
    b"eXIf": "EXIF",
    b"pHYs": "resolution",
    b"tIME": "time",
    b"bKGD": "background colour",
    b"sPLT": "suggested palette",
    b"hIST": "histogram",
    b"sBIT": "significant bits",
}
"""Chunks that may be damaged without harm to the pixels, and what their loss is called."""

_XMP = b"XML:com.adobe.xmp\0\0"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Header:
    """IHDR. ``colour``: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA; ``depth`` in bits per sample."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlaced: int

    @property
    def size(self) -> int:
        """Bytes of the pixels once inflated."""
        bits = self.depth * _CHANNELS[self.colour]
        total = 0
        for x, y, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            columns, rows = -((x - self.width) // across), -((y - self.height) // down)
            total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
        return total


@dataclass(frozen=True)
class Sound:
    """A PNG found sound: ``clean`` is what a decoder needs of it, ``oriented`` whether with EXIF or XMP,
    ``clear`` the transparent colour (grey and RGB; empty if there is none), ``notes`` what was left out."""

    clean: bytes
    oriented: bool
    clear: bytes
    notes: tuple[str, ...]


def header(data: bytes) -> Header:
    """The header of the file. Raises ``UnreadableFile``."""
    if len(data) < 33:
        raise UnreadableFile("the file ends early: inside the PNG header", "truncated")
    length, kind, *fields, crc = struct.unpack_from(">I4sIIBBBBBI", data, 8)
    if length != 13 or kind != b"IHDR":
        raise UnreadableFile("damaged: a PNG must start with its header", "corrupt")
    if crc != zlib.crc32(data[12:29]):
        raise UnreadableFile("damaged: wrong checksum of the PNG header", "crc")
    found = Header(*fields)
    if found.depth not in _DEPTHS.get(found.colour, ()) or found.compression or found.filtering or found.interlaced > 1:
        raise UnreadableFile("damaged: the header has values that PNG does not allow", "corrupt")
    return found


def sound(data: bytes, header: Header) -> Sound:
    """The file, checked to its end. Raises ``UnreadableFile`` for missing, damaged or misplaced pixels."""
    found = Reduced(header, [data[:33]])
    for chunk in _chunks(data):
        found.accept(chunk)
    if header.colour == 3 and not found.palette:
        raise UnreadableFile("damaged: the palette is missing", "corrupt")
    _check_pixels(found.pixels, header.size)
    clear = found.clear if header.colour in (0, 2) else b""
    return Sound(b"".join(found.kept), found.oriented, clear, tuple(found.notes()))


@dataclass(frozen=True)
class Chunk:
    """One chunk: its type, its content, all its bytes, and whether its checksum is right."""

    kind: bytes
    content: memoryview
    whole: memoryview
    intact: bool


@dataclass
class Reduced:
    """What the chunks accepted so far leave of a file: ``kept`` goes to the decoder, ``lost`` does not."""

    header: Header
    kept: list[memoryview | bytes]
    pixels: list[memoryview] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    clear: bytes = b""
    last: bytes = b"IHDR"
    frames: int = 0
    animated: bool = False
    palette: bool = False
    oriented: bool = False

    def accept(self, chunk: Chunk) -> None:
        """The next chunk. Raises ``UnreadableFile`` if it is damaged or misplaced, ``UnsupportedInput`` if the pixels
        may depend on it in an unknown way."""
        kind = chunk.kind
        if not chunk.intact and kind not in METADATA:
            raise UnreadableFile(f"damaged: wrong checksum of chunk {kind.decode()}", "crc")
        misplaced = kind == b"PLTE" or (kind == b"IDAT" and self.last != b"IDAT")
        if kind == b"IHDR" or (self.pixels and misplaced):
            raise UnreadableFile("damaged: chunks out of order", "corrupt")
        self.last = kind
        if kind in METADATA:
            self.accept_metadata(chunk)
        elif kind[:1].isupper():
            self.accept_critical(chunk)
        else:
            self.accept_ancillary(chunk)

    def accept_critical(self, chunk: Chunk) -> None:
        """Pixels, palette or end mark."""
        if chunk.kind == b"IDAT":
            self.frames += not self.pixels and not self.frames  # no frame header: a picture beside the animation
            self.pixels.append(chunk.content)
        elif chunk.kind == b"PLTE":
            self.palette = True
        elif chunk.kind != b"IEND":
            raise UnsupportedInput(f"PNG with an unknown chunk {chunk.kind.decode()}", "variant")
        self.kept.append(chunk.whole)

    def accept_metadata(self, chunk: Chunk) -> None:
        """What is lost, except that EXIF and XMP may tell the orientation."""
        xmp = chunk.kind == b"iTXt" and bytes(chunk.content[: len(_XMP)]) == _XMP
        name = METADATA[chunk.kind]
        self.lost.append(f"damaged {name}" if not chunk.intact else "XMP" if xmp else name)
        if chunk.intact and (chunk.kind == b"eXIf" or (xmp and len(chunk.content) < _BLOCK)):
            self.kept.append(chunk.whole)
            self.oriented = True

    def accept_ancillary(self, chunk: Chunk) -> None:
        """Transparency, animation or private data."""
        if chunk.kind == b"tRNS":
            self.clear = _transparency(chunk.content, self.header.colour)
            self.kept.extend([chunk.whole] if self.header.colour == 3 else [])
        elif chunk.kind == b"acTL":
            self.animated = True
        elif chunk.kind == b"fcTL":
            self.frames += 1
        elif chunk.kind != b"fdAT":
            self.lost.append("private chunks")

    def notes(self) -> list[str]:
        """What was left out, a sentence each."""
        notes = [f"1 of {self.frames} frames used"] if self.animated and self.frames > 1 else []
        lost = self.lost
        if "sRGB mark" in lost:  # sRGB is what an unmarked file is taken for; the others only repeat it
            lost = [what for what in lost if what not in ("sRGB mark", "gamma", "chromaticities")]
        return notes + [f"{what} not kept" for what in lost]


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Every chunk behind the header, up to the end mark."""
    view, at, kind = memoryview(data), 33, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise UnreadableFile("the file ends early: no end mark", "truncated")
        length, kind = struct.unpack_from(">I4s", data, at)
        stop = at + 12 + length
        if not kind.isalpha():
            raise UnreadableFile("damaged: a chunk without a proper type", "corrupt")
        if stop > len(data):
            raise UnreadableFile(
                f"the file ends early: {stop:,} bytes or more claimed, {len(data):,} found", "truncated"
            )
        intact = zlib.crc32(view[at + 4 : stop - 4]) == struct.unpack_from(">I", data, stop - 4)[0]
        yield Chunk(kind, view[at + 8 : stop - 4], view[at:stop], intact)
        at = stop


def _transparency(content: memoryview, colour: int) -> bytes:
    """The transparent colour, of the length that the colour type wants."""
    wanted = {0: 2, 2: 6}.get(colour, len(content))
    if len(content) != wanted or not content:
        raise UnreadableFile("damaged: the transparency has a wrong length", "corrupt")
    return bytes(content)


def _check_pixels(pixels: list[memoryview], size: int) -> None:
    """Raises unless the stream inflates soundly to ``size`` bytes; holds one block at a time."""
    stream, found = zlib.decompressobj(), 0
    try:
        for content in pixels:
            for start in range(0, len(content), 1 << 16):
                rest: memoryview | bytes = content[start : start + (1 << 16)]
                while len(rest) and not stream.eof and found <= size:
                    found += len(stream.decompress(rest, _BLOCK))
                    rest = stream.unconsumed_tail
        while not stream.eof and found < size:
            more = stream.decompress(b"", _BLOCK)
            if not more:
                break
            found += len(more)
    except zlib.error as error:
        raise UnreadableFile(f"damaged pixels ({error})", "corrupt") from error
    if found < size:
        raise UnreadableFile(f"pixels end early: {found:,} of {size:,} bytes", "truncated")
