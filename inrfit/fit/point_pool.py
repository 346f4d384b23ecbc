"""The points of a shape: a part of them is drawn before the first step, the rest while the fit is under way.

Each takes microseconds of both cores, so that all of them would hold up the first step for seconds; of a part alone a
longer fit learns the points by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..fields import Hyperparameters
from ..signal import Samples, Signal
from .progress import Clock

FIRST_SECONDS = 1.0
"""Spent on points before the first step; half of it was worse (0.9914 for 0.9925 IoU on the armadillo in 10 s)."""

MOST_SHARE = 0.25
"""Largest share of a budget in seconds that is spent on points."""

LONG_SHARE = 1 / 15
"""Of a longer budget, spent on them: points of one second are learned by heart in a minute (0.9954 for 0.9968 IoU on
the armadillo, and a speck far off the bunny), those of three seconds in five minutes (0.9973 for 0.9980, and a speck;
docs/benchmarks.md, "A shape's points")."""

UNCERTAIN_SECONDS = 4.0
"""Most that are spent where a target or a number of steps may end the fit sooner, or on points that must all be there
before the first step."""

GROWING_SHARE, UNTIL = 0.5, 0.5
"""Of the time so far, and the share of the budget after which none are drawn: new points must be taught."""


class Pool:
    """``signal`` with points, if it had none. In a budget of seconds they are those of the first second, and copies of
    them in the place of others, which ``grow`` draws, unless whole selections are taught at once, which copies would
    only make longer (``grows``). The points from ``_reached`` on are copies of the first ``_base`` ones; ``seconds``
    is what has been spent."""

    def __init__(
        self,
        signal: Signal,
        clock: Clock,
        tuned: Hyperparameters,
        generator: torch.Generator,
        stop: Callable[[], bool],
        grows: bool = True,
    ) -> None:
        self._clock, self._stop, self._grows = clock, stop, grows and clock.timed
        self._since, self._looks = clock.seconds, list[float]()
        self._most = tuned.pool_seconds
        self.seconds = 0.0
        self.signal = signal if signal.renew is None else signal.renew(generator, self._more, tuned.free, self._wanted)
        self._reached = self._base = 0 if self.signal.rest is None else self.signal.rest.since
        self.whole = self.signal.rest is None

    @property
    def _allowed(self) -> float:
        """Seconds for all points."""
        budget = self._clock.budget
        assert budget.seconds is not None
        certain = self._grows and budget.target is None and budget.steps is None
        long = min(LONG_SHARE * budget.seconds, math.inf if certain else UNCERTAIN_SECONDS)
        return min(MOST_SHARE * budget.seconds, max(self._most, long))

    def _more(self) -> bool:
        """Whether to draw more points before the first step."""
        limit = self._clock.budget.seconds
        if limit is None or self._stop():
            return not self._stop()
        self._looks.append(self._clock.seconds)
        most = min(self._allowed, FIRST_SECONDS if self._grows else math.inf)
        return self._looks[-1] < MOST_SHARE * limit and self._looks[-1] - self._since < most

    def _wanted(self, count: int) -> int:
        """How many points there are to be, after ``count`` of them: as many as all seconds allow, at the pace of those
        after the first lot, which waits for the search structures."""
        self.seconds = self._clock.seconds - self._since
        if not self._grows or not self._looks:
            return count
        lots = len(self._looks)
        took = (self._looks[-1] - self._looks[0]) / (lots - 1) if lots > 1 else self.seconds
        return count + int(count / lots * max(0.0, self._allowed - self.seconds) / max(took, 1e-3))

    @property
    def _over(self) -> bool:
        """Whether no time is left for points."""
        return self.seconds >= self._allowed or self._clock.progress > UNTIL

    def due(self) -> bool:
        """Whether to draw the next points now, between two steps."""
        if self.whole or self._over:
            return not self.whole
        return self.seconds < GROWING_SHARE * (self._clock.seconds - self._since)

    def grow(self, samples: Samples, meet: Callable[[Tensor], None]) -> None:
        """Draws the next points into ``samples``, made of the signal, and hands on the indices (k,) of those that are
        new there. When no time is left, copies of all of them take the places of the missing ones."""
        rest = self.signal.rest
        assert rest is not None
        assert self.signal.points is not None
        assert samples.points is not None
        begun = self._clock.now()
        first = after = self._reached
        if not self._over:
            points, raw = rest.draw(first)
            self._reached = after = first + len(points)
            self.signal.points[first:after], self.signal.samples[first:after] = points, raw
        self.whole = self._reached >= rest.until
        if not self.whole and self._over:
            self.whole = True
            self._base, after = self._reached, rest.until
            copied = np.arange(self._reached, after) % self._base
            self.signal.points[self._reached : after] = self.signal.points[copied]
            self.signal.samples[self._reached : after] = self.signal.samples[copied]
        for target, array in ((samples.points, self.signal.points), (samples.raw, self.signal.samples)):
            if target.data_ptr() != array.ctypes.data:  # on the CPU they share their memory
                target[first:after] = torch.from_numpy(array[first:after]).to(target.device)
        meet(torch.arange(first, self._reached, device=samples.raw.device))
        self.seconds += self._clock.now() - begun

    def meant(self, indices: Tensor) -> Tensor:
        """The first of those equal to each of ``indices``: copies are no samples of their own."""
        rest = self.signal.rest
        if rest is None or self._reached >= rest.until:
            return indices
        copied = (indices >= self._reached) & (indices < rest.until)
        return torch.where(copied, indices % self._base, indices)

    def without_copies(self) -> Signal:
        """The signal of the points that were drawn."""
        rest = self.signal.rest
        if rest is None:
            return self.signal
        assert self.signal.points is not None
        there = np.r_[: self._reached, rest.until : self.signal.n]
        return replace(self.signal, samples=self.signal.samples[there], points=self.signal.points[there], rest=None)
