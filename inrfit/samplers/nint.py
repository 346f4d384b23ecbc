"""NINT: NTK-guided implicit neural teaching (Zhang et al., CVPR 2026): teach what moves the field the most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..io.options import setting
from . import error_map
from .selection import Selection, chosen_from
from .uniform import deal

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner

NTK_COST = 6.0
"""One NTK-scored point in forward passes: residual 1, vjp 3 (a forward and a backward), jvp 2."""


@dataclass(frozen=True)
class Nint:
    """A mixture of three parts: a share ``xi`` by chance, a share (1 - xi) exp(-decay * progress / alpha) with the
    largest NTK score ||K(x_i, .) g||, K = J J^T, g = residuals, and the rest with the largest error.

    The paper counts t in steps; here progress is the share of the budget spent, so the NTK leads in the first tenths
    of any budget and is scored once every ``alpha`` of it. NTK scores are made on a random pool as large as the bound
    ``scoring`` allows; errors come from the map in ``errors.py``.

    ``schedule=released`` does what the authors' code does, call for call: a full scoring of the errors at every
    selection; the NTK part floor-divided, exp(floor(-c/10)) at the calls c = 1, 10, 20 ... and the same until the next
    of them, so that it starts at 11 % of the selection and not at 30 %; the NTK evaluated at those calls while its
    share is at least 1e-3 (six times), its sorted list reused in between. ``--batch selection`` then gives the authors'
    step."""

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)
    xi: float = setting(0.7, "share of a selection drawn by chance", 0.0, 1.0)
    decay: float = setting(1.0, "decay of the NTK part (lambda of the paper)", 0.0, 1e3)
    alpha: float = setting(0.1, "share of the budget between two NTK scorings, and unit of the decay", 1e-3, 1.0)
    schedule: Literal["paper", "released"] = setting(
        "paper", "decay over the budget, or the released code's call counter"
    )
    scoring: float = setting(0.04, "largest share of the arithmetic spent on scoring; 1 lifts the bound", 0.0, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next mixture."""
        count = max(1, int(self.ratio * chosen_from(learner)))
        known = error_map.current(learner, previous)
        if self.schedule == "released":
            return self._released(learner, previous, known, count)
        share = (1 - self.xi) * math.exp(-self.decay * learner.progress / self.alpha)
        stage = int(learner.progress / self.alpha)
        ntk, scored = self._ranked(learner, previous, known, stage, share)
        wanted = min(int(count * share), ntk.shape[0])
        hard = int(count * (1 - self.xi)) - wanted
        memory = {"errors": known, "ntk": ntk, "scored": scored}
        return mixture(learner, previous, known, ntk[:wanted], hard, count, memory)

    def _ranked(
        self, learner: Learner, previous: Selection | None, known: Tensor, stage: int, share: float
    ) -> tuple[Tensor, Tensor]:
        """The quarter of the last pool with the largest NTK scores, best first, and the stage it was scored in."""
        import torch

        due = previous is None or stage > int(previous.memory["scored"])
        pool = learner.scoring_candidates(NTK_COST, self.scoring) if due and share >= 1e-3 else None
        if pool is not None:
            scores, residuals = learner.ntk_scores(pool)
            known[pool] = error_map.magnitude(residuals)
            best = torch.topk(scores, max(1, pool.shape[0] // 4)).indices
            return pool[best], torch.tensor(stage)
        if previous is None:
            return known.new_empty(0, dtype=torch.int64), torch.tensor(-1)
        return previous.memory["ntk"], previous.memory["scored"]

    def _released(self, learner: Learner, previous: Selection | None, known: Tensor, count: int) -> Selection:
        """Sampler and schedule of the released code (its defaults: interval dense, decay 1, period 10)."""
        import torch

        calls = 1 if previous is None else int(previous.memory["calls"]) + 1
        refreshed = max(1, calls // 10 * 10)  # between two refreshes the share stays
        share = (1 - self.xi) * math.exp(math.floor(-refreshed / 10))
        if share >= 1e-3 and refreshed == calls:
            scores, residuals = learner.ntk_scores(None)
            ntk = scores.argsort(descending=True)[: int(count * (1 - self.xi)) + 1]
        else:
            residuals = learner.residuals(None)
            ntk = previous.memory["ntk"] if previous is not None else known.new_empty(0, dtype=torch.int64)
        known.copy_(error_map.magnitude(residuals))
        wanted, hard = int(count * share), int(count * (1 - self.xi - share))
        memory = {"errors": known, "ntk": ntk, "calls": torch.tensor(calls)}
        return mixture(learner, previous, known, ntk[:wanted], hard, count, memory)


def mixture(
    learner: Learner,
    previous: Selection | None,
    known: Tensor,
    ntk: Tensor,
    hard: int,
    count: int,
    memory: Mapping[str, Tensor],
) -> Selection:
    """``ntk``, then the ``hard`` largest errors among the others, then chance among what is left: no overlap."""
    import torch

    masked = known
    if ntk.shape[0]:
        masked = known.clone()
        masked[ntk] = -1.0
    hard = min(hard, learner.n - ntk.shape[0])
    by_error = error_map.hardest(learner, masked, hard) if hard else ntk[:0]
    taken = torch.cat([ntk, by_error])
    by_chance, deck = deal(learner, None if previous is None else previous.memory, count - taken.shape[0], taken)
    unseen = int((known[by_error] >= error_map.UNSEEN).sum())
    origin = {
        "ntk": int(ntk.shape[0]),
        "error": int(by_error.shape[0]) - unseen,
        "chance": int(by_chance.shape[0]) + unseen,
    }
    found = torch.cat([taken, by_chance])
    return Selection(found, memory={**memory, **deck}, origin=origin, note=error_map.note(learner))
