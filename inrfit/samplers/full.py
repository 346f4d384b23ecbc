"""Every point, every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .selection import Selection

if TYPE_CHECKING:
    from .learner import Learner


@dataclass(frozen=True)
class Full:
    """The whole signal. With ``--batch selection`` that is the textbook full-batch fit."""

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """All points."""
        return Selection(None, origin={"chance": learner.n})
