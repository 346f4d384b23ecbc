"""The coded form of the coefficients of a wavelet field. docs/artifact.md is the specification."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile
from ...fields.wavelet.bands import ORIENTATIONS, Band
from . import laplace
from .contexts import PHASES, BandMaps
from .integer_wavelets import FRACTION, Ints, finer
from .network import Network, network, part_of

NETWORK = 1
"""The network that new files are coded with."""

Integers = Mapping[str, Ints]
"""Coefficients (c, rows, columns) in steps, by the names of their bands."""


Parts = Collection[tuple[str, int]]
"""Bands of details, by name and channel."""


class Coefficients(NamedTuple):
    """The sizes of all bands, in the order in which they are coded; the number of channels; and the step."""

    layout: tuple[Band, ...]
    channels: int
    step: float

    def parts(self) -> list[tuple[str, int]]:
        """The bands of details and their channels, in the order in which they are coded."""
        levels = [self.layout[first : first + 3] for first in range(1, len(self.layout), 3)]
        return [(band.name, channel) for three in levels for channel in range(self.channels) for band in three]

    def number(self, parts: Parts) -> int:
        """Number of coefficients of the low band and of these ``parts``."""
        sizes = {band.name: math.prod(band.shape) for band in self.layout}
        return sizes["low"] * self.channels + sum(sizes[name] for name, _ in parts)

    @property
    def step_class(self) -> int:
        """The step in eighths of an octave from 1 / 16 of the range of the samples, which is 2."""
        return round(8 * math.log2(8 * self.step))


class Place(NamedTuple):
    """The coefficients of a phase: name of their band, channel, first row and column."""

    band: str
    channel: int
    row: int
    column: int

    def of(self, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Those of ``arrays``, as a view."""
        return arrays[self.band][self.channel, self.row :: 2, self.column :: 2]


Visit = Callable[[Ints, Ints, Place], Ints]
"""``visit(means, scales, place)`` returns the integers (n,) at ``place``."""


def walk(
    coefficients: Coefficients, known: Network, low: Ints, visit: Visit, parts: Parts | None = None
) -> dict[str, Ints]:
    """Visits all details, or those in ``parts`` (the others are 0), in the order in which they are coded, and returns
    them and the ``low`` band."""
    layout, channels = coefficients.layout, coefficients.channels
    found: dict[str, Ints] = {"low": low}
    fine = low.astype(np.int64) * FRACTION
    for first in range(1, len(layout), 3):
        three = layout[first : first + 3]
        found |= {band.name: np.zeros((channels, *band.shape), np.int32) for band in three}
        for channel in range(channels):
            for band in three:
                if parts is not None and (band.name, channel) not in parts:
                    continue
                coarser = found.get(f"{ORIENTATIONS[band.orientation]}{band.level + 1}")
                maps = BandMaps(
                    band.shape,
                    None if coarser is None else coarser[channel],
                    [found[other.name][channel] for other in three[: band.orientation]],
                    [found[band.name][before] for before in range(max(0, channel - 2), channel)],
                    fine[channel],
                )
                kind, place = part_of(band.orientation, band.level, channel)
                for phase, (row, column) in enumerate(PHASES):
                    distributions = known.distributions(kind, phase, place, coefficients.step_class, maps.padded)
                    integers = visit(*distributions, own := Place(band.name, channel, row, column))
                    maps.fill(phase, integers)
                    part = own.of(found)
                    part[...] = integers.reshape(part.shape)
        fine = finer(fine, [found[band.name] for band in three])
    return found


def pack(integers: Integers, coefficients: Coefficients) -> bytes:
    """The code of ``integers``."""
    low = integers["low"]
    parts = [(name, channel) for name, channel in coefficients.parts() if integers[name][channel].any()]
    encoder = laplace.Encoder(coefficients.number(parts))
    scales = []
    for channel in _low_residuals(low):
        scale = int(np.clip(np.rint(4 * np.log2(32 * np.abs(channel).mean() + 1e-9)), 0, laplace.SCALES - 1))
        encoder.add(channel.reshape(-1), np.zeros(channel.size, np.int64), np.full(channel.size, scale))
        scales.append(scale)

    def visit(means: Ints, scales: Ints, place: Place) -> Ints:
        own = place.of(integers).reshape(-1)
        encoder.add(own, means, scales)
        return own

    walk(coefficients, network(NETWORK), low, visit, parts)
    code, escapes = encoder.code()
    packed = zlib.compress(escapes, 9) if escapes else b""
    chosen = np.packbits(np.array([part in parts for part in coefficients.parts()], bool)).tobytes()
    return sealed(bytes([NETWORK, *scales]) + chosen + len(packed).to_bytes(4, "little") + packed + code)


def sealed(content: bytes) -> bytes:
    """``content`` with its checksum before it."""
    return zlib.crc32(content).to_bytes(4, "little") + content


def unpack(code: bytes, coefficients: Coefficients) -> dict[str, Ints]:
    """The integers of a code. Raises ``UnreadableFile`` for a damaged one."""
    channels, shape = coefficients.channels, coefficients.layout[0].shape
    every = coefficients.parts()
    start = 5 + channels + (len(every) + 7) // 8
    if len(code) < start + 4 or zlib.crc32(code[4:]) != int.from_bytes(code[:4], "little"):
        raise UnreadableFile("damaged: the checksum of the coded weights is wrong", "code")
    if code[4] != NETWORK or max(code[5 : 5 + channels]) >= laplace.SCALES:
        raise laplace.damaged()
    bits = np.unpackbits(np.frombuffer(code, np.uint8, start - 5 - channels, 5 + channels))
    if bits[len(every) :].any():
        raise laplace.damaged()
    parts = {part for part, bit in zip(every, bits, strict=False) if bit}
    scales, size = code[5 : 5 + channels], int.from_bytes(code[start : start + 4], "little")
    packed, rest = code[start + 4 : start + 4 + size], code[start + 4 + size :]
    number = coefficients.number(parts)
    decoder = laplace.Decoder(number, rest, _inflated(packed, 4 * number))
    zeros = np.zeros(math.prod(shape), np.int64)
    residuals = [decoder.take(zeros, np.full_like(zeros, scale)).reshape(shape) for scale in scales]
    low = _low_of(np.stack(residuals))
    found = walk(coefficients, network(code[4]), low, lambda means, scales, place: decoder.take(means, scales), parts)
    decoder.end()
    return found


def _inflated(packed: bytes, limit: int) -> bytes:
    """What ``packed`` inflates to, at most ``limit`` bytes. Raises ``UnreadableFile`` if it is damaged."""
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(packed, limit) if packed else b""
    except zlib.error:
        raise laplace.damaged() from None
    if packed and not inflate.eof:
        raise laplace.damaged()
    return plain


def _low_residuals(low: Ints) -> Ints:
    """The low band less its left neighbours, in the first column those above."""
    residuals: Ints = np.diff(low, axis=-1, prepend=0)
    residuals[..., 0] = np.diff(low[..., 0], axis=-1, prepend=0)
    return residuals


def _low_of(residuals: Ints) -> Ints:
    """The inverse of ``_low_residuals``."""
    whole = residuals.astype(np.int64)
    whole[..., 0] = np.cumsum(residuals[..., 0], axis=-1)
    low: Ints = np.cumsum(whole, axis=-1)
    if np.abs(low).max(initial=0) > laplace.LARGEST:
        raise laplace.damaged()
    return low.astype(np.int32)
