"""Teaching strategies: one frozen dataclass of settings a published method, with one method, ``select``.

A sampler keeps nothing itself: what it must remember travels in ``Selection.memory``. To add one: one file here, one
line in ``SAMPLERS``, one row in docs/samplers.md (docs/extending.md).
"""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..io.registry import Registry
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


@runtime_checkable
class Sampler(Protocol):
    """A teaching strategy."""

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next points to teach; ``previous`` is None at the first call."""


def fault(name: str, entry: Any) -> str:
    """What is wrong with a strategy from outside; "" if nothing is."""
    if not (isinstance(entry, type) and is_dataclass(entry) and issubclass(entry, Sampler)):
        return "a sampler is a frozen dataclass with a method select"
    return ""


SAMPLERS: Registry[type[Sampler]] = Registry(
    "inrfit.samplers",
    {
        "full": Full,
        "uniform": Uniform,
        "int": Int,
        "nint": Nint,
        "egra": Egra,
        "expansive": Expansive,
        "soft-mining": SoftMining,
        "evos": Evos,
        "stream": Stream,
    },
    fault,
)
"""The built-in strategies by name; more come from the entry points of other packages (docs/extending.md)."""

USES_COORD_GRADIENTS = frozenset({"soft-mining"})
"""Those that need derivatives with respect to coordinates."""

__all__ = [
    "SAMPLERS",
    "USES_COORD_GRADIENTS",
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
