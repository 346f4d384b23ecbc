"""What callbacks are told about a fit under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..signal import Signal


@dataclass(frozen=True)
class Report:
    """The fit seen from outside; ``quality`` is an estimate in ``unit``."""

    share: float
    seconds: float
    step: int
    quality: float
    unit: str
    points_per_second: float
    sampler_share: float

    def __str__(self) -> str:
        return (
            f"{self.share:4.0%}  {self.seconds:6.1f} s  {self.quality:.2f} {self.unit}  "
            f"{self.points_per_second / 1e3:.0f} kpoints/s  sampler {self.sampler_share:.0%}"
        )


@dataclass(frozen=True)
class Moment:
    """The fit after a step: the points of ``signal`` just taught, ``seconds`` since the clock started, the share of the
    budget spent, and ``weights``, which makes a copy of them."""

    step: int
    seconds: float
    progress: float
    indices: Tensor
    weights: Callable[[], dict[str, Tensor]]
    signal: Signal
