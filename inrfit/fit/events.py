"""The objects that callbacks of a fit receive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..signal import Signal


@dataclass(frozen=True)
class ProgressReport:
    """The progress of a fit, about ten times a second.

    ``progress`` is the used share of the budget, 0 to 1; ``quality`` an estimate in ``unit``; ``sampler_share`` the
    share of the time spent in the sampler."""

    progress: float
    seconds: float
    step: int
    quality: float
    unit: str
    points_per_second: float
    sampler_share: float

    def __str__(self) -> str:
        return (
            f"{self.progress:4.0%}  {self.seconds:6.1f} s  {self.quality:.2f} {self.unit}  "
            f"{self.points_per_second / 1e3:.0f} kpoints/s  sampler {self.sampler_share:.0%}"
        )


@dataclass(frozen=True)
class StepEvent:
    """The state of a fit after an optimiser step.

    ``step`` counts from 1, ``seconds`` from the start of the budget, ``progress`` is the used share of the budget, 0 to
    1. ``indices`` (k,) are the points of ``signal`` that the step used; ``weights()`` copies the current weights."""

    step: int
    seconds: float
    progress: float
    indices: Tensor
    weights: Callable[[], dict[str, Tensor]]
    signal: Signal
