"""What a sampler returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """The points to teach next: ``indices`` (k,) distinct, or None for all; ``weights`` (k,) on their errors, or None.

    ``memory`` is what the strategy must remember, handed back at the next call; ``origin`` says where the points came
    from (``chance``, ``error``, ``ntk`` -> count)."""

    indices: Tensor | None
    weights: Tensor | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    origin: Mapping[str, int] = field(default_factory=dict)
