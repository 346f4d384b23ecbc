"""How the samples of a TIFF page are laid out, which layouts are read, and which of them Pillow reads exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import UnsupportedInput
from ...io.limits import Limits
from .picture import MAX_BANDS, mode_of
from .pillow_reader import require_bytes, require_size

GREY_WHITE_IS_0, GREY, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB, ITU_LAB = 0, 1, 2, 3, 5, 6, 8, 9, 10
ASSOCIATED, UNASSOCIATED = 1, 2
UNCOMPRESSED = (1,)
NEEDS_NO_CODEC = (1, 8, 32946, 32773)
"""Compressions that tifffile decodes with the standard library: none, deflate (two numbers) and PackBits."""

LOSSY = (6, 7, 34892, 34934, 50001, 34712, 33003, 33005)
"""JPEG, JPEG XR, WebP and JPEG 2000."""


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


def layout_of(page: Any) -> Layout:
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


def check(layout: Layout, tags: dict[int, Any], data: bytes, limits: Limits) -> None:
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


def note_kind(layout: Layout, notes: list[str]) -> None:
    """Notes on what a written TIFF will not have."""
    if layout.photometric == YCBCR:
        notes.append("YCbCr converted to RGB")
    if ASSOCIATED in layout.extra[:1]:
        notes.append("premultiplied alpha divided out")
    if layout.compression in LOSSY:
        notes.append("lossy compression written back as lossless")


def bits_for_pillow(layout: Layout) -> int | None:
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


def mode_of_layout(layout: Layout) -> str:
    """The mode of a page that tifffile reads."""
    alpha = layout.extra[-1:] in ((ASSOCIATED,), (UNASSOCIATED,))
    if layout.photometric == CMYK and layout.channels == 4 + alpha:
        return "CMYKA" if alpha else "CMYK"
    if layout.photometric in (GREY, GREY_WHITE_IS_0) and layout.channels <= 1 + alpha:
        return mode_of(layout.channels, alpha)
    if layout.photometric in (RGB, YCBCR) and layout.channels <= 3 + alpha:
        return mode_of(layout.channels, alpha)
    return "L" if layout.channels == 1 else "bands"
