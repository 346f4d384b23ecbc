"""Reading PNG files, after png_check.py has validated them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...io.limits import Limits
from . import png_check
from .metadata import METRE
from .picture import Colour, Density, Picture, Raster
from .pillow_reader import decoded, open_image, read_16_bit, require_size

MAX_PROFILE = 1 << 22
"""Largest ICC profile that is inflated, in bytes."""


def read_png(data: bytes, limits: Limits, notes: list[str]) -> tuple[Picture, Any]:
    """The picture as it is stored, and the open image with its orientation and EXIF (None if it has neither)."""
    header = png_check.read_header(data)
    require_size(header.width, header.height, limits)
    png = png_check.validate(data, header)
    if header.depth == 16:
        raster = read_16_bit(png.data, "PNG", limits)
        picture = Picture(raster, {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[raster.shape[2]], 16, notes=notes)
    else:
        picture = decoded(open_image(png.data, "PNG", limits), notes)
        if header.depth in (2, 4) and header.colour == 0:  # Pillow spreads the samples over 8 bits
            picture = replace(picture, raster=picture.raster // (255 // ((1 << header.depth) - 1)), bits=header.depth)
    if png.transparent_colour:
        picture = _with_alpha(picture, png.transparent_colour)
        notes.append("transparent colour turned into an alpha channel")
    notes.extend(png.notes)
    picture = replace(
        picture, colour=_colour(png.metadata), density=_density(png.metadata.get(b"pHYs", b"")), icc=_icc(png, notes)
    )
    return picture, open_image(png.data, "PNG", limits) if png.has_orientation else None


def _with_alpha(picture: Picture, transparent_colour: bytes) -> Picture:
    """``picture``, grey or RGB, with an alpha channel that is 0 where the samples equal ``transparent_colour``. It has
    at least 8 bits, because no format holds alpha of fewer."""
    raster, largest = picture.raster, (1 << picture.bits) - 1
    key = np.frombuffer(transparent_colour, ">u2") & largest
    opaque = (raster != key).any(axis=2, keepdims=True)
    bits = max(8, picture.bits)
    raster = raster * raster.dtype.type(((1 << bits) - 1) // largest)
    alpha: Raster = (opaque * ((1 << bits) - 1)).astype(raster.dtype)
    return replace(picture, raster=np.concatenate([raster, alpha], axis=2), mode=picture.mode + "A", bits=bits)


def _colour(chunks: Mapping[bytes, bytes]) -> Colour:
    """What the chunks gAMA, cHRM, cICP and sRGB say. Chunks of a wrong length are ignored."""
    gamma, chromaticities, cicp = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b""), chunks.get(b"cICP", b"")
    if b"sRGB" in chunks:  # gamma and chromaticities only repeat it
        intent = chunks[b"sRGB"][:1]
        return Colour(cicp=tuple(cicp) if len(cicp) == 4 else None, srgb=min(intent[0], 3) if intent else 0)
    exponent = struct.unpack(">I", gamma)[0] / 100_000 if len(gamma) == 4 else 0
    return Colour(
        exponent or None,
        tuple(value / 100_000 for value in struct.unpack(">8I", chromaticities)) if len(chromaticities) == 32 else None,
        tuple(cicp) if len(cicp) == 4 else None,
    )


def _density(chunk: bytes) -> Density | None:
    """The density in a pHYs chunk."""
    if len(chunk) != 9:
        return None
    x, y, unit = struct.unpack(">IIB", chunk)
    if not x or not y or (unit != 1 and x == y):
        return None
    return Density(float(x), float(y), METRE if unit == 1 else "")


def _icc(png: png_check.ValidatedPng, notes: list[str]) -> bytes:
    """The ICC profile in an iCCP chunk, inflated; empty if there is none, or it is damaged."""
    chunk = png.metadata.get(b"iCCP", b"")
    if not chunk:
        return b""
    try:
        stream = zlib.decompressobj()
        profile = stream.decompress(chunk[chunk.index(b"\0") + 2 :], MAX_PROFILE)
        if stream.eof:
            return profile
    except (ValueError, zlib.error):
        pass
    notes.append("damaged ICC profile not kept")
    return b""
