"""How far the fit is: seconds and steps against a budget."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .budget import Budget

FIRST_CYCLE_SECONDS, FIRST_CYCLE_STEPS, MOST_CYCLES = 2.0, 100, 8
RECENT_STEPS = 8
"""Steps whose length says how many there is time for."""

FINISH_SHARE = 0.1
"""Once the target is met, the fit anneals for this share of what it has spent."""


@dataclass
class Clock:
    """Seconds and steps spent of ``budget``. ``started`` is the time at which the clock began, by ``now``."""

    budget: Budget
    now: Callable[[], float]
    started: float
    reserve: float = 0.0
    """Seconds kept for what must follow the last step (the final evaluation)."""
    step: int = 0
    steps_took: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    finish: tuple[float, float, float] | None = None
    """Once the target is met: what was spent then, what is spent at the end, the progress shown then."""

    def step_took(self, seconds: float) -> None:
        """Counts another step, and what it took."""
        self.step += 1
        self.steps_took.append(seconds)

    def evaluation_took(self, seconds: float) -> None:
        """Keeps time for the final evaluation."""
        self.reserve = 1.25 * seconds + 0.005

    def numbers(self) -> dict[str, Any]:
        """What must be known to go on later, as JSON."""
        return {
            "budget": asdict(self.budget),
            "seconds": self.seconds,
            "step": self.step,
            "finish": self.finish and list(self.finish),
            "steps_took": list(self.steps_took),
            "reserve": self.reserve,
        }

    def restore(self, numbers: Mapping[str, Any]) -> None:
        """Goes on from ``numbers``: what was spent then is spent now."""
        self.started -= numbers["seconds"]
        self.step = numbers["step"]
        self.finish = None if numbers["finish"] is None else (*numbers["finish"],)
        self.steps_took.extend(numbers["steps_took"])
        self.reserve = numbers["reserve"]

    @property
    def step_seconds(self) -> float:
        """What the last step took."""
        return self.steps_took[-1] if self.steps_took else 0.0

    @property
    def seconds(self) -> float:
        """Since the raw data were in memory."""
        return self.now() - self.started

    @property
    def timed(self) -> bool:
        """Whether seconds limit the fit; if not, nothing may depend on them."""
        return self.budget.seconds is not None

    @property
    def limit(self) -> float:
        """Seconds after which no step may start."""
        assert self.budget.seconds is not None
        return max(self.budget.seconds - self.reserve, 0.2 * self.budget.seconds)

    @property
    def progress(self) -> float:
        """The larger of the spent shares, 0 to 1; after ``finish_soon`` the way from there to the end."""
        share = 0.0
        if self.timed:
            share = self.seconds / self.limit
        if self.budget.steps is not None:
            share = max(share, self.step / self.budget.steps)
        if self.finish is not None:
            shown = self.finish[2]
            share = max(share, shown + (1 - shown) * self.finishing)
        return min(share, 1.0)

    @property
    def expected_steps(self) -> float:
        """How many steps the budget will have room for, by the median of the last ones."""
        steps = math.inf if self.budget.steps is None else float(self.budget.steps)
        if self.budget.seconds is not None and self.steps_took:
            rest = max(self.limit - self.seconds, 0.0)
            steps = min(steps, self.step + rest / max(statistics.median(self.steps_took), 1e-9))
        return steps

    @property
    def cycle(self) -> int:
        """Which annealing cycle is running, from 0. With a target each is twice as long as the one before (warm
        restarts, Loshchilov and Hutter 2017): only annealed weights show what has been reached, and so a fit that
        could stop early learns that it can."""
        return min(int(math.log2(self._parts)), self.cycles - 1)

    @property
    def cycle_share(self) -> float:
        """How far the running cycle is, 0 to 1."""
        return self._parts / 2.0**self.cycle - 1

    @property
    def _parts(self) -> float:
        return 1 + self.progress * (2.0**self.cycles - 1)

    @property
    def cycles(self) -> int:
        """How many annealing cycles the budget holds: one without a target, else as many as the first has room for."""
        if self.budget.target is None:
            return 1
        firsts = (self.budget.steps or 0) / FIRST_CYCLE_STEPS
        if self.budget.seconds is not None:
            firsts = self.budget.seconds / FIRST_CYCLE_SECONDS
        return max(1, min(int(math.log2(firsts + 1)), MOST_CYCLES))

    @property
    def finishing(self) -> float:
        """How much of the last annealing after a met target is over, 0 to 1."""
        if self.finish is None:
            return 0.0
        begun, until, _ = self.finish
        return min((self._spent - begun) / (until - begun), 1.0)

    @property
    def over(self) -> bool:
        """Whether the next step would end later than the budget (by more than half of itself)."""
        if self.progress >= 1:
            return True
        return self.timed and self.seconds + self.step_seconds / 2 > self.limit

    @property
    def _spent(self) -> float:
        return self.seconds if self.timed else float(self.step)

    def finish_soon(self) -> None:
        """The target is met: end within a further tenth of what was spent, annealing on the way."""
        if self.finish is None:
            shown, spent = self.progress, self._spent
            extra = max(spent * FINISH_SHARE - (self.reserve if self.timed else 0), 1e-9)
            self.finish = (spent, spent + extra, shown)
