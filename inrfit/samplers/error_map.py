"""The error map: the last known error of every point, kept current by what is taught anyway.

The papers score the whole signal before every selection, which costs more than the lesson itself (a third of the
arithmetic of teaching all points). Here the residuals of the points just taught are written back, for nothing, and
scoring passes are made only as far as ``learner.scoring_candidates`` grants. A point never seen counts as harder
than any seen one, in random order, so that the first selections visit everything once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner
    from .selection import Selection

UNSEEN = 1e6
"""Errors from here on stand for points not seen yet; values live in [-1, 1]."""

LONGEST_SORT = 1 << 20
"""Above this many points the hardest are looked for in a random pool of half this size."""


def magnitude(residuals: Tensor) -> Tensor:
    """The L1 norm over channels of residuals (k, c)."""
    return residuals.abs().sum(-1).float()


def current(learner: Learner, previous: Selection | None, measure: Callable[[Tensor], Tensor] = magnitude) -> Tensor:
    """A new map (n,) of the errors (INT and NINT code: absolute, summed over channels): the previous one, longer where
    samples have been added, updated with what was taught since."""
    import torch

    known = torch.zeros(0, device=learner.device) if previous is None else previous.memory["errors"]
    unseen = UNSEEN * (1 + learner.uniform(learner.n - known.shape[0]))
    errors = torch.cat([known, unseen])
    for indices, residuals in learner.trained_batches:
        errors[indices] = measure(residuals)
    return errors


def rescore(learner: Learner, errors: Tensor, share: float) -> None:
    """One scoring pass over as many random points as are affordable, written into the map; none if too few."""
    pool = learner.scoring_candidates(cost=1.0, share=share)
    if pool is not None:
        errors[pool] = magnitude(learner.residuals(pool))


def note(learner: Learner) -> str:
    """What the user should know about a long signal; nothing about a short one."""
    if learner.n <= LONGEST_SORT:
        return ""
    return f"the largest errors are looked for in random pools of {LONGEST_SORT // 2:,} of the {learner.n:,} points"


def candidates(learner: Learner, count: int) -> Tensor:
    """Where the ``count`` best points are looked for: everywhere; in a long signal, in a random pool."""
    import torch

    if learner.n <= LONGEST_SORT:
        return torch.arange(learner.n, device=learner.device)
    return learner.draw(max(LONGEST_SORT // 2, min(2 * count, learner.n)))


def hardest(learner: Learner, errors: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` largest errors; in a long signal, of a random pool of it."""
    import torch

    if errors.shape[0] <= LONGEST_SORT:
        return torch.topk(errors, count, sorted=False).indices
    pool = candidates(learner, count)
    return pool[torch.topk(errors[pool], count, sorted=False).indices]
