"""INT: implicit neural teaching (Zhang et al., ICML 2024, arXiv:2405.10531): the points of largest error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..io.options import setting
from . import error_map
from .selection import Selection, ratio_base

if TYPE_CHECKING:
    from .learner import Learner

Schedule = Literal["constant", "linear", "step", "cosine", "reverse-cosine", "progressive"]
Refresh = Literal["dense", "dense2", "incremental", "reverse-incremental", "decremental"]

REFRESH_INTERVALS: dict[str, tuple[tuple[float, int], ...]] = {
    "dense": ((1.0, 0),),
    "dense2": ((1.0, 2),),
    "incremental": ((0.25, 0), (0.40, 10), (0.55, 20), (0.70, 30), (0.85, 40), (1.0, 50)),
    "reverse-incremental": (
        *((0.1, 90), (0.2, 80), (0.3, 70), (0.4, 60), (0.5, 50), (0.6, 40), (0.7, 30), (0.8, 20), (0.9, 10)),
        (1.0, 0),
    ),
    "decremental": ((0.15, 40), (0.30, 30), (0.45, 20), (0.60, 10), (1.0, 0)),
}
"""Refresh rule -> (share of the budget up to which it holds, steps between two selections). 0 steps means that a new
selection is made whenever the last one is used up. The rules are those of the released code of INT; ``decremental`` is
of the code of NINT. ``dense2`` of the code of NINT selects every 5 steps, in spite of its name."""

REVERSE_COSINE_END = 0.2
"""Ratio at which the schedule ``reverse-cosine`` ends."""


@dataclass(frozen=True)
class Int:
    """Selects the ``ratio`` of the points with the largest absolute error and keeps them until the next refresh.

    Source: "Nonparametric Teaching of Implicit Neural Representations" (Zhang et al., ICML 2024, arXiv:2405.10531),
    which calls the selection of examples that speeds up learning *teaching*. As in the authors' code there is no random
    part, the error is the L1 norm over channels, and the ratio may grow during the fit. ``schedule=progressive`` is the
    setting of the authors' scripts: the ratio grows in ten steps, the refresh is incremental. Cost, in forward passes F
    over all points: F per refresh, and 3 ratio F per selection trained on once.

    Departures from the authors' code:

    - The ratio grows to 1 by ``schedule=cosine``, so that the fit ends on all points. With the authors' constant ratio
      and this project's recipe, INT ends below uniform sampling (docs/samplers.md).
    - Ratio and refresh follow the share of the budget spent, not the number of steps.
    - A selection is trained on in batches; ``--batch selection`` makes one step of it.
    - Errors come from the map in ``error_map.py`` and are rescored only as far as ``scoring`` allows. ``scoring=1``
      scores every point at every refresh, as the authors do."""

    ratio: float = setting(0.2, "share of the points in one selection, at the start", 1e-6, 1.0)
    schedule: Schedule = setting("cosine", "how the ratio grows to 1 over the budget, or falls to 0.2")
    refresh: Refresh = setting(
        "dense",
        "when points are selected again: after every pass, every 2 steps, less and less often, or more and more often",
    )
    scoring: float = setting(0.04, "largest share of the arithmetic spent on scoring; 1 lifts the bound", 0.0, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The points of largest error, or the previous selection if no refresh is due."""
        import torch

        errors = error_map.current_errors(learner, previous)
        if previous is not None:
            steps = learner.step - int(previous.memory["step"])
            if steps < self._interval(learner.progress):
                if not learner.trained_batches:
                    return previous
                return replace(previous, memory={**previous.memory, "errors": errors})
        error_map.rescore(learner, errors, self.scoring)
        count = max(1, int(scheduled_ratio(self.schedule, self.ratio, learner.progress) * ratio_base(learner)))
        indices = error_map.largest_errors(learner, errors, count)
        unknown = error_map.unknown_count(errors, indices)
        memory = {"errors": errors, "step": torch.tensor(learner.step)}
        origin = {"error": count - unknown, "chance": unknown}
        return Selection(indices, memory=memory, origin=origin, note=error_map.long_signal_note(learner))

    def _interval(self, progress: float) -> int:
        """Steps between two refreshes."""
        return refresh_interval("incremental" if self.schedule == "progressive" else self.refresh, progress)


def refresh_interval(refresh: str, progress: float) -> int:
    """Steps between two refreshes at the share ``progress`` of the budget, by REFRESH_INTERVALS."""
    rule = REFRESH_INTERVALS[refresh]
    return next((steps for end, steps in rule if progress < end), rule[-1][1])


def scheduled_ratio(schedule: Schedule, start: float, progress: float) -> float:
    """The ratio at the share ``progress`` of the budget. ``step`` has ten stages, as in the authors' code, so that its
    last one is below 1 (0.92 from 0.2). ``reverse-cosine`` falls to 0.2; a smaller start stays constant."""
    if schedule == "linear":
        return start + progress * (1 - start)
    if schedule in ("step", "progressive"):
        return min(start + math.floor(progress * 10) * (1 - start) / 10, 1.0)
    if schedule == "cosine":
        return start + (1 - start) * (1 - math.cos(math.pi * progress)) / 2
    if schedule == "reverse-cosine":
        end = min(start, REVERSE_COSINE_END)
        return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
    return start
