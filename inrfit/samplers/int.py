"""INT: nonparametric teaching (Zhang et al., ICML 2024, arXiv:2405.10531): teach the points of largest error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..io.options import setting
from . import error_map
from .selection import Selection, chosen_from

if TYPE_CHECKING:
    from .learner import Learner

Schedule = Literal["constant", "linear", "step", "cosine", "reverse-cosine", "progressive"]
Refresh = Literal["dense", "dense2", "incremental", "reverse-incremental", "decremental"]

REFRESH: dict[str, tuple[tuple[float, int], ...]] = {
    "dense": ((1.0, 0),),
    "dense2": ((1.0, 2),),
    "incremental": ((0.25, 0), (0.40, 10), (0.55, 20), (0.70, 30), (0.85, 40), (1.0, 50)),
    "reverse-incremental": (
        *((0.1, 90), (0.2, 80), (0.3, 70), (0.4, 60), (0.5, 50), (0.6, 40), (0.7, 30), (0.8, 20), (0.9, 10)),
        (1.0, 0),
    ),
    "decremental": ((0.15, 40), (0.30, 30), (0.45, 20), (0.60, 10), (1.0, 0)),
}
"""Steps between two looks, up to a share of the budget; 0 looks whenever a selection is used up. The authors' rules:
INT code; ``decremental`` NINT code, whose ``dense2`` looks every 5 steps, against its name."""

REVERSE_END = 0.2


@dataclass(frozen=True)
class Int:
    """The ``ratio`` hardest points by absolute error, taught until the next look.

    As in the authors' code: no random part, errors are L1 over channels, the ratio may grow with the share of the
    budget spent. ``progressive`` is the setting of the authors' scripts: ratio in ten steps, incremental refresh.
    The cost in forward passes F over all points is F a look and 3 ratio F a selection taught once.
    Departures: ratio and refresh follow the share of the budget, not a number of steps; a selection is taught in
    batches; errors come from the map in ``errors.py``, re-scored as far as the bound ``scoring`` allows
    (``-O scoring=1`` lifts it; with ``--batch selection`` that is the authors' regime)."""

    ratio: float = setting(0.2, "share of the points in one selection, at the start", 1e-6, 1.0)
    schedule: Schedule = setting("constant", "how the ratio grows to 1 over the budget, or falls to 0.2")
    refresh: Refresh = setting("dense", "look anew after every pass, every 2 steps, ever less or ever more often")
    scoring: float = setting(0.04, "largest share of the arithmetic spent on scoring; 1 lifts the bound", 0.0, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The hardest points, or the previous selection when no look is due."""
        import torch

        known = error_map.current(learner, previous)
        if previous is not None:
            since = learner.step - int(previous.memory["step"])
            if since < self._interval(learner.progress):
                return (
                    replace(previous, memory={**previous.memory, "errors": known})
                    if learner.trained_batches
                    else previous
                )
        error_map.rescore(learner, known, self.scoring)
        count = max(1, int(current_ratio(self.schedule, self.ratio, learner.progress) * chosen_from(learner)))
        indices = error_map.hardest(learner, known, count)
        unseen = int((known[indices] >= error_map.UNSEEN).sum())
        memory = {"errors": known, "step": torch.tensor(learner.step)}
        origin = {"error": count - unseen, "chance": unseen}
        return Selection(indices, memory=memory, origin=origin, note=error_map.note(learner))

    def _interval(self, progress: float) -> int:
        """Steps between two looks."""
        return interval("incremental" if self.schedule == "progressive" else self.refresh, progress)


def interval(refresh: str, progress: float) -> int:
    """Steps between two looks at ``progress``, by the table."""
    return next((steps for until, steps in REFRESH[refresh] if progress < until), REFRESH[refresh][-1][1])


def current_ratio(schedule: Schedule, start: float, progress: float) -> float:
    """The ratio at ``progress``; ``step`` has ten stages, so its last is below 1 (0.92 from 0.2), as in the code;
    ``reverse-cosine`` falls to 0.2, and leaves a smaller start as it is."""
    if schedule == "linear":
        return start + progress * (1 - start)
    if schedule in ("step", "progressive"):
        return min(start + math.floor(progress * 10) * (1 - start) / 10, 1.0)
    if schedule == "cosine":
        return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2
    if schedule == "reverse-cosine":
        end = min(start, REVERSE_END)
        return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
    return start
