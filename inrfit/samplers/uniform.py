"""A random share of the points: the baseline every strategy has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.options import setting
from .selection import Selection, chosen_from

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner

MAX_SHUFFLED_POINTS = 1 << 21
"""Above this many points a permutation is not kept (8 bytes a point); shares are drawn afresh instead."""


@dataclass(frozen=True)
class Uniform:
    """Consecutive slices of one shuffle per epoch: every point is taught equally often.

    The published baselines draw a fresh permutation of all points at every step; slices of one shuffle have the same
    marginal law, leave no point out for long, and cost nothing."""

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next slice; a new shuffle when the old one is used up."""
        count = max(1, int(self.ratio * chosen_from(learner)))
        indices, deck = deal(learner, None if previous is None else previous.memory, count)
        return Selection(indices, memory=deck, origin={"chance": count})


def deal(
    learner: Learner, memory: Mapping[str, Tensor] | None, count: int, taken: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The next ``count`` points of a shuffled deck of all of them, none in ``taken``, and the deck to remember.

    What is left of a deck when a new one is opened goes unused, like the last short batch of an epoch."""
    import torch

    if learner.n > MAX_SHUFFLED_POINTS:
        return learner.draw(count, taken), {}
    order, used = (None, 0) if memory is None else (memory["order"], int(memory["used"]))
    barred = None
    if taken is not None:
        barred = torch.zeros(learner.n, dtype=torch.bool, device=learner.device)
        barred[taken] = True
    if order is not None and order.shape[0] != learner.n:  # samples were added: shuffled into what is left
        added = torch.arange(order.shape[0], learner.n, device=learner.device)
        rest = torch.cat([order[used:], added])
        order = torch.cat([order[:used], rest[learner.permutation(rest.shape[0])]])
    for _ in range(2):
        if order is None:
            order, used = learner.permutation(learner.n), 0
        rest = order[used:]
        if barred is None:
            dealt, reach = rest[:count], count
        else:
            free = (~barred[rest]).nonzero().squeeze(1)[:count]
            dealt, reach = rest[free], int(free[-1]) + 1 if free.shape[0] else 0
        if dealt.shape[0] == count:
            return dealt, {"order": order, "used": torch.tensor(used + reach)}
        order = None
    raise AssertionError("a fresh deck holds every point")
