"""Reading image files: which reader a file is given to, and what all readers have in common."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, UsageError
from ...io import extras
from ...io.limits import Limits
from ...io.signatures import Signatures, detect_format
from . import metadata
from .netpbm import read_netpbm
from .openexr import read_openexr
from .picture import CHANNELS_BY_MODE, Picture
from .pillow_reader import (
    decoded,
    open_image,
    orientation_of,
    read_16_bit,
    reading,
    require_bytes,
    require_size,
    upright,
)
from .png_reader import read_png
from .radiance import read_radiance
from .tiff_reader import read_tiff

FORMATS = (
    "PNG", "JPEG", "WebP", "TIFF", "BMP", "GIF", "AVIF", "JPEG 2000", "TGA", "QOI", "ICO", "PNM", "Radiance HDR",
    "OpenEXR", "HEIC", "JPEG XL",
)  # fmt: skip
"""Formats that are read. OpenEXR, HEIC and JPEG XL need an extra."""

LOSSY_FORMATS = ("JPEG", "AVIF", "HEIC")
"""Formats that are written with loss."""

_SIGNATURES: Signatures = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WebP": rb"RIFF....WEBP",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(?:hei[cfmsx]|hev[cx]|mif1|msf1)",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "MNG": rb"[\x8a\x8b](?:MNG|JNG)\r\n",
    "PSD": rb"8BPS\0[\x01\x02]",
    "ICO": rb"\0\0[\x01\x02]\0[^\0]\0...\0",
    "ICNS": rb"icns",
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF-",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.{0,99}?>\s*)?(?:<!--.{0,999}?-->\s*)?"
    rb"(?:<!DOCTYPE svg.{0,999}?>\s*)?<svg[\s>]",
    "DDS": rb"DDS \x7c\0\0\0",
    "FITS": rb"SIMPLE  =",
    "BLP": rb"BLP[12]",
    "PNM": rb"P[1-7fF]\s",
    "QOI": rb"qoif",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "XCF": rb"gimp xcf ",
    "DjVu": rb"AT&TFORM",
    "PCX": rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]",
    "WMF": rb"\xd7\xcd\xc6\x9a",
}

_PILLOW_NAMES = {"JPEG 2000": "JPEG2000", "WebP": "WEBP", "JPEG XL": "JXL", "HEIC": "HEIF"}
_MAX_SLOW_PIXELS = 4_000_000
"""Largest image in a format that Pillow decodes pixel by pixel in Python: run-length encoded BMP, and QOI."""


_METADATA_BYTES = 1 << 18
"""Beginning of a file that is searched for marks of gain maps and films."""


@dataclass(frozen=True)
class Reading:
    """How a file is read: ``frame`` is the number of the picture in it, from 1; ``bits`` is 8 if samples of more bits
    may be reduced; ``metadata`` is "keep", "drop" or "all"."""

    frame: int = 1
    bits: int | None = None
    metadata: str = "keep"


def read(data: bytes, name: str, how: Reading, limits: Limits) -> tuple[str, Picture]:
    """The name of the format, and the picture in upright orientation. Raises ``RefusedInput``."""
    format_name = signature(data) or ("TGA" if name.lower().endswith(".tga") else None)
    if format_name not in FORMATS:
        problem = f"{format_name} is not supported" if format_name else "not a known image format"
        raise UnsupportedInput(f"{problem} (supported: {', '.join(FORMATS)})", "format")
    notes: list[str] = []
    with reading(limits) as caught_warnings:
        picture, image = _READERS[format_name](data, how, limits, notes)
        if image is not None:
            if format_name != "TIFF":
                picture = _turned(picture, image, notes)
            picture = replace(picture, exif=metadata.clean_exif(image, how.metadata == "all", notes))
    shape = picture.raster.shape
    if len(shape) != 3 or not picture.raster.size or shape[2] != CHANNELS_BY_MODE.get(picture.mode, shape[2]):
        raise UnreadableFile(f"damaged: the samples are {shape}, which is no picture", "corrupt")
    if caught_warnings:
        notes.append("damaged metadata ignored")
    if how.bits == 8 and picture.bits > 8:
        picture = _reduced(picture, notes)
    if how.metadata == "drop":
        picture = replace(picture, icc=b"", exif=b"", density=None)
    return format_name, replace(picture, notes=list(dict.fromkeys(notes)))


def signature(data: bytes) -> str | None:
    """The name of the image format that the content has, supported or not; None for anything else."""
    return detect_format(data, _SIGNATURES) or ("TGA" if data[-18:].startswith(b"TRUEVISION-XFILE.") else None)


def _turned(picture: Picture, image: Any, notes: list[str]) -> Picture:
    """``picture`` with the orientation of ``image`` applied."""
    orientation = orientation_of(image, notes)
    if orientation == 1:
        return picture
    notes.append("EXIF orientation applied to the pixels")
    density = metadata.transposed(picture.density, orientation)
    return replace(picture, raster=upright(picture.raster, orientation), density=density)


def _reduced(picture: Picture, notes: list[str]) -> Picture:
    """``picture`` with samples of 8 bits. Raises ``UsageError`` for floating-point samples."""
    if picture.raster.dtype.kind != "u":
        raise UsageError(f"-O bits=8: samples of type {picture.raster.dtype} cannot be reduced to 8 bits", "option")
    notes.append(f"{picture.bits}-bit samples reduced to 8 bits, as asked for")
    largest = (1 << picture.bits) - 1
    raster = np.empty(picture.raster.shape, np.uint8)
    for row, samples in zip(raster, picture.raster, strict=True):
        row[...] = (samples.astype(np.float64) * (255 / largest)).round()
    return replace(picture, raster=raster, bits=8)


def _is_lossy_webp(data: bytes) -> bool:
    """Whether the first image of a WebP file is compressed with loss."""
    position = 12
    while position + 24 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8 ")
        position += 24 if kind == b"ANMF" else 8 + size + size % 2
    return False


def _pillow_reader(format_name: str) -> Callable[[bytes, Reading, Limits, list[str]], tuple[Picture, Any]]:
    """A reader of ``format_name`` by Pillow."""

    def read(data: bytes, how: Reading, limits: Limits, notes: list[str]) -> tuple[Picture, Any]:
        _check_before_opening(data, format_name, limits, notes)
        image: Any = open_image(data, _PILLOW_NAMES.get(format_name, format_name), limits)
        if format_name == "JPEG":  # at least a bit per 64 pixels; missing parts would be grey, without an error
            require_bytes(image.width * image.height // 512, data)
        _seek(image, data, how.frame, notes)
        _require_bits(data, format_name, how, notes)
        if image.mode.startswith("I;16"):
            picture = Picture(read_16_bit(data, _PILLOW_NAMES[format_name], limits), "L", 16, notes=notes)
        else:
            picture = decoded(image, notes)
        icc = image.info.get("icc_profile") or b""
        notes.extend(metadata.unnamed_losses(image.info))
        if format_name in ("AVIF", "HEIC"):
            picture = replace(picture, colour=metadata.coded_colour(data))
        return replace(picture, density=metadata.density_of(image), icc=icc), image

    return read


def _seek(image: Any, data: bytes, frame: int, notes: list[str]) -> None:
    """Goes to picture number ``frame`` of a file, and names the others. Raises ``UsageError`` if there are fewer."""
    sizes = image.info.get("sizes")
    frames = len(sizes) if image.format == "ICO" and sizes else getattr(image, "n_frames", 1)
    if frame > frames:
        raise UsageError(
            f"picture {frame} (--frame, --page): the file has {frames} picture{'s' * (frames != 1)}", "option"
        )
    if image.format == "ICO" and sizes:
        image.size = sorted(sizes, reverse=True)[frame - 1]
    elif frame > 1:
        image.seek(frame - 1)
    if frames > 1:
        notes.append(
            f"picture {frame} of {frames} in the file used" + (" (choose one with --frame)" if frame == 1 else "")
        )
    head = data[:_METADATA_BYTES]
    if b"hdrgm:" in head or b"urn:iso:std:iso:ts:21496" in head:
        notes.append("HDR gain map not kept: the picture is that of a standard display")
    if image.format in ("JPEG", "MPO", "HEIF", "AVIF") and (b"MotionPhoto" in head or b"MicroVideo" in head):
        notes.append("film behind the picture not kept")


def _require_bits(data: bytes, format_name: str, how: Reading, notes: list[str]) -> None:
    """Raises ``UnsupportedInput`` for colour of more than 8 bits in a format where Pillow reduces it, unless that was
    asked for."""
    bits = 8
    if format_name == "AVIF" and (at := data.find(b"pixi")) >= 0 and at + 10 <= len(data):
        bits = data[at + 9]
    elif format_name == "JPEG 2000" and (at := data.find(b"\xff\x51")) >= 0 and at + 43 <= len(data):
        components = int.from_bytes(data[at + 38 : at + 40], "big")
        bits = (data[at + 40] & 0x7F) + 1 if components > 1 else 8
    if bits <= 8:
        return
    if how.bits != 8:
        raise UnsupportedInput(
            f"{bits}-bit {format_name} is read with 8 bits only; accept that with -O bits=8", "samples"
        )
    notes.append(f"{bits}-bit samples reduced to 8 bits, as asked for")


def _plugin_reader(format_name: str) -> Callable[[bytes, Reading, Limits, list[str]], tuple[Picture, Any]]:
    """A reader of HEIC or JPEG XL by a plug-in of Pillow."""
    with_pillow = _pillow_reader(format_name)

    def read(data: bytes, how: Reading, limits: Limits, notes: list[str]) -> tuple[Picture, Any]:
        if format_name == "HEIC":
            extras.load("pillow_heif", format_name).register_heif_opener()
        else:
            extras.load("pillow_jxl", format_name)  # registers itself
        return with_pillow(data, how, limits, notes)

    return read


def _check_before_opening(data: bytes, format_name: str, limits: Limits, notes: list[str]) -> None:
    """Checks of WebP and BMP that Pillow does not make, or only after it has allocated the memory."""
    if format_name == "WebP":
        claimed = struct.unpack_from("<I", data, 4)[0] + 8
        if claimed > len(data):
            raise UnreadableFile(
                f"the file ends early: the header says {claimed:,} bytes, the file has {len(data):,}", "truncated"
            )
        if data[12:16] == b"VP8X" and len(data) >= 30:
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            require_size(width, height, limits)
        if _is_lossy_webp(data):
            notes.append("lossy WebP written back as lossless WebP (lossy with --image-quality)")
    elif format_name == "BMP" and data[14] >= 40 and len(data) >= 34:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
        require_size(width, abs(height), limits)  # a negative height counts rows from the top
        if packing in (1, 2) and abs(width * height) > _MAX_SLOW_PIXELS:
            raise UnsupportedInput(f"run-length BMP above {_MAX_SLOW_PIXELS:,} pixels: not supported", "variant")
        if packing in (0, 3):
            require_bytes(width * abs(height) * bits // 8, data)
        if bits == 16:
            notes.append("16-bit pixels written back as 24-bit")
        elif bits == 32 and packing == 0:
            notes.append("fourth byte of each pixel not kept (not marked as alpha)")


def _single(reader: Callable[[bytes, Limits, list[str]], Picture]) -> Callable[..., tuple[Picture, Any]]:
    """A reader of a format with one picture and no EXIF."""

    def read(data: bytes, how: Reading, limits: Limits, notes: list[str]) -> tuple[Picture, Any]:
        _require_first(how.frame)
        return reader(data, limits, notes), None

    return read


def _require_first(frame: int) -> None:
    """Raises ``UsageError`` unless ``frame`` is 1."""
    if frame > 1:
        raise UsageError(f"picture {frame} (--frame, --page): only the first picture of such a file is read", "option")


def _png(data: bytes, how: Reading, limits: Limits, notes: list[str]) -> tuple[Picture, Any]:
    """Reads PNG."""
    _require_first(how.frame)
    return read_png(data, limits, notes)


_READERS: dict[str, Callable[[bytes, Reading, Limits, list[str]], tuple[Picture, Any]]] = {
    "PNG": _png,
    "TIFF": lambda data, how, limits, notes: read_tiff(data, how.frame, limits, notes),
    **{name: _pillow_reader(name) for name in ("JPEG", "WebP", "BMP", "GIF", "AVIF", "JPEG 2000", "TGA", "QOI", "ICO")},
    **{name: _plugin_reader(name) for name in ("HEIC", "JPEG XL")},
    "PNM": _single(read_netpbm),
    "Radiance HDR": _single(read_radiance),
    "OpenEXR": _single(read_openexr),
}
