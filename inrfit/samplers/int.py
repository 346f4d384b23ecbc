"""INT: nonparametric teaching (Zhang et al., ICML 2024, arXiv:2405.10531): teach the points of largest error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..options import setting
from . import errors
from .selection import Selection, chosen_from

if TYPE_CHECKING:
    from ..learner import Learner

Schedule = Literal["constant", "linear", "step", "cosine", "progressive"]


@dataclass(frozen=True)
class Int:
    """The ``ratio`` hardest points by absolute error, taught until the next look.

    As in the authors' code: no random part, errors are L1 over channels, the ratio may grow with the share of the
    budget spent. ``progressive`` is the setting of the authors' scripts: ratio in ten steps, incremental refresh.
    Departures: ratio and refresh follow the share of the budget, not a number of steps; a selection is taught in
    batches; errors come from the map in ``errors.py``, re-scored as far as the bound ``scoring`` allows
    (``-O scoring=1`` lifts it; with ``--batch selection`` that is the authors' regime)."""

    ratio: float = setting(0.2, "share of the points in one selection, at the start", 1e-6, 1.0)
    schedule: Schedule = setting("constant", "how the ratio grows to 1 over the budget")
    refresh: Literal["dense", "incremental"] = setting("dense", "look anew after every pass, or ever less often")
    scoring: float = setting(0.04, "largest share of the arithmetic spent on scoring; 1 lifts the bound", 0.0, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The hardest points, or the previous selection when no look is due."""
        import torch

        known = errors.current(learner, previous)
        if previous is not None:
            since = learner.step - int(previous.memory["step"])
            if since < self._interval(learner.progress):
                return previous
        errors.rescore(learner, known, self.scoring)
        count = max(1, int(current_ratio(self.schedule, self.ratio, learner.progress) * chosen_from(learner)))
        indices = errors.hardest(learner, known, count)
        unseen = int((known[indices] >= errors.UNSEEN).sum())
        memory = {"errors": known, "step": torch.tensor(learner.step)}
        return Selection(indices, memory=memory, origin={"error": count - unseen, "chance": unseen})

    def _interval(self, progress: float) -> int:
        """Steps between two looks. ``incremental``: none for a quarter of the fit, then 10, 20 ... 50 (INT code)."""
        if self.refresh == "dense" and self.schedule != "progressive":
            return 0
        return 0 if progress < 0.25 else 10 * min(5, 1 + int((progress - 0.25) / 0.15))


def current_ratio(schedule: Schedule, start: float, progress: float) -> float:
    """The ratio at ``progress``; ``step`` has ten stages, so its last is below 1 (0.92 from 0.2), as in the code."""
    if schedule == "linear":
        return start + progress * (1 - start)
    if schedule in ("step", "progressive"):
        return min(start + math.floor(progress * 10) * (1 - start) / 10, 1.0)
    if schedule == "cosine":
        return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2
    return start
