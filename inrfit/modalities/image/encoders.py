"""How a raster is written in each format. writing.py says which images a format holds."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from ...io import extras
from ..request import Request
from . import png_writer
from .channels import nearest_entries, palette_of
from .metadata import INCH, has_blocks
from .picture import MODES_WITH_ALPHA, Raster

Meta = Mapping[str, Any]
Attachments = Mapping[str, bytes]
DEFAULT_QUALITY = 95
"""Quality of lossy files, from 1 to 100."""


@dataclass(frozen=True)
class Sheet:
    """What is written besides the samples: their ``mode`` and ``bits``, the picture's ``meta`` and attachments, and the
    request."""

    mode: str
    bits: int
    meta: Meta
    attachments: Attachments
    request: Request

    @property
    def quality(self) -> int | None:
        """The quality of a lossy file that was asked for."""
        return self.request.image_quality


def _dots_per_inch(meta: Meta) -> tuple[float, float] | None:
    """The density of an image; None if it has none, or only a ratio."""
    density = meta["density"]
    if not density or not density["unit"]:
        return None
    factor = 1.0 if density["unit"] == INCH else 0.0254
    x, y = (min(max(density[axis] * factor, 1e-3), 1e6) for axis in ("x", "y"))
    return x, y


def _image(raster: Raster, sheet: Sheet) -> Any:
    """``raster`` as an image of Pillow."""
    from PIL import Image

    if sheet.bits == 1 and sheet.mode == "L":
        return Image.fromarray(raster[..., 0] * np.uint8(255)).convert("1")
    if sheet.bits < 8:
        raster = scaled(raster, sheet.bits, 8)
    if sheet.mode == "CMYK":
        return Image.fromarray(np.ascontiguousarray(raster), mode="CMYK")
    return Image.fromarray(raster[..., 0] if raster.shape[2] == 1 else np.ascontiguousarray(raster))


def scaled(raster: Raster, bits: int, to: int) -> Raster:
    """Unsigned samples of ``bits`` bits as samples of ``to`` bits, 8 or 16."""
    factor = ((1 << to) - 1) / ((1 << bits) - 1)
    return (raster.astype(np.float64) * factor).round().astype(np.uint8 if to == 8 else np.uint16)


def _paletted(raster: Raster, sheet: Sheet) -> Any:
    """``raster``, whose colours are those of the picture's palette, as an image of Pillow of mode P; None if the
    picture has no palette, or is not written in its own mode."""
    from PIL import Image

    if not sheet.meta["palette"] or sheet.mode != sheet.meta["mode"]:
        return None
    palette = palette_of(sheet.meta["palette"], raster.shape[2])
    image = Image.fromarray(nearest_entries(raster, palette, sheet.mode), mode="P")
    image.putpalette(palette[:, :3].tobytes())
    if palette.shape[1] == 4:
        image.info["transparency"] = palette[:, 3].tobytes()
    return image


def _saved(image: Any, name: str, **options: Any) -> bytes:
    """The bytes of ``image`` as Pillow writes them."""
    file = BytesIO()
    image.save(file, name, **{key: value for key, value in options.items() if value is not None})
    return file.getvalue()


def save_png(raster: Raster, sheet: Sheet) -> bytes:
    """A PNG file."""
    image = _paletted(raster, sheet)
    if image is not None:
        bits = next(bits for bits in (1, 2, 4, 8) if len(image.getpalette()) // 3 <= 1 << bits)
        data = _saved(image, "PNG", bits=bits, transparency=image.info.get("transparency"))
    elif sheet.bits > 8 or sheet.bits in (2, 4):
        bits = sheet.bits if sheet.bits < 8 and sheet.mode == "L" else 16 if sheet.bits > 8 else 8
        raster = raster if bits == sheet.bits else scaled(raster, sheet.bits, bits)
        data = png_writer.write_png(raster, sheet.mode, bits)
    else:
        data = _saved(_image(raster, sheet), "PNG")
    return png_writer.with_metadata(data, sheet.meta, sheet.attachments)


def save_jpeg(raster: Raster, sheet: Sheet) -> bytes:
    """A JPEG file."""
    quality, chroma = sheet.quality or DEFAULT_QUALITY, {} if sheet.mode == "CMYK" else {"subsampling": 0}
    data = _saved(_image(raster, sheet), "JPEG", quality=quality, **chroma, **_blocks(sheet))
    density = sheet.meta["density"]
    if density and data[2:4] == b"\xff\xe0":
        x, y, unit = _jfif_density(density)
        data = data[:13] + struct.pack(">BHH", unit, x, y) + data[18:]
    return data


def _jfif_density(density: Mapping[str, Any]) -> tuple[int, int, int]:
    """Density and unit of a JFIF header: 0 ratio, 1 per inch, 2 per centimetre."""
    x, y = density["x"], density["y"]
    unit = {"": 0, INCH: 1}.get(density["unit"], 2)
    if unit == 2:
        x, y = x / 100, y / 100
        if max(abs(x - round(x)), abs(y - round(y))) > 1e-3:
            x, y, unit = 2.54 * x, 2.54 * y, 1
    if unit == 0 and max(x, y) < 1000:
        x, y = x * 1000 / max(x, y), y * 1000 / max(x, y)
        divisor = np.gcd(round(x), round(y))
        x, y = round(x) / divisor, round(y) / divisor
    return min(max(1, round(x)), 65_535), min(max(1, round(y)), 65_535), unit


def _blocks(sheet: Sheet) -> dict[str, Any]:
    """Options of Pillow for ICC profile and EXIF. EXIF that Pillow cannot read is left out."""
    from PIL import Image

    exif = sheet.attachments.get("exif")
    try:
        Image.Exif().load(exif or b"")
    except Exception:  # of a file that somebody has made up
        exif = None
    return {"icc_profile": sheet.attachments.get("icc"), "exif": exif}


def save_webp(raster: Raster, sheet: Sheet) -> bytes:
    """A WebP file, lossless unless a quality was asked for."""
    how = {"lossless": True} if sheet.quality is None else {"quality": sheet.quality}
    return _saved(_image(raster, sheet), "WEBP", exact=True, **how, **_blocks(sheet))


def save_avif(raster: Raster, sheet: Sheet) -> bytes:
    """An AVIF file."""
    quality = sheet.quality or DEFAULT_QUALITY
    return _saved(_image(raster, sheet), "AVIF", quality=quality, subsampling="4:4:4", **_blocks(sheet))


def save_heic(raster: Raster, sheet: Sheet) -> bytes:
    """A HEIC file."""
    extras.load("pillow_heif", "HEIC").register_heif_opener()
    return _saved(_image(raster, sheet), "HEIF", quality=sheet.quality or DEFAULT_QUALITY, chroma=444, **_blocks(sheet))


def save_jxl(raster: Raster, sheet: Sheet) -> bytes:
    """A JPEG XL file, lossless unless a quality was asked for."""
    extras.load("pillow_jxl", "JPEG XL")
    how = {"lossless": True} if sheet.quality is None else {"quality": sheet.quality}
    return _saved(_image(raster, sheet), "JXL", **how, **_blocks(sheet))


def save_tiff(raster: Raster, sheet: Sheet) -> bytes:
    """A TIFF file, by Pillow if it can."""
    if written_by_pillow(sheet.mode, sheet.bits, sheet.meta):
        density = sheet.meta["density"]
        extra: dict[str, Any] = {}
        if density:
            per_cm = density["unit"] not in (INCH, "")
            factor = 0.01 if per_cm else 1.0
            extra = {"x_resolution": density["x"] * factor, "y_resolution": density["y"] * factor}
            extra["resolution_unit"] = 3 if per_cm else 2 if density["unit"] else 1
        image = _paletted(raster, sheet) if sheet.mode == "RGB" else None
        blocks = _blocks(sheet)
        compression = None if has_blocks(blocks["exif"]) else "tiff_lzw"  # libtiff cannot write blocks of EXIF
        image = _image(raster, sheet) if image is None else image
        return _saved(image, "TIFF", compression=compression, **extra, **blocks)
    return _tifffile(raster, sheet)


def written_by_pillow(mode: str, bits: int, meta: Meta) -> bool:
    """Whether a TIFF file is written by Pillow, which writes EXIF; tifffile writes what Pillow cannot."""
    return bits <= 8 and meta["scale"]["dtype"].startswith("uint") and mode not in ("bands", "CMYKA")


def _tifffile(raster: Raster, sheet: Sheet) -> bytes:
    """A TIFF of samples that Pillow cannot write."""
    import tifffile

    alpha = sheet.mode in MODES_WITH_ALPHA
    channels = raster.shape[2]
    photometric = {"RGB": "rgb", "RGBA": "rgb", "CMYK": "separated", "CMYKA": "separated"}.get(sheet.mode, "minisblack")
    own = {"rgb": 3, "separated": 4}.get(photometric, 1)
    extras = ["unspecified"] * (channels - own)
    if alpha:
        extras[-1] = "unassalpha"
    options: dict[str, Any] = {"photometric": photometric, "compression": "zlib", "metadata": None}
    if raster.dtype.kind in "iu":
        options["predictor"] = True
    if extras:
        options["extrasamples"] = extras
    if channels > 1:
        options["planarconfig"] = "contig"
    if sheet.attachments.get("icc"):
        options["iccprofile"] = sheet.attachments["icc"]
    density = sheet.meta["density"]
    if density:
        per_cm = density["unit"] not in (INCH, "")
        factor = 0.01 if per_cm else 1.0
        unit = "CENTIMETER" if per_cm else "INCH" if density["unit"] else "NONE"
        options |= {"resolution": (density["x"] * factor, density["y"] * factor), "resolutionunit": unit}
    file = BytesIO()
    tifffile.imwrite(file, raster[..., 0] if channels == 1 else raster, software=False, **options)
    return file.getvalue()


def save_bmp(raster: Raster, sheet: Sheet) -> bytes:
    """A BMP file."""
    if sheet.mode in MODES_WITH_ALPHA:
        return _bmp_with_alpha(raster, _dots_per_inch(sheet.meta) or (0.0, 0.0))
    image = _paletted(raster, sheet)
    return _saved(_image(raster, sheet) if image is None else image, "BMP", dpi=_dots_per_inch(sheet.meta) or (0, 0))


def _bmp_with_alpha(raster: Raster, dots_per_inch: tuple[float, float]) -> bytes:
    """A BMP file of version 4 with an alpha mask. Pillow writes version 3, in which readers ignore the fourth byte."""
    height, width = raster.shape[:2]
    order = [0, 0, 0, 1] if raster.shape[2] == 2 else [2, 1, 0, 3]
    pixels = raster[::-1, :, order].tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    per_metre = [min(round(value / 0.0254), 2**31 - 1) for value in dots_per_inch]
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), *per_metre, 0, 0)
    head += struct.pack("<4I4s48x", *masks, b"BGRs")
    return struct.pack("<2sIII", b"BM", 14 + len(head) + len(pixels), 0, 14 + len(head)) + head + pixels


def save_gif(raster: Raster, sheet: Sheet) -> bytes:
    """A GIF file."""
    image = _paletted(raster, sheet)
    if image is None:
        return _saved(_image(raster, sheet), "GIF")
    alpha = image.info.pop("transparency", None)
    index = alpha.index(0) if alpha and 0 in alpha else None
    if alpha and alpha.count(0) > 1:  # GIF has one transparent entry
        image = image.point([index if k < len(alpha) and not alpha[k] else k for k in range(256)])
    return _saved(image, "GIF", transparency=index, optimize=False)


def saver(name: str, **options: Any) -> Callable[[Raster, Sheet], bytes]:
    """A function that writes the format ``name`` of Pillow."""
    return lambda raster, sheet: _saved(_image(raster, sheet), name, **options)


def save_jpeg_2000(raster: Raster, sheet: Sheet) -> bytes:
    """A lossless JPEG 2000 file."""
    return _saved(_image(raster, sheet), "JPEG2000", irreversible=False)


def save_netpbm(raster: Raster, sheet: Sheet) -> bytes:
    """A PBM, PGM, PPM, PAM or PFM file, whichever holds the samples."""
    height, width, channels = raster.shape
    if raster.dtype.kind == "f":
        scale = b"-1.0"
        head = b"%s\n%d %d\n%s\n" % (b"PF" if channels == 3 else b"Pf", width, height, scale)
        return head + raster[::-1].astype("<f4").tobytes()
    if sheet.bits == 1 and sheet.mode == "L":
        return b"P4\n%d %d\n" % (width, height) + np.packbits(1 - raster[..., 0], axis=1).tobytes()
    largest = (1 << sheet.bits) - 1
    samples = raster.astype(">u2" if largest > 255 else np.uint8).tobytes()
    if sheet.mode in ("L", "RGB"):
        return b"%s\n%d %d\n%d\n" % (b"P6" if channels == 3 else b"P5", width, height, largest) + samples
    kind = {"LA": b"GRAYSCALE_ALPHA", "RGBA": b"RGB_ALPHA"}.get(sheet.mode, b"")
    head = b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n"
    return head % (width, height, channels, largest, kind) + samples
