"""Writing image files: what each format holds, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ...errors import UsageError
from ...io import extras
from ..request import NONE, Request
from . import encoders
from .encoders import Attachments, Meta, Sheet
from .openexr import write_openexr
from .picture import MAX_SIDE, MODES_WITH_ALPHA, Raster
from .radiance import write_radiance
from .sample_types import opaque


@dataclass(frozen=True)
class Format:
    """What a format holds. ``kinds``: types of samples, as letters and numbers of bits (u8, i16, f32). ``keeps``: which
    of "icc", "exif", "density", "colour" and "palette". ``save(raster, sheet)`` writes it, by ``package``."""

    name: str
    modes: frozenset[str]
    kinds: frozenset[str]
    max_side: int
    keeps: frozenset[str]
    save: Callable[[Raster, Sheet], bytes]
    package: str | None = None


_NETPBM = (".pbm", ".pgm", ".ppm", ".pam")
LOSSY, LOSSY_ON_REQUEST = (".jpg", ".avif", ".heic"), (".webp", ".jxl")
"""Suffixes of formats that are always written with loss, and with a quality only."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def check(meta: Meta, suffix: str, request: Request, size: tuple[int, int]) -> tuple[Format, str, str, int]:
    """The format of ``suffix``, its normalised suffix, and the mode and bits in which the image will be written. Raises
    ``UsageError`` if the format cannot hold an image of this kind and ``size`` (width, height), or if its package
    is not installed."""
    ending = ALIASES.get(suffix.lower(), suffix.lower())
    if ending not in FORMATS:
        raise UsageError(f"{suffix!r}: images are written as {' '.join(SUFFIXES)}", "suffix")
    known, mode, bits = FORMATS[ending], meta["mode"], meta["bits"]
    if known.package is not None:
        extras.require(known.package, known.name)
    if mode in MODES_WITH_ALPHA and (request.background is not None or (is_opaque(meta) and mode not in known.modes)):
        mode = mode[:-1]
    if request.background is not None:
        parse_colour(request.background)
    kind = _kind(meta["scale"]["dtype"], bits)
    if request.bits == 8:
        if kind[0] != "u":
            raise UsageError("--bits 8: only unsigned integer samples can be reduced to 8 bits", "request")
        kind, bits = ("u8", 8) if bits > 8 else (kind, bits)
    if mode not in known.modes:
        if mode[:-1] in known.modes and mode in MODES_WITH_ALPHA:
            advice = f"use --background COLOUR, or {_advice('modes', mode)}"
            raise UsageError(f"{known.name} cannot hold an alpha channel; {advice}", "suffix")
        what = f"{meta['bands']} channels" if mode == "bands" else mode
        raise UsageError(f"{known.name} cannot hold an image of {what}; use {_advice('modes', mode)}", "suffix")
    if kind not in known.kinds:
        remedy = "use --bits 8, or " if kind[0] == "u" and "u8" in known.kinds else "use "
        raise UsageError(
            f"{known.name} cannot hold {describe_kind(kind)} samples; {remedy}{_advice('kinds', kind)}", "suffix"
        )
    if max(size) > known.max_side:
        raise UsageError(f"{known.name} holds at most {known.max_side:,} pixels per side; use .png or .tif", "suffix")
    if ending == ".jp2" and kind == "u16" and mode != "L":
        raise UsageError("JPEG 2000 is written with 16 bits for grey only; use .png, .tif, or --bits 8", "suffix")
    if ending == ".gif" and mode != "L" and not meta["palette"]:
        raise UsageError("GIF holds at most 256 colours, and this image has no palette; use .png or .webp", "suffix")
    return known, ending, mode, bits


def is_opaque(meta: Meta) -> bool:
    """Whether the image has an alpha channel that is opaque everywhere."""
    sources = meta["channels"]
    return bool(meta["mode"] in MODES_WITH_ALPHA and sources and sources[-1] == {"value": opaque(meta)})


def parse_colour(text: str) -> tuple[int, int, int]:
    """A colour of HTML, by its name or as #rrggbb, as 8-bit RGB. Raises ``UsageError``."""
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UsageError(f"--background {text}: must be a colour, such as white or #ffcc00", "option") from None
    return red, green, blue


def _kind(dtype: str, bits: int) -> str:
    """The kind of samples: "u8" for up to 8 bits, else the type's letter and size."""
    letter = {"u": "u", "i": "i", "f": "f"}[dtype[0]]
    return "u8" if letter == "u" and bits <= 8 else letter + dtype.lstrip("uintfloa")


def describe_kind(kind: str) -> str:
    """The kind of samples in words."""
    return {"u": "unsigned ", "i": "signed ", "f": "floating-point "}[kind[0]] + f"{kind[1:]}-bit"


def _advice(attribute: str, value: str) -> str:
    """The suffixes of the formats that hold ``value``."""
    return ", ".join(ending for ending, known in FORMATS.items() if value in getattr(known, attribute))


def notes(meta: Meta, suffix: str, request: Request, attachments: Attachments, size: tuple[int, int]) -> list[str]:
    """What a file of ``suffix`` will not have. Raises the ``UsageError`` of ``check``."""
    known, ending, mode, bits = check(meta, suffix, request, size)
    out = [*_aspect_note(meta, size), *_loss_notes(known, ending, request)]
    colour = meta["colour"]
    coded = colour is not None and (colour["srgb"] is None or colour["cicp"] is not None)
    has = {
        "icc": ("icc" in attachments, "colour profile: colours may look different"),
        "colour": (coded, "gamma, primaries or transfer curve: colours may look different"),
        "density": (meta["density"] is not None, "pixel density"),
        "exif": ("exif" in attachments, "EXIF"),
        "palette": (meta["palette"] is not None and bits <= 8, "palette"),
    }
    keeps = known.keeps
    if ending == ".tif" and not encoders.written_by_pillow(mode, bits, meta):
        keeps -= {"exif", "palette"}
    missing = (label for key, (present, label) in has.items() if present and key not in keeps)
    out += [f"{known.name} does not keep the {label}" for label in missing]
    if mode != meta["mode"] and request.background is None:
        out.append(f"{known.name} does not keep the alpha channel, which is opaque everywhere")
    if request.background is not None and meta["mode"] not in MODES_WITH_ALPHA:
        out.append("--background has no effect: the picture has no alpha channel")
    return [*out, *_sample_notes(meta, ending, mode, bits)]


def meta_in_file(meta: Meta, suffix: str, request: Request, size: tuple[int, int]) -> Meta:
    """``meta`` with the mode, the bits and the palette that a file of ``suffix`` has."""
    known, _, mode, bits = check(meta, suffix, request, size)
    palette = meta["palette"] if "palette" in known.keeps and bits <= 8 else None
    return {**meta, "mode": mode, "bits": bits, "palette": palette}


def _sample_notes(meta: Meta, ending: str, mode: str, bits: int) -> list[str]:
    """Notes on samples that a format stores otherwise."""
    out = []
    if 8 < bits < 16 and ending == ".tif":
        out.append(f"{bits}-bit samples are stored in 16 bits each")
    elif 8 < bits < 16 and ending == ".png":
        out.append(f"{bits}-bit samples are scaled to 16 bits")
    kept_by = {1: (".png", ".tif", ".bmp", ".gif", *_NETPBM), 2: (".png", *_NETPBM), 4: (".png", *_NETPBM)}
    if bits < 8 and not meta["palette"] and (mode != "L" or ending not in kept_by.get(bits, _NETPBM)):
        out += [f"{bits}-bit samples are scaled to 8 bits"] if ending not in _NETPBM else []
    if ending == ".hdr":
        out.append("Radiance HDR keeps 8 significant bits of the brightest channel, and no negative samples")
    if meta["palette"] and mode == "RGBA" and ending in (".tif", ".bmp"):
        out.append("a palette with transparency is written as colours")
    if meta["palette"] and mode == "RGBA" and ending == ".gif":
        out.append("GIF has no partial transparency: such colours become opaque")
    return out


def _aspect_note(meta: Meta, size: tuple[int, int]) -> list[str]:
    """A note if ``size`` has another aspect than the source, by more than rounding to whole pixels gives."""
    (width, height), (own_width, own_height) = size, (meta["width"], meta["height"])
    if abs(width - height * own_width / own_height) <= 1 or abs(height - width * own_height / own_width) <= 1:
        return []
    return [f"{width}x{height} has another aspect than the source ({own_width}x{own_height}): the picture is stretched"]


def _loss_notes(known: Format, ending: str, request: Request) -> list[str]:
    """A note if the file is written with loss, or a quality is asked for but has no effect."""
    quality = request.image_quality
    if ending in LOSSY or (quality is not None and ending in LOSSY_ON_REQUEST):
        chroma = " without chroma subsampling" if ending == ".jpg" else ""
        return [f"{known.name} is written at quality {quality or encoders.DEFAULT_QUALITY}{chroma}, with further loss"]
    if ending == ".webp":
        return ["WebP is written without loss (lossy with --image-quality)"]
    return [] if quality is None else [f"--image-quality has no effect: {known.name} is written without loss"]


def write(decoded: Raster, meta: Meta, suffix: str, request: Request, attachments: Attachments = NONE) -> bytes:
    """The bytes of ``decoded`` (h, w, c) as an image file. Raises ``UsageError`` for an image that the format cannot
    hold."""
    size = decoded.shape[1], decoded.shape[0]
    known, _, mode, bits = check(meta, suffix, request, size)
    raster = decoded
    if mode != meta["mode"]:
        raster = _flattened(raster, parse_colour(request.background or "black"), opaque(meta))
    if bits != meta["bits"]:
        raster = (raster.astype(np.float64) * (255 / ((1 << meta["bits"]) - 1))).round().astype(np.uint8)
    return known.save(raster, Sheet(mode, bits, meta, attachments, request))


def _flattened(raster: Raster, background: tuple[int, int, int], largest: float) -> Raster:
    """``raster`` with its alpha channel laid over ``background`` (8-bit RGB)."""
    colours, alpha = raster[..., :-1].astype(np.float64), raster[..., -1:].astype(np.float64) / largest
    under = np.array(background, np.float64) * (largest / 255)
    under = under if colours.shape[2] == 3 else under[:1] * 0 + under @ (0.299, 0.587, 0.114)
    mixed = colours * alpha + under * (1 - alpha)
    return (mixed.round() if raster.dtype.kind in "iu" else mixed).astype(raster.dtype)


def _format(
    name: str, modes: str, kinds: str, side: int, keeps: str, save: Callable[[Raster, Sheet], bytes],
    package: str | None = None,
) -> Format:  # fmt: skip
    return Format(name, _words(modes), _words(kinds), side, _words(keeps), save, package)


_ALL = "L LA RGB RGBA"
_PNM = _format("PNM", _ALL + " bands CMYK CMYKA", "u8 u16", MAX_SIDE, "", encoders.save_netpbm)
FORMATS: Mapping[str, Format] = {
    ".png": _format("PNG", _ALL, "u8 u16", 2**31 - 1, "icc exif density colour palette", encoders.save_png),
    ".jpg": _format("JPEG", "L RGB CMYK", "u8", 65_500, "icc exif density", encoders.save_jpeg),
    ".webp": _format("WebP", _ALL, "u8", 16_383, "icc exif", encoders.save_webp),
    ".tif": _format(
        "TIFF", _ALL + " bands CMYK CMYKA", "u8 u16 u32 i8 i16 i32 f16 f32 f64", 2**31 - 1, "icc exif density palette",
        encoders.save_tiff,
    ),
    ".bmp": _format("BMP", _ALL, "u8", 2**31 - 1, "density palette", encoders.save_bmp),
    ".gif": _format("GIF", "L RGB RGBA", "u8", 65_535, "palette", encoders.save_gif),
    ".avif": _format("AVIF", _ALL, "u8", 65_535, "icc exif", encoders.save_avif),
    ".jp2": _format("JPEG 2000", _ALL, "u8 u16", 2**31 - 1, "", encoders.save_jpeg_2000),
    ".tga": _format("TGA", "L LA RGB RGBA", "u8", 65_535, "", encoders.saver("TGA")),
    ".qoi": _format("QOI", "RGB RGBA", "u8", 2**31 - 1, "", encoders.saver("QOI")),
    ".pbm": replace(_PNM, modes=frozenset({"L"})),
    ".pgm": replace(_PNM, modes=frozenset({"L"})),
    ".ppm": replace(_PNM, modes=frozenset({"RGB"})),
    ".pam": _PNM,
    ".pfm": _format("PFM", "L RGB", "f32", MAX_SIDE, "", encoders.save_netpbm),
    ".hdr": _format("Radiance HDR", "RGB", "f16 f32", MAX_SIDE, "", lambda raster, sheet: write_radiance(raster)),
    ".exr": _format(
        "OpenEXR", _ALL + " bands", "f16 f32 u32", MAX_SIDE, "",
        lambda raster, sheet: write_openexr(raster, sheet.mode), "OpenEXR",
    ),
    ".heic": _format("HEIC", _ALL, "u8", 16_384, "icc exif", encoders.save_heic, "pillow_heif"),
    ".jxl": _format("JPEG XL", _ALL, "u8", MAX_SIDE, "icc exif", encoders.save_jxl, "pillow_jxl"),
}  # fmt: skip
"""The formats that are written, by their suffix."""

ALIASES = {".jpeg": ".jpg", ".tiff": ".tif", ".pnm": ".pam", ".jpe": ".jpg", ".j2k": ".jp2", ".heif": ".heic"}
"""Other suffixes of the same formats."""

SUFFIXES: tuple[str, ...] = (*FORMATS, *ALIASES)

_SUFFIX_BY_FORMAT = {
    "PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif", "AVIF": ".avif",
    "JPEG 2000": ".jp2", "TGA": ".tga", "QOI": ".qoi", "ICO": ".png", "RADIANCE HDR": ".hdr", "OPENEXR": ".exr",
    "HEIC": ".heic", "JPEG XL": ".jxl",
}  # fmt: skip


def default_suffix(meta: Meta) -> tuple[str, str | None]:
    """The suffix of the source's own format, and a note if files are written in another one."""
    format_name = meta["format"]
    if format_name == "PNM":
        floats, bilevel = meta["scale"]["dtype"] == "float32", meta["bits"] == 1
        ending = {"L": ".pbm" if bilevel else ".pgm", "RGB": ".ppm"}.get(meta["mode"], ".pam")
        return (".pfm" if floats else ending), None
    ending = _SUFFIX_BY_FORMAT[format_name]
    if format_name == "ICO":
        return ending, "ICO is written as PNG"
    if format_name == "GIF" and not meta["palette"] and meta["mode"] != "L":
        return ".png", "a frame of GIF without a palette of its own is written as PNG"
    return ending, None
