"""Systematic sampling in proportion to a map of errors, spread over the batches of a selection.

Shapes: m entries of the map, k of them drawn.
"""

from __future__ import annotations

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
    hard: float,
    highest: float,
    count: int,
    batches: int,
) -> tuple[Int[Tensor, "k"], Float[Tensor, "k"]]:
    """``count`` distinct entries, in the order of ``batches`` batches of one size that each hold one of every stretch
    of neighbours; and their densities.

    The density of an entry is (1 - hard) + hard * error / mean error, at most ``highest``. Entries are hit by equal
    steps along the sums of their probabilities from a random start. A probability is scale * density, at most 1, with
    the scale by which all sum to ``count``. The result is ``order`` at the entries (int64): by the compiled kernel if
    it can, or by torch, up to rounding.
    """
    start, turns = learner.uniform(1), (learner.uniform(count // batches) * batches).long()
    if sampling.computes(errors, order):
        return sampling.draw(errors, order, hard, (LEAST_DENSITY, highest), count, float(start), turns)
    mean = errors.mean().clamp_min(1e-12)
    density = errors.mul(hard / mean).add_(1 - hard).clamp_(LEAST_DENSITY, highest)
    positions = _hits(density, count, start)
    spread = _batch_order(turns, batches)
    return order[positions].long()[spread], density[positions][spread]


def _hits(density: Float[Tensor, "m"], count: int, start: Float[Tensor, "1"]) -> Int[Tensor, "k"]:
    """``count`` distinct positions in rising order, by steps of 1 along the sums of the probabilities."""
    import torch

    probability, capped = density * (count / density.sum()), density.new_zeros(0)
    while (above := probability >= 1).sum() != capped.sum() and not above.all():
        capped = above
        probability = density * ((count - capped.sum()) / density[~capped].sum())
    sums = probability.clamp_max(1).double().cumsum(0)
    numbers = (sums * (count / sums[-1]) + start - 1e-9).floor()
    numbers[-1] = count
    hit = numbers > 0
    torch.gt(numbers[1:], numbers[:-1], out=hit[1:])
    positions = hit.nonzero().squeeze(1)
    if positions.shape[0] < count:  # rounding: two steps within one position
        free = (~hit).nonzero().squeeze(1)[: count - positions.shape[0]]
        positions = torch.cat([positions, free]).sort().values
    return positions[:count]


def _batch_order(turns: Int[Tensor, "stretches"], batches: int) -> Int[Tensor, "k"]:
    """A permutation of sorted points after which every batch holds one point of each stretch of neighbours."""
    import torch

    turned = turns[:, None] + torch.arange(batches, device=turns.device)
    positions = torch.arange(turns.shape[0], device=turns.device)[:, None] * batches + turned % batches
    return positions.mT.reshape(-1)
