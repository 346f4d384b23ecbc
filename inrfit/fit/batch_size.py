"""Fits the number of points per step to the time that a short budget leaves on this machine."""

from __future__ import annotations

from .progress import BudgetTracker

LEAST_POINTS = 1024
"""Points of the first steps: how long steps take is not known before, and on a busy machine a long one may use up a
budget of some seconds. Steps of fewer are hardly faster."""

STEPS_PER_SIZE = 2
"""Steps with one number of points before it may change. The faster one counts: the first one of its size is slower."""

WANTED_STEPS, LEAST_STEPS = 60, 20
"""Steps that a fit should have, and the fewest with which it learns anything (docs/benchmarks.md)."""

CHEAP_GROWTH = 1.35
"""Twice the points pay off in any case if their steps take less than this many times as long."""


class BatchSizeTuner:
    """Doubles the points per step up to ``full``, as long as this is cheap or leaves room for WANTED_STEPS
    steps. Halves them if there is not even room for LEAST_STEPS."""

    def __init__(self, full: int) -> None:
        self.full = full
        self._seconds: list[float] = []
        self._smaller = 0.0  # the duration of a step of half the points, once it is known

    @property
    def first(self) -> int:
        """Points of the first step."""
        return min(self.full, LEAST_POINTS)

    def after_step(self, points: int, tracker: BudgetTracker) -> int:
        """The points of the next step, after one of ``points``."""
        self._seconds.append(tracker.last_step_seconds)
        if len(self._seconds) < STEPS_PER_SIZE:
            return points
        seconds, smaller = min(self._seconds), self._smaller
        self._seconds, self._smaller = [], 0.0
        steps = tracker.step + (tracker.step_deadline - tracker.seconds) / max(seconds, 1e-9)
        if smaller and seconds > CHEAP_GROWTH * smaller and steps < WANTED_STEPS:
            self.full = points // 2
            return self.full
        if points < self.full and steps >= WANTED_STEPS / 2:
            self._smaller = seconds
            return min(2 * points, self.full)
        if steps < LEAST_STEPS:
            return max(points // 2, min(points, LEAST_POINTS))
        return points
