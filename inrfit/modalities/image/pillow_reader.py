"""Reading through Pillow, which decodes but is not trusted.

Sizes are checked before pixels are decoded, every exception is translated in one place, and 16-bit colour,
which Pillow cuts to its high byte, is decoded twice and rounded.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import OverLimit, RefusedInput, UnreadableFile, UnsupportedInput, printable
from ...io.limits import Limits

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Raster = npt.NDArray[np.uint8]

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
LONGEST = 1 << 24
"""Pixels per side: beyond it float32 coordinates of neighbours coincide."""

_LOCK = threading.Lock()


@contextmanager
def reading(limits: Limits) -> Iterator[list[warnings.WarningMessage]]:
    """Around every call into Pillow that reads: one place that translates exceptions and collects warnings.

    Warnings, the bomb limit and log handlers belong to the process, so they are put back and only one thread
    is in here at a time. The bomb limit is raised to ours, never lifted: other threads stay protected."""
    from PIL import Image

    logger, silent = logging.getLogger("PIL"), logging.NullHandler()
    with _LOCK, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if before is None else max(before, limits.max_pixels)
        logger.addHandler(silent)
        try:
            yield warned
        except RefusedInput:
            raise
        except Exception as error:
            raise _refusal(error, limits) from error
        finally:
            logger.removeHandler(silent)
            Image.MAX_IMAGE_PIXELS = before


def _refusal(error: Exception, limits: Limits) -> RefusedInput:
    """What an exception of a decoder means to the user."""
    from PIL import Image, UnidentifiedImageError

    text = printable(error)[:200]
    if isinstance(error, Image.DecompressionBombError):
        return OverLimit(f"{text} (raise --max-pixels, {limits.max_pixels:,})", "limit.max_pixels")
    if isinstance(error, MemoryError):
        return OverLimit("decoding needs more memory than there is", "memory")
    if isinstance(error, UnidentifiedImageError):
        return UnreadableFile("damaged, or of a variant that is not supported", "corrupt")
    if "truncated" in text.lower() or "not enough" in text:
        return UnreadableFile(f"the file ends early ({text})", "truncated")
    if "upported" in text or "not configured" in text:
        return UnsupportedInput(text, "variant")
    return UnreadableFile(f"damaged: {text or type(error).__name__}", "corrupt")


def require_size(width: int, height: int, limits: Limits) -> None:
    """Raises unless a picture of this size may be decoded."""
    if width < 1 or height < 1:
        raise UnreadableFile(f"the picture has no pixels: {width} x {height}", "empty")
    limits.require("max_pixels", width * height, f"{width} x {height} pixels")
    if max(width, height) > LONGEST:
        raise UnsupportedInput(f"{width} x {height}: a side has at most {LONGEST:,} pixels", "side")


def require_bytes(needed: int, data: bytes) -> None:
    """Raises when pixels that take ``needed`` bytes at least cannot be in there: before memory is taken."""
    if needed > len(data):
        raise UnreadableFile(
            f"the file ends early: its pixels take {needed:,} bytes or more, the file has {len(data):,}",
            "truncated",
        )


def opened(data: bytes, kind: str, limits: Limits) -> ImageFile:
    """The file opened by Pillow, its claimed size checked, nothing decoded."""
    from PIL import Image

    picture = Image.open(BytesIO(data), formats=(kind,))
    require_size(*picture.size, limits)
    return picture


def raster_of(picture: Any, notes: list[str]) -> Raster:
    """Pixels as (h, w, c), taken in strips; Pillow's other modes are converted and named."""
    mode = picture.mode
    palette = "RGBA" if "transparency" in picture.info else "RGB"
    target, note = {
        **{kept: (kept, None) for kept in MODES},
        "1": ("L", "1-bit picture written back as 8-bit grey"),
        "P": (palette, f"palette expanded to {palette}"),
        "PA": ("RGBA", "palette expanded to RGBA"),
        "La": ("LA", "premultiplied alpha divided out"),
        "CMYK": ("RGB", "CMYK converted to RGB"),
        "YCbCr": ("RGB", "YCbCr converted to RGB"),
        "LAB": ("RGB", "Lab converted to sRGB"),
    }.get(mode, (None, None))
    if target is None:
        known = {"F": "floating-point samples", "I": "32-bit or signed samples"}
        raise UnsupportedInput(f"{known.get(mode, mode)}: not supported yet (8 and 16 bits are)", "samples")
    _decode(picture)
    if note:
        notes.append(note)
        picture = _srgb(picture) if mode == "LAB" else picture.convert(target)
    width, height = picture.size
    raster = np.empty((height, width, MODES[target]), np.uint8)
    rows = max(1, (1 << 20) // width)
    for top in range(0, height, rows):
        strip = np.asarray(picture.crop((0, top, width, min(top + rows, height))))
        raster[top : top + rows] = strip.reshape(-1, width, MODES[target])
    return raster


def _srgb(picture: Any) -> Any:
    """A Lab picture (D50) in sRGB."""
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(picture, *profiles, outputMode="RGB")


def _decode(picture: ImageFile) -> None:
    """Loads the pixels. libtiff goes on with wrong ones after some errors (fax data), so each counts."""
    if picture.format == "TIFF":
        with _libtiff_errors_raised():
            picture.load()
    else:
        picture.load()


@contextmanager
def _libtiff_errors_raised() -> Iterator[None]:
    """Raises the first thing that libtiff writes to standard error; what other threads write is passed on."""
    try:
        terminal = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            lines = caught.readlines()
            found = [line for line in lines if re.fullmatch(rb"[\w.]+: [^\x1b]+\.\n", line)]
            os.write(2, b"".join(line for line in lines if line not in found))
            if found:
                raise OSError(found[0].decode("utf-8", "replace").strip())


def wide(data: bytes, kind: str, limits: Limits) -> tuple[Raster, Raster]:
    """High and low bytes of 16-bit samples, (h, w, c) each. Pillow has no 16-bit colour, but unpacks either
    byte: the low ones are had by decoding once more in the other byte order."""
    first = opened(data, kind, limits)
    if first.mode.startswith("I;16"):
        _decode(first)
        samples = np.asarray(first)[..., None]
        if getattr(first, "tag_v2", {}).get(258) == (12,):
            samples = samples << 4 | samples >> 8
        return (samples >> 8).astype(np.uint8), (samples & 255).astype(np.uint8)
    if first.tile[0].args == "LA;16B":  # grey + alpha: its four bytes are unpacked as if they were RGBA
        first.tile = [tile._replace(args="RGBA") for tile in first.tile]
        four = raster_of(first, [])
        return four[..., ::2], four[..., 1::2]
    second = opened(data, kind, limits)
    second.tile = [tile._replace(args=_swapped(tile.args)) for tile in second.tile]
    return raster_of(first, []), raster_of(second, [])


def _swapped(args: Any) -> Any:
    """A tile's arguments with its raw mode in the other byte order."""
    if not isinstance(args, str):
        return (_swapped(args[0]), *args[1:])
    native = {"little": "L", "big": "B"}[sys.byteorder]
    order = args[-1] if args[-1] != "N" else native
    return args[:-1] + {"L": "B", "B": "L"}[order]


def eight(high: Raster, low: Raster) -> Raster:
    """round(v / 257) of 16-bit samples v = 256 high + low = 257 high + (low - high)."""
    out = high.copy()
    for row, above, below in zip(out, high, low, strict=True):
        difference = below.astype(np.int16) - above
        row += difference > 128
        row -= difference < -128
    return out


def upright(raster: Raster, picture: Any, notes: list[str]) -> Raster:
    """``raster`` turned as the EXIF (or XMP) orientation of ``picture`` says; a broken block is ignored."""
    try:
        orientation = picture.getexif().get(0x0112, 1)
    except Exception:  # any: the block is the file author's
        notes.append("damaged EXIF ignored")
        return raster
    if orientation not in range(2, 9):
        return raster
    turned = raster.transpose(1, 0, 2) if orientation > 4 else raster
    flips = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}[int(orientation)]
    notes.append("EXIF orientation applied to the pixels")
    return np.flip(turned, flips)
