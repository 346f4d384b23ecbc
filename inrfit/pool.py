"""The points of a shape: a part of them is drawn before the first step, the rest while the fit is under way.

Each takes microseconds of both cores, so that all of them would hold up the first step for seconds; of a part alone a
longer fit learns the points by heart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .clock import Clock
from .signal import Samples, Signal
from .tuning import Tuning

FIRST_SECONDS = 1.0
"""Spent on points before the first step."""

MOST_SHARE = 0.25
"""Largest share of a budget in seconds that is spent on points."""

LONG_SHARE = 1 / 15
"""Of a longer budget, spent on them: points of one second are learned by heart in a minute (0.9954 for 0.9968 IoU on
the armadillo, and a speck far off the bunny), those of three seconds in five minutes (0.9973 for 0.9980, and a speck;
docs/benchmarks.md, "A shape's points")."""

GROWING_SHARE = 0.5
"""Of the time, until all points are there."""


class Pool:
    """``signal`` with points, if it had none: in a budget of seconds those of the first second, and copies of them in
    the place of others, which ``grow`` draws. The points from ``_reached`` on are copies of the first ``_base`` ones,
    ``seconds`` what has been spent on drawing."""

    def __init__(
        self, signal: Signal, clock: Clock, tuned: Tuning, generator: torch.Generator, stop: Callable[[], bool]
    ) -> None:
        self._clock, self._stop = clock, stop
        self._since = clock.seconds
        self._most = tuned.pool_seconds
        self.seconds = 0.0
        self.signal = signal if signal.renew is None else signal.renew(generator, self._more, tuned.free, self._wanted)
        self._reached = self._base = 0 if self.signal.rest is None else self.signal.rest.since

    @property
    def _allowed(self) -> float:
        """Seconds for all points."""
        limit = self._clock.budget.seconds
        assert limit is not None
        return min(MOST_SHARE * limit, max(self._most, LONG_SHARE * limit))

    def _more(self) -> bool:
        """Whether to draw more points before the first step."""
        limit = self._clock.budget.seconds
        if limit is None or self._stop():
            return not self._stop()
        self.seconds = self._clock.seconds - self._since
        return self._clock.seconds < MOST_SHARE * limit and self.seconds < min(FIRST_SECONDS, self._allowed)

    def _wanted(self, count: int) -> int:
        """How many points there are to be, where ``count`` took as long as this."""
        if not self._clock.timed or not self.seconds:
            return count
        return int(count * max(1.0, self._allowed / self.seconds))

    @property
    def whole(self) -> bool:
        """Whether all points are there that will be."""
        rest = self.signal.rest
        return rest is None or self._reached >= rest.until or self.seconds >= self._allowed

    def due(self) -> bool:
        """Whether to draw the next points now, between two steps."""
        return not self.whole and self.seconds < GROWING_SHARE * (self._clock.seconds - self._since)

    def grow(self, samples: Samples) -> Tensor:
        """Draws the next points into ``samples``, made of the signal; the indices (k,) of those that are new there. If
        no time is left for others after these, copies of all take the places of the missing ones."""
        rest = self.signal.rest
        assert rest is not None
        assert self.signal.points is not None
        begun = self._clock.now()
        points, raw = rest.draw(self._reached)
        first, self._reached = self._reached, self._reached + len(points)
        self.signal.points[first : self._reached], self.signal.samples[first : self._reached] = points, raw
        self.seconds += self._clock.now() - begun
        after = self._reached
        if self.whole:
            self._base, after = self._reached, rest.until
            copied = np.arange(self._reached, after) % self._base
            self.signal.points[self._reached : after] = self.signal.points[copied]
            self.signal.samples[self._reached : after] = self.signal.samples[copied]
        if samples.raw.device.type != "cpu":  # there they share their memory
            assert samples.points is not None
            for target, array in ((samples.points, self.signal.points), (samples.raw, self.signal.samples)):
                target[first:after] = torch.from_numpy(array[first:after]).to(target.device)
        return torch.arange(first, after, device=samples.raw.device)

    def meant(self, indices: Tensor) -> Tensor:
        """The first of those equal to each of ``indices``: copies are no samples of their own."""
        rest = self.signal.rest
        if rest is None or self._reached >= rest.until:
            return indices
        copied = (indices >= self._reached) & (indices < rest.until)
        return torch.where(copied, indices % self._base, indices)
