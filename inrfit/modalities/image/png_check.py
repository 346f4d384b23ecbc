"""PNG files are checked chunk by chunk, and reduced to what a decoder needs, before Pillow decodes them.

Pillow ignores wrong checksums after the pixels, leaves rows black if the stream ends early, and inflates metadata and
refuses files because of it. So only header, palette, pixels and EXIF are passed on; what the file says about its
colours is read here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...errors import UnreadableFile, UnsupportedInput

KEPT_METADATA = (b"iCCP", b"cICP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"eXIf")
"""Chunks of metadata that are kept."""

METADATA_NAMES = {
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
"""Chunks that do not affect the pixels, and may therefore be damaged, with their names in notes."""

_XMP_KEYWORD = b"XML:com.adobe.xmp\0\0"
_DEPTHS_BY_COLOUR = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS_BY_COLOUR = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATE_BYTES = 1 << 20
"""Bytes that are inflated at a time, and limit for XMP."""


@dataclass(frozen=True)
class Header:
    """The IHDR chunk. ``colour``: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA. ``depth``: bits per sample."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlaced: int

    @property
    def inflated_size(self) -> int:
        """Size of the inflated pixels in bytes, with the filter byte of each row."""
        bits = self.depth * _CHANNELS_BY_COLOUR[self.colour]
        total = 0
        for x, y, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            columns, rows = -((x - self.width) // across), -((y - self.height) // down)
            total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
        return total


@dataclass(frozen=True)
class ValidatedPng:
    """A PNG file that was checked. ``data``: a PNG file with the chunks that a decoder needs. ``has_orientation``:
    whether EXIF or XMP is among them. ``transparent_colour``: the samples of the transparent colour in a grey or RGB
    file, two bytes each, big-endian; empty if there is none. ``metadata``: the intact chunks of KEPT_METADATA by type.
    ``notes``: what was left out."""

    data: bytes
    has_orientation: bool
    transparent_colour: bytes
    metadata: Mapping[bytes, bytes]
    notes: tuple[str, ...]


def read_header(data: bytes) -> Header:
    """The header of a PNG file. Raises ``UnreadableFile`` if it is damaged or not allowed by PNG."""
    if len(data) < 33:
        raise UnreadableFile("the file ends early, within the PNG header", "truncated")
    length, kind, *fields, crc = struct.unpack_from(">I4sIIBBBBBI", data, 8)
    if length != 13 or kind != b"IHDR":
        raise UnreadableFile("damaged: the first chunk is not a PNG header", "corrupt")
    if crc != zlib.crc32(data[12:29]):
        raise UnreadableFile("damaged: wrong checksum of the PNG header", "crc")
    header = Header(*fields)
    valid_depth = header.depth in _DEPTHS_BY_COLOUR.get(header.colour, ())
    if not valid_depth or header.compression or header.filtering or header.interlaced > 1:
        raise UnreadableFile("damaged: the header has values that PNG does not allow", "corrupt")
    return header


def validate(data: bytes, header: Header) -> ValidatedPng:
    """Checks a whole PNG file with this header. Raises ``UnreadableFile`` if chunks or pixels are missing, damaged or
    out of order, ``UnsupportedInput`` for unknown chunks that may affect the pixels."""
    reader = ChunkReader(header, [data[:33]])
    for chunk in _chunks(data):
        reader.accept(chunk)
    if header.colour == 3 and not reader.has_palette:
        raise UnreadableFile("damaged: the palette is missing", "corrupt")
    _check_pixels(reader.pixels, header.inflated_size)
    transparent_colour = reader.transparent_colour if header.colour in (0, 2) else b""
    return ValidatedPng(
        b"".join(reader.kept), reader.has_orientation, transparent_colour, reader.metadata, tuple(reader.notes())
    )


@dataclass(frozen=True)
class Chunk:
    """One chunk: its type, its content, all its bytes, and whether its checksum is correct."""

    kind: bytes
    content: memoryview
    whole: memoryview
    intact: bool


@dataclass
class ChunkReader:
    """Accepts the chunks of a file in order, and collects what is passed on to the decoder (``kept``), the compressed
    pixels (``pixels``), and the names of what is left out (``discarded``)."""

    header: Header
    kept: list[memoryview | bytes]
    pixels: list[memoryview] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    transparent_colour: bytes = b""
    last_kind: bytes = b"IHDR"
    frames: int = 0
    animated: bool = False
    has_palette: bool = False
    has_orientation: bool = False

    def accept(self, chunk: Chunk) -> None:
        """Processes the next chunk. Raises ``UnreadableFile`` if it is damaged or out of order, ``UnsupportedInput`` if
        the pixels may depend on it in an unknown way."""
        kind = chunk.kind
        if not chunk.intact and kind not in METADATA_NAMES:
            raise UnreadableFile(f"damaged: wrong checksum of chunk {kind.decode()}", "crc")
        misplaced = kind == b"PLTE" or (kind == b"IDAT" and self.last_kind != b"IDAT")
        if kind == b"IHDR" or (self.pixels and misplaced):
            raise UnreadableFile("damaged: chunks out of order", "corrupt")
        self.last_kind = kind
        if kind in METADATA_NAMES:
            self._accept_metadata(chunk)
        elif kind[:1].isupper():
            self._accept_critical(chunk)
        else:
            self._accept_ancillary(chunk)

    def _accept_critical(self, chunk: Chunk) -> None:
        """Processes pixels, palette or end of file."""
        if chunk.kind == b"IDAT":
            self.frames += not self.pixels and not self.frames  # without a frame header: not part of the animation
            self.pixels.append(chunk.content)
        elif chunk.kind == b"PLTE":
            self.has_palette = True
        elif chunk.kind != b"IEND":
            raise UnsupportedInput(f"PNG with an unknown chunk {chunk.kind.decode()}", "variant")
        self.kept.append(chunk.whole)

    def _accept_metadata(self, chunk: Chunk) -> None:
        """Keeps intact chunks of KEPT_METADATA, and XMP for its orientation; names all others."""
        xmp = chunk.kind == b"iTXt" and bytes(chunk.content[: len(_XMP_KEYWORD)]) == _XMP_KEYWORD
        name = METADATA_NAMES[chunk.kind]
        if chunk.intact and chunk.kind in KEPT_METADATA:
            self.metadata[chunk.kind] = bytes(chunk.content[:_INFLATE_BYTES])
        else:
            self.discarded.append(f"damaged {name}" if not chunk.intact else "XMP" if xmp else name)
        if chunk.intact and (chunk.kind == b"eXIf" or (xmp and len(chunk.content) < _INFLATE_BYTES)):
            self.kept.append(chunk.whole)
            self.has_orientation = True

    def _accept_ancillary(self, chunk: Chunk) -> None:
        """Processes transparency, animation or private data."""
        if chunk.kind == b"tRNS":
            self.transparent_colour = _transparency(chunk.content, self.header.colour)
            self.kept.extend([chunk.whole] if self.header.colour == 3 else [])
        elif chunk.kind == b"acTL":
            self.animated = True
        elif chunk.kind == b"fcTL":
            self.frames += 1
        elif chunk.kind != b"fdAT":
            self.discarded.append("private chunks")

    def notes(self) -> list[str]:
        """One note for each kind of content that was left out."""
        notes = [f"1 of {self.frames} frames used"] if self.animated and self.frames > 1 else []
        return notes + [f"{name} not kept" for name in self.discarded]


def _chunks(data: bytes) -> Iterator[Chunk]:
    """All chunks after the header, up to IEND. Raises ``UnreadableFile`` if the file ends before it."""
    view, position, kind = memoryview(data), 33, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise UnreadableFile("the file ends early: there is no IEND chunk", "truncated")
        length, kind = struct.unpack_from(">I4s", data, position)
        stop = position + 12 + length
        if not kind.isalpha():
            raise UnreadableFile("damaged: a chunk has an invalid type", "corrupt")
        if stop > len(data):
            raise UnreadableFile(
                f"the file ends early: the chunks take at least {stop:,} bytes, the file has {len(data):,}", "truncated"
            )
        intact = zlib.crc32(view[position + 4 : stop - 4]) == struct.unpack_from(">I", data, stop - 4)[0]
        yield Chunk(kind, view[position + 8 : stop - 4], view[position:stop], intact)
        position = stop


def _transparency(content: memoryview, colour: int) -> bytes:
    """The content of a tRNS chunk. Raises ``UnreadableFile`` if its length does not match the colour type."""
    length = {0: 2, 2: 6}.get(colour, len(content))
    if len(content) != length or not content:
        raise UnreadableFile("damaged: the transparency chunk has a wrong length", "corrupt")
    return bytes(content)


def _check_pixels(pixels: list[memoryview], size: int) -> None:
    """Raises ``UnreadableFile`` unless the stream inflates to ``size`` bytes. Needs memory for one block at a time."""
    stream, inflated = zlib.decompressobj(), 0
    try:
        for content in pixels:
            for start in range(0, len(content), 1 << 16):
                rest: memoryview | bytes = content[start : start + (1 << 16)]
                while len(rest) and not stream.eof and inflated <= size:
                    inflated += len(stream.decompress(rest, _INFLATE_BYTES))
                    rest = stream.unconsumed_tail
        while not stream.eof and inflated < size:
            more = stream.decompress(b"", _INFLATE_BYTES)
            if not more:
                break
            inflated += len(more)
    except zlib.error as error:
        raise UnreadableFile(f"damaged pixels ({error})", "corrupt") from error
    if inflated < size:
        raise UnreadableFile(f"pixels end early: {inflated:,} of {size:,} bytes", "truncated")
