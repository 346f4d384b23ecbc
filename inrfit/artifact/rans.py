"""Interleaved range asymmetric numeral systems (rANS, Duda 2013, arXiv:1311.2540) with any tables of frequencies. All
arithmetic is on integers, so that every machine decodes the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .sealing import damaged

Ints = npt.NDArray[np.integer]

BITS, _WORD_BITS = 14, 16
TOTAL, _LOW = 1 << BITS, 1 << _WORD_BITS
"""Sum of the frequencies of a table. Between two symbols, a state is at least _LOW and below 2^32."""


class Tables:
    """Tables of frequencies, each at least 1 and with the sum TOTAL, in arrays. The symbols of a table are 0, 1, ..."""

    def __init__(self, frequencies: Sequence[Ints]) -> None:
        self.first = np.cumsum([0, *(len(table) for table in frequencies[:-1])])
        self.frequency = np.concatenate(frequencies)
        self.start = np.concatenate([np.cumsum(table) - table for table in frequencies])
        self.symbol = np.concatenate([np.repeat(np.arange(len(t), dtype=np.int16), t) for t in frequencies])


def lanes(count: int) -> int:
    """Number of interleaved states for ``count`` symbols."""
    return max(1, min(256, count >> 14))


class Encoder:
    """Collects symbols with their tables, and codes them with so many interleaved states."""

    def __init__(self, lanes: int) -> None:
        self._lanes, self._parts = lanes, list[tuple[Ints, Ints]]()

    def add(self, tables: Tables, numbers: Ints, symbols: Ints) -> None:
        """Symbols that are decoded together, and the numbers of their tables."""
        places = tables.first[numbers] + symbols
        self._parts.append((tables.frequency[places], tables.start[places]))

    def code(self) -> bytes:
        """The code."""
        states, words = np.full(self._lanes, _LOW, np.int64), []
        for frequency, start in reversed(self._parts):
            for first in range((len(start) - 1) // self._lanes * self._lanes, -1, -self._lanes):
                step = slice(first, min(first + self._lanes, len(start)))
                state = states[: step.stop - first]
                full = state >= frequency[step] << (32 - BITS)
                words.append((state[full] & (_LOW - 1)).astype("<u2"))
                state[full] >>= _WORD_BITS
                quotient, remainder = np.divmod(state, frequency[step])
                state[:] = (quotient << BITS) + remainder + start[step]
        parts = [states.astype("<u4"), *reversed(words)]
        return b"".join(part.tobytes() for part in parts)


class Decoder:
    """Decodes what an ``Encoder`` coded, part by part. Raises ``UnreadableFile`` for a damaged code."""

    def __init__(self, lanes: int, code: bytes) -> None:
        self._lanes = lanes
        if len(code) < 4 * self._lanes or len(code) % 2:
            raise damaged()
        self._states = np.frombuffer(code, "<u4", self._lanes).astype(np.int64)
        self._words, self._next = np.frombuffer(code, "<u2", offset=4 * self._lanes).astype(np.int64), 0

    def take(self, tables: Tables, numbers: Ints) -> Ints:
        """The next symbols, of tables with these numbers."""
        slots, firsts, symbols = numbers << BITS, tables.first[numbers], np.empty(len(numbers), np.int64)
        for first in range(0, len(numbers), self._lanes):
            step = slice(first, min(first + self._lanes, len(numbers)))
            state = self._states[: step.stop - first]
            slot = state & (TOTAL - 1)
            symbol = tables.symbol[slots[step] + slot]
            place = firsts[step] + symbol
            state[:] = tables.frequency[place] * (state >> BITS) + slot - tables.start[place]
            self._refill(state)
            symbols[step] = symbol
        return symbols

    def _refill(self, state: Ints) -> None:
        (small,) = (state < _LOW).nonzero()
        if len(small):
            if self._next + len(small) > len(self._words):
                raise damaged()
            state[small] = (state[small] << _WORD_BITS) | self._words[self._next : self._next + len(small)]
            self._next += len(small)

    def end(self) -> None:
        """Raises ``UnreadableFile`` unless everything has been decoded."""
        if self._next < len(self._words) or (self._states != _LOW).any():
            raise damaged()
