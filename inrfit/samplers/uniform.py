"""Uniform sampling: the baseline of all comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.options import setting
from .selection import Selection, ratio_base

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from .learner import Learner

MAX_SHUFFLED_POINTS = 1 << 21
"""For more points than this no permutation is kept, which takes 8 bytes per point; selections are drawn afresh."""


@dataclass(frozen=True)
class Uniform:
    """Selects consecutive slices of a permutation of all points, with a new permutation every epoch.

    The published baselines draw a new permutation of all points at every step. Slices of one permutation have the same
    marginal distribution, visit every point equally often, and cost nothing."""

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next slice; the first one of a new permutation if the last one is used up."""
        count = max(1, int(self.ratio * ratio_base(learner)))
        indices, shuffle = next_shuffled(learner, None if previous is None else previous.memory, count)
        return Selection(indices, memory=shuffle, origin={"chance": count})


def next_shuffled(
    learner: Learner, memory: Mapping[str, Tensor] | None, count: int, exclude: Int[Tensor, "m"] | None = None
) -> tuple[Int[Tensor, "k"], dict[str, Tensor]]:
    """The next ``count`` points of a permutation of all points, none of them in ``exclude``, and what to remember.

    What is left of a permutation when a new one begins is not used, like the last short batch of an epoch."""
    import torch

    if learner.n > MAX_SHUFFLED_POINTS:
        return learner.draw(count, exclude), {}
    order, used = (None, 0) if memory is None else (memory["order"], int(memory["used"]))
    excluded = None
    if exclude is not None:
        excluded = torch.zeros(learner.n, dtype=torch.bool, device=learner.device)
        excluded[exclude] = True
    if order is not None and order.shape[0] != learner.n:  # added samples are shuffled into the unused part
        added = torch.arange(order.shape[0], learner.n, device=learner.device)
        rest = torch.cat([order[used:], added])
        order = torch.cat([order[:used], rest[learner.permutation(rest.shape[0])]])
    for _ in range(2):
        if order is None:
            order, used = learner.permutation(learner.n), 0
        rest = order[used:]
        if excluded is None:
            indices, consumed = rest[:count], count
        else:
            free = (~excluded[rest]).nonzero().squeeze(1)[:count]
            indices, consumed = rest[free], int(free[-1]) + 1 if free.shape[0] else 0
        if indices.shape[0] == count:
            return indices, {"order": order, "used": torch.tensor(used + consumed)}
        order = None
    raise AssertionError("a new permutation holds every point")
