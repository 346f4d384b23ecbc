"""The part of a signal that is asked for: ``x=10:200,z=3mm:9mm,t=40``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from .domain import Domain

_POSITION = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµμ]*)")
_EPSILON = 1e-6
"""Samples by which a position may miss the one that it means, because of rounding."""


@dataclass(frozen=True)
class Position:
    """A number, in samples or in ``unit``."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"

    def index(self, domain: Domain, axis: int) -> float:
        """The index in the samples of ``domain``."""
        return domain.along(axis, self.value, self.unit) if self.unit else self.value


@dataclass(frozen=True)
class Range:
    """Start and stop along an axis, None where it is open; both the same for one ``place``."""

    start: Position | None = None
    stop: Position | None = None
    place: bool = False

    def __str__(self) -> str:
        start, stop = ("" if side is None else str(side) for side in (self.start, self.stop))
        return start if self.place else f"{start}:{stop}"

    @property
    def in_units(self) -> bool:
        """Whether it is given in units of the file."""
        return any(side is not None and side.unit for side in (self.start, self.stop))


@dataclass(frozen=True)
class Region:
    """A box: ``start`` and ``stop`` in samples along each axis (whole numbers where there are samples), and the axes
    that were named at one place only (``flat``)."""

    start: tuple[float, ...]
    stop: tuple[float, ...]
    flat: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples along each axis."""
        return tuple(max(1, round(b - a)) for a, b in zip(self.start, self.stop, strict=True))


def parsed(region: Any) -> dict[str, Range]:
    """The ranges by axis of a text, or of a mapping whose values are texts ("3mm:9mm"), numbers or pairs of numbers.
    Raises ``UsageError``."""
    pairs: list[tuple[str, Any]] = []
    if isinstance(region, str):
        for part in filter(str.strip, region.split(",")):
            letter, equals, sides = part.partition("=")
            if not equals:
                raise UsageError(f"region {region!r}: name the axis, as in z=12 or x=10:200,y=0:64", "query")
            pairs.append((letter.strip(), sides))
    elif isinstance(region, Mapping):
        pairs = [(str(letter), sides) for letter, sides in region.items()]
    elif region is not None:
        raise UsageError(f"region: must be a text like x=10:200, or a mapping, not {region!r:.60}", "query")
    found: dict[str, Range] = {}
    for letter, sides in pairs:
        if letter in found:
            raise UsageError(f"region: {letter} is named twice", "query")
        found[letter] = _range(letter, sides)
    return found


def joined(*regions: Any) -> dict[str, Range] | None:
    """The ranges of several regions, some of which may be None; None if all are. Raises ``UsageError`` if two name the
    same axis."""
    given, found = [parsed(region) for region in regions if region is not None], dict[str, Range]()
    for ranges in given:
        if twice := found.keys() & ranges.keys():
            raise UsageError(f"region: {min(twice)} is named twice", "query")
        found |= ranges
    return found if given else None


def _range(letter: str, sides: Any) -> Range:
    """The range that a text, a number or a pair names."""
    if isinstance(sides, Range):
        return sides
    if isinstance(sides, str):
        first, colon, last = sides.partition(":")
        texts: Sequence[Any] = (first.strip() or None, last.strip() or None) if colon else (first,)
    elif isinstance(sides, Sequence) and len(sides) == 2:
        texts = sides
    else:
        texts = (sides,)
    found = [None if text is None else _position(letter, str(text)) for text in texts]
    return Range(found[0], found[-1], place=len(found) == 1)


def _position(letter: str, text: str) -> Position:
    match = _POSITION.fullmatch(text.strip())
    if match is None or not math.isfinite(float(match[1])):
        raise UsageError(
            f"region: {letter}={text}: must be a sample or a range as in 10:60, or with units as in 3mm:9mm", "query"
        )
    return Position(float(match[1]), match[2])


def resolved(ranges: Mapping[str, Range], domain: Domain) -> Region:
    """The region in the samples of ``domain``, or in cells of two along each axis of a field without samples. Axes that
    are not named are whole. Raises ``UsageError`` for an axis or a range that there is not."""
    if unknown := [letter for letter in ranges if letter not in tuple(domain.axes)]:
        raise UsageError(f"region: no axis {unknown[0]!r}: this field's axes are {', '.join(domain.axes)}", "query")
    named = [ranges.get(letter, Range()) for letter in domain.axes]
    side_of = _of_points if domain.shape is None else _of_samples
    sides = [side_of(one, domain, axis) for axis, one in enumerate(named)]
    return Region(tuple(a for a, _ in sides), tuple(b for _, b in sides), tuple(one.place for one in named))


def _of_samples(one: Range, domain: Domain, axis: int) -> tuple[float, float]:
    """The half-open range of samples along an axis: those whose centres lie in ``one``; the nearest to a place."""
    assert domain.shape is not None
    side = domain.shape[axis]
    first = 0.0 if one.start is None else one.start.index(domain, axis)
    last = float(side) if one.stop is None else one.stop.index(domain, axis)
    if one.place and one.in_units:
        first = round(first)
    elif one.in_units and domain.matrix is not None and domain.matrix[axis, axis] < 0:
        first, last = _from_the_end(one, first, last, side)
    start = math.ceil(first - _EPSILON)
    stop = start + 1 if one.place else math.ceil(last - _EPSILON)
    if one.in_units and not one.place:
        start, stop = max(0, start), min(side, stop)
    if not 0 <= start < stop <= side or not (one.in_units or (first, last) == (int(first), int(last))):
        raise UsageError(f"region: {domain.axes[axis]}={one}: {_fault(one, first, last, domain, axis)}", "query")
    return start, stop


def _fault(one: Range, first: float, last: float, domain: Domain, axis: int) -> str:
    """What is wrong with a range, and what there is."""
    assert domain.shape is not None
    side, letter = domain.shape[axis], domain.axes[axis]
    units = {bool(end.unit) for end in (one.start, one.stop) if end is not None}
    if len(units) == 2:
        return "give both ends a unit, or none"
    if one.in_units:
        ends = sorted(domain.position(axis, index) for index in (0, side - 1))
        unit = domain.units[axis]
        return f"the samples along {letter} lie from {ends[0]:.6g}{unit} to {ends[1]:.6g}{unit}"
    if (first, last) != (int(first), int(last)):
        return "samples are whole numbers; positions have a unit, as in 3mm or 1.5s"
    if not one.place and last <= first:
        return "it ends before it begins (the end is not included)"
    return f"there are samples 0 to {side - 1:,}" + ("" if one.place else f", so that a range ends at {side:,} at most")


def _from_the_end(one: Range, first: float, last: float, side: int) -> tuple[float, float]:
    """The indices of an axis whose positions fall: the place of ``start`` is included, that of ``stop`` is not."""
    low = 0.0 if one.stop is None else math.floor(last + _EPSILON) + 1.0
    high = float(side) if one.start is None else math.floor(first + _EPSILON) + 1.0
    return low, high


def _of_points(one: Range, domain: Domain, axis: int) -> tuple[float, float]:
    """The range along an axis of a field without samples, whose box has two cells along each axis."""
    assert domain.matrix is not None
    places = [None if p is None else domain.along(axis, p.value, p.unit or "u") + 1 for p in (one.start, one.stop)]
    start, stop = (2.0 * end if place is None else place for end, place in enumerate(places))
    if not -_EPSILON <= start <= stop <= 2 + _EPSILON or (start == stop) != one.place:
        middle, half = float(domain.matrix[axis, -1]), float(domain.matrix[axis, axis])
        raise UsageError(
            f"region: {domain.axes[axis]}={one}: the field's box lies from {middle - half:.6g} to {middle + half:.6g}",
            "query",
        )
    return start, stop
