"""The points of a signal that has none of its own (a shape): some are drawn before the first step, the rest during the
fit.

Drawing a point takes microseconds on both cores, so drawing all of them first would delay the first step by seconds.
A longer fit on only the points of the first second would overfit.
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
from .progress import BudgetTracker

INITIAL_SECONDS = 1.0
"""Maximum seconds spent on points before the first step, see docs/benchmarks.md, "A shape's points"."""

MAX_SHARE = 0.25
"""Maximum share of a budget in seconds that is spent on points."""

LONG_BUDGET_SHARE = 1 / 15
"""Share of a longer budget that is spent on points: with fewer points a longer fit overfits them, see
docs/benchmarks.md, "A shape's points"."""

UNCERTAIN_SECONDS = 4.0
"""Maximum seconds spent on points if a target or a number of steps may end the fit before its seconds are used, or if
all points must be drawn before the first step."""

GROWING_SHARE = 0.5
"""Points are added while drawing has taken less than this share of the time so far."""

LAST_GROWTH = 0.5
"""Progress of the budget after which no points are added, because the fit must still be trained on new points."""


@dataclass(frozen=True)
class PointBudget:
    """How long points may be drawn. ``short_seconds`` is the time for points in a short budget, a trait of the
    architecture. ``grows``: points may be added during the fit; a fit of whole selections cannot use them."""

    tracker: BudgetTracker
    short_seconds: float
    grows: bool

    @property
    def adding(self) -> bool:
        """Whether points are added during the fit."""
        return self.grows and self.tracker.timed

    @property
    def seconds(self) -> float:
        """Seconds for all points, if the budget has a limit in seconds."""
        budget = self.tracker.budget
        assert budget.seconds is not None
        certain = self.adding and budget.target is None and budget.steps is None
        long_budget = min(LONG_BUDGET_SHARE * budget.seconds, math.inf if certain else UNCERTAIN_SECONDS)
        return min(MAX_SHARE * budget.seconds, max(self.short_seconds, long_budget))


Lot = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]
"""Points (k, d) and their raw samples (k, c), drawn in one call."""


def draw_lots(source: PointSource, keep_drawing: Callable[[], bool]) -> list[Lot]:
    """Draws lot after lot, until there are ``source.default_count`` points or ``keep_drawing()`` returns False. Draws
    at least one lot."""
    lots = [source.draw(0, source.default_count)]
    while (drawn := _count(lots)) < source.default_count and keep_drawing():
        lots.append(source.draw(drawn, source.default_count))
    return lots


def _count(lots: Sequence[Lot]) -> int:
    return sum(len(points) for points, _ in lots)


def _concatenated(lots: Sequence[Lot]) -> Lot:
    points, raw = zip(*lots, strict=True)
    return np.concatenate(points), np.concatenate(raw)


def draw_all_points(
    signal: Signal, generator: torch.Generator, should_stop: Callable[[], bool] = lambda: False, far_share: float = 0.0
) -> Signal:
    """``signal`` with all points that a fit without a limit in seconds would draw, or those drawn before
    ``should_stop()`` returns True. ``far_share`` times as many points far from the surface are added. A signal with
    points of its own is returned as it is."""
    if signal.point_source is None:
        return signal
    source = signal.point_source(generator)
    lots = draw_lots(source, lambda: not should_stop())
    points, raw = _concatenated([*lots, source.draw_far(int(far_share * _count(lots)))])
    return replace(signal, samples=raw, points=points, point_source=None)


class InitialDraw:
    """Decides how many points are drawn before the first step, and predicts how many there will be in the end."""

    def __init__(self, budget: PointBudget, should_stop: Callable[[], bool]) -> None:
        self._budget, self._tracker, self._should_stop = budget, budget.tracker, should_stop
        self._started_at, self._lot_times = self._tracker.seconds, list[float]()

    def keep_drawing(self) -> bool:
        """Whether to draw another lot; called after each lot."""
        tracker = self._tracker
        if self._should_stop() or not tracker.timed:
            return not self._should_stop()
        assert tracker.budget.seconds is not None
        now = tracker.seconds
        self._lot_times.append(now)
        max_seconds = min(self._budget.seconds, INITIAL_SECONDS if self._budget.grows else math.inf)
        return now < MAX_SHARE * tracker.budget.seconds and now - self._started_at < max_seconds

    def predicted_count(self, drawn: int, seconds: float) -> int:
        """The predicted final number of points, after ``drawn`` of them in ``seconds``: the rest of the time for
        points, at the pace of all lots but the first, which includes building the search structures."""
        if not self._budget.adding or not self._lot_times:
            return drawn
        lots = len(self._lot_times)
        lot_seconds = (self._lot_times[-1] - self._lot_times[0]) / (lots - 1) if lots > 1 else seconds
        return drawn + int(drawn / lots * max(0.0, self._budget.seconds - seconds) / max(lot_seconds, 1e-3))


class PointPool:
    """The points and raw samples of a fit: ``capacity`` rows, of which the first ``filled`` have been drawn.
    ``seconds`` counts the time spent on points since the fit began."""

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
        started_at: float,
        seconds: float,
    ) -> None:
        """``lot`` holds the points so far: ``drawn`` of them come from the source one after the other, ``first`` of
        them were there before the first step. ``started_at``: seconds of the budget used when the first was drawn."""
        points, raw = lot
        self.generator, self._budget, self._tracker, self._source_signal = generator, budget, budget.tracker, signal
        self._signal = replace(signal, point_source=None)
        self._source: PointSource | None = None
        self.drawn, self.first, self.filled, self.capacity = drawn, first, len(points), capacity
        self.started_at, self.seconds = started_at, seconds
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
        should_stop: Callable[[], bool],
    ) -> PointPool:
        """The pool of a new fit. ``far_share`` times as many points far from the surface come on top of the predicted
        number of points. Drawing ends early once ``should_stop()`` returns True."""
        assert signal.point_source is not None
        started_at, initial = budget.tracker.seconds, InitialDraw(budget, should_stop)
        source = signal.point_source(generator)
        lots = draw_lots(source, initial.keep_drawing)
        drawn, seconds = _count(lots), budget.tracker.seconds - started_at
        final_count = max(drawn, min(source.max_count(far_share), initial.predicted_count(drawn, seconds)))
        lot = _concatenated([*lots, source.draw_far(int(far_share * final_count))])
        first = len(lot[0])
        capacity = first + final_count - drawn
        pool = PointPool(signal, budget, generator, device, lot, drawn, first, capacity, started_at, seconds)
        pool._source = source
        return pool

    @property
    def complete(self) -> bool:
        """Whether no more points will be drawn."""
        return self.filled >= self.capacity

    def due(self) -> bool:
        """Whether to draw the next points now, between two steps."""
        if self.complete:
            return False
        if self.seconds >= self._budget.seconds or self._tracker.progress > LAST_GROWTH:
            self.capacity = self.filled  # the time for points is used up
            return False
        return self.seconds < GROWING_SHARE * (self._tracker.seconds - self.started_at)

    def grow(self) -> Tensor:
        """Draws the next points and returns their indices (k,)."""
        started_at = self._tracker.now()
        free_rows = self.capacity - self.filled
        if self._source is None:
            assert self._source_signal.point_source is not None
            self._source = self._source_signal.point_source(self.generator)
        points, raw = self._source.draw(self.drawn, self.drawn + free_rows)
        rows = slice(self.filled, self.filled + len(points))
        self._points[rows], self._raw[rows] = points, raw
        for on_device, array in zip(self._on_device, (self._raw, self._points), strict=True):
            if on_device.device.type != "cpu":  # on the CPU they share their memory
                on_device[rows] = torch.from_numpy(array[rows]).to(on_device.device)
        self.drawn += len(points)
        self.filled += len(points)
        self.count_time_since(started_at)
        return torch.arange(rows.start, rows.stop, device=self._on_device[0].device)

    def to_json(self) -> dict[str, Any]:
        """The state to be saved, besides points and generator, by the names of the constructor's arguments."""
        return {
            "drawn": self.drawn,
            "first": self.first,
            "capacity": self.capacity,
            "started_at": self.started_at,
            "seconds": self.seconds,
        }

    def count_time_since(self, started_at: float) -> None:
        """Counts the time since ``started_at`` (of ``tracker.now``) as spent on points."""
        self.seconds += self._tracker.now() - started_at

    def signal(self, count: int | None = None) -> Signal:
        """The signal of the points drawn so far, or of the first ``count`` of them."""
        rows = slice(self.filled if count is None else count)
        return replace(self._signal, samples=self._raw[rows], points=self._points[rows])

    def samples(self) -> Samples:
        """The signal of the points drawn so far, on the device."""
        raw, points = self._on_device
        return Samples(self.signal(), raw[: self.filled], points[: self.filled])

    def all_rows(self) -> Samples:
        """All rows on the device, those not drawn yet included. The tensors stay the same while points are added, as
        the engine requires."""
        return Samples(self._signal, *self._on_device)
