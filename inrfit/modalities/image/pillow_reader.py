"""Decoding with Pillow.

Sizes are checked before pixels are decoded, and exceptions are translated in one place. Pillow truncates 16-bit colour
to the high byte, so such images are decoded twice and rounded.
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

CHANNELS_BY_MODE = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
MAX_SIDE = 1 << 24
"""Maximum pixels per side. Beyond it, neighbouring pixels would have equal float32 coordinates."""

_LOCK = threading.Lock()


@contextmanager
def reading(limits: Limits) -> Iterator[list[warnings.WarningMessage]]:
    """Context for reading with Pillow: yields the list of warnings that it gives, and raises its exceptions as a
    ``RefusedInput``.

    Warnings, log handlers and Pillow's limit on pixels are global to the process, so they are restored at the end, and
    one thread at a time is in the context. The limit is raised to ``limits.max_pixels`` and never removed, so that
    other threads stay protected."""
    from PIL import Image

    logger, null_handler = logging.getLogger("PIL"), logging.NullHandler()
    with _LOCK, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        original_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if original_limit is None else max(original_limit, limits.max_pixels)
        logger.addHandler(null_handler)
        try:
            yield warned
        except RefusedInput:
            raise
        except Exception as error:
            raise _refusal(error, limits) from error
        finally:
            logger.removeHandler(null_handler)
            Image.MAX_IMAGE_PIXELS = original_limit


def _refusal(error: Exception, limits: Limits) -> RefusedInput:
    """The ``RefusedInput`` for an exception of a decoder."""
    from PIL import Image, UnidentifiedImageError

    text = printable(error)[:200]
    if isinstance(error, Image.DecompressionBombError):
        return OverLimit(f"{text} (raise --max-pixels, {limits.max_pixels:,})", "limit.max_pixels")
    if isinstance(error, MemoryError):
        return OverLimit("not enough memory to decode the image", "memory")
    if isinstance(error, UnidentifiedImageError):
        return UnreadableFile("damaged, or an unsupported variant of the format", "corrupt")
    if "truncated" in text.lower() or "not enough" in text:
        return UnreadableFile(f"the file ends early ({text})", "truncated")
    if "upported" in text or "not configured" in text:
        return UnsupportedInput(text, "variant")
    return UnreadableFile(f"damaged: {text or type(error).__name__}", "corrupt")


def require_size(width: int, height: int, limits: Limits) -> None:
    """Raises a ``RefusedInput`` unless an image of this size may be decoded."""
    if width < 1 or height < 1:
        raise UnreadableFile(f"the image has no pixels: {width} x {height}", "empty")
    limits.check("max_pixels", width * height, f"{width} x {height} pixels")
    if max(width, height) > MAX_SIDE:
        raise UnsupportedInput(f"{width} x {height} pixels: at most {MAX_SIDE:,} per side are supported", "side")


def require_bytes(min_bytes: int, data: bytes) -> None:
    """Raises ``UnreadableFile`` if pixels that take at least ``min_bytes`` cannot be in ``data``."""
    if min_bytes > len(data):
        raise UnreadableFile(
            f"the file ends early: its pixels take at least {min_bytes:,} bytes, the file has {len(data):,}",
            "truncated",
        )


def open_image(data: bytes, format_name: str, limits: Limits) -> ImageFile:
    """``data`` opened by Pillow as a file of this format, with its claimed size checked. Nothing is decoded yet."""
    from PIL import Image

    image = Image.open(BytesIO(data), formats=(format_name,))
    require_size(*image.size, limits)
    return image


def raster_of(image: Any, notes: list[str]) -> Raster:
    """The pixels of an open image (h, w, c), uint8, copied in strips. Modes without a counterpart are converted, with
    an entry in ``notes``. Raises ``UnsupportedInput`` for samples of more than 8 bits."""
    mode = image.mode
    palette = "RGBA" if "transparency" in image.info else "RGB"
    target, note = {
        **{kept: (kept, None) for kept in CHANNELS_BY_MODE},
        "1": ("L", "1-bit picture written back as 8-bit grey"),
        "P": (palette, f"palette expanded to {palette}"),
        "PA": ("RGBA", "palette expanded to RGBA"),
        "La": ("LA", "premultiplied alpha divided out"),
        "CMYK": ("RGB", "CMYK converted to RGB"),
        "YCbCr": ("RGB", "YCbCr converted to RGB"),
        "LAB": ("RGB", "Lab converted to sRGB"),
    }.get(mode, (None, None))
    if target is None:
        names = {"F": "floating-point samples", "I": "32-bit or signed samples"}
        raise UnsupportedInput(f"{names.get(mode, mode)}: not supported yet (8 and 16 bits are)", "samples")
    _decode(image)
    if note:
        notes.append(note)
        image = _srgb(image) if mode == "LAB" else image.convert(target)
    width, height = image.size
    raster = np.empty((height, width, CHANNELS_BY_MODE[target]), np.uint8)
    rows = max(1, (1 << 20) // width)
    for top in range(0, height, rows):
        strip = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        raster[top : top + rows] = strip.reshape(-1, width, CHANNELS_BY_MODE[target])
    return raster


def _srgb(image: Any) -> Any:
    """A Lab image (D50) converted to sRGB."""
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, *profiles, outputMode="RGB")


def _decode(image: ImageFile) -> None:
    """Decodes the pixels. Every error of libtiff is raised, because it continues with wrong pixels after some."""
    if image.format == "TIFF":
        with _libtiff_errors_raised():
            image.load()
    else:
        image.load()


@contextmanager
def _libtiff_errors_raised() -> Iterator[None]:
    """Context that raises the first message that libtiff writes to stderr as an ``OSError``. Other output, such as
    that of other threads, is passed on."""
    try:
        stderr = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            lines = captured.readlines()
            errors = [line for line in lines if re.fullmatch(rb"[\w.]+: [^\x1b]+\.\n", line)]
            os.write(2, b"".join(line for line in lines if line not in errors))
            if errors:
                raise OSError(errors[0].decode("utf-8", "replace").strip())


def read_16_bit(data: bytes, format_name: str, limits: Limits) -> tuple[Raster, Raster]:
    """High and low bytes of 16-bit samples, (h, w, c) each. Pillow keeps only the high byte of 16-bit colour. The low
    byte comes from decoding a second time in the opposite byte order."""
    first = open_image(data, format_name, limits)
    if first.mode.startswith("I;16"):
        _decode(first)
        samples = np.asarray(first)[..., None]
        if getattr(first, "tag_v2", {}).get(258) == (12,):
            samples = samples << 4 | samples >> 8
        return (samples >> 8).astype(np.uint8), (samples & 255).astype(np.uint8)
    if first.tile[0].args == "LA;16B":  # grey + alpha: the four bytes are unpacked as RGBA
        first.tile = [tile._replace(args="RGBA") for tile in first.tile]
        interleaved = raster_of(first, [])
        return interleaved[..., ::2], interleaved[..., 1::2]
    second = open_image(data, format_name, limits)
    second.tile = [tile._replace(args=_with_opposite_byte_order(tile.args)) for tile in second.tile]
    return raster_of(first, []), raster_of(second, [])


def _with_opposite_byte_order(args: Any) -> Any:
    """The arguments of a Pillow tile with its raw mode in the opposite byte order."""
    if not isinstance(args, str):
        return (_with_opposite_byte_order(args[0]), *args[1:])
    native = {"little": "L", "big": "B"}[sys.byteorder]
    order = args[-1] if args[-1] != "N" else native
    return args[:-1] + {"L": "B", "B": "L"}[order]


def to_8_bit(high: Raster, low: Raster) -> Raster:
    """16-bit samples v = 256 high + low rounded to 8 bits: round(v / 257), where v = 257 high + (low - high)."""
    out = high.copy()
    for row, high_row, low_row in zip(out, high, low, strict=True):
        difference = low_row.astype(np.int16) - high_row
        row += difference > 128
        row -= difference < -128
    return out


def apply_orientation(raster: Raster, image: Any, notes: list[str]) -> Raster:
    """``raster`` rotated and flipped by the EXIF (or XMP) orientation of ``image``. Damaged EXIF is ignored, with an
    entry in ``notes``."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # depends on the damage
        notes.append("damaged EXIF ignored")
        return raster
    if orientation not in range(2, 9):
        return raster
    transposed = raster.transpose(1, 0, 2) if orientation > 4 else raster
    flips = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}[int(orientation)]
    notes.append("EXIF orientation applied to the pixels")
    return np.flip(transposed, flips)
