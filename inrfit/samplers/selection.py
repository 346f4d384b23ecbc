"""What a sampler returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner
    from .loss_terms import Laplacian

LONGEST_CHOICE = 1 << 20


def chosen_from(learner: Learner) -> int:
    """How many points a selection's ratio is a share of: all, but at most LONGEST_CHOICE. The papers' signals are
    smaller; in a longer one a selection of a fifth would be taught for most of the budget before the next look."""
    return min(learner.n, LONGEST_CHOICE)


@dataclass(frozen=True)
class Selection:
    """The points to teach next: ``indices`` (k,) distinct, or None for all; ``weights`` (k,) on their errors, or None.

    ``memory`` is what the strategy must remember, handed back at the next call; ``origin`` says where the points came
    from (``chance``, ``error``, ``ntk`` -> count). ``dealt``: the order of the points is the sampler's, batches are
    consecutive slices of it; otherwise they are shuffled first. ``terms`` are loss terms besides the squared error;
    ``note`` is what the user should know about the strategy on this signal, said once."""

    indices: Tensor | None
    weights: Tensor | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    origin: Mapping[str, int] = field(default_factory=dict)
    dealt: bool = False
    terms: tuple[Laplacian, ...] = ()
    note: str = ""
