"""The points of a signal that has none of its own: some before the first step, the rest while the fit is under way.

Each takes microseconds of both cores, so that all of them would hold up the first step for seconds; of a part alone a
longer fit learns the points by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..signal import PointSource, Samples, Signal
from .progress import Clock

FIRST_SECONDS = 1.0
"""Seconds spent on points before the first step; half of it was worse (0.9914 for 0.9925 IoU on the armadillo in
10 s)."""

MOST_SHARE = 0.25
"""Largest share of a budget in seconds that is spent on points."""

LONG_SHARE = 1 / 15
"""Share of a longer budget that is spent on points: those of one second are learned by heart in a minute (0.9954 for
0.9968 IoU on the armadillo, and a speck far off the bunny), those of three seconds in five minutes (0.9973 for 0.9980,
and a speck; docs/benchmarks.md, "A shape's points")."""

UNCERTAIN_SECONDS = 4.0
"""Most seconds for points where a target or a number of steps may end the fit sooner, or where all points must be there
before the first step."""

GROWING_SHARE = 0.5
"""Points are added while drawing them has taken less than this share of the time so far."""

UNTIL = 0.5
"""Share of the budget after which no points are added: new points must be taught."""


@dataclass(frozen=True)
class PointBudget:
    """How long points may be drawn. ``usual_seconds`` is what the architecture wants in a short budget; ``grows``:
    points may be added during the fit, which a fit of whole selections cannot use."""

    clock: Clock
    usual_seconds: float
    grows: bool

    @property
    def adding(self) -> bool:
        """Whether points are added during the fit."""
        return self.grows and self.clock.timed

    @property
    def seconds(self) -> float:
        """Seconds for all points, in a budget in seconds."""
        budget = self.clock.budget
        assert budget.seconds is not None
        certain = self.adding and budget.target is None and budget.steps is None
        long = min(LONG_SHARE * budget.seconds, math.inf if certain else UNCERTAIN_SECONDS)
        return min(MOST_SHARE * budget.seconds, max(self.usual_seconds, long))


Lot = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]
"""Points (k, d) and their samples (k, c)."""


def first_lots(source: PointSource, goes_on: Callable[[], bool]) -> list[Lot]:
    """The points drawn before the first step, lot by lot: all that are wanted, or until ``goes_on`` says no."""
    lots = [source.draw(0, source.wanted)]
    while (drawn := _count(lots)) < source.wanted and goes_on():
        lots.append(source.draw(drawn, source.wanted))
    return lots


def _count(lots: Sequence[Lot]) -> int:
    return sum(len(points) for points, _ in lots)


def _joined(lots: Sequence[Lot]) -> Lot:
    points, raw = zip(*lots, strict=True)
    return np.concatenate(points), np.concatenate(raw)


def drawn_signal(
    signal: Signal, generator: torch.Generator, cancelled: Callable[[], bool] = lambda: False, far_share: float = 0.0
) -> Signal:
    """``signal`` with all points that it has without a budget in seconds."""
    if signal.point_source is None:
        return signal
    source = signal.point_source(generator)
    lots = first_lots(source, lambda: not cancelled())
    points, raw = _joined([*lots, source.far(int(far_share * _count(lots)))])
    return replace(signal, samples=raw, points=points, point_source=None)


class FirstLook:
    """Decides how many points are drawn before the first step, and how many there will be."""

    def __init__(self, budget: PointBudget, cancelled: Callable[[], bool]) -> None:
        self._budget, self._clock, self._cancelled = budget, budget.clock, cancelled
        self._begun, self._looks = self._clock.seconds, list[float]()

    def __call__(self) -> bool:
        """Whether to draw another lot."""
        clock = self._clock
        if self._cancelled() or not clock.timed:
            return not self._cancelled()
        assert clock.budget.seconds is not None
        self._looks.append(clock.seconds)
        most = min(self._budget.seconds, FIRST_SECONDS if self._budget.grows else math.inf)
        return self._looks[-1] < MOST_SHARE * clock.budget.seconds and self._looks[-1] - self._begun < most

    def expected(self, drawn: int, taken: float) -> int:
        """How many points there will be, after ``drawn`` of them in ``taken`` seconds: as many as all seconds allow, at
        the pace of those after the first lot, which waits for the search structures."""
        if not self._budget.adding or not self._looks:
            return drawn
        lots = len(self._looks)
        took = (self._looks[-1] - self._looks[0]) / (lots - 1) if lots > 1 else taken
        return drawn + int(drawn / lots * max(0.0, self._budget.seconds - taken) / max(took, 1e-3))


class PointPool:
    """Points and samples with room for ``capacity`` of them, of which the first ``filled`` are drawn. ``seconds`` is
    what drawing has taken since the fit began."""

    def __init__(
        self,
        signal: Signal,
        budget: PointBudget,
        generator: torch.Generator,
        device: torch.device,
        lot: Lot,
        drawn: int,
        first: int,
        capacity: int,
        begun: float,
        seconds: float,
    ) -> None:
        """``lot`` are the points that are there, ``drawn`` of them drawn one after the other from the source, ``first``
        of them before the first step; ``begun``: the clock's seconds when the first was drawn."""
        points, raw = lot
        self.generator, self._budget, self._clock, self._whole_signal = generator, budget, budget.clock, signal
        self._signal = replace(signal, point_source=None)
        self._source: PointSource | None = None
        self.drawn, self.first, self.filled, self.capacity = drawn, first, len(points), capacity
        self.begun, self.seconds = begun, seconds
        self._points = np.zeros((capacity, points.shape[1]), np.float32)
        self._raw = np.zeros((capacity, raw.shape[1]), raw.dtype)
        self._points[: self.filled], self._raw[: self.filled] = points, raw
        self._on_device = [torch.from_numpy(part).to(device) for part in (self._raw, self._points)]

    @staticmethod
    def new(
        signal: Signal,
        budget: PointBudget,
        far_share: float,
        generator: torch.Generator,
        device: torch.device,
        cancelled: Callable[[], bool],
    ) -> PointPool:
        """The pool of a fit that begins; ``far_share``: as many further points, as a share, are taken far from the
        surface. Drawing ends early when ``cancelled`` says so."""
        assert signal.point_source is not None
        begun, looks = budget.clock.seconds, FirstLook(budget, cancelled)
        source = signal.point_source(generator)
        lots = first_lots(source, looks)
        drawn, taken = _count(lots), budget.clock.seconds - begun
        until = max(drawn, min(source.most(far_share), looks.expected(drawn, taken)))
        lot = _joined([*lots, source.far(int(far_share * until))])
        first = len(lot[0])
        pool = PointPool(signal, budget, generator, device, lot, drawn, first, first + until - drawn, begun, taken)
        pool._source = source
        return pool

    @property
    def whole(self) -> bool:
        """Whether no more points will be drawn."""
        return self.filled >= self.capacity

    def due(self) -> bool:
        """Whether to draw the next points now, between two steps."""
        if self.whole:
            return False
        if self.seconds >= self._budget.seconds or self._clock.progress > UNTIL:
            self.capacity = self.filled  # no time is left
            return False
        return self.seconds < GROWING_SHARE * (self._clock.seconds - self.begun)

    def grow(self) -> Tensor:
        """Draws the next points; the indices (k,) of the new ones."""
        begun = self._clock.now()
        room = self.capacity - self.filled
        if self._source is None:
            assert self._whole_signal.point_source is not None
            self._source = self._whole_signal.point_source(self.generator)
        points, raw = self._source.draw(self.drawn, self.drawn + room)
        rows = slice(self.filled, self.filled + len(points))
        self._points[rows], self._raw[rows] = points, raw
        for there, here in zip(self._on_device, (self._raw, self._points), strict=True):
            if there.device.type != "cpu":  # on the CPU they share their memory
                there[rows] = torch.from_numpy(here[rows]).to(there.device)
        self.drawn += len(points)
        self.filled += len(points)
        self.spent(begun)
        return torch.arange(rows.start, rows.stop, device=self._on_device[0].device)

    def numbers(self) -> dict[str, Any]:
        """What must be known besides points and generator to go on later, by the names of the constructor."""
        return {
            "drawn": self.drawn,
            "first": self.first,
            "capacity": self.capacity,
            "begun": self.begun,
            "seconds": self.seconds,
        }

    def spent(self, begun: float) -> None:
        """Counts the time since ``begun`` as spent on points."""
        self.seconds += self._clock.now() - begun

    def signal(self, count: int | None = None) -> Signal:
        """The signal of the points that are drawn, or of the first ``count`` of them."""
        rows = slice(self.filled if count is None else count)
        return replace(self._signal, samples=self._raw[rows], points=self._points[rows])

    def samples(self) -> Samples:
        """The signal of the points that are drawn, on the device."""
        raw, points = self._on_device
        return Samples(self.signal(), raw[: self.filled], points[: self.filled])

    def room(self) -> Samples:
        """All rows, also those not drawn yet, on the device: what is gathered from by index stays the same while points
        are added."""
        return Samples(self._signal, *self._on_device)
