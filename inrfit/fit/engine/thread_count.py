"""Search for the fastest number of CPU threads during a fit.

Threads that wait for each other at every operation on cores that other programs occupy can be several times as slow as
one thread (docs/architecture.md). During a fit a few steps are therefore made now and then with half or twice the
number of threads, and the faster number is kept.
"""

from __future__ import annotations

import statistics
from collections import deque

import torch

STEPS_BEFORE_TRIAL = 4
"""Minimum number of steps before the first trial, and after a change."""

SECONDS_BETWEEN_TRIALS = 4.0
"""Time between two trials."""

TRIAL_STEPS = 2
"""Number of steps of a trial."""

MAX_TRIAL_RATIO = 0.9
"""A trial succeeds if its steps take less than this share of the present time."""


class ThreadCountTuner:
    """Sets the number of threads before each step. Call ``before_step``, make the step, call ``after_step`` with its
    duration; call ``restore`` at the end of the fit.

    ``counts`` are the candidates, ``level`` is the index of the present one."""

    def __init__(self, first: int = 0) -> None:
        """``first`` threads are used from now on, and others are not tried before SECONDS_BETWEEN_TRIALS; 0: as many as
        torch has."""
        self.initial = torch.get_num_threads()
        self.counts = [self.initial]
        while self.counts[-1] > 1:
            self.counts.append(self.counts[-1] // 2)
        self.level = next(i for i, count in enumerate(self.counts) if count <= (first or count) or count == 1)
        self.trial_level: int | None = None
        self.trial_seconds: list[float] = []
        self.recent_seconds: deque[float] = deque(maxlen=5)
        self.seconds_since_trial = 0.0
        self.settled = bool(first)
        self.direction = 1
        torch.set_num_threads(self.counts[self.level])

    def before_step(self) -> None:
        """Sets the number of threads for the next step."""
        due = self.seconds_since_trial >= SECONDS_BETWEEN_TRIALS or not self.settled
        if self.trial_level is None and due and len(self.recent_seconds) >= STEPS_BEFORE_TRIAL:
            self.trial_level = self._neighbour()
            self.trial_seconds.clear()
        count = self.counts[self.level if self.trial_level is None else self.trial_level]
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)

    def _neighbour(self) -> int | None:
        """The level to try next: alternately with fewer and with more threads."""
        for direction in (self.direction, -self.direction):
            if 0 <= self.level + direction < len(self.counts):
                self.direction = -direction
                return self.level + direction
        return None

    def after_step(self, seconds: float) -> None:
        """Records that the step took ``seconds``, and keeps the number of threads of a successful trial."""
        if self.trial_level is None:
            self.recent_seconds.append(seconds)
            self.seconds_since_trial += seconds
            return
        self.trial_seconds.append(seconds)
        limit = MAX_TRIAL_RATIO * statistics.median(self.recent_seconds)
        if len(self.trial_seconds) < TRIAL_STEPS and seconds < 2 * limit:
            return
        self.settled = statistics.mean(self.trial_seconds) >= limit
        if not self.settled:
            self.level = self.trial_level
            self.recent_seconds.clear()
        self.trial_level, self.seconds_since_trial = None, 0.0

    def forget(self) -> None:
        """Forgets how long steps took, because those that follow have another number of points."""
        self.recent_seconds.clear()
        self.trial_level = None

    def restore(self) -> None:
        """Sets the number of threads that was set before the fit."""
        torch.set_num_threads(self.initial)
