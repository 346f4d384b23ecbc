"""NINT: NTK-guided implicit neural teaching (Zhang et al., CVPR 2026, arXiv:2511.15487)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..io.options import setting
from . import error_map
from .proportional import cell_indices, draw_selection, plan_selection
from .selection import Selection, ratio_base
from .uniform import next_shuffled

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .learner import Learner

NTK_COST = 6.0
"""Cost of scoring one point by the NTK, in forward passes: residual 1, vjp 3 (a forward and a backward), jvp 2."""

POWER, LIMIT = 1.5, 10.0
"""Exponent of scores and errors in the densities, and the highest density in means."""

MIN_NTK_SHARE = 1e-3
"""Below this share of a selection the NTK is not evaluated again."""


@dataclass(frozen=True)
class Nint:
    """Mixes three parts: a share ``xi`` of uniformly sampled points, a share (1 - xi) exp(-decay * progress / alpha) of
    points by their NTK score, and the rest by error.

    Source: "NTK-Guided Implicit Neural Teaching" (Zhang et al., CVPR 2026, arXiv:2511.15487; Algorithm 1 and its hybrid
    sampling). The score of point x_i is ||K(x_i, .) g||, where K = J J^T is the neural tangent kernel and g are the
    residuals. Cost, in forward passes of a point: 6 per point scored by the NTK, 1 per point scored by its error, and 3
    per trained point.

    Departures from the paper:

    - The three parts are densities, and points are drawn in proportion to their sum, as ``Stream`` does, instead of
      those of the largest scores. Both scores enter by their power 1.5. ``xi`` is 0.5 instead of 0.7, ``ratio`` 0.1
      instead of 0.2.
    - Time is the share of the budget spent, not the number of steps. The NTK part fades during the first tenths of any
      budget, and the NTK is evaluated once every share ``alpha`` of the budget.
    - The NTK is evaluated on random candidates, as many as ``scoring`` allows. K g varies slowly over the signal, so
      the score of a candidate stands for those of its neighbours.
    - Errors come from the map that trained points keep current.

    ``schedule=paper`` selects as the paper does: the largest NTK scores (of the best quarter of the candidates), the
    largest errors, and a shuffle of the others.

    ``schedule=released`` follows the authors' code call by call. It scores the errors of all points at every selection.
    The share of the NTK part is (1 - xi) exp(floor(-c / 10)) at the calls c = 1, 10, 20, ..., and constant in between;
    because of the floor it starts at 11 % of the selection, not at 30 %. The NTK is evaluated at those calls while its
    share is at least 1e-3 (six times), and its sorted list is reused in between. With ``--batch selection`` this is the
    authors' step."""

    ratio: float = setting(0.1, "share of the points in one selection", 1e-6, 1.0)
    xi: float = setting(0.5, "share of a selection that is sampled uniformly", 0.0, 1.0)
    decay: float = setting(1.0, "decay of the NTK part (lambda of the paper)", 0.0, 1e3)
    alpha: float = setting(0.1, "share of the budget between two NTK scorings, and unit of the decay", 1e-3, 1.0)
    schedule: Literal["proportional", "paper", "released"] = setting(
        "proportional", "draws by score, the largest scores, or the released code's calls"
    )
    scoring: float = setting(0.04, "largest share of the arithmetic spent on scoring; 1 lifts the bound", 0.0, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next mixture."""
        if self.schedule == "proportional":
            return self._proportional(learner, previous)
        count = max(1, int(self.ratio * ratio_base(learner)))
        errors = error_map.current_errors(learner, previous)
        if self.schedule == "released":
            return self._released(learner, previous, errors, count)
        share, stage = self._ntk_share(learner.progress), int(learner.progress / self.alpha)
        ranking, scored_stage = self._ntk_ranking(learner, previous, errors, stage, share)
        ntk_count = min(int(count * share), ranking.shape[0])
        error_count = int(count * (1 - self.xi)) - ntk_count
        memory = {"errors": errors, "ntk": ranking, "scored": scored_stage}
        return mixture(learner, previous, errors, ranking[:ntk_count], error_count, count, memory)

    def _ntk_share(self, progress: float) -> float:
        """Share of the points that are selected by NTK score."""
        return (1 - self.xi) * math.exp(-self.decay * progress / self.alpha)

    def _proportional(self, learner: Learner, previous: Selection | None) -> Selection:
        """A selection drawn in proportion to the three densities."""
        import torch

        plan = plan_selection(learner, previous, self.ratio, POWER)
        memory, errors = plan.memory, plan.memory.get("errors")
        share, stage = self._ntk_share(learner.progress), int(learner.progress / self.alpha)
        scored = torch.tensor(-1) if previous is None else memory["scored"]
        candidates = None
        if stage > int(scored) and share >= MIN_NTK_SHARE:
            candidates = learner.scoring_candidates(NTK_COST, self.scoring)
        if candidates is not None:
            scores, _ = learner.ntk_scores(candidates)
            memory["ntk"] = spread_scores(scores.pow(POWER / 2), cell_indices(learner, candidates, plan.side), memory)
            scored = torch.tensor(stage)
        memory["scored"] = scored
        if errors is None or "ntk" not in memory:
            return draw_selection(learner, plan, errors, {"error": 1 - self.xi}, LIMIT, 0.0)
        parts = {"ntk": share, "error": 1 - self.xi - share}
        ntk = memory["ntk"]
        odds = ntk * (share / ntk.mean().clamp_min(1e-12)) + errors * (parts["error"] / errors.mean().clamp_min(1e-12))
        return draw_selection(learner, plan, odds, parts, LIMIT, 0.0)

    def _ntk_ranking(
        self, learner: Learner, previous: Selection | None, errors: Float[Tensor, "n"], stage: int, share: float
    ) -> tuple[Int[Tensor, "m"], Int[Tensor, ""]]:
        """The quarter of the last candidates with the largest NTK scores, best first, and the stage of the fit in which
        they were scored. New candidates are scored once a stage; their errors are written into ``errors`` in place."""
        import torch

        due = previous is None or stage > int(previous.memory["scored"])
        affordable = due and share >= MIN_NTK_SHARE
        candidates = learner.scoring_candidates(NTK_COST, self.scoring) if affordable else None
        if candidates is not None:
            scores, residuals = learner.ntk_scores(candidates)
            errors[candidates] = error_map.l1_error(residuals)
            best = torch.topk(scores, max(1, candidates.shape[0] // 4)).indices
            return candidates[best], torch.tensor(stage)
        if previous is None:
            return errors.new_empty(0, dtype=torch.int64), torch.tensor(-1)
        return previous.memory["ntk"], previous.memory["scored"]

    def _released(
        self, learner: Learner, previous: Selection | None, errors: Float[Tensor, "n"], count: int
    ) -> Selection:
        """The mixture of the released code (its defaults: interval dense, decay 1, period 10)."""
        import torch

        calls = 1 if previous is None else int(previous.memory["calls"]) + 1
        refreshed = max(1, calls // 10 * 10)  # the share is constant between two refreshes
        share = (1 - self.xi) * math.exp(math.floor(-refreshed / 10))
        if share >= MIN_NTK_SHARE and refreshed == calls:
            scores, residuals = learner.ntk_scores(None)
            ranking = scores.argsort(descending=True)[: int(count * (1 - self.xi)) + 1]
        else:
            residuals = learner.residuals(None)
            ranking = previous.memory["ntk"] if previous is not None else errors.new_empty(0, dtype=torch.int64)
        errors.copy_(error_map.l1_error(residuals))
        ntk_count, error_count = int(count * share), int(count * (1 - self.xi - share))
        memory = {"errors": errors, "ntk": ranking, "calls": torch.tensor(calls)}
        return mixture(learner, previous, errors, ranking[:ntk_count], error_count, count, memory)


def spread_scores(
    scores: Float[Tensor, "k"], cells: Int[Tensor, "k"], memory: Mapping[str, Tensor]
) -> Float[Tensor, "m"]:
    """A map in the order of ``cell_order`` in which every cell has the score of the last scored cell before it."""
    import torch

    positions, order = memory["rank"][cells].long().sort()
    every = torch.arange(memory["order"].shape[0], device=scores.device)
    return scores[order][(torch.searchsorted(positions, every, right=True) - 1).clamp_min(0)]


def mixture(
    learner: Learner,
    previous: Selection | None,
    errors: Float[Tensor, "n"],
    ntk: Int[Tensor, "k1"],
    error_count: int,
    count: int,
    memory: Mapping[str, Tensor],
) -> Selection:
    """``count`` distinct points: ``ntk``, then the ``error_count`` largest errors among the others, then uniformly
    sampled points among what is left."""
    import torch

    masked = errors
    if ntk.shape[0]:
        masked = errors.clone()
        masked[ntk] = -1.0
    error_count = min(error_count, learner.n - ntk.shape[0])
    hardest = error_map.largest_errors(learner, masked, error_count) if error_count else ntk[:0]
    taken = torch.cat([ntk, hardest])
    shuffle_memory = None if previous is None else previous.memory
    uniform, shuffle = next_shuffled(learner, shuffle_memory, count - taken.shape[0], taken)
    unknown = error_map.unknown_count(errors, hardest)
    origin = {
        "ntk": int(ntk.shape[0]),
        "error": int(hardest.shape[0]) - unknown,
        "chance": int(uniform.shape[0]) + unknown,
    }
    note = error_map.long_signal_note(learner)
    return Selection(torch.cat([taken, uniform]), memory={**memory, **shuffle}, origin=origin, note=note)
