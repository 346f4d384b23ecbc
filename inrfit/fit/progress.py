"""The progress of a fit: seconds and steps used, against its budget, and the annealing cycles that follow from them."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .budget import Budget

FIRST_CYCLE_SECONDS, FIRST_CYCLE_STEPS, MAX_CYCLES = 2.0, 100, 8
"""Minimum length of the first annealing cycle of a fit with a target, in seconds or in steps, and the maximum number of
cycles."""

RECENT_STEPS = 8
"""Number of last steps whose median duration predicts how many steps the budget has room for."""

FINAL_ANNEALING_SHARE = 0.1
"""Once the target is met, the fit anneals for this share of what it has used so far."""


@dataclass
class BudgetTracker:
    """Counts the seconds and steps used of ``budget``. Seconds count from ``started_at``, a time of the function
    ``now``."""

    budget: Budget
    now: Callable[[], float]
    started_at: float
    reserved_seconds: float = 0.0
    """Seconds kept for the final evaluation, after the last step."""
    step: int = 0
    """Number of steps made."""
    recent_step_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    finish: tuple[float, float, float] | None = None
    """Once the target is met: what was used then (seconds, or steps without a limit in seconds), what will be used at
    the end of the fit, and ``progress`` then."""

    def count_step(self, seconds: float) -> None:
        """Counts one more step, which took ``seconds``."""
        self.step += 1
        self.recent_step_seconds.append(seconds)

    def reserve_for_evaluation(self, seconds: float) -> None:
        """Keeps time for a final evaluation; the last one took ``seconds``."""
        self.reserved_seconds = 1.25 * seconds + 0.005

    def to_json(self) -> dict[str, Any]:
        """The state, to be saved."""
        return {
            "budget": asdict(self.budget),
            "seconds": self.seconds,
            "step": self.step,
            "finish": self.finish and list(self.finish),
            "recent_step_seconds": list(self.recent_step_seconds),
            "reserved_seconds": self.reserved_seconds,
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Continues from the saved state ``values``: the seconds used then count as used now."""
        self.started_at -= values["seconds"]
        self.step = values["step"]
        self.finish = None if values["finish"] is None else (*values["finish"],)
        self.recent_step_seconds.extend(values["recent_step_seconds"])
        self.reserved_seconds = values["reserved_seconds"]

    @property
    def last_step_seconds(self) -> float:
        """Duration of the last step."""
        return self.recent_step_seconds[-1] if self.recent_step_seconds else 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start of the budget."""
        return self.now() - self.started_at

    @property
    def timed(self) -> bool:
        """Whether the budget has a limit in seconds. Without one, no decision may depend on the time."""
        return self.budget.seconds is not None

    @property
    def step_deadline(self) -> float:
        """Seconds after which no step may start."""
        assert self.budget.seconds is not None
        return max(self.budget.seconds - self.reserved_seconds, 0.2 * self.budget.seconds)

    @property
    def progress(self) -> float:
        """The larger of the used shares of seconds and steps, 0 to 1. Once the target is met, it runs from its value
        then to 1 at the end of the final annealing."""
        share = 0.0
        if self.timed:
            share = self.seconds / self.step_deadline
        if self.budget.steps is not None:
            share = max(share, self.step / self.budget.steps)
        if self.finish is not None:
            progress_then = self.finish[2]
            share = max(share, progress_then + (1 - progress_then) * self.finish_progress)
        return min(share, 1.0)

    @property
    def expected_steps(self) -> float:
        """Estimated number of steps of the whole budget, by the median duration of the last ones."""
        steps = math.inf if self.budget.steps is None else float(self.budget.steps)
        if self.budget.seconds is not None and self.recent_step_seconds:
            seconds_left = max(self.step_deadline - self.seconds, 0.0)
            steps = min(steps, self.step + seconds_left / max(statistics.median(self.recent_step_seconds), 1e-9))
        return steps

    @property
    def cycle(self) -> int:
        """Number of the current annealing cycle, from 0.

        With a target each cycle is twice as long as the one before (warm restarts, Loshchilov and Hutter 2017, SGDR).
        Only annealed weights show the quality reached, so a fit with one long cycle could not stop early."""
        if self.budget.target is None:
            return 0
        return min(int(math.log2(self._first_cycles)), self.cycle_count - 1)

    @property
    def cycle_progress(self) -> float:
        """Progress of the current annealing cycle, 0 to 1."""
        return self._first_cycles / 2.0**self.cycle - 1

    @property
    def _first_cycles(self) -> float:
        """1 + progress in lengths of the first cycle: cycle k lies between 2^k and 2^(k + 1)."""
        return 1 + self.progress * (2.0**self.cycle_count - 1)

    @property
    def cycle_count(self) -> int:
        """Number of annealing cycles: 1 without a target, else as many as keep the first one long enough."""
        if self.budget.target is None:
            return 1
        first_cycles = (self.budget.steps or 0) / FIRST_CYCLE_STEPS
        if self.budget.seconds is not None:
            first_cycles = self.budget.seconds / FIRST_CYCLE_SECONDS
        return max(1, min(int(math.log2(first_cycles + 1)), MAX_CYCLES))

    @property
    def finish_progress(self) -> float:
        """Progress of the final annealing after the target is met, 0 to 1."""
        if self.finish is None:
            return 0.0
        start, end, _ = self.finish
        return min((self._used - start) / (end - start), 1.0)

    @property
    def exhausted(self) -> bool:
        """Whether another step would exceed the budget by more than half of its duration."""
        if self.progress >= 1:
            return True
        return self.timed and self.seconds + self.last_step_seconds / 2 > self.step_deadline

    @property
    def _used(self) -> float:
        return self.seconds if self.timed else float(self.step)

    def finish_early(self) -> None:
        """Called once the target is met: the fit ends after a final annealing."""
        if self.finish is None:
            progress, used = self.progress, self._used
            extra = max(used * FINAL_ANNEALING_SHARE - (self.reserved_seconds if self.timed else 0), 1e-9)
            self.finish = (used, used + extra, progress)
