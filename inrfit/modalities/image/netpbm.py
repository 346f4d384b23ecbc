"""Netpbm files: PBM, PGM, PPM (P1 to P6), PAM (P7) and PFM (Pf, PF). Pillow reduces their 16-bit colour to 8 bits."""

from __future__ import annotations

import re

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.limits import Limits
from .picture import MAX_BANDS, Picture, Raster, mode_of
from .pillow_reader import require_bytes, require_size

_TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])*([^\s#]+)")
_MAX_HEADER = 65_536


def read_netpbm(data: bytes, limits: Limits, notes: list[str]) -> Picture:
    """The first picture of the file."""
    kind = data[:2]
    if kind == b"P7":
        return _read_pam(data, limits, notes)
    if kind in (b"Pf", b"PF"):
        return _read_pfm(data, limits, notes)
    if kind not in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"):
        raise UnsupportedInput(f"{kind.decode('ascii', 'replace')}: not a known Netpbm format", "variant")
    count = 2 if kind in (b"P1", b"P4") else 3
    numbers, at = _numbers(data, 2, count)
    width, height, largest = (*numbers, 1)[:3]
    _check_largest(largest)
    require_size(width, height, limits)
    channels = 3 if kind in (b"P3", b"P6") else 1
    shape = (height, width, channels)
    if kind in (b"P1", b"P2", b"P3"):
        raster = _plain(data[at:], kind, shape, largest)
    elif kind == b"P4":
        packed = _exactly(data, at + 1, height * -(-width // 8)).reshape(height, -1)
        raster = np.unpackbits(packed, axis=1)[:, :width, None]
        at += 1 + packed.size
    else:
        raster, at = _samples(data, at + 1, shape, largest)
    if kind in (b"P1", b"P4"):
        raster = 1 - raster  # 1 is black
    return _picture(raster, largest, False, data[at:], kind, notes)


def _picture(raster: Raster, largest: int, alpha: bool, rest: bytes, kind: bytes, notes: list[str]) -> Picture:
    """The picture with these samples. ``rest``: the data after it."""
    bits = largest.bit_length()
    if largest != (1 << bits) - 1:
        notes.append(f"samples up to {largest}: written back with {bits} bits, scaled to 0 to {(1 << bits) - 1}")
        scaled = raster.astype(np.float64) * (((1 << bits) - 1) / largest)
        raster = scaled.round().astype(raster.dtype)
    if kind not in (b"P1", b"P2", b"P3") and rest[:1] == b"P" and rest[1:2] in b"1234567":
        notes.append("picture 1 of several in the file used")
    return Picture(raster, mode_of(raster.shape[2], alpha), bits, notes=notes)


def _check_largest(largest: int) -> None:
    if not 1 <= largest <= 65_535:
        raise UnreadableFile(f"damaged: the largest sample is {largest}, it must be from 1 to 65535", "header")


def _numbers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """``count`` whole numbers of the header from offset ``at`` on, and the offset behind them."""
    numbers = []
    for _ in range(count):
        match = _TOKEN.match(data, at, at + _MAX_HEADER)
        if match is None:
            raise UnreadableFile("the file ends early, within the header", "truncated")
        if not re.fullmatch(rb"\d{1,9}", match[1]):
            raise UnreadableFile("damaged: the header has something else than a number", "header")
        numbers.append(int(match[1]))
        at = match.end()
    return numbers, at


def _exactly(data: bytes, at: int, count: int) -> Raster:
    """``count`` bytes from offset ``at`` on."""
    if len(data) - at < count:
        raise UnreadableFile(f"the file ends early: {count:,} bytes of pixels, {len(data) - at:,} found", "truncated")
    return np.frombuffer(data, np.uint8, count, at)


def _samples(data: bytes, at: int, shape: tuple[int, int, int], largest: int) -> tuple[Raster, int]:
    """Samples (h, w, c) of one or two bytes, and the offset behind them."""
    size = 1 if largest < 256 else 2
    count = shape[0] * shape[1] * shape[2]
    samples = _exactly(data, at, count * size).view(">u2" if size == 2 else np.uint8).reshape(shape)
    if int(samples.max()) > largest:
        raise UnreadableFile(f"damaged: a sample of {samples.max()}, the largest is {largest}", "corrupt")
    return samples.astype(np.uint16 if size == 2 else np.uint8), at + count * size


def _plain(text: bytes, kind: bytes, shape: tuple[int, int, int], largest: int) -> Raster:
    """Samples written as text."""
    count = shape[0] * shape[1] * shape[2]
    require_bytes(count, text)
    text = re.sub(rb"#[^\n\r]*", b" ", text)
    words = list(b"".join(text.split()))[:count] if kind == b"P1" else text.split()[:count]
    if len(words) < count:
        raise UnreadableFile(f"the file ends early: {count:,} samples, {len(words):,} found", "truncated")
    try:
        numbers = np.array([int(word) for word in words], np.int64)
    except ValueError:
        raise UnreadableFile("damaged: a sample is not a number", "corrupt") from None
    samples = numbers - 48 if kind == b"P1" else numbers
    if samples.min() < 0 or samples.max() > largest:
        raise UnreadableFile(f"damaged: a sample is out of the range from 0 to {largest}", "corrupt")
    return samples.astype(np.uint8 if largest < 256 else np.uint16).reshape(shape)


def _read_pam(data: bytes, limits: Limits, notes: list[str]) -> Picture:
    """A PAM file."""
    end = data.find(b"ENDHDR\n", 0, _MAX_HEADER)
    if end < 0:
        raise UnreadableFile("the file ends early, within the header", "truncated")
    lines = [line.split(None, 1) for line in data[2:end].splitlines() if line.strip() and not line.startswith(b"#")]
    entries = {line[0]: line[1].strip() if len(line) == 2 else b"" for line in lines}
    try:
        names = (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
        width, height, channels, largest = (int(entries[name]) for name in names)
    except (KeyError, ValueError):
        raise UnreadableFile("damaged: the header lacks a number", "header") from None
    _check_largest(largest)
    if not 1 <= channels <= MAX_BANDS:
        raise UnsupportedInput(f"{channels} channels: 1 to {MAX_BANDS} are supported", "layout")
    require_size(width, height, limits)
    raster, at = _samples(data, end + 7, (height, width, channels), largest)
    alpha = entries.get(b"TUPLTYPE", b"").endswith(b"_ALPHA")
    return _picture(raster, largest, alpha, data[at:], b"P7", notes)


def _read_pfm(data: bytes, limits: Limits, notes: list[str]) -> Picture:
    """A PFM file: float32 samples, rows from bottom to top. The sign of the scale is the byte order."""
    channels = 3 if data[:2] == b"PF" else 1
    (width, height), at = _numbers(data, 2, 2)
    match = _TOKEN.match(data, at, at + _MAX_HEADER)
    try:
        scale = float(match[1]) if match else 0.0
    except ValueError:
        scale = 0.0
    if match is None or not np.isfinite(scale) or scale == 0:
        raise UnreadableFile("damaged: the header has no valid scale", "header")
    require_size(width, height, limits)
    count = width * height * channels
    samples = _exactly(data, match.end() + 1, 4 * count).view("<f4" if scale < 0 else ">f4")
    if abs(scale) != 1:
        notes.append(f"scale {abs(scale):g} written back as 1; the samples are kept")
    raster = samples.astype(np.float32).reshape(height, width, channels)[::-1]
    return Picture(raster, mode_of(channels, False), 32, notes=notes)
