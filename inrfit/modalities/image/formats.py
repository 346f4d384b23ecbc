"""Reading image files as 8-bit rasters, with notes on what cannot be kept and refusals of what is not supported."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from ...io.signatures import Signatures, detect_format
from . import png_check
from .pillow_reader import (
    Raster,
    apply_orientation,
    open_image,
    raster_of,
    read_16_bit,
    reading,
    require_bytes,
    require_size,
    to_8_bit,
)

FORMATS = ("PNG", "JPEG", "WebP", "TIFF", "BMP")

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

_METADATA_NAMES = {
    "exif": "EXIF",
    "icc_profile": "ICC profile",
    "xmp": "XMP",
    "comment": "comment",
    "dpi": "resolution",
    "photoshop": "Photoshop data",
    "flashpix": "FlashPix data",
}
"""Names in notes of the metadata under Pillow's ``info`` keys."""

_TIFF_METADATA_NAMES = {
    **dict.fromkeys((282, 283), "resolution"),
    **dict.fromkeys((269, 270, 271, 272, 285, 305, 306, 315, 316, 33432), "text"),
    **dict.fromkeys((34665, 34853), "EXIF"),
    **dict.fromkeys((318, 319), "chromaticities"),
    301: "transfer curve",
    330: "sub-images",
    700: "XMP",
    33723: "IPTC",
    34377: "Photoshop data",
    34675: "ICC profile",
}
_TIFF_LAYOUT_TAGS = {*range(254, 267), 273, 274, *range(277, 282), 284, 292, 293, 296, 297, 317, *range(320, 326)}
_TIFF_LAYOUT_TAGS |= {332, 338, 339, 347, *range(512, 522), *range(529, 533)}
_MAX_PAGES = 1000
"""Maximum number of pages of a TIFF file that are counted."""

_MAX_RUN_LENGTH_PIXELS = 4_000_000
"""Largest run-length encoded BMP, which Pillow decodes pixel by pixel in Python."""


def read(data: bytes, limits: Limits) -> tuple[str, Raster, list[str]]:
    """The name of the format, the pixels (h, w, c) in upright orientation, and notes. Raises ``RefusedInput``."""
    format_name = signature(data)
    if format_name not in FORMATS:
        problem = f"{format_name} is not supported" if format_name else "not a known image format"
        raise UnsupportedInput(f"{problem} (supported: {', '.join(FORMATS)})", "format")
    notes: list[str] = []
    with reading(limits) as caught_warnings:
        raster = _READERS[format_name](data, limits, notes)
    if caught_warnings:
        notes.append("damaged metadata ignored")
    return format_name, raster, list(dict.fromkeys(notes))


def signature(data: bytes) -> str | None:
    """The name of the image format that the content has, supported or not; None for anything else."""
    return detect_format(data, _SIGNATURES) or ("TGA" if data[-18:].startswith(b"TRUEVISION-XFILE.") else None)


def _is_lossy_webp(data: bytes) -> bool:
    """Whether the first image of a WebP file is compressed with loss."""
    position = 12
    while position + 24 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8 ")
        position += 24 if kind == b"ANMF" else 8 + size + size % 2
    return False


def _pillow_reader(format_name: str) -> Callable[[bytes, Limits, list[str]], Raster]:
    """A reader of ``format_name``: JPEG, WebP or BMP."""

    def read(data: bytes, limits: Limits, notes: list[str]) -> Raster:
        _check_before_opening(data, format_name, limits, notes)
        image = open_image(data, format_name.upper(), limits)
        if format_name == "JPEG":  # at least a bit per 64 pixels; missing parts would be grey, without an error
            require_bytes(image.width * image.height // 512, data)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"1 of {frames} pictures in the file used")
        raster = apply_orientation(raster_of(image, notes), image, notes)
        notes.extend(f"{_METADATA_NAMES[key]} not kept" for key in image.info if key in _METADATA_NAMES)
        return raster

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
            notes.append("lossy WebP written back as lossless WebP")
    elif format_name == "BMP" and data[14] >= 40 and len(data) >= 34:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
        require_size(width, abs(height), limits)  # a negative height counts rows from the top
        if packing in (1, 2) and abs(width * height) > _MAX_RUN_LENGTH_PIXELS:
            raise UnsupportedInput(f"run-length BMP above {_MAX_RUN_LENGTH_PIXELS:,} pixels: not supported", "variant")
        if packing in (0, 3):
            require_bytes(width * abs(height) * bits // 8, data)
        if bits == 16:
            notes.append("16-bit pixels written back as 24-bit")
        elif bits == 32 and packing == 0:
            notes.append("fourth byte of each pixel not kept (not marked as alpha)")


def _tiff(data: bytes, limits: Limits, notes: list[str]) -> Raster:
    """Reads TIFF. Pillow applies the orientation itself."""
    image: Any = open_image(data, "TIFF", limits)
    tags = dict(image.tag_v2)
    if 50706 in tags or data[8:10] == b"CR" or int(tags.get(254, 0)) & 1:
        raise UnsupportedInput("camera raw, or a TIFF that starts with a preview: not supported", "raw")
    if any(form != 1 for form in tags.get(339, ())) and image.mode != "I":
        raise UnsupportedInput("floating-point or signed samples: not supported yet (8 and 16 bits are)", "samples")
    depth, planes, extra = max(tags.get(258, (1,))), tags.get(284, 1), tags.get(338, ())
    if depth > 8 and planes == 2:
        raise UnsupportedInput("more than 8 bits in separate planes: not supported yet", "samples")
    if image.info.get("compression") == "raw":
        require_bytes(image.width * image.height * min(tags.get(258, (1,))) // 8, data)
    if tags.get(262) == 6:
        notes.append("YCbCr converted to RGB")
    if depth > 8:
        notes.append(f"{depth}-bit samples reduced to 8 bits")
    elif depth in (2, 4) and image.mode == "L":
        notes.append(f"{depth}-bit grey written back as 8-bit")
    if 1 in extra and image.mode == "RGBA":
        notes.append("premultiplied alpha divided out")
    if any(kind not in (1, 2, 999) for kind in extra):
        notes.append("extra channels not kept")
    if image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        notes.append("lossy compression written back as lossless")
    if depth > 8 and image.mode in ("I;16", "I;16B", "RGB", "RGBA") and 1 not in extra:
        high, low = read_16_bit(data, "TIFF", limits)
        raster = ~to_8_bit(high, low) if tags.get(262) == 0 else to_8_bit(high, low)  # 0: white is zero
    elif image.mode == "I":
        raster = _from_32_bit(image)
    else:
        raster = raster_of(image, notes)
    pages = _pages(data, limits)
    if pages > 1:
        notes.append(f"1 of {pages if pages < _MAX_PAGES else f'{_MAX_PAGES} or more'} pages used")
    names = (_TIFF_METADATA_NAMES.get(tag, "private tags") for tag in tags if tag not in _TIFF_LAYOUT_TAGS)
    notes.extend(f"{what} not kept" for what in names)
    return raster


def _from_32_bit(image: Any) -> Raster:
    """8-bit samples of 32-bit integers that hold 16-bit samples. Larger values are refused, because their range is
    unknown."""
    image.load()
    values = np.asarray(image, np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise UnsupportedInput("32-bit samples: not supported yet (8 and 16 bits are)", "samples")
    return ((values + 128) // 257).astype(np.uint8)[..., None]


def _pages(data: bytes, limits: Limits) -> int:
    """Number of readable pages, counted up to ``_MAX_PAGES``."""
    image = open_image(data, "TIFF", limits)
    with suppress(Exception):  # damage to later pages does not matter
        for page in range(1, _MAX_PAGES):
            image.seek(page)
    return image.tell() + 1


def _png(data: bytes, limits: Limits, notes: list[str]) -> Raster:
    """Reads PNG after validating it."""
    header = png_check.read_header(data)
    require_size(header.width, header.height, limits)
    png = png_check.validate(data, header)
    if header.depth == 16:
        notes.append("16-bit samples reduced to 8 bits")
        high, low = read_16_bit(png.data, "PNG", limits)
        raster, exact = to_8_bit(high, low), high.astype(np.uint16) << 8 | low if png.transparent_colour else high
    else:
        raster = exact = raster_of(open_image(png.data, "PNG", limits), notes)
        if header.depth in (2, 4) and header.colour == 0:
            notes.append(f"{header.depth}-bit grey written back as 8-bit")
    if png.transparent_colour:
        max_value = (1 << header.depth) - 1
        key = np.frombuffer(png.transparent_colour, ">u2") & max_value
        opaque = (exact != key * max(255 // max_value, 1)).any(axis=2, keepdims=True)
        raster = np.concatenate([raster, opaque * np.uint8(255)], axis=2)
        notes.append("transparent colour turned into an alpha channel")
    notes.extend(png.notes)
    return apply_orientation(raster, open_image(png.data, "PNG", limits), notes) if png.has_orientation else raster


_READERS: dict[str, Callable[[bytes, Limits, list[str]], Raster]] = {
    "PNG": _png,
    "JPEG": _pillow_reader("JPEG"),
    "WebP": _pillow_reader("WebP"),
    "TIFF": _tiff,
    "BMP": _pillow_reader("BMP"),
}
