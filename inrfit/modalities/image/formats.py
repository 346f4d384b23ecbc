"""Picture files as 8-bit rasters: what is read, what is refused, what is named because it cannot be kept."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from ...io.signatures import Signatures, kind_of
from . import png_check
from .pillow_reader import Raster, eight, opened, raster_of, reading, require_bytes, require_size, upright, wide

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

_METADATA = {
    "exif": "EXIF",
    "icc_profile": "ICC profile",
    "xmp": "XMP",
    "comment": "comment",
    "dpi": "resolution",
    "photoshop": "Photoshop data",
    "flashpix": "FlashPix data",
}
"""Pillow's ``info`` keys, and what the loss of each is called."""

_TIFF_METADATA = {
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
_TIFF_LAYOUT = {*range(254, 267), 273, 274, *range(277, 282), 284, 292, 293, 296, 297, 317, *range(320, 326)}
_TIFF_LAYOUT |= {332, 338, 339, 347, *range(512, 522), *range(529, 533)}
_PAGES = 1000
_RUN_LENGTH_PIXELS = 4_000_000


def read(data: bytes, limits: Limits) -> tuple[str, Raster, list[str]]:
    """Format, upright pixels (h, w, c) and what cannot be kept. Raises ``RefusedInput``."""
    found = kind(data)
    if found not in FORMATS:
        what = f"{found} is not supported" if found else "not a known kind of picture"
        raise UnsupportedInput(f"{what} (reads {', '.join(FORMATS)})", "format")
    notes: list[str] = []
    with reading(limits) as warned:
        raster = _READERS[found](data, limits, notes)
    if warned:
        notes.append("damaged metadata ignored")
    return found, raster, list(dict.fromkeys(notes))


def kind(data: bytes) -> str | None:
    """Name of the format, by signature."""
    return kind_of(data, _SIGNATURES) or ("TGA" if data[-18:].startswith(b"TRUEVISION-XFILE.") else None)


def _lossy(data: bytes) -> bool:
    """Whether the first picture of a WebP file is a lossy one."""
    at = 12
    while at + 24 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8 ")
        at += 24 if kind == b"ANMF" else 8 + size + size % 2
    return False


def _plain(kind: str) -> Callable[[bytes, Limits, list[str]], Raster]:
    """Reader of JPEG, WebP and BMP."""

    def read(data: bytes, limits: Limits, notes: list[str]) -> Raster:
        _precheck(data, kind, limits, notes)
        picture = opened(data, kind.upper(), limits)
        if kind == "JPEG":  # at least a bit per 64 pixels; what is missing would come out grey, without an error
            require_bytes(picture.width * picture.height // 512, data)
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            notes.append(f"1 of {frames} pictures in the file used")
        raster = upright(raster_of(picture, notes), picture, notes)
        notes.extend(f"{_METADATA[key]} not kept" for key in picture.info if key in _METADATA)
        return raster

    return read


def _precheck(data: bytes, kind: str, limits: Limits, notes: list[str]) -> None:
    """What Pillow does not look at, or only after it has taken the memory."""
    if kind == "WebP":
        claimed = struct.unpack_from("<I", data, 4)[0] + 8
        if claimed > len(data):
            raise UnreadableFile(f"the file ends early: {claimed:,} bytes claimed, {len(data):,} found", "truncated")
        if data[12:16] == b"VP8X" and len(data) >= 30:
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            require_size(width, height, limits)
        if _lossy(data):
            notes.append("lossy WebP written back as lossless WebP")
    elif kind == "BMP" and data[14] >= 40 and len(data) >= 34:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
        require_size(width, abs(height), limits)  # a negative height counts rows from the top
        if packing in (1, 2) and abs(width * height) > _RUN_LENGTH_PIXELS:  # decoded pixel by pixel in Python
            raise UnsupportedInput(f"run-length BMP above {_RUN_LENGTH_PIXELS:,} pixels", "variant")
        if packing in (0, 3):
            require_bytes(width * abs(height) * bits // 8, data)
        if bits == 16:
            notes.append("16-bit pixels written back as 24-bit")
        elif bits == 32 and packing == 0:
            notes.append("fourth byte of each pixel not kept (not marked as alpha)")


def _tiff(data: bytes, limits: Limits, notes: list[str]) -> Raster:
    """Reader of TIFF; Pillow turns it upright itself."""
    picture: Any = opened(data, "TIFF", limits)
    tags = dict(picture.tag_v2)
    if 50706 in tags or data[8:10] == b"CR" or int(tags.get(254, 0)) & 1:
        raise UnsupportedInput("camera raw, or a TIFF that starts with a preview: not supported", "raw")
    if any(form != 1 for form in tags.get(339, ())) and picture.mode != "I":
        raise UnsupportedInput("floating-point or signed samples: not supported yet (8 and 16 bits are)", "samples")
    depth, planes, extra = max(tags.get(258, (1,))), tags.get(284, 1), tags.get(338, ())
    if depth > 8 and planes == 2:
        raise UnsupportedInput("more than 8 bits in separate planes: not supported yet", "samples")
    if picture.info.get("compression") == "raw":
        require_bytes(picture.width * picture.height * min(tags.get(258, (1,))) // 8, data)
    if tags.get(262) == 6:
        notes.append("YCbCr converted to RGB")
    if depth > 8:
        notes.append(f"{depth}-bit samples reduced to 8 bits")
    elif depth in (2, 4) and picture.mode == "L":
        notes.append(f"{depth}-bit grey written back as 8-bit")
    if 1 in extra and picture.mode == "RGBA":
        notes.append("premultiplied alpha divided out")
    if any(kind not in (1, 2, 999) for kind in extra):
        notes.append("extra channels not kept")
    if picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        notes.append("lossy compression written back as lossless")
    if depth > 8 and picture.mode in ("I;16", "I;16B", "RGB", "RGBA") and 1 not in extra:
        high, low = wide(data, "TIFF", limits)
        raster = ~eight(high, low) if tags.get(262) == 0 else eight(high, low)  # 0: white is zero
    elif picture.mode == "I":
        raster = _sixteen_in_thirty_two(picture)
    else:
        raster = raster_of(picture, notes)
    pages = _pages(data, limits)
    if pages > 1:
        notes.append(f"1 of {pages if pages < _PAGES else f'{_PAGES} or more'} pages used")
    names = (_TIFF_METADATA.get(tag, "private tags") for tag in tags if tag not in _TIFF_LAYOUT)
    notes.extend(f"{what} not kept" for what in names)
    return raster


def _sixteen_in_thirty_two(picture: Any) -> Raster:
    """32-bit whole numbers that are 16-bit samples; wider ones have no scale we could know, and are refused."""
    picture.load()
    values = np.asarray(picture, np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise UnsupportedInput("32-bit samples: not supported yet (8 and 16 bits are)", "samples")
    return ((values + 128) // 257).astype(np.uint8)[..., None]


def _pages(data: bytes, limits: Limits) -> int:
    """Pages that can be reached, counted up to ``_PAGES``."""
    picture = opened(data, "TIFF", limits)
    with suppress(Exception):  # whatever is wrong with later pages, they are not used
        for page in range(1, _PAGES):
            picture.seek(page)
    return picture.tell() + 1


def _png(data: bytes, limits: Limits, notes: list[str]) -> Raster:
    """Reader of PNG: the decoder is given what was found sound."""
    header = png_check.header(data)
    require_size(header.width, header.height, limits)
    found = png_check.sound(data, header)
    if header.depth == 16:
        notes.append("16-bit samples reduced to 8 bits")
        high, low = wide(found.clean, "PNG", limits)
        raster, exact = eight(high, low), high.astype(np.uint16) << 8 | low if found.clear else high
    else:
        raster = exact = raster_of(opened(found.clean, "PNG", limits), notes)
        if header.depth in (2, 4) and header.colour == 0:
            notes.append(f"{header.depth}-bit grey written back as 8-bit")
    if found.clear:
        top = (1 << header.depth) - 1
        key = np.frombuffer(found.clear, ">u2") & top
        opaque = (exact != key * max(255 // top, 1)).any(axis=2, keepdims=True)
        raster = np.concatenate([raster, opaque * np.uint8(255)], axis=2)
        notes.append("transparent colour turned into an alpha channel")
    notes.extend(found.notes)
    return upright(raster, opened(found.clean, "PNG", limits), notes) if found.oriented else raster


_READERS: dict[str, Callable[[bytes, Limits, list[str]], Raster]] = {
    "PNG": _png,
    "JPEG": _plain("JPEG"),
    "WebP": _plain("WebP"),
    "TIFF": _tiff,
    "BMP": _plain("BMP"),
}
