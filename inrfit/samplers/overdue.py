"""Sampling in proportion to a map of errors: evenly over the signal, and at regular intervals over the fit.

Systematic sampling divides the signal into stretches that are each due one draw. Which entry of a stretch is drawn
would then be chance, and an entry could be drawn twice in a row or be forgotten for several times its interval. Here it
is the entry that has waited longest by its own density, as a shuffled epoch does for uniform sampling. On photographs
this gains 0.9 dB (docs/samplers.md).

Shapes: m entries of the map, k of them drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..kernel import sampling

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .learner import Learner

LEAST_DENSITY = 1e-3
"""Lowest relative density, so that every point is drawn at times."""


def draw(
    learner: Learner,
    errors: Float[Tensor, "m"],
    order: Int[Tensor, "m"],
    start: float,
    due: Float[Tensor, "m"],
    hard: float,
    highest: float,
    count: int,
    batches: int,
) -> tuple[Int[Tensor, "k"], Float[Tensor, "k"], Float[Tensor, "m"]]:
    """``count`` distinct entries, in the order of ``batches`` batches of one size that each hold one of every stretch
    of neighbours; their densities; and the draws that each entry is ``due`` afterwards.

    The density of an entry is (1 - hard) + hard * error / mean error, at most ``highest``. Its probability is scale *
    density, at most 1, with the scale by which all sum to ``count``. The entries are divided into stretches over each
    of which the probabilities sum to 1; the share ``start`` of the first one is at the end of the map. An entry is due
    the sum of its probabilities so far, less the times that it was drawn, and of every stretch the one that is due most
    is drawn. The result is ``order`` at the entries (int64): by the compiled kernel if it can, or by torch, up to
    rounding. Raises ``ValueError`` if ``due`` is no such tensor.
    """
    if due.shape != errors.shape or due.dtype != errors.dtype or not due.is_contiguous():
        raise ValueError("the draws that are due do not match the map of errors")
    turns = (learner.uniform(count // batches) * batches).long()
    if sampling.computes(errors, order):
        return sampling.draw(errors, order, hard, (LEAST_DENSITY, highest), count, start, due, turns)
    mean = errors.mean().clamp_min(1e-12)
    density = errors.mul(hard / mean).add_(1 - hard).clamp_(LEAST_DENSITY, highest)
    probability = _probabilities(density, count)
    due = due + probability
    positions = _most_due(due, probability, count, start)
    due[positions] -= 1
    spread = _batch_order(turns, batches)
    return order[positions].long()[spread], density[positions][spread], due


def _probabilities(density: Float[Tensor, "m"], count: int) -> Float[Tensor, "m"]:
    """Probabilities in proportion to ``density``, at most 1, that sum to ``count``."""
    probability, capped = density * (count / density.sum()), density.new_zeros(0)
    while (above := probability >= 1).sum() != capped.sum() and not above.all():
        capped = above
        probability = density * ((count - capped.sum()) / density[~capped].sum())
    return probability.clamp_max(1)


def _most_due(due: Float[Tensor, "m"], probability: Float[Tensor, "m"], count: int, start: float) -> Int[Tensor, "k"]:
    """The position that is due most in each of ``count`` stretches of equal sums of ``probability``."""
    import torch

    m = due.shape[0]
    sums = probability.double().cumsum(0)
    begins = (sums - probability) * (count / sums[-1]) + start
    stretch = (begins + 1e-9).long() % count
    most = due.new_full((count,), -math.inf).scatter_reduce(0, stretch, due, "amax")
    longest = (due == most[stretch]).nonzero().squeeze(1)
    positions = torch.full((count,), m, device=due.device).scatter_reduce(0, stretch[longest], longest, "amin")
    if (gaps := positions == m).any():  # rounding can leave a stretch empty
        free = torch.ones(m, dtype=torch.bool, device=due.device)
        free[positions[~gaps]] = False
        positions[gaps] = free.nonzero().squeeze(1)[: int(gaps.sum())]
    return positions


def _batch_order(turns: Int[Tensor, "stretches"], batches: int) -> Int[Tensor, "k"]:
    """A permutation of sorted points after which every batch holds one point of each stretch of neighbours."""
    import torch

    turned = turns[:, None] + torch.arange(batches, device=turns.device)
    positions = torch.arange(turns.shape[0], device=turns.device)[:, None] * batches + turned % batches
    return positions.mT.reshape(-1)
