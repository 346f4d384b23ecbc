"""How many threads make the fastest steps here and now.

Two threads that wait for each other at every operation, on two cores of which another program has one, are up to
four times as slow as one thread alone (a step of 14 ms on a quiet machine took 66 to 150 ms beside one busy program,
and 28 ms by one thread). So while a fit lasts, a few steps are now and then made with half or twice the threads, and
the faster count is kept.
"""

from __future__ import annotations

import statistics
from collections import deque

import torch

FIRST_TRIAL = 4
"""Steps before the first trial, and after a change."""

TRIAL_EVERY = 2.0
"""Seconds between trials."""

TRIAL_STEPS = 2
FASTER = 0.9
"""A trial must take at most this share of the present time."""


class Threads:
    """``begin`` before every step, ``ended`` with its seconds after it; ``restore`` at the end of the fit."""

    def __init__(self) -> None:
        self.before = torch.get_num_threads()
        self.counts = [self.before]
        while self.counts[-1] > 1:
            self.counts.append(self.counts[-1] // 2)
        self.level = 0
        self.trial: int | None = None
        self.tried: list[float] = []
        self.recent: deque[float] = deque(maxlen=5)
        self.since = 0.0
        self.settled = False
        self.direction = 1

    def begin(self) -> None:
        """Sets the thread count for the next step."""
        due = self.since >= TRIAL_EVERY or not self.settled
        if self.trial is None and due and len(self.recent) >= FIRST_TRIAL:
            self.trial = self._neighbour()
            self.tried.clear()
        wanted = self.counts[self.level if self.trial is None else self.trial]
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)

    def _neighbour(self) -> int | None:
        """The level to try next: fewer and more threads by turns."""
        for direction in (self.direction, -self.direction):
            if 0 <= self.level + direction < len(self.counts):
                self.direction = -direction
                return self.level + direction
        return None

    def ended(self, seconds: float) -> None:
        """A step took ``seconds``."""
        if self.trial is None:
            self.recent.append(seconds)
            self.since += seconds
            return
        self.tried.append(seconds)
        if len(self.tried) < TRIAL_STEPS:
            return
        self.settled = statistics.mean(self.tried) >= FASTER * statistics.median(self.recent)
        if not self.settled:
            self.level = self.trial
            self.recent.clear()
        self.trial, self.since = None, 0.0

    def restore(self) -> None:
        """As many threads as before."""
        torch.set_num_threads(self.before)
