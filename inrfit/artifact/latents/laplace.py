"""Integer tables of Laplace distributions, and the interleaved range coder (rANS) that uses them. All arithmetic is on
integers, so that every machine decodes the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from ..sealing import damaged
from .integer_wavelets import Ints

SCALES = 53
"""Number of scales: scale k is 2^(k / 4) / 32 steps."""

LARGEST = 1 << 22
"""Largest magnitude of an integer."""

PARTS = 8
"""Parts of a step to which the mean of a distribution is rounded."""

_BITS, _WORD_BITS = 14, 16
_TOTAL, _LOW = 1 << _BITS, 1 << _WORD_BITS
_ONE = 1 << 32

_DECAYS = (
    78665070, 148652826, 253857248, 398132550, 581260615, 799036310, 1044178424, 1307656790, 1580030169, 1852521207,
    2117713904, 2369882518, 2605029347, 2820730047, 3015876649, 3190386796, 3344923893, 3480652712, 3599040369,
    3701703250, 3790295335, 3866431115, 3931635878, 3987316692, 4034748382, 4075069962, 4109287957, 4138284039,
    4162825044, 4183574096, 4201101925, 4215897841, 4228380000, 4238904802, 4247775344, 4255248918, 4261543595,
    4266843974, 4271306145, 4275061981, 4278222805, 4280882540, 4283120382, 4285003080, 4286586875, 4287919135,
    4289039749, 4289982295, 4290775039, 4291441769, 4292002499, 4292474072, 4292870656,
)  # fmt: skip
"""2^32 exp(-1 / (8 scale)) for each scale, rounded."""


def _radius(scale: int) -> int:
    """The largest distance from the mean that a table has; further ones are escapes."""
    return min(1000, (12 << (scale // 4)) * (16, 19, 23, 27)[scale % 4] // 512 + 3)


def frequencies(scale: int, part: int) -> Ints:
    """Frequencies of the distances -radius to radius from a mean that is ``part`` / PARTS steps above 0, and of an
    escape. Each is at least 1, their sum 2^14."""
    powers = [_ONE]
    for _ in range(8):
        powers.append(powers[-1] * _DECAYS[scale] >> 32)
    above, below = powers[4 - part], powers[4 + part]  # of the tails that begin half a step above and below
    radius, decay = _radius(scale), powers[8]
    tails = []
    for begin in (below, above):
        weights, weight = [], begin * (_ONE - decay) >> 33
        for _ in range(radius):
            weights.append(weight)
            weight = weight * decay >> 32
        tails.append(weights)
    centre = _ONE - (above + below >> 1)
    weights = [*tails[0][::-1], centre, *tails[1], 0]
    spread = _TOTAL - len(weights)
    table = np.array([1 + weight * spread // _ONE for weight in weights])
    table[radius] += _TOTAL - table.sum()
    return table


class _Tables:
    """All tables in arrays, by number: scale * PARTS + part + PARTS / 2. A symbol is a distance plus the radius."""

    def __init__(self) -> None:
        tables = [frequencies(scale, part - PARTS // 2) for scale in range(SCALES) for part in range(PARTS)]
        self.radius = np.array([len(table) // 2 - 1 for table in tables])
        self.first = np.cumsum([0, *(len(table) for table in tables[:-1])])
        self.frequency = np.concatenate(tables)
        self.bits = _BITS - np.log2(self.frequency)
        self.start = np.concatenate([np.cumsum(table) - table for table in tables])
        self.symbol = np.concatenate([np.repeat(np.arange(len(t), dtype=np.int16), t) for t in tables])


tables = cache(_Tables)


def split(means: Ints) -> tuple[Ints, Ints]:
    """Means in parts of a step as the nearest integer, and the part that is left plus PARTS / 2."""
    centres = (means + PARTS // 2) >> 3
    return centres, means - PARTS * centres + PARTS // 2


def lanes(count: int) -> int:
    """Number of interleaved states for ``count`` integers."""
    return max(1, min(256, count >> 14))


class Encoder:
    """Collects integers with the tables of their distributions, and codes them."""

    def __init__(self, count: int) -> None:
        self._lanes, self._parts = lanes(count), list[tuple[Ints, Ints]]()
        self._escapes = bytearray()

    def add(self, integers: Ints, means: Ints, scales: Ints) -> None:
        """Integers that are decoded together."""
        known = tables()
        centres, parts = split(means)
        numbers = scales * PARTS + parts
        radius = known.radius[numbers]
        distance = integers - centres
        escaped = np.abs(distance) > radius
        for value in distance[escaped].tolist():
            self._escapes += value.to_bytes(4, "little", signed=True)
        self._parts.append((numbers, np.where(escaped, 2 * radius + 1, distance + radius)))

    def code(self) -> tuple[bytes, bytes]:
        """The code, and the escaped distances."""
        known, states, words = tables(), np.full(self._lanes, _LOW, np.int64), []
        for numbers, symbols in reversed(self._parts):
            places = known.first[numbers] + symbols
            frequency, start = known.frequency[places], known.start[places]
            for first in range((len(places) - 1) // self._lanes * self._lanes, -1, -self._lanes):
                step = slice(first, min(first + self._lanes, len(places)))
                state = states[: step.stop - first]
                full = state >= frequency[step] << (32 - _BITS)
                words.append((state[full] & (_LOW - 1)).astype("<u2"))
                state[full] >>= _WORD_BITS
                quotient, remainder = np.divmod(state, frequency[step])
                state[:] = (quotient << _BITS) + remainder + start[step]
        parts = [states.astype("<u4"), *reversed(words)]
        return b"".join(part.tobytes() for part in parts), bytes(self._escapes)


class Decoder:
    """Decodes what an ``Encoder`` coded, part by part. Raises ``UnreadableFile`` for a damaged code."""

    def __init__(self, count: int, code: bytes, escapes: bytes) -> None:
        self._lanes = lanes(count)
        if len(code) < 4 * self._lanes or len(code) % 2 or len(escapes) % 4:
            raise damaged()
        self._states = np.frombuffer(code, "<u4", self._lanes).astype(np.int64)
        self._words, self._next = np.frombuffer(code, "<u2", offset=4 * self._lanes).astype(np.int64), 0
        self._escapes, self._escaped = np.frombuffer(escapes, "<i4").astype(np.int64), 0

    def take(self, means: Ints, scales: Ints) -> Ints:
        """The next integers, of distributions with these means and scales."""
        known = tables()
        centres, parts = split(means)
        numbers = scales * PARTS + parts
        slots, firsts, symbols = numbers << _BITS, known.first[numbers], np.empty(len(means), np.int64)
        for first in range(0, len(means), self._lanes):
            step = slice(first, min(first + self._lanes, len(means)))
            state = self._states[: step.stop - first]
            slot = state & (_TOTAL - 1)
            symbol = known.symbol[slots[step] + slot]
            place = firsts[step] + symbol
            state[:] = known.frequency[place] * (state >> _BITS) + slot - known.start[place]
            self._refill(state)
            symbols[step] = symbol
        radius = known.radius[numbers]
        distance = symbols - radius
        escaped = np.flatnonzero(symbols > 2 * radius)
        if len(escaped):
            if self._escaped + len(escaped) > len(self._escapes):
                raise damaged()
            distance[escaped] = self._escapes[self._escaped : self._escaped + len(escaped)]
            self._escaped += len(escaped)
        found: Ints = distance + centres
        if np.abs(found).max(initial=0) > LARGEST:
            raise damaged()
        return found

    def _refill(self, state: Ints) -> None:
        (small,) = (state < _LOW).nonzero()
        if len(small):
            if self._next + len(small) > len(self._words):
                raise damaged()
            state[small] = (state[small] << _WORD_BITS) | self._words[self._next : self._next + len(small)]
            self._next += len(small)

    def end(self) -> None:
        """Raises ``UnreadableFile`` unless everything has been decoded."""
        if self._next < len(self._words) or self._escaped < len(self._escapes) or (self._states != _LOW).any():
            raise damaged()


def bits(integers: Ints, means: Ints, scales: Ints) -> npt.NDArray[np.float64]:
    """The bits that integers of these distributions take; about so many for those that are escapes."""
    known = tables()
    centres, parts = split(means)
    numbers = scales * PARTS + parts
    radius, distance = known.radius[numbers], integers - centres
    escaped = np.abs(distance) > radius
    places = known.first[numbers] + np.where(escaped, 2 * radius + 1, distance + radius)
    found: npt.NDArray[np.float64] = known.bits[places] + np.where(escaped, 24.0, 0.0)
    return found
