"""Reading TIFF files with tifffile, from their tags.

Samples of up to 8 bits that Pillow reads exactly, and compressions that tifffile does not know without imagecodecs, are
decoded by Pillow; everything else by tifffile. A valid file of an unusual kind is refused by its kind (``samples``,
``layout``, ``compression``), not as damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np

from ...errors import InrfitError, UnreadableFile, UnsupportedInput, UsageError, printable
from ...io.limits import Limits
from .metadata import INCH, METRE, TIFF_TAGS, transposed
from .picture import MAX_BANDS, Density, Picture, Raster, mode_of
from .pillow_reader import decoded, open_image, read_16_bit, require_bytes, require_size

GREY_WHITE_IS_0, GREY, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
ASSOCIATED, UNASSOCIATED = 1, 2
UNCOMPRESSED = (1,)
NEEDS_NO_CODEC = (1, 8, 32946, 32773)
"""Compressions that tifffile decodes with the standard library: none, deflate (two numbers) and PackBits."""

LOSSY = (6, 7, 34892, 34934, 50001, 34712, 33003, 33005)
"""JPEG, JPEG XR, WebP and JPEG 2000."""

_METADATA_NAMES = {
    **dict.fromkeys((269, 270, 285, 305, 316), "text"),
    **dict.fromkeys((318, 319), "chromaticities"),
    301: "transfer curve",
    330: "sub-images",
    700: "XMP",
    33550: "georeference (GeoTIFF)",
    33922: "georeference (GeoTIFF)",
    34735: "georeference (GeoTIFF)",
    33723: "IPTC",
    34377: "Photoshop data",
}
_KEPT_TAGS = {282, 283, 296, 34675, *TIFF_TAGS}
_LAYOUT_TAGS = {*range(254, 267), 273, 274, *range(277, 282), 284, 292, 293, 297, 317, *range(320, 326)}
_LAYOUT_TAGS |= {332, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533)}

MAX_PAGES = 1000
"""Maximum number of pages that are counted."""


@dataclass(frozen=True)
class Layout:
    """The tags of a page that decide how its samples are read."""

    width: int
    height: int
    channels: int
    bits: int
    sample_format: int
    photometric: int
    planar: bool
    compression: int
    extra: tuple[int, ...]
    predictor: int
    depth: int


def read_tiff(data: bytes, frame: int, limits: Limits, notes: list[str]) -> tuple[Picture, Any]:
    """Page ``frame`` (from 1) as it is displayed, and an image with its EXIF."""
    import tifffile

    with _translated(), tifffile.TiffFile(BytesIO(data)) as file:
        pages = _count_pages(file)
        if frame > pages:
            raise UsageError(f"--frame {frame}: the file has {pages} {'page' if pages == 1 else 'pages'}", "option")
        page: Any = file.pages[frame - 1]
        layout, tags = _layout(page), {tag.code: tag.value for tag in page.tags}
        slices = _slices(file, layout)
        _check(layout, tags, data, limits)
        _note_kind(layout, notes)
        picture = _read_page(data, page, layout, frame, limits, notes)
        profile = tags.get(34675, b"")
    if pages > 1:
        shown = pages if pages < MAX_PAGES else f"{MAX_PAGES} or more"
        notes.append(
            f"{frame} of {shown} pages used (choose one with --frame)" if frame > 1 else f"1 of {shown} pages used"
        )
    elif slices > 1:
        notes.append(f"1 of {slices} slices used: the others have no pages of their own")
    names = (_METADATA_NAMES.get(code, "private tags") for code in tags if code not in _LAYOUT_TAGS | _KEPT_TAGS)
    notes.extend(f"{name} not kept" for name in names)
    icc = bytes(profile) if isinstance(profile, bytes) else b""
    image = open_exif(data, frame, limits) if tags.keys() & set(TIFF_TAGS) else None
    orientation = _orientation(page)
    if orientation != 1:
        notes.append("orientation applied to the pixels")
    picture = replace(picture, icc=icc, density=transposed(_density(tags), orientation))
    return picture, image


def open_exif(data: bytes, frame: int, limits: Limits) -> Any:
    """A page as Pillow opens it, for its EXIF; None if Pillow cannot."""
    try:
        return open_image(data, "TIFF", limits, frame)
    except Exception:  # Pillow does not know every kind of TIFF
        return None


@contextmanager
def _translated() -> Iterator[None]:
    """Context in which exceptions of tifffile become refusals."""
    import tifffile

    try:
        yield
    except InrfitError:
        raise
    except tifffile.TiffFileError as error:
        raise UnreadableFile(f"damaged: {printable(error)[:120]}", "corrupt") from error
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        text = printable(error)[:120]
        if "imagecodecs" in text:
            raise UnsupportedInput(
                f"compression not supported here ({text}): install inrfit[tiff]", "compression"
            ) from error
        raise UnreadableFile(f"damaged: {text or type(error).__name__}", "corrupt") from error


def _count_pages(file: Any) -> int:
    """Number of readable pages, counted up to MAX_PAGES."""
    count = 1
    try:
        while count < MAX_PAGES:
            file.pages[count]
            count += 1
    except Exception:  # the end, or damage to later pages, which does not matter
        pass
    return count


def _slices(file: Any, layout: Layout) -> int:
    """Number of pictures behind the only page: ImageDepth (SGI), or ImageJ's ``images``."""
    described = (file.imagej_metadata or {}).get("images", 1) if file.is_imagej else 1
    return max(layout.depth, int(described) if isinstance(described, int) else 1)


def _layout(page: Any) -> Layout:
    """The layout of a page."""
    bits = page.bitspersample
    bits = max(bits) if isinstance(bits, tuple) else int(bits)
    sample_format = page.sampleformat
    sample_format = max(sample_format) if isinstance(sample_format, tuple) else int(sample_format or 1)
    return Layout(
        int(page.imagewidth),
        int(page.imagelength),
        int(page.samplesperpixel),
        bits,
        int(sample_format),
        int(page.photometric),
        int(page.planarconfig or 1) == 2,
        int(page.compression),
        tuple(int(kind) for kind in page.extrasamples or ()),
        int(page.predictor or 1),
        int(getattr(page, "imagedepth", 1) or 1),
    )


def _check(layout: Layout, tags: dict[int, Any], data: bytes, limits: Limits) -> None:
    """Raises a ``RefusedInput`` for a page that is not supported, or whose pixels cannot be in the file."""
    require_size(layout.width, layout.height, limits)
    if 50706 in tags or data[8:10] == b"CR" or int(tags.get(254, 0)) & 1:
        raise UnsupportedInput("camera raw, or a TIFF that starts with a preview: not supported", "raw")
    kind = {1: "uint", 2: "int", 3: "float"}.get(layout.sample_format, "complex or undefined")
    supported = {"uint": (*range(1, 17), 32), "int": (8, 16, 32), "float": (16, 24, 32, 64)}.get(kind, ())
    if layout.bits not in supported:
        raise UnsupportedInput(f"{kind}{layout.bits} samples are not supported", "samples")
    if layout.channels > MAX_BANDS:
        raise UnsupportedInput(f"{layout.channels} channels: at most {MAX_BANDS} are supported", "layout")
    if layout.compression in UNCOMPRESSED:
        require_bytes(layout.width * layout.height * layout.channels * layout.bits // 8, data)


def _note_kind(layout: Layout, notes: list[str]) -> None:
    """Notes on what a written TIFF will not have."""
    if layout.photometric == YCBCR:
        notes.append("YCbCr converted to RGB")
    if ASSOCIATED in layout.extra[:1]:
        notes.append("premultiplied alpha divided out")
    if layout.compression in LOSSY:
        notes.append("lossy compression written back as lossless")


def _read_page(data: bytes, page: Any, layout: Layout, frame: int, limits: Limits, notes: list[str]) -> Picture:
    """The samples of a page as they are displayed."""
    with_pillow, image = _for_pillow(layout), None
    if with_pillow is not None:
        image = open_exif(data, frame, limits)
    if image is not None:
        if with_pillow == 16:
            raster = read_16_bit(data, "TIFF", limits, frame)
            raster = raster if layout.photometric != GREY_WHITE_IS_0 else np.uint16(65_535) - raster
            return Picture(raster, mode_of(raster.shape[2], layout.extra == (UNASSOCIATED,)), 16, notes=notes)
        picture = decoded(image, notes)
        if layout.bits in (2, 4) and picture.mode == "L":
            return replace(picture, raster=picture.raster // (255 // ((1 << layout.bits) - 1)), bits=layout.bits)
        return picture
    return _from_array(page.asarray(), layout, _orientation(page), notes)


def _for_pillow(layout: Layout) -> int | None:
    """The bits per sample with which Pillow reads a page exactly, 8 or 16; None if it does not."""
    plain = layout.sample_format == 1 and layout.depth == 1
    known = {
        GREY_WHITE_IS_0: ((1, ()), (2, (UNASSOCIATED,))),
        GREY: ((1, ()), (2, (UNASSOCIATED,))),
        RGB: ((3, ()), (4, (UNASSOCIATED,)), (4, (ASSOCIATED,))),
        PALETTE: ((1, ()),),
        CMYK: ((4, ()),),
        YCBCR: ((3, ()),),
        LAB: ((3, ()),),
    }
    if not plain or (layout.channels, layout.extra) not in known.get(layout.photometric, ()):
        return None
    if layout.bits == 8 or (layout.bits in (1, 2, 4) and layout.channels == 1):
        return 8
    decodes_itself = layout.compression in NEEDS_NO_CODEC
    grey_or_rgb = (layout.channels, layout.extra) in ((1, ()), (3, ()), (4, (UNASSOCIATED,)))
    return 16 if layout.bits == 16 and grey_or_rgb and not layout.planar and not decodes_itself else None


def _from_array(array: Any, layout: Layout, orientation: int, notes: list[str]) -> Picture:
    """The picture in an array that tifffile decoded."""
    from .pillow_reader import upright

    samples: Raster = np.asarray(array)
    if layout.depth > 1 and samples.ndim > 2 + (layout.channels > 1):
        samples = samples[:, 0] if layout.planar and layout.channels > 1 else samples[0]
    if layout.channels == 1:
        samples = samples.reshape(layout.height, layout.width, 1)
    elif layout.planar:
        samples = np.moveaxis(samples, 0, -1)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8)
    bits = layout.bits
    if layout.photometric == GREY_WHITE_IS_0 and samples.dtype.kind == "u":
        samples = np.asarray((1 << bits) - 1 - samples.astype(np.int64)).astype(samples.dtype)
    if ASSOCIATED in layout.extra[-1:]:
        samples = _divided(samples, bits)
    mode = _mode(layout)
    if layout.photometric == LAB:
        notes.append("Lab samples kept as three channels without a colour space")
    return Picture(upright(samples, orientation), mode, bits, notes=notes)


def _mode(layout: Layout) -> str:
    """The mode of a page that tifffile reads."""
    alpha = layout.extra[-1:] in ((ASSOCIATED,), (UNASSOCIATED,))
    if layout.photometric == CMYK and layout.channels == 4 + alpha:
        return "CMYKA" if alpha else "CMYK"
    if layout.photometric in (GREY, GREY_WHITE_IS_0) and layout.channels <= 1 + alpha:
        return mode_of(layout.channels, alpha)
    if layout.photometric in (RGB, YCBCR) and layout.channels <= 3 + alpha:
        return mode_of(layout.channels, alpha)
    return "L" if layout.channels == 1 else "bands"


def _divided(samples: Raster, bits: int) -> Raster:
    """Colours divided by alpha, the last channel, in the precision of the samples."""
    opaque = 1.0 if samples.dtype.kind == "f" else float((1 << bits) - 1)
    alpha = samples[..., -1:].astype(np.float64)
    colours = samples[..., :-1] * (opaque / np.where(alpha == 0, opaque, alpha))
    if samples.dtype.kind != "f":
        colours = colours.round().clip(0, opaque)
    return np.concatenate([colours.astype(samples.dtype), samples[..., -1:]], axis=-1)


def _orientation(page: Any) -> int:
    """The orientation tag of a page, 1 to 8."""
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def _density(tags: dict[int, Any]) -> Density | None:
    """The density in the tags of a page."""
    values = []
    for code in (282, 283):
        value = tags.get(code)
        if not (isinstance(value, tuple) and len(value) == 2 and value[1]):
            return None
        values.append(value[0] / value[1])
    x, y = values
    unit = int(tags.get(296, 2))
    if not (x > 0 and y > 0) or (unit not in (2, 3) and x == y):
        return None
    return {2: Density(x, y, INCH), 3: Density(100 * x, 100 * y, METRE)}.get(unit, Density(x, y, ""))
