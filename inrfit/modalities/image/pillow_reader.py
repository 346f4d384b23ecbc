"""Decoding with Pillow.

Sizes are checked before pixels are decoded, and exceptions are translated in one place. Pillow truncates 16-bit colour
to the high byte, so such images are decoded twice.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import InrfitError, OverLimit, RefusedInput, UnreadableFile, UnsupportedInput, machine_error, printable
from ...io.limits import Limits
from ...runtime import captured_output
from .picture import CHANNELS_BY_MODE, MAX_SIDE, Picture, Raster

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_LOCK = threading.Lock()


@contextmanager
def reading(limits: Limits) -> Iterator[list[warnings.WarningMessage]]:
    """Context for reading with Pillow: yields the list of warnings that it gives, and raises its exceptions as a
    ``RefusedInput``.

    Warnings, log handlers and Pillow's limit on pixels are global to the process, so they are restored at the end, and
    one thread at a time is in the context. The limit is raised to ``limits.max_pixels`` and never removed, so that
    other threads stay protected."""
    from PIL import Image

    loggers, null_handler = [logging.getLogger(name) for name in ("PIL", "tifffile")], logging.NullHandler()
    with _LOCK, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        original_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if original_limit is None else max(original_limit, limits.max_pixels)
        for logger in loggers:
            logger.addHandler(null_handler)
        try:
            yield warned
        except InrfitError:
            raise
        except Exception as error:
            raise machine_error(error) or _refusal(error, limits) from error
        finally:
            for logger in loggers:
                logger.removeHandler(null_handler)
            Image.MAX_IMAGE_PIXELS = original_limit


def _refusal(error: Exception, limits: Limits) -> RefusedInput:
    """The ``RefusedInput`` for an exception of a decoder."""
    from PIL import Image, UnidentifiedImageError

    text = printable(error)[:200]
    if isinstance(error, Image.DecompressionBombError):
        return OverLimit(f"{text} (raise --max-pixels, {limits.max_pixels:,})", "limit.max_pixels")
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


def open_image(data: bytes, format_name: str, limits: Limits, frame: int = 1) -> ImageFile:
    """``data`` opened by Pillow as a file of this format, at picture number ``frame``, with its claimed size checked.
    Nothing is decoded yet."""
    from PIL import Image

    image = Image.open(BytesIO(data), formats=(format_name,))
    if frame > 1:
        image.seek(frame - 1)
    require_size(*image.size, limits)
    return image


_CONVERTED = {
    "PA": ("RGBA", "palette expanded to RGBA"),
    "La": ("LA", "premultiplied alpha divided out"),
    "RGBa": ("RGBA", "premultiplied alpha divided out"),
    "YCbCr": ("RGB", "YCbCr converted to RGB"),
    "LAB": ("RGB", "Lab converted to sRGB"),
}
"""Pillow's modes that are converted to another one, and the note about it."""


def decoded(image: Any, notes: list[str]) -> Picture:
    """The samples of an open image of at most 8 bits. Modes without a counterpart are converted, with an entry in
    ``notes``. Raises ``UnsupportedInput`` for samples of more than 8 bits."""
    mode = image.mode
    target, note = _CONVERTED.get(mode, (mode, None))
    if target not in (*CHANNELS_BY_MODE, "1", "P"):
        names = {"F": "floating-point samples", "I": "32-bit or signed samples"}
        raise UnsupportedInput(f"{names.get(mode, mode)}: not supported in this format", "samples")
    _decode(image)
    if note:
        notes.append(note)
        image = _srgb(image) if mode == "LAB" else image.convert(target)
    if target == "P":
        palette = _palette(image)
        indices = _raster(image, 1)[..., 0]
        missing = max(0, int(indices.max()) + 1 - len(palette))  # some files use indices beyond their palette
        palette = np.pad(palette, ((0, missing), (0, 0)))
        return Picture(palette[indices], "RGBA" if palette.shape[1] == 4 else "RGB", palette=palette, notes=notes)
    if target == "1":
        return Picture(_raster(image, 1), "L", bits=1, notes=notes)
    return Picture(_raster(image, CHANNELS_BY_MODE[target]), target, notes=notes)


def _raster(image: Any, channels: int) -> Raster:
    """The pixels of a decoded image (h, w, channels), uint8, copied in strips."""
    width, height = image.size
    raster = np.empty((height, width, channels), np.uint8)
    rows = max(1, (1 << 20) // width)
    for top in range(0, height, rows):
        strip = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        raster[top : top + rows] = strip.reshape(-1, width, channels)
    return raster


def _palette(image: Any) -> npt.NDArray[np.uint8]:
    """The colours (n, 3) of an image of mode P, or (n, 4) if some are transparent."""
    entries = np.array(image.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    transparency = image.info.get("transparency")
    if transparency is None:
        return entries
    alpha = np.full((len(entries), 1), 255, np.uint8)
    if isinstance(transparency, bytes):
        given = np.frombuffer(transparency, np.uint8)[: len(entries)]
        alpha[: len(given), 0] = given
    elif 0 <= int(transparency) < len(entries):
        alpha[int(transparency)] = 0
    return np.concatenate([entries, alpha], axis=1)


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
    lines: list[bytes] = []
    try:
        with captured_output(2) as lines:
            yield
    finally:
        errors = [line for line in lines if re.fullmatch(rb"[\w.]+: [^\x1b]+\.\n", line)]
        with suppress(OSError):  # stderr is full
            os.write(2, b"".join(line for line in lines if line not in errors))
        if errors:
            raise OSError(errors[0].decode("utf-8", "replace").strip())


def read_16_bit(data: bytes, format_name: str, limits: Limits, frame: int = 1) -> Raster:
    """16-bit samples (h, w, c) of picture number ``frame``, uint16. Pillow keeps only the high byte of 16-bit colour.
    The low byte comes from decoding a second time in the opposite byte order."""
    first = open_image(data, format_name, limits, frame)
    if first.mode.startswith("I;16"):
        _decode(first)
        return np.asarray(first).astype(np.uint16, copy=False)[..., None]
    if first.tile[0].args == "LA;16B":  # grey + alpha: the four bytes are unpacked as RGBA
        first.tile = [tile._replace(args="RGBA") for tile in first.tile]
        octets = decoded(first, []).raster.astype(np.uint16)
        return octets[..., ::2] << 8 | octets[..., 1::2]
    second = open_image(data, format_name, limits, frame)
    second.tile = [tile._replace(args=_with_opposite_byte_order(tile.args)) for tile in second.tile]
    high, low = decoded(first, []).raster.astype(np.uint16), decoded(second, []).raster
    return (high << 8) | low


def _with_opposite_byte_order(args: Any) -> Any:
    """The arguments of a Pillow tile with its raw mode in the opposite byte order."""
    if not isinstance(args, str):
        return (_with_opposite_byte_order(args[0]), *args[1:])
    native = {"little": "L", "big": "B"}[sys.byteorder]
    order = args[-1] if args[-1] != "N" else native
    return args[:-1] + {"L": "B", "B": "L"}[order]


def orientation_of(image: Any, notes: list[str]) -> int:
    """The EXIF (or XMP) orientation of ``image``, 1 to 8. Damaged EXIF is ignored, with an entry in ``notes``."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # depends on the damage
        notes.append("damaged EXIF ignored")
        return 1
    return int(orientation) if orientation in range(2, 9) else 1


def upright(raster: Raster, orientation: int) -> Raster:
    """``raster`` rotated and flipped by an EXIF orientation from 1 to 8."""
    transposed = raster.transpose(1, 0, 2) if orientation > 4 else raster
    flips = {1: (), 2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}[orientation]
    return np.flip(transposed, flips)
