"""The return value of a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .learner import Learner
    from .loss_terms import LaplacianLoss

MAX_RATIO_BASE = 1 << 20
"""Largest number of points of which ``ratio`` is a share. The signals of the papers are smaller; of a longer signal a
fifth would take most of the budget to train on, and there would be no second selection."""


def ratio_base(learner: Learner) -> int:
    """Number of points of which a sampler's ``ratio`` is a share: all points, but at most MAX_RATIO_BASE."""
    return min(learner.n, MAX_RATIO_BASE)


@dataclass(frozen=True)
class Selection:
    """The points to train on next, and what the sampler must remember about them."""

    indices: Int[Tensor, "k"] | None
    """Distinct flat indices; None selects every point."""
    weights: Float[Tensor, "k"] | None = None
    """Weights of the points' squared errors in the loss; None weights all points equally."""
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    """State of the sampler, passed back to it in ``previous`` at the next call; never changed in place."""
    origin: Mapping[str, int] = field(default_factory=dict)
    """How many points were chosen for each reason: ``chance`` (uniform sampling), ``error``, ``ntk``, ``edge``,
    ``walk``. The counts add up to the size of the selection."""
    keep_order: bool = False
    """True if batches are consecutive slices of ``indices``; otherwise the points are shuffled first."""
    loss_terms: tuple[LaplacianLoss, ...] = ()
    """Loss terms besides the squared error."""
    note: str = ""
    """A message for the user about the strategy on this signal; printed once."""
