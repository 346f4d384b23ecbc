"""The coded form of the coefficients of a wavelet field. docs/artifact.md is the specification."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...fields.wavelet.bands import ORIENTATIONS, Band
from .. import rans, sealing
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
    encoder = laplace.Encoder(rans.lanes(coefficients.number(parts)))
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
    chosen = np.packbits(np.array([part in parts for part in coefficients.parts()], bool)).tobytes()
    return sealing.sealed(bytes([NETWORK, *scales]) + chosen + sealing.deflated(escapes) + code)


def unpack(code: bytes, coefficients: Coefficients) -> dict[str, Ints]:
    """The integers of a code. Raises ``UnreadableFile`` for a damaged one."""
    channels, shape = coefficients.channels, coefficients.layout[0].shape
    every = coefficients.parts()
    start = 1 + channels + (len(every) + 7) // 8
    content = sealing.opened(code, start + 4)
    if content[0] != NETWORK or max(content[1 : 1 + channels]) >= laplace.SCALES:
        raise sealing.damaged()
    bits = np.unpackbits(np.frombuffer(content, np.uint8, start - 1 - channels, 1 + channels))
    if bits[len(every) :].any():
        raise sealing.damaged()
    parts = {part for part, bit in zip(every, bits, strict=False) if bit}
    scales, number = content[1 : 1 + channels], coefficients.number(parts)
    escapes, rest = sealing.inflated(content[start:], 4 * number)
    decoder = laplace.Decoder(rans.lanes(number), rest, escapes)
    zeros = np.zeros(math.prod(shape), np.int64)
    residuals = [decoder.take(zeros, np.full_like(zeros, scale)).reshape(shape) for scale in scales]
    low = _low_of(np.stack(residuals))
    known = network(content[0])
    found = walk(coefficients, known, low, lambda means, scales, place: decoder.take(means, scales), parts)
    decoder.end()
    return found


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
        raise sealing.damaged()
    return low.astype(np.int32)
