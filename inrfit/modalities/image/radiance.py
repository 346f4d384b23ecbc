"""Radiance HDR files (RGBE): reading and writing. No library that inrfit depends on reads them."""

from __future__ import annotations

import re

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from .picture import Picture, Raster
from .pillow_reader import require_size, upright

_SIZE = re.compile(rb"\n\n([-+][XY]) (\d{1,9}) ([-+][XY]) (\d{1,9})\n")
_ORIENTATIONS = {
    (b"-Y", b"+X"): 1, (b"-Y", b"-X"): 2, (b"+Y", b"-X"): 3, (b"+Y", b"+X"): 4,
    (b"+X", b"-Y"): 5, (b"-X", b"-Y"): 8, (b"-X", b"+Y"): 7, (b"+X", b"+Y"): 6,
}  # fmt: skip
"""The EXIF orientation of each order of rows and columns."""


def read_radiance(data: bytes, limits: Limits, notes: list[str]) -> Picture:
    """The picture as float32 radiance, upright."""
    match = _SIZE.search(data, 0, 65_536)
    if match is None:
        raise UnreadableFile("damaged: the header has no size", "header")
    header = data[: match.start()]
    format_line = re.search(rb"^FORMAT=(.*)$", header, re.MULTILINE)
    if format_line is not None and format_line[1].strip() != b"32-bit_rle_rgbe":
        raise UnsupportedInput("Radiance HDR in XYZE: not supported", "samples")
    rows, columns = int(match[2]), int(match[4])
    require_size(columns, rows, limits)
    rgbe = _scanlines(data, match.end(), rows, columns)
    for name in (b"EXPOSURE", b"COLORCORR", b"PRIMARIES", b"PIXASPECT", b"VIEW"):
        if re.search(rb"^" + name + rb"=", header, re.MULTILINE):
            notes.append(f"{name.decode()} of the header not kept")
    return Picture(upright(to_float(rgbe), _ORIENTATIONS[match[1], match[3]]), "RGB", 32, notes=notes)


def _scanlines(data: bytes, at: int, rows: int, columns: int) -> Raster:
    """RGBE samples (rows, columns, 4), with run-length encoding undone."""
    rgbe = np.empty((rows, columns, 4), np.uint8)
    for row in range(rows):
        head = data[at : at + 4]
        if len(head) < 4:
            raise UnreadableFile(f"the file ends early: {rows} rows, {row} found", "truncated")
        if head[:2] != b"\2\2" or head[2] & 0x80 or not 8 <= columns < 32_768:
            rgbe[row], at = _old_scanline(data, at, columns)
            continue
        if (head[2] << 8 | head[3]) != columns:
            raise UnreadableFile("damaged: a row has another width", "corrupt")
        at += 4
        for channel in range(4):
            at = _unpack_runs(data, at, rgbe[row, :, channel])
    return rgbe


def _unpack_runs(data: bytes, at: int, out: Raster) -> int:
    """Fills ``out`` (columns,) with one channel of a row, and returns the offset behind it."""
    filled = 0
    while filled < len(out):
        if at + 1 >= len(data):
            raise UnreadableFile("the file ends early, within a row", "truncated")
        count = data[at]
        if count > 128:
            count -= 128
            content: int | Raster = data[at + 1]
            at += 2
        else:
            content = np.frombuffer(data[at + 1 : at + 1 + count], np.uint8)
            at += 1 + count
        if not count or filled + count > len(out) or (isinstance(content, np.ndarray) and len(content) < count):
            raise UnreadableFile("damaged: a run does not fit into its row", "corrupt")
        out[filled : filled + count] = content
        filled += count
    return at


def _old_scanline(data: bytes, at: int, columns: int) -> tuple[Raster, int]:
    """A row in the old format, (columns, 4): pixels, and runs marked by the colour 1, 1, 1."""
    row = np.empty((columns, 4), np.uint8)
    filled, shift = 0, 0
    while filled < columns:
        pixel = data[at : at + 4]
        if len(pixel) < 4:
            raise UnreadableFile("the file ends early, within a row", "truncated")
        at += 4
        if pixel[:3] == b"\1\1\1" and filled:
            count = pixel[3] << shift
            shift += 8
            if not count or filled + count > columns:
                raise UnreadableFile("damaged: a run does not fit into its row", "corrupt")
            row[filled : filled + count] = row[filled - 1]
            filled += count
        else:
            row[filled] = list(pixel)
            filled, shift = filled + 1, 0
    return row, at


def to_float(rgbe: Raster) -> Raster:
    """Radiance (h, w, 3), float32: (mantissa + 1/2) times 2 to the power of the exponent less 136."""
    exponent = rgbe[..., 3:].astype(np.int32) - 136
    colours = np.ldexp(rgbe[..., :3].astype(np.float32) + np.float32(0.5), exponent)
    return np.where(rgbe[..., 3:] == 0, np.float32(0), colours).astype(np.float32)


def write_radiance(raster: Raster) -> bytes:
    """The bytes of a file with the radiance ``raster`` (h, w, 3), without run-length encoding."""
    height, width = raster.shape[:2]
    largest = raster.max(axis=2).astype(np.float64)
    _, exponent = np.frexp(largest)
    exponent = exponent.clip(-127, 127)
    mantissa = np.floor(raster / np.ldexp(1.0, exponent - 8)[..., None]).clip(0, 255)
    rgbe = np.concatenate([mantissa, (exponent + 128)[..., None]], axis=2)
    rgbe[largest < 1e-38] = 0
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    return header.encode() + rgbe.astype(np.uint8).tobytes()
