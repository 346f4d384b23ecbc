"""Notices a fit that goes astray. Its constants: docs/benchmarks.md, no collapse on any file of the corpus."""

from __future__ import annotations

import math

EXPLODED = 4.0
"""An error this many times the best one of the annealing cycle is a divergence, not noise."""

HARMFUL_AFTER, HARMFUL = 0.05, 1.05
"""Once a rate has had this share of the budget, an error this many times the best constant's means the same."""

IDLE_AFTER, IDLE, MOST_IDLE = 0.15, 0.98, 4
"""After this share an error still above this share of the constant's, and no longer falling, means that the rate
teaches nothing; it is halved for that so often at most, for there are signals that cannot be learned."""


class Guard:
    """``back_off`` is the factor on the rates; ``since`` the share of the budget when the present rate began."""

    def __init__(self, constant_error: float) -> None:
        """``constant_error``: that of the best constant."""
        self.constant_error = constant_error
        self.back_off = 1.0
        self.since = 0.0
        self._idle = 0
        self._last_error = math.inf

    def astray(self, error: float, cycle_error: float, progress: float) -> bool:
        """Whether the error exploded, or a rate that has had its chance still teaches next to nothing."""
        if not error <= EXPLODED * cycle_error:
            return True
        falling, self._last_error = error < self._last_error, error
        had = progress - self.since
        if had >= HARMFUL_AFTER and error > HARMFUL * self.constant_error:
            return True
        idle = had >= IDLE_AFTER and error > IDLE * self.constant_error and not falling
        self._idle += idle
        return idle and self._idle <= MOST_IDLE

    def retreat(self, progress: float) -> None:
        """Half the rate from here on."""
        self.back_off /= 2
        self.since = progress
        self._last_error = math.inf
