"""All points in every selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .selection import Selection

if TYPE_CHECKING:
    from .learner import Learner


@dataclass(frozen=True)
class Full:
    """Selects the whole signal. With ``--batch selection`` this is full-batch training.

    Cost: 3 F per trained point (F: one forward pass of a point)."""

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """All points."""
        return Selection(None, origin={"chance": learner.n})
