"""How long a part may take on a cluster before it counts as lost: not every machine that is lost is reported."""

from __future__ import annotations

from .plan import BatchPlan

FIRST_SECONDS, LEAST_SECONDS = 3600.0, 900.0
"""The shortest deadline until a part has come back, and afterwards."""

TIMES_LONGEST, TIMES_BUDGET = 10.0, 3.0
"""The deadline as a multiple of the longest part so far, and of the seconds that the budget grants to a part."""


class Deadline:
    """The deadline of the parts of a plan, from the moment on at which they are handed out."""

    def __init__(self, plan: BatchPlan) -> None:
        budgets = [kind["budget"]["seconds"] or 0.0 for kind in plan.fields]
        self._granted = TIMES_BUDGET * plan.part_size * max(budgets, default=0.0)
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Notes that a part took ``seconds``."""
        self._longest = max(self._longest, seconds)

    def seconds(self) -> float:
        """The deadline in seconds."""
        measured = max(LEAST_SECONDS, TIMES_LONGEST * self._longest) if self._longest else FIRST_SECONDS
        return max(measured, self._granted)
