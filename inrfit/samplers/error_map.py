"""The error map: the last known error of every point, updated with the residuals of trained points.

The papers score the whole signal before every selection. That costs a third of the arithmetic of training on all
points, more than a step on a fifth of them. Here the residuals of trained points are written into the map at no cost,
and scoring passes are made only as far as ``Learner.scoring_candidates`` allows. A point without a known error counts
as harder than any other, in random order, so that the first selections visit every point once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .learner import Learner
    from .selection import Selection

UNKNOWN_ERROR = 1e6
"""Entries of the map from this value on mark points without a known error; true errors are far smaller, because values
lie in [-1, 1]."""

MAX_TOPK_POINTS = 1 << 20
"""In a signal of more points than this the largest errors are looked for among random candidates, half as many."""


def l1_error(residuals: Float[Tensor, "k c"]) -> Float[Tensor, "k"]:
    """L1 norm over the channels."""
    return residuals.abs().sum(-1).float()


def current_errors(
    learner: Learner, previous: Selection | None, measure: Callable[[Tensor], Tensor] = l1_error
) -> Float[Tensor, "n"]:
    """A new map: that of ``previous``, extended where samples have been added, with the errors of the points trained
    since. ``measure`` turns residuals (k, c) into errors (k,); the default is that of the code of INT and NINT."""
    import torch

    known = torch.zeros(0, device=learner.device) if previous is None else previous.memory["errors"]
    unknown = UNKNOWN_ERROR * (1 + learner.uniform(learner.n - known.shape[0]))
    errors = torch.cat([known, unknown])
    for indices, residuals in learner.trained_batches:
        errors[indices] = measure(residuals)
    return errors


def rescore(learner: Learner, errors: Float[Tensor, "n"], share: float) -> None:
    """Scores random points and writes their errors into ``errors`` in place; does nothing if too few points are
    affordable within ``share`` of the arithmetic."""
    candidates = learner.scoring_candidates(cost=1.0, share=share)
    if candidates is not None:
        errors[candidates] = l1_error(learner.residuals(candidates))


def unknown_count(errors: Float[Tensor, "n"], indices: Int[Tensor, "k"]) -> int:
    """How many of the points have no known error."""
    return int((errors[indices] >= UNKNOWN_ERROR).sum())


def long_signal_note(learner: Learner) -> str:
    """A note for the user on how a long signal is searched; empty for a short one."""
    if learner.n <= MAX_TOPK_POINTS:
        return ""
    return f"the largest errors are looked for among {MAX_TOPK_POINTS // 2:,} random points of the {learner.n:,}"


def topk_candidates(learner: Learner, count: int) -> Int[Tensor, "m"]:
    """Points among which the ``count`` best are looked for: all points, or random ones of a long signal."""
    import torch

    if learner.n <= MAX_TOPK_POINTS:
        return torch.arange(learner.n, device=learner.device)
    return learner.draw(max(MAX_TOPK_POINTS // 2, min(2 * count, learner.n)))


def largest_errors(learner: Learner, errors: Float[Tensor, "n"], count: int) -> Int[Tensor, "k"]:
    """Indices of the ``count`` largest errors, in no order; in a long signal, of those of random candidates."""
    import torch

    if errors.shape[0] <= MAX_TOPK_POINTS:
        return torch.topk(errors, count, sorted=False).indices
    candidates = topk_candidates(learner, count)
    return candidates[torch.topk(errors[candidates], count, sorted=False).indices]
