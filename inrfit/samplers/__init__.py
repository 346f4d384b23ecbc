"""Samplers: strategies that select the points to train on.

A sampler is a frozen dataclass of options with one method, ``select``. It has no state of its own: what it must
remember is in ``Selection.memory``. A new sampler is one file here, one line in ``SAMPLERS`` and one row in
docs/samplers.md; see docs/extending.md.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..io.options import class_fault, declared
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
    """A strategy that selects the points to train on."""

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next points to train on; ``previous`` is None at the first call."""


def fault(name: str, entry: Any) -> str:
    """What makes ``entry``, an object of another package, unusable as a sampler; empty if nothing does."""
    if wrong := class_fault(entry):
        return f"a sampler is {wrong}"
    if not callable(getattr(entry, "select", None)):
        return "a sampler has a method select(self, learner, previous)"
    try:
        signature(entry.select).bind(None, None, None)
    except TypeError:
        return "its method select must take (self, learner, previous)"
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
    "sampler",
)
"""Built-in samplers by name; other packages add theirs through entry points (docs/extending.md)."""


PAPER_OPTIONS: dict[str, dict[str, Any]] = {
    "egra": {"ratio": 0.2},
    "expansive": {"ratio": 0.2},
    "int": {"schedule": "constant"},
    "nint": {"schedule": "released", "ratio": 0.2, "xi": 0.7},
}
"""Options of the regime "paper" that differ from the defaults, besides ``scoring=1.0``."""


def paper_options(name: str) -> dict[str, Any]:
    """The options of a sampler as in its paper, where its defaults differ."""
    all_scored = {"scoring": 1.0} if "scoring" in declared(SAMPLERS[name]) else {}
    return all_scored | PAPER_OPTIONS.get(name, {})


def uses_coord_gradients(sampler: type[Sampler]) -> bool:
    """Whether the sampler needs derivatives with respect to coordinates: it has the constant
    ``USES_COORD_GRADIENTS = True``."""
    return bool(getattr(sampler, "USES_COORD_GRADIENTS", False))


def uses_edges(sampler: type[Sampler]) -> bool:
    """Whether the sampler needs edges, which samples at points of their own lack: it has the constant ``USES_EDGES =
    True``."""
    return bool(getattr(sampler, "USES_EDGES", False))


__all__ = [
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
    "paper_options",
    "uses_coord_gradients",
    "uses_edges",
]
