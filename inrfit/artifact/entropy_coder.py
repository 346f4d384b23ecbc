"""Entropy coding of integers that are about normally distributed: range asymmetric numeral systems (rANS, Duda 2013,
arXiv:1311.2540) with interleaved states, so that NumPy decodes many integers at a time.

All arithmetic is on integers, so that every machine decodes the same. docs/artifact.md specifies the code.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UnreadableFile

Ints = npt.NDArray[np.int64]

TABLES = 33
"""Number of frequency tables. The standard deviation of class c is 2^(c / 4) / 8; the classes 0 to 32 have a table
each. An integer of a further class is shifted to the right until one of these tables fits, and the bits that drop out
are coded as they are."""

CLASSES = TABLES + 4 * 16
"""Number of classes."""

LARGEST = 1 << 22
"""Bound on the magnitude of an integer. The last class holds it."""

_INTEGERS_PER_STATE = 2048
_BITS, _WORD_BITS = 14, 16
_TOTAL, _LOW = 1 << _BITS, 1 << _WORD_BITS
"""Sum of the frequencies of a table. Between two integers, a state is at least _LOW and below 2^32."""

_DECAYS = (
    0, 1, 483, 52418, 1440801, 15004422, 78665070, 253857248, 581260615, 1044178424, 1580030169, 2117713904,
    2605029347, 3015876649, 3344923893, 3599040369, 3790295335, 3931635878, 4034748382, 4109287957, 4162825044,
    4201101925, 4228380000, 4247775344, 4261543595, 4271306145, 4278222805, 4283120382, 4286586875, 4289039749,
    4290775039, 4292002499, 4292870656,
)  # fmt: skip
"""2^32 exp(-1 / (2 sigma^2)) for the standard deviation sigma of each table, rounded."""


@cache
def frequencies(table: int) -> tuple[int, ...]:
    """Frequencies of the symbols -r to r of a table, each at least 1, with the sum 2^14. Their number is 2 r + 1."""
    radius = (9 << (table // 4)) * (16, 19, 23, 27)[table % 4] // 256 + 2  # about 4.5 standard deviations
    weights, ratio = [1 << 32], _DECAYS[table]
    for _ in range(radius):
        weights.append(weights[-1] * ratio >> 32)
        ratio = ratio * _DECAYS[table] ** 2 >> 64
    total, spread = 2 * sum(weights) - weights[0], _TOTAL - (2 * radius + 1)
    side = [1 + weight * spread // total for weight in weights]
    side[0] += _TOTAL - (2 * sum(side) - side[0])
    return (*side[:0:-1], *side)


class _Tables:
    """The frequency tables in arrays. A symbol's position is ``centre[table]`` plus the symbol."""

    def __init__(self) -> None:
        tables = [np.array(frequencies(table)) for table in range(TABLES)]
        self.radius = np.array([len(table) // 2 for table in tables])
        starts = np.cumsum([0, *(len(table) for table in tables[:-1])])
        self.centre = starts + self.radius
        self.frequency = np.concatenate(tables)
        self.start = np.concatenate([np.cumsum(table) - table for table in tables])
        symbols = [np.repeat(np.arange(len(table)), table) for table in tables]
        self.position = np.concatenate([start + part for start, part in zip(starts, symbols, strict=True)])
        self.bits = _BITS - np.log2(self.frequency)


_tables = cache(_Tables)


def split_classes(classes: Ints) -> tuple[Ints, Ints]:
    """The table of each class, and the number of bits by which its integers are shifted."""
    shifts = np.maximum(0, (classes - TABLES + 4) // 4)
    return classes - 4 * shifts, shifts


@cache
def capacities() -> Ints:
    """The largest magnitude that each class holds."""
    kinds, shifts = split_classes(np.arange(CLASSES))
    return _tables().radius[kinds] << shifts


def code_lengths(integers: Ints, classes: Ints) -> npt.NDArray[np.float64]:
    """The bits that each integer takes in its class; inf where the class cannot hold it."""
    tables, (kinds, shifts) = _tables(), split_classes(classes)
    symbols = integers >> shifts
    held = np.abs(symbols) <= tables.radius[kinds]
    bits = tables.bits[tables.centre[kinds] + np.where(held, symbols, 0)] + shifts
    return np.where(held, bits, np.inf)


def state_count(count: int) -> int:
    """Number of interleaved states for ``count`` integers."""
    return max(1, count // _INTEGERS_PER_STATE)


def encode(integers: Ints, classes: Ints) -> bytes:
    """The code of ``integers``. Each must be one that its class holds."""
    tables, (kinds, shifts) = _tables(), split_classes(classes)
    positions = tables.centre[kinds] + (integers >> shifts)
    frequency, start, low = tables.frequency[positions], tables.start[positions], integers & ((1 << shifts) - 1)
    lanes = state_count(len(integers))
    states, words = np.full(lanes, _LOW, np.int64), []
    for first in range((len(integers) - 1) // lanes * lanes, -1, -lanes):
        step = slice(first, min(first + lanes, len(integers)))
        state, shift = states[: step.stop - first], shifts[step]
        if shift.any():
            words.append(_emit(state, state >= 1 << (32 - shift)))
            state[:] = (state << shift) | low[step]
        words.append(_emit(state, state >= frequency[step] << (32 - _BITS)))
        quotient, remainder = np.divmod(state, frequency[step])
        state[:] = (quotient << _BITS) + remainder + start[step]
    return states.astype("<u4").tobytes() + b"".join(part.tobytes() for part in reversed(words))


def _emit(state: Ints, full: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """Takes the lower words from the states that are ``full``, and returns them."""
    words = (state[full] & (_LOW - 1)).astype("<u2")
    state[full] >>= _WORD_BITS
    return words


def decode(code: bytes, classes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
    """The integers in ``code``, one for each of ``classes``. Needs little memory besides them. Raises
    ``UnreadableFile`` if it is not exactly the code of so many integers."""
    tables, (kinds, shifts) = _tables(), split_classes(np.arange(CLASSES))
    lanes, count = state_count(len(classes)), len(classes)
    if len(code) < 4 * lanes or len(code) % 2:
        raise _damaged()
    states = np.frombuffer(code, "<u4", lanes).astype(np.int64)
    words = _Words(np.frombuffer(code, "<u2", offset=4 * lanes).astype(np.int64))
    slots, centres = kinds * _TOTAL, tables.centre[kinds]
    integers = np.empty(count, np.int32)
    for first in range(0, count, lanes):
        step = slice(first, min(first + lanes, count))
        part, state = classes[step], states[: step.stop - first]
        slot, shift = state & (_TOTAL - 1), shifts[part]
        position = tables.position[slots[part] + slot]
        state[:] = tables.frequency[position] * (state >> _BITS) + slot - tables.start[position]
        words.refill(state)
        symbols = position - centres[part]
        if shift.any():
            symbols = (symbols << shift) | (state & ((1 << shift) - 1))
            state >>= shift
            words.refill(state)
        integers[step] = symbols
    if words.left or (states != _LOW).any():
        raise _damaged()
    return integers


class _Words:
    """The words of a code that have not been read."""

    def __init__(self, words: Ints) -> None:
        self._words, self._next = words, 0

    @property
    def left(self) -> int:
        """How many words have not been read."""
        return len(self._words) - self._next

    def refill(self, state: Ints) -> None:
        """Appends a word to each state that is too small. Raises ``UnreadableFile`` if there are not enough."""
        small = np.flatnonzero(state < _LOW)
        if len(small) > self.left:
            raise _damaged()
        state[small] = (state[small] << _WORD_BITS) | self._words[self._next : self._next + len(small)]
        self._next += len(small)


def _damaged() -> UnreadableFile:
    return UnreadableFile("damaged: the coded weights do not decode", "code")
