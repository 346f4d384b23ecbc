"""Teaching strategies: one frozen dataclass of settings a published method, with one method, ``select``.

A sampler keeps nothing itself: what it must remember travels in ``Selection.memory``. To add one: one file here, one
line in ``SAMPLERS``, one row in docs/samplers.md (docs/extending.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .egra import Egra
from .evos import Evos
from .expansive import Expansive
from .full import Full
from .int import Int
from .nint import Nint
from .proportional import Stream
from .selection import Selection
from .soft_mining import SoftMining
from .uniform import Uniform

if TYPE_CHECKING:
    from .learner import Learner


class Sampler(Protocol):
    """A teaching strategy."""

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next points to teach; ``previous`` is None at the first call."""


SAMPLERS: dict[str, type[Sampler]] = {
    "full": Full,
    "uniform": Uniform,
    "int": Int,
    "nint": Nint,
    "egra": Egra,
    "expansive": Expansive,
    "soft-mining": SoftMining,
    "evos": Evos,
    "stream": Stream,
}

MOVING = frozenset({"soft-mining"})
"""Those that need derivatives with respect to coordinates."""

__all__ = [
    "MOVING",
    "SAMPLERS",
    "Egra",
    "Evos",
    "Expansive",
    "Full",
    "Int",
    "Nint",
    "Sampler",
    "Selection",
    "SoftMining",
    "Stream",
    "Uniform",
]
