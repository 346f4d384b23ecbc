"""The return value of a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner
    from .loss_terms import LaplacianLoss

LONGEST_CHOICE = 1 << 20


def chosen_from(learner: Learner) -> int:
    """How many points a selection's ratio is a share of: all, but at most LONGEST_CHOICE. The papers' signals are
    smaller; in a longer one a selection of a fifth would be taught for most of the budget before the next look."""
    return min(learner.n, LONGEST_CHOICE)


@dataclass(frozen=True)
class Selection:
    """The points to train on next, and what the sampler must remember about them."""

    indices: Tensor | None
    """Flat indices (k,), distinct; None selects every point."""
    weights: Tensor | None = None
    """Weights (k,) of the points' squared errors in the loss; None weights all points equally."""
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
