"""Frames as numbered pictures, in a folder or a .zip file of such."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io import files
from ...io.checked_file import Output
from ...io.limits import Limits
from ..image import formats
from ..image.png_writer import write_png
from .clip import Array, Clip, collected, rescaled
from .selection import Selection

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")
"""Suffixes of the pictures of a folder of frames."""

RATE = Fraction(25)
"""Frames per second, which pictures do not say."""

LEAST_FRAMES = 8
"""Numbered pictures from which on they may be the frames of a clip."""

_NUMBERED = re.compile(r"(.*?)(\d{1,12})(\.\w+)")
_FIRST_NAME = re.compile(rb"PK\x03\x04.{22}(..)(..)([^\0]{1,200})", re.DOTALL)


def is_archive(data: bytes) -> bool:
    """Whether a .zip file begins with a picture."""
    match = _FIRST_NAME.match(data[:300])
    if match is None:
        return False
    name = match[3][: int.from_bytes(match[1], "little")].decode("latin-1").lower()
    return name.endswith((*SUFFIXES, "/")) and any(s.encode() in data[-65_536:].lower() for s in SUFFIXES)


def look_like_frames(paths: Sequence[str]) -> bool:
    """Whether files are pictures of one folder and one size, numbered one after the other."""
    matches = [_NUMBERED.fullmatch(os.path.basename(path)) for path in paths]
    kinds = {(os.path.dirname(path), m and (m[1], m[3])) for path, m in zip(paths, matches, strict=True)}
    if len(paths) < LEAST_FRAMES or len(kinds) != 1 or not matches[0] or not paths[0].lower().endswith(SUFFIXES):
        return False
    numbers = sorted(int(match[2]) for match in matches if match)
    if len({b - a for a, b in pairwise(numbers)}) != 1:
        return False
    from PIL import Image

    sizes = set()
    for number in np.linspace(0, len(paths) - 1, LEAST_FRAMES).round().astype(int):
        try:
            with Image.open(paths[number]) as picture:  # reads the header only
                sizes.add(picture.size)
        except Exception:  # of Pillow, for a damaged file
            return False
    return len(sizes) == 1


def packed(folder: str, limits: Limits) -> bytes:
    """The pictures of a folder as a .zip file without compression. Raises a ``RefusedInput``."""
    names = sorted((name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES)), key=_natural)
    if not names:
        raise UnsupportedInput(f"the folder has no frames ({' '.join(SUFFIXES)})", "frames")
    out, total = io.BytesIO(), 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            data = files.read(os.path.join(folder, name), limits)
            total += len(data)
            limits.check("max_bytes", total, "size of the frames in bytes")
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which frame10 comes after frame9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def read(data: bytes, limits: Limits, selection: Selection) -> Clip:
    """Reads the selected frames. Raises a ``RefusedInput``."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = [name for name in archive.namelist() if name.lower().endswith(SUFFIXES)]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise UnreadableFile(f"damaged .zip: {error}", "damaged") from error
    names = sorted((n for n in names if not os.path.basename(n).startswith(".")), key=_natural)
    bits: list[int] = []

    def frames() -> Iterator[Array]:
        for number, name in enumerate(names):
            if selection.has(number):
                info = archive.getinfo(name)
                limits.check("max_bytes", info.file_size, "size of a frame in bytes")
                try:
                    content = archive.read(info)
                except Exception as error:  # of zipfile and zlib
                    raise UnreadableFile(f"damaged .zip: {name}: {error}", "damaged") from error
                picture = formats.read(content, name, formats.Reading(metadata="drop"), limits)[1]
                raster = picture.raster
                if raster.shape[-1] not in (1, 3, 4) or raster.dtype.kind != "u" or raster.dtype.itemsize > 2:
                    raise UnsupportedInput(
                        f"{name}: frames are grey, RGB or RGBA of 8 or 16 bits, not {raster.shape[-1]} channels of "
                        f"{raster.dtype}",
                        "frames",
                    )
                bits.append(picture.bits if picture.bits > 8 else 8)
                if picture.bits < 8:
                    raster = raster * np.uint8(255 // ((1 << picture.bits) - 1))
                pixels = selection.count(len(names)) * raster.shape[0] * raster.shape[1]
                limits.check("max_voxels", pixels, "clip of pixels")
                yield selection.shaped(raster, bits[-1])

    held = collected(frames(), selection.count(len(names)), limits)
    note = f"{len(names)} pictures as frames, of which {RATE} are shown in a second (-O rate= sets it)"
    return Clip(held, max(bits), RATE, notes=(note,))


def write(clip: Clip, out: Output) -> None:
    """Writes a .zip file of PNG files, numbered from 1."""
    digits = max(4, len(str(len(clip.frames))))
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[clip.frames.shape[-1]]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for number, frame in enumerate(clip.frames, 1):
            name = zipfile.ZipInfo(f"{number:0{digits}}.png")
            bits = 8 if clip.bits == 8 else 16
            archive.writestr(name, write_png(rescaled(frame, clip.bits, bits), mode, bits))
