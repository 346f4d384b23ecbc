"""Writing PNG where Pillow cannot: 16-bit colour, grey of 2 and 4 bits, and chunks about colours.

Pillow writes 16 bits for grey only; pypng, the only small library that writes the others, does not filter rows, which
doubles the size of photographs, and is no longer released.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .metadata import INCH, METRE
from .picture import Raster

_COLOUR_TYPES = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}
_SAMPLES_PER_BLOCK = 1 << 20
_LARGEST = 2**31 - 1


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(raster: Raster, mode: str, bits: int) -> bytes:
    """The bytes of a PNG file with ``raster`` (h, w, c), unsigned, whose samples have 1, 2, 4, 8 or 16 bits."""
    height, width, channels = raster.shape
    stream, packed = zlib.compressobj(), []
    step = max(1, _SAMPLES_PER_BLOCK // (width * channels))
    above = np.zeros((1, -(-width * channels * bits // 8)), np.uint8)
    for top in range(0, height, step):
        rows = _rows(raster[top : top + step], bits)
        packed.append(stream.compress(_filtered(rows, above, max(1, channels * bits // 8)).tobytes()))
        above = rows[-1:]
    packed.append(stream.flush())
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[mode], 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), _chunk(b"IDAT", b"".join(packed)), _chunk(b"IEND", b""))
    )


def _rows(raster: Raster, bits: int) -> Raster:
    """The bytes of the rows of ``raster``, (h, bytes)."""
    flat = raster.reshape(len(raster), -1)
    if bits == 16:
        return np.ascontiguousarray(flat, ">u2").view(np.uint8)
    if bits == 8:
        return flat.astype(np.uint8)
    digits = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(flat), -1).astype(np.uint8), axis=1)


def _filtered(rows: Raster, above: Raster, pixel: int) -> Raster:
    """The rows with the filter of PNG that gives the smallest sum of magnitudes, each with its filter byte. ``above``
    is the row before the first; ``pixel`` is the number of bytes of a pixel."""
    up = np.concatenate([above, rows[:-1]])
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, pixel:], corner[:, pixel:] = rows[:, :-pixel], up[:, :-pixel]
    a, b, c = left.astype(np.int16), up.astype(np.int16), corner.astype(np.int16)
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    paeth = np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, up, corner))
    candidates = (rows, rows - left, rows - up, rows - paeth)
    numbers = np.array([0, 1, 2, 4], np.uint8)
    sums = np.stack([np.minimum(x, 256 - x.astype(np.int16)).sum(axis=1) for x in candidates])
    best = sums.argmin(axis=0)
    out = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    out[:, 0] = numbers[best]
    for index, candidate in enumerate(candidates):
        out[best == index, 1:] = candidate[best == index]
    return out


def with_metadata(data: bytes, meta: Mapping[str, Any], attachments: Mapping[str, bytes]) -> bytes:
    """A PNG file with chunks for the colours, the density, the ICC profile and the EXIF of the picture."""
    colour, chunks = meta["colour"] or {}, []
    if colour.get("cicp"):
        chunks.append(_chunk(b"cICP", bytes(colour["cicp"])))
    if "icc" in attachments:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(attachments["icc"])))
    elif colour.get("srgb") is not None:
        chunks.append(_chunk(b"sRGB", bytes([colour["srgb"]])))
    if colour.get("gamma"):
        chunks.append(_chunk(b"gAMA", struct.pack(">I", min(round(colour["gamma"] * 100_000), _LARGEST))))
    if colour.get("chromaticities"):
        numbers = [min(round(value * 100_000), _LARGEST) for value in colour["chromaticities"]]
        chunks.append(_chunk(b"cHRM", struct.pack(">8I", *numbers)))
    if meta["density"]:
        x, y, unit = (meta["density"][key] for key in ("x", "y", "unit"))
        factor = {INCH: 1 / 0.0254, METRE: 1.0}.get(unit, 1.0)
        numbers = [min(max(1, round(value * factor)), _LARGEST) for value in (x, y)]
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *numbers, unit != "")))
    if "exif" in attachments:
        chunks.append(_chunk(b"eXIf", attachments["exif"].removeprefix(b"Exif\0\0")))
    return data[:33] + b"".join(chunks) + data[33:]
