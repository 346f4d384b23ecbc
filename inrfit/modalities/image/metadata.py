"""What a file says about its picture besides the samples: colour profile, EXIF, density. What is kept, and what is
named as not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .picture import Colour, Density

MAX_BYTES = 65_536
"""Largest size of all attachments of an image together, in bytes."""

ORIENTATION, EXIF_IFD, GPS_IFD, MAKER_NOTE = 0x0112, 0x8769, 0x8825, 0x927C
_LAYOUT_TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 283, 284, 296, 513, 514, 530, 531, 532)
"""Tags that describe the file rather than the picture. Some writers copy them into EXIF."""

CAPTION = 270
TIFF_TAGS = (CAPTION, 271, 272, 306, 315, 33432, EXIF_IFD, GPS_IFD)
"""Tags of a TIFF file that are kept as EXIF: caption, make, model, date, artist, copyright, and the blocks of EXIF and
GPS."""

NAMES = {
    "xmp": "XMP",
    "comment": "comment",
    "photoshop": "Photoshop data",
    "flashpix": "FlashPix data",
    "transparency": None,
}
"""Names in notes of metadata that are not kept, under Pillow's ``info`` keys."""

_BOXES_BYTES = 1 << 16
"""Beginning of an AVIF or HEIC file that is searched for its colours."""

INCH, METRE = "inch", "metre"


def bounded(attachments: Mapping[str, bytes], notes: list[str]) -> dict[str, bytes]:
    """The attachments that are not empty, in their order, as long as they fit into MAX_BYTES."""
    kept, total = {}, 0
    names = {"icc": "ICC profile", "exif": "EXIF"}
    for name, content in attachments.items():
        if name == "icc" and content and content[36:40] != b"acsp":
            notes.append("damaged ICC profile not kept")
        elif content and total + len(content) <= MAX_BYTES:
            kept[name], total = content, total + len(content)
        elif content:
            advice = "colours may change" if name == "icc" else "too large"
            notes.append(f"{names[name]} of {len(content):,} bytes not kept ({advice}; the limit is {MAX_BYTES:,})")
    return kept


def clean_exif(image: Any, keep_all: bool, notes: list[str]) -> bytes:
    """The EXIF block of an open image without the orientation, which is applied to the pixels, and without GPS position
    and maker notes unless ``keep_all``. Empty if there is none, or it is damaged."""
    try:
        if not image.info.get("exif") and image.format not in ("TIFF", "PNG"):
            return b""
        exif = image.getexif()
        unwanted: tuple[int, ...] = (ORIENTATION, *_LAYOUT_TAGS)
        if image.format == "TIFF":
            unwanted = tuple(tag for tag in exif if tag not in TIFF_TAGS)
            unwanted += (CAPTION,) * describes_layout(exif.get(CAPTION))
        for tag in unwanted:
            exif.pop(tag, None)
        details = exif.get_ifd(EXIF_IFD)
        position = exif.get_ifd(GPS_IFD)
        if not keep_all:
            if position:
                exif.pop(GPS_IFD, None)
                exif._ifds.pop(GPS_IFD, None)
                notes.append("GPS position not kept (keep it with --metadata all)")
            if details.pop(MAKER_NOTE, None) is not None:
                notes.append("maker notes of the camera not kept (keep them with --metadata all)")
        for tag in (EXIF_IFD, GPS_IFD):
            if not exif.get_ifd(tag):  # an empty block would be written
                exif.pop(tag, None)
                exif._ifds.pop(tag, None)
        if not (len(exif) or details):
            return b""
        return bytes(exif.tobytes())
    except Exception:  # depends on the damage
        notes.append("damaged EXIF ignored")
        return b""


def has_blocks(exif: bytes | None) -> bool:
    """Whether there are blocks of EXIF or GPS, beside single tags, in an EXIF block that can be read."""
    from PIL import Image

    block = Image.Exif()
    block.load(exif or b"")
    return EXIF_IFD in block or GPS_IFD in block


def describes_layout(caption: Any) -> bool:
    """Whether the caption of a TIFF file is a program's description of its arrays rather than text: ImageJ's, the JSON
    of tifffile, OME-XML."""
    return str(caption).lstrip().startswith(("ImageJ=", "{", "<"))


def density_of(image: Any) -> Density | None:
    """The density that an open image states, if any. A file without a unit states a ratio only."""
    info = image.info
    try:
        if "jfif_density" in info and info.get("jfif_unit") in (0, 1, 2):
            (x, y), unit = info["jfif_density"], info["jfif_unit"]
            if unit == 0:
                return _exif_density(image) or (None if x == y else _density(x, y, ""))
            return _density(x, y, INCH) if unit == 1 else _density(100 * x, 100 * y, METRE)
        if "aspect" in info:
            x, y = info["aspect"]
            return _density(x, y, "")
        if "dpi" in info:
            x, y = info["dpi"]
            return _density(x, y, INCH)
    except Exception:  # of damaged EXIF, too
        pass
    return None


def _exif_density(image: Any) -> Density | None:
    """The density in the EXIF block, for files whose own header states none."""
    exif = image.getexif()
    x, y, unit = exif.get(282), exif.get(283), exif.get(296, 2)
    if x is None or y is None or unit not in (2, 3):
        return None
    return _density(x, y, INCH) if unit == 2 else _density(100 * float(x), 100 * float(y), METRE)


def _density(x: Any, y: Any, unit: str) -> Density | None:
    """A density, if it makes sense."""
    x, y = float(x), float(y)
    return Density(round(x, 6), round(y, 6), unit) if 1e-3 <= x <= 1e9 and 1e-3 <= y <= 1e9 else None


def transposed(density: Density | None, orientation: int) -> Density | None:
    """The density after the EXIF ``orientation`` has been applied."""
    if density is None or orientation <= 4:
        return density
    return Density(density.y, density.x, density.unit)


def coded_colour(data: bytes) -> Colour:
    """What the ``colr`` box of an AVIF or HEIC file says in code points. sRGB, which other formats assume anyway, and
    unspecified points say nothing."""
    at = data[:_BOXES_BYTES].find(b"colrnclx") + 8
    if at < 8 or at + 4 > len(data):
        return Colour()
    primaries, transfer = data[at + 1], data[at + 3]
    if primaries in (1, 2) and transfer in (1, 2, 6, 13):
        return Colour()
    return Colour(cicp=(primaries, transfer, 0, 1))  # decoded samples are RGB of full range


def colour_json(colour: Colour) -> dict[str, Any] | None:
    """``colour`` for ``Signal.meta``; None if the file says nothing."""
    if colour == Colour():
        return None
    return {
        "gamma": colour.gamma,
        "chromaticities": None if colour.chromaticities is None else list(colour.chromaticities),
        "cicp": None if colour.cicp is None else list(colour.cicp),
        "srgb": colour.srgb,
    }


def unnamed_losses(info: Mapping[str, Any]) -> list[str]:
    """Notes on metadata among Pillow's ``info`` that are not kept."""
    return [f"{NAMES[key]} not kept" for key in info if NAMES.get(key)]
