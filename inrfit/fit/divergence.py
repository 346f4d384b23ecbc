"""Detects a fit that diverges, or that learns nothing. What chose the constants: docs/benchmarks.md."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

EXPLODED = 4.0
"""An error this many times the best one of the annealing cycle is a divergence, not noise."""

HARMFUL_AFTER, HARMFUL = 0.05, 1.05
"""So is an error above 1.05 times the best constant's, once a learning rate has had 5 % of the budget."""

IDLE_AFTER, IDLE, MOST_IDLE = 0.15, 0.98, 4
"""The learning rate is also halved if, after it has had 15 % of the budget, the error is above 98 % of the best
constant's and not falling; at most 4 times, for there are signals that cannot be learned."""


@dataclass
class DivergenceDetector:
    """Watches the error of a fit. ``constant_error`` is that of the best constant."""

    constant_error: float
    lr_scale: float = 1.0
    """Factor on the learning rates: halved at each rollback."""
    since: float = 0.0
    """Share of the budget that was spent when the present rate began."""
    idle: int = 0
    """How often the fit was found to learn nothing."""
    last_error: float = math.inf

    def begin(self, progress: float) -> None:
        """The first step is about to be made."""
        self.since = progress

    def diverged(self, error: float, cycle_error: float, progress: float) -> bool:
        """Whether the error exploded, or a rate that has had its chance still teaches next to nothing."""
        if not error <= EXPLODED * cycle_error:
            return True
        falling, self.last_error = error < self.last_error, error
        had = progress - self.since
        if had >= HARMFUL_AFTER and error > HARMFUL * self.constant_error:
            return True
        idle = had >= IDLE_AFTER and error > IDLE * self.constant_error and not falling
        self.idle += idle
        return idle and self.idle <= MOST_IDLE

    def rolled_back(self, progress: float) -> None:
        """Halves the learning rates from here on."""
        self.lr_scale /= 2
        self.since = progress
        self.last_error = math.inf

    def numbers(self) -> dict[str, Any]:
        """The state as JSON; an infinite error is null."""
        return asdict(self) | {"last_error": self.last_error if math.isfinite(self.last_error) else None}

    @staticmethod
    def from_numbers(numbers: dict[str, Any]) -> DivergenceDetector:
        """The inverse of ``numbers``."""
        last = numbers["last_error"]
        return DivergenceDetector(**numbers | {"last_error": math.inf if last is None else last})
