"""Detects a fit that diverges, or whose error stops falling early. The constants were chosen by tests/bench/rates.py,
see docs/benchmarks.md."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

EXPLOSION_FACTOR = 4.0
"""The fit has diverged if its error is this many times the best one of the annealing cycle."""

HARMFUL_AFTER, HARMFUL_ERROR = 0.05, 1.05
"""The fit has also diverged if its error is above 1.05 times that of the best constant once the current learning rate
has been used for 5 % of the budget."""

STALLED_AFTER, STALLED_ERROR, MAX_STALLS = 0.15, 0.98, 4
"""The fit has stalled if its error is above 0.98 times that of the best constant, and not falling, once the current
learning rate has been used for 15 % of the budget. Noise cannot be learned at any rate, so this counts at most 4
times."""


LEAST_STEPS = 20
"""Steps before which a fit has neither failed nor stalled: those of the warm-up teach little, and on a busy machine
they may take a large part of a short budget."""


@dataclass
class DivergenceDetector:
    """Decides from the errors of a fit when to roll back and halve the learning rate. ``constant_error`` is the mean
    squared error of the best constant."""

    constant_error: float
    lr_scale: float = 1.0
    """Factor on the learning rates, halved at each rollback."""
    lr_since: float = 0.0
    """Progress of the budget when the current learning rate was set."""
    stalls: int = 0
    """How often the fit was found to have stalled."""
    last_error: float = math.inf

    def start(self, progress: float) -> None:
        """Called before the first step with the share of the budget spent so far."""
        self.lr_since = progress

    def diverged(self, error: float, cycle_error: float, progress: float, step: int) -> bool:
        """Whether to roll back after ``step`` steps, given the current error and the best error of the annealing
        cycle."""
        if not error <= EXPLOSION_FACTOR * cycle_error:
            return True
        if step < LEAST_STEPS:
            return False
        falling, self.last_error = error < self.last_error, error
        share_at_lr = progress - self.lr_since
        if share_at_lr >= HARMFUL_AFTER and error > HARMFUL_ERROR * self.constant_error:
            return True
        stalled = share_at_lr >= STALLED_AFTER and error > STALLED_ERROR * self.constant_error and not falling
        self.stalls += stalled
        return stalled and self.stalls <= MAX_STALLS

    def roll_back(self, progress: float) -> None:
        """Halves the learning rate, at ``progress`` of the budget."""
        self.lr_scale /= 2
        self.lr_since = progress
        self.last_error = math.inf

    def to_json(self) -> dict[str, Any]:
        """The state as JSON; an infinite error is null."""
        return asdict(self) | {"last_error": self.last_error if math.isfinite(self.last_error) else None}

    @staticmethod
    def from_json(values: dict[str, Any]) -> DivergenceDetector:
        """The inverse of ``to_json``."""
        error = values["last_error"]
        return DivergenceDetector(**values | {"last_error": math.inf if error is None else error})
