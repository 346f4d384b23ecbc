"""Reading TIFF files with tifffile, from their tags.

Samples of up to 8 bits that Pillow reads exactly, and compressions that tifffile does not know without imagecodecs, are
decoded by Pillow; everything else by tifffile. A valid file of an unusual kind is refused by its kind (``samples``,
``layout``, ``compression``), not as damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np

from ...errors import InrfitError, UnreadableFile, UnsupportedInput, UsageError, machine_error, printable
from ...io import extras
from ...io.limits import Limits
from .metadata import CAPTION, INCH, METRE, TIFF_TAGS, describes_layout, transposed
from .picture import Density, Picture, Raster, mode_of
from .pillow_reader import decoded, open_image, read_16_bit, upright
from .tiff_layout import (
    ASSOCIATED,
    GREY_WHITE_IS_0,
    ICC_LAB,
    ITU_LAB,
    LAB,
    PALETTE,
    UNASSOCIATED,
    Layout,
    bits_for_pillow,
    check,
    layout_of,
    mode_of_layout,
    note_kind,
)

_METADATA_NAMES = {
    269: "document name",
    270: "description",
    285: "page name",
    305: "name of the software",
    316: "name of the computer",
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


def read_tiff(data: bytes, frame: int, limits: Limits, notes: list[str]) -> tuple[Picture, Any]:
    """Page ``frame`` (from 1) as it is displayed, and an image with its EXIF."""
    import tifffile

    with _translated(), tifffile.TiffFile(BytesIO(data)) as file:
        pages = _count_pages(file)
        if frame > pages:
            raise UsageError(
                f"picture {frame} (--frame, --page): the file has {pages} {'page' if pages == 1 else 'pages'}", "option"
            )
        page: Any = file.pages[frame - 1]
        layout, tags = layout_of(page), {tag.code: tag.value for tag in page.tags}
        slices = _slices(file, layout)
        check(layout, tags, data, limits)
        note_kind(layout, notes)
        picture = _read_page(data, page, layout, frame, limits, notes)
        profile = tags.get(34675, b"")
    if pages > 1:
        shown = pages if pages < MAX_PAGES else f"{MAX_PAGES} or more"
        notes.append(f"page {frame} of {shown} used" + (" (choose one with --page)" if frame == 1 else ""))
    elif slices > 1:
        notes.append(f"1 of {slices} slices used: the others have no pages of their own")
    known = _LAYOUT_TAGS | _KEPT_TAGS - ({CAPTION} if describes_layout(tags.get(CAPTION)) else set())
    names = (_METADATA_NAMES.get(code, "private tags") for code in tags if code not in known)
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
        if (failure := machine_error(error)) is not None:
            raise failure from error
        text = printable(error)[:120]
        if "imagecodecs" in text:
            extras.require("imagecodecs", "this compression of TIFF")
            raise UnsupportedInput(f"compression not supported: {text}", "compression") from error
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


def _read_page(data: bytes, page: Any, layout: Layout, frame: int, limits: Limits, notes: list[str]) -> Picture:
    """The samples of a page as they are displayed."""
    if layout.photometric == PALETTE and page.colormap is not None:
        colours = _palette(page)
        if colours is not None:
            return _coloured(data, page, colours, layout, frame, limits, notes)
    with_pillow, image = bits_for_pillow(layout), None
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


def _palette(page: Any) -> Raster | None:
    """The colours (n, 3), uint16, of a page with a palette; None where Pillow reads them exactly, as 8 bits."""
    colours = np.asarray(page.colormap, np.uint16).T
    if colours.max() < 256:  # some writers do not spread 8 bits over 16
        return colours * np.uint16(257)
    eight_bits = not (colours % 257).any() or not (colours % 256).any()
    return None if eight_bits and page.bitspersample <= 8 else colours


def _coloured(
    data: bytes, page: Any, colours: Raster, layout: Layout, frame: int, limits: Limits, notes: list[str]
) -> Picture:
    """A page of indices with their ``colours``."""
    image = open_exif(data, frame, limits) if layout.bits in (1, 2, 4, 8) else None
    if image is not None and image.mode == "P":
        indices = np.asarray(image)  # Pillow applies the orientation
    else:
        indices = _from_array(page.asarray(), layout, _orientation(page), []).raster[..., 0]
    if int(indices.max()) >= len(colours):
        raise UnreadableFile(f"damaged: pixels use entries beyond the {len(colours)} of the palette", "corrupt")
    notes.append("palette written back as RGB")
    if (colours % 257).any():
        return Picture(colours[indices], "RGB", 16, notes=notes)
    return Picture((colours // 257).astype(np.uint8)[indices], "RGB", notes=notes)


def _from_array(array: Any, layout: Layout, orientation: int, notes: list[str]) -> Picture:
    """The picture in an array that tifffile decoded."""
    samples: Raster = np.asarray(array)
    if layout.depth > 1 and samples.ndim > 2 + (layout.channels > 1):
        samples = samples[:, 0] if layout.planar and layout.channels > 1 else samples[0]
    if layout.channels == 1:
        samples = samples.reshape(layout.height, layout.width, 1)
    elif layout.planar:
        samples = np.moveaxis(samples, 0, -1)
    if samples.shape != (layout.height, layout.width, layout.channels):  # a page without strips decodes to nothing
        raise UnreadableFile("damaged: the file does not say where its samples are", "corrupt")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8)
    bits = layout.bits
    if layout.photometric == GREY_WHITE_IS_0 and samples.dtype.kind == "u":
        samples = np.asarray((1 << bits) - 1 - samples.astype(np.int64)).astype(samples.dtype)
    if ASSOCIATED in layout.extra[-1:]:
        samples = _divided(samples, bits)
    mode = mode_of_layout(layout)
    if layout.photometric in (LAB, ICC_LAB, ITU_LAB):
        notes.append("Lab samples kept as three channels without a colour space")
    return Picture(upright(samples, orientation), mode, bits, notes=notes)


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
