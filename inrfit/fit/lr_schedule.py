"""What share of the peak rates each step gets: the recipe's curve laid over the budget, steeper for short fits."""

from __future__ import annotations

from .progress import Clock
from .recipe import LONGEST_WARM_UP, Recipe

KNOWN_STEPS = 8
"""Steps after which their length is known well enough to say how many there will be."""


class Schedule:
    """Rates over the way of ``clock``; ``begun_at`` is the share of the budget that was spent before the first step."""

    def __init__(self, recipe: Recipe, clock: Clock) -> None:
        self.recipe, self.clock = recipe, clock
        self.begun_at = 0.0
        self._last = 0.0
        self._expected: dict[tuple[int, int], float] = {}

    def factor(self, compiling: bool) -> float:
        """Share of the peak rates for the next step; the rise begins with the first step, not with the clock."""
        clock = self.clock
        if not self.recipe.annealed:
            return 1.0
        if clock.finish is not None:
            return self._last * (1 - clock.finishing) * self.boost(compiling)
        share, risen = clock.cycle_share, clock.cycle_share / self.recipe.warm_up + 0.05
        if clock.cycle == 0:
            begun = self.begun_at * (2.0**clock.cycles - 1)
            share = max(0.0, (share - begun) / (1 - begun)) if begun < 1 else share
            rise = min(self.recipe.warm_up * self.expected_steps(), LONGEST_WARM_UP)
            risen = (clock.step + 1) / max(rise, 1.0)
        self._last = self.recipe.factor(share, risen)
        return self._last * self.boost(compiling)

    def boost(self, compiling: bool) -> float:
        """What the recipe adds to the rates for a fit, or an annealing cycle of it, as short or long as this one. Steps
        beside a compilation are slow, and would make a long fit look like a short one."""
        found = self.recipe.boost(self.expected_steps())
        return min(found, 1.0) if compiling else found

    def expected_steps(self) -> float:
        """Of the running annealing cycle: found at its start, when the length of a step is known, and whenever twice as
        many steps have been made."""
        clock = self.clock
        known = (clock.cycle, clock.step.bit_length() if clock.step >= KNOWN_STEPS else 0)
        if known not in self._expected:
            self._expected[known] = clock.expected_steps * 2.0**clock.cycle / (2.0**clock.cycles - 1)
        return self._expected[known]
