"""A random share of the points: the baseline every strategy has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..options import setting
from .selection import Selection

if TYPE_CHECKING:
    from ..learner import Learner

LONGEST_SHUFFLE = 1 << 24
"""Above this many points a permutation is not kept (8 bytes a point); shares are drawn afresh instead."""


@dataclass(frozen=True)
class Uniform:
    """Consecutive slices of one shuffle per epoch: every point is taught equally often.

    The published baselines draw a fresh permutation of all points at every step; slices of one shuffle have the same
    marginal law, leave no point out for long, and cost nothing."""

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next slice; a new shuffle when the old one is used up."""
        import torch

        count = max(1, int(self.ratio * learner.n))
        if learner.n > LONGEST_SHUFFLE:
            return Selection(learner.draw(count), origin={"chance": count})
        if previous is None or int(previous.memory["used"]) + count > learner.n:
            order, used = learner.permutation(learner.n), 0
        else:
            order, used = previous.memory["order"], int(previous.memory["used"])
        memory = {"order": order, "used": torch.tensor(used + count)}
        return Selection(order[used : used + count], memory=memory, origin={"chance": count})
