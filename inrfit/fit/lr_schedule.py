"""What share of the peak learning rates each step gets: the curve of the configuration laid over the budget."""

from __future__ import annotations

from dataclasses import dataclass, field

from .engine.config import LONGEST_WARM_UP, TrainingConfig
from .progress import Clock

KNOWN_STEPS = 8
"""Steps after which their length is known well enough to say how many there will be."""


@dataclass
class Schedule:
    """Learning rates over the progress of ``clock``."""

    config: TrainingConfig
    clock: Clock
    begun_at: float = 0.0
    """Share of the budget that was spent before the first step."""
    last: float = 0.0
    """The share of the peak rates at the last step, without the factor of short fits."""
    _expected: dict[tuple[int, int], float] = field(default_factory=dict)

    def begin(self, progress: float) -> None:
        """The first step is about to be made."""
        self.begun_at = progress

    def factor(self, compiling: bool) -> float:
        """Share of the peak rates for the next step; the rise begins with the first step, not with the clock."""
        clock = self.clock
        if not self.config.annealed:
            return 1.0
        if clock.finish is not None:
            return self.last * (1 - clock.finishing) * self.boost(compiling)
        share, risen = clock.cycle_share, clock.cycle_share / self.config.warm_up + 0.05
        if clock.cycle == 0:
            begun = self.begun_at * (2.0**clock.cycles - 1)
            share = max(0.0, (share - begun) / (1 - begun)) if begun < 1 else share
            rise = min(self.config.warm_up * self.expected_steps(), LONGEST_WARM_UP)
            risen = (clock.step + 1) / max(rise, 1.0)
        self.last = self.config.factor(share, risen)
        return self.last * self.boost(compiling)

    def boost(self, compiling: bool) -> float:
        """Factor on the rates for a fit, or an annealing cycle of it, of so few or many steps. Steps beside a
        compilation are slow, and would make a long fit look like a short one."""
        found = self.config.boost(self.expected_steps())
        return min(found, 1.0) if compiling else found

    def expected_steps(self) -> float:
        """Steps of the running annealing cycle: estimated at its start, when the length of a step is known, and
        whenever twice as many steps have been made."""
        clock = self.clock
        known = (clock.cycle, clock.step.bit_length() if clock.step >= KNOWN_STEPS else 0)
        if known not in self._expected:
            self._expected[known] = clock.expected_steps * 2.0**clock.cycle / (2.0**clock.cycles - 1)
        return self._expected[known]
