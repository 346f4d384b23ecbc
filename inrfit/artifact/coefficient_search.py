"""Looks for the step to whose multiples coefficients are rounded, for a quality or for a number of bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch

from ..signal import Signal
from . import weight_code
from .artifact import Artifact

USUAL_QUALITY = 40.0
"""The quality, in decibels, of a field whose bytes and quality nobody asked for."""

LARGEST_STEP = 4.0
"""Twice the range of the samples: everything is rounded to 0."""

_PASSES = 3
"""Passes that round coefficients for the least of error and bits."""

_TRIALS = 12
"""Most roundings in a search. Photographs need three or four, noise most."""

_FINEST = 2.0**-9
"""Part of an octave that is not divided: steps have eight binary digits."""

_QUALITY_SLOPE, _BYTES_SLOPE = -5.0, 1.0
"""About the change of the quality, in decibels, and of log2(room / bytes), for a step twice as large."""

_BYTES_QUALITY = 25.0
"""The quality, in decibels, that is expected of a number of bytes when the hop of a sound is chosen."""


@dataclass(frozen=True)
class Wanted:
    """What the coefficients are rounded for: a ``quality``, or at most ``room`` bytes of code, within ``seconds``."""

    quality: float | None
    room: int | None
    seconds: float


class Coefficients(Protocol):
    """The exact coefficients of a field of ``cells`` samples, and roundings of them."""

    cells: int

    def sampled(self) -> Coefficients:
        """Those of a part of a large signal, or the same."""

    def rounded(self, step: float, passes: int) -> Artifact:
        """The field with its coefficients rounded to multiples of about ``step``, as its readers have it: for the least
        of error and bits in so many ``passes``, if any."""

    def quality(self, artifact: Artifact) -> float:
        """The main measure of the modality for a rounded field, on some or all samples."""


def _coefficients(artifact: Artifact, signal: Signal, wanted: Wanted, asked: Collection[str]) -> Coefficients:
    values = signal.on(torch.device("cpu")).take(torch.arange(signal.n))[1]
    if artifact.spec.formula.TRAITS.coefficients == "bands":
        from .band_rounding import Bands

        return Bands(artifact, values, signal)
    from .spectrum_rounding import Spectrum, with_best_hop

    quality = _BYTES_QUALITY if wanted.room is not None else USUAL_QUALITY if wanted.quality is None else wanted.quality
    return Spectrum(artifact if "hop" in asked else with_best_hop(artifact, values, quality), values, signal)


def coded_for(
    artifact: Artifact, signal: Signal, wanted: Wanted, asked: Collection[str], should_stop: Callable[[], bool]
) -> Artifact:
    """``artifact`` with its coefficients rounded to multiples of about the largest step with which it has the wanted
    quality, or the smallest with which its code has at most ``room`` bytes. Fewer steps are tried once the seconds are
    over or ``should_stop()`` is true. ``asked`` names the options of the architecture that the user has set."""
    if artifact.spec.formula.TRAITS.coefficients == "distances":
        from .distance_rounding import coded_shape

        return coded_shape(artifact, signal, wanted, asked, should_stop)
    started_at = time.monotonic()
    whole = _coefficients(artifact, signal, wanted, asked)
    sample = whole.sampled()
    times = whole.cells / sample.cells

    def excess(part: Coefficients, found: Artifact) -> float:
        if wanted.room is None:
            return part.quality(found) - (USUAL_QUALITY if wanted.quality is None else wanted.quality)
        code = len(weight_code.pack(found.spec, found.weights, found.steps))
        return math.log2(wanted.room * part.cells / whole.cells / code)

    def seconds_left() -> float:
        return -math.inf if should_stop() else wanted.seconds - (time.monotonic() - started_at)

    def search(part: Coefficients, passes: int, slope: float, near: float, place: float) -> _Search:
        run = _Search(lambda step: part.rounded(step, passes), partial(excess, part), slope, near, seconds_left)
        run.run(place)
        return run

    slope, near = (_QUALITY_SLOPE, 0.05) if wanted.room is None else (_BYTES_SLOPE, 0.015)
    plain = search(sample, 0, slope, 8 * near, math.log2(0.05))
    affordable = seconds_left() > (_PASSES + 1) * times * plain.seconds
    passes, place = (_PASSES, plain.place - 0.25) if affordable else (0, plain.place)
    if sample is not whole and affordable:
        place = search(sample, passes, plain.slope, 2 * near, place).place
    elif sample is whole and not affordable and plain.best is not None:
        return plain.best
    best = search(whole, passes, plain.slope, near, place).best
    return best or whole.rounded(LARGEST_STEP if wanted.room is not None else 0.0, 0)


class _Tried(NamedTuple):
    """The log2 of a step, and the excess that it has."""

    place: float
    excess: float


class _Search:
    """Looks for the log2 of a step whose ``excess`` is from 0 to ``near`` by secants."""

    def __init__(
        self,
        make: Callable[[float], Artifact],
        excess: Callable[[Artifact], float],
        slope: float,
        near: float,
        seconds_left: Callable[[], float],
    ) -> None:
        self._make, self._excess, self._usual, self._near, self._left = make, excess, slope, near, seconds_left
        self.slope, self.place, self.seconds = slope, 0.0, 0.0
        self.best: Artifact | None = None
        """The rounding with the least excess that is not negative."""
        self._inside: _Tried | None = None
        self._outside: _Tried | None = None

    def run(self, place: float) -> None:
        """Begins at ``place``."""
        least, before = math.inf, None
        for trial in range(_TRIALS):
            self.place, started_at = place, time.monotonic()
            found = self._make(2.0**place)
            excess = max(-64.0, min(self._excess(found), 64.0))
            self.seconds = time.monotonic() - started_at
            if 0 <= excess < least:
                least, self.best, self._inside = excess, found, _Tried(place, excess)
            if excess < 0:
                self._outside = _Tried(place, excess)
            if before is not None and place != before[0]:
                steepness = (excess - before[1]) / (place - before[0]) / self._usual
                self.slope = self._usual * max(0.4, min(steepness, 2.5))
            before = place, excess
            place = self._next(place, excess)
            left = self._left()
            over = left < 1.2 * self.seconds and (self.best is not None or trial > 5 or left == -math.inf)
            if least <= self._near or over or abs(place - self.place) < _FINEST:
                return

    def _next(self, place: float, excess: float) -> float:
        if self._inside is not None and self._outside is not None:
            inside, outside = self._inside, self._outside
            share = (self._near / 3 - inside.excess) / (outside.excess - inside.excess)
            return inside.place + max(0.1, min(share, 0.9)) * (outside.place - inside.place)
        following = place + (self._near / 3 - excess) / self.slope
        return max(math.log2(1e-7), min(following, math.log2(LARGEST_STEP)))
