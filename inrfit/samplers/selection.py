"""The return value of a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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


def invalid_because(selection: Any, learner: Learner) -> str:
    """What is wrong with the return value of a sampler's ``select``; "" if it is valid."""
    import torch

    if not isinstance(selection, Selection):
        return f"select must return a Selection, not {type(selection).__name__}"
    indices, weights = selection.indices, selection.weights
    if indices is not None:
        if not isinstance(indices, torch.Tensor) or indices.dtype != torch.int64 or indices.dim() != 1:
            return "Selection.indices must be None or a tensor of int64 with one dimension"
        if not indices.shape[0]:
            return "Selection.indices is empty"
        if bool((indices < 0).any()) or bool((indices >= learner.n).any()):
            return f"Selection.indices must be from 0 to {learner.n - 1}"
        if indices.unique().shape[0] < indices.shape[0]:
            return "Selection.indices must be distinct"
    if weights is not None:
        if not isinstance(weights, torch.Tensor) or indices is None or weights.shape != indices.shape:
            return "Selection.weights must be None or a tensor with one weight for each of Selection.indices"
        if not bool((weights.isfinite() & (weights >= 0)).all()) or not bool((weights > 0).any()):
            return "Selection.weights must be finite, not negative, and not all zero"
    count = learner.n if indices is None else int(indices.shape[0])
    if selection.origin and sum(selection.origin.values()) != count:
        return f"Selection.origin must count all {count} points, not {sum(selection.origin.values())}"
    if not all(isinstance(value, torch.Tensor) for value in selection.memory.values()):
        return "Selection.memory must hold tensors"
    return ""


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
