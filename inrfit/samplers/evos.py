"""EVOS: evolutionary selection (Zhang et al., CVPR 2025): the fittest points survive, a few mutate by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..io.options import setting
from . import error_map
from .int import current_ratio
from .selection import Selection, chosen_from
from .uniform import deal

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner
    from .loss_terms import LaplacianLoss

FIRST_INTERVAL, LAST_INTERVAL = 0.02, 0.01
"""Share of the budget between two looks, at its start and its end: 100 to 50 of 5,000 steps."""

CFS_UNTIL = 0.3
"""Share of the budget with cross-frequency supervision: 1,500 of 5,000 steps."""

LONGEST_RASTER = 1 << 24
"""Larger pictures are selected by error alone: the residuals of all pixels would be kept a second time."""


@dataclass(frozen=True)
class Evos:
    """A hard part, chosen at rare *fitness steps* and kept in between, and a share ``mutation`` of the first ratio,
    drawn anew from the others for every selection ("augmented unbiased mutation").

    Fitness steps come at intervals that shrink from 2 % to 1 % of the budget. Their crossover has two parents of k
    points, the largest squared errors and the largest squared differences of the grey Laplacians (times
    ``coefficient``). Points of both are kept; of the open places the first parent fills a share mean(error) /
    (mean(error) + mean(Laplacian)), the second the rest. Cross-frequency supervision adds ``coefficient`` times the
    mean squared Laplacian difference (in grey levels) at the taught pixels to the loss, for the first 30 % of the
    budget and at fitness steps that teach. Cost without scoring: 3 ratio F, F a forward pass over all points.

    Departures. Errors and residuals come from maps that the taught points keep current, re-scored as far as ``scoring``
    allows; with ``scoring=1`` and ``--batch selection`` a fitness step teaches, and so scores, all points (3 F), as the
    authors' does. Theirs come irregularly, for the modulus changes under the counter; here they are counted down. Their
    slice [-0:] takes everything when a parent's quota is 0; here it takes nothing. Their code draws fresh seeds at
    every selection; here the fit's generator draws. Their Laplacian is that of clamped pictures, ours that of
    residuals. A signal that is no picture has none: it is selected by error alone, without supervision."""

    ratio: float = setting(0.5, "share of the points in one selection, at the start", 1e-6, 1.0)
    schedule: Literal["constant", "step"] = setting("constant", "how the ratio grows over the budget")
    mutation: float = setting(0.5, "share of the first ratio drawn by chance", 0.0, 1.0)
    crossover: Literal["select", "add", "none"] = setting(
        "select", "two parents, or the sum of error and Laplacian, or error alone"
    )
    coefficient: float = setting(1e-5, "weight of the Laplacian in fitness and loss; 0: none of it", 0.0, 1.0)
    scoring: float = setting(0.04, "largest share of the arithmetic spent on scoring; 1 lifts the bound", 0.0, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The surviving points and a fresh mutation; all points at a fitness step that teaches."""
        import torch

        before = {} if previous is None else dict(previous.memory)
        known = error_map.current(learner, previous, squared)
        grey = residual_map(learner, before.get("grey"), raster(learner) if self.coefficient else None)
        maps = {"errors": known} if grey is None else {"errors": known, "grey": grey}
        loss_terms = () if grey is None else (self._term(grey),)
        note = NO_RASTER if self.coefficient and grey is None else error_map.note(learner)
        last = float(before.get("fitness", -1.0))
        due = last < 0 or learner.progress >= last + FIRST_INTERVAL - (FIRST_INTERVAL - LAST_INTERVAL) * last
        teaching = self.scoring >= 1 and learner.batch is None
        taught_all = previous is not None and previous.indices is None and bool(learner.trained_batches)
        if due and teaching and not taught_all:
            return Selection(None, None, before | maps, {"chance": learner.n}, loss_terms=loss_terms, note=note)
        ratio = current_ratio(self.schedule, self.ratio, learner.progress)
        count = max(1, int(ratio * chosen_from(learner)))
        wanted = count - min(count, int(self.mutation * self.ratio * chosen_from(learner)))
        hard = before.get("hard")
        if due or hard is None or hard.shape[0] != wanted:
            hard = self._survivors(learner, known, grey, wanted, rescored=teaching)
            last = learner.progress if due else last
        by_chance, deck = deal(learner, before if "order" in before else None, count - wanted, hard)
        memory = {**maps, "hard": hard, "fitness": torch.tensor(last, dtype=torch.float64), **deck}
        unseen = int((known[hard] >= error_map.UNSEEN).sum())
        origin = {"error": wanted - unseen, "chance": count - wanted + unseen}
        supervised = loss_terms if learner.progress < CFS_UNTIL else ()
        return Selection(torch.cat([hard, by_chance]), None, memory, origin, loss_terms=supervised, note=note)

    def _term(self, grey: Tensor) -> LaplacianLoss:
        from .loss_terms import LaplacianLoss

        return LaplacianLoss(self.coefficient, grey)

    def _survivors(self, learner: Learner, known: Tensor, grey: Tensor | None, count: int, rescored: bool) -> Tensor:
        """The ``count`` fittest points; ``rescored``: all errors are fresh."""
        if not rescored:
            pool = learner.scoring_candidates(cost=1.0, share=self.scoring)
            if pool is not None:
                residuals = learner.residuals(pool)
                known[pool] = squared(residuals)
                write(grey, pool, residuals)
        if count == 0 or grey is None or self.crossover == "none":
            return error_map.hardest(learner, known, count)
        pool = error_map.candidates(learner, count)
        error, bent = known[pool], self.coefficient * curvature(grey, pool)
        if self.crossover == "add":
            return pool[_top(error + bent, count)]
        return pool[crossed(error, bent, count)]


NO_RASTER = (
    "evos: no raster (or one too large), so no Laplacian: selected by error alone, no cross-frequency supervision"
)


def raster(learner: Learner) -> tuple[int, int] | None:
    """(height, width) of a picture."""
    grid = learner.samples.signal.grid
    if grid is None or len(grid.shape) != 2 or learner.n > LONGEST_RASTER:
        return None
    return grid.shape[0], grid.shape[1]


def squared(residuals: Tensor) -> Tensor:
    """Mean over channels of the squares of residuals (k, c)."""
    return residuals.square().mean(-1).float()


def residual_map(learner: Learner, known: Tensor | None, shape: tuple[int, int] | None) -> Tensor | None:
    """A new map of the grey residuals (h, w) last known; zero where nothing was taught yet."""
    import torch

    if shape is None:
        return None
    known = torch.zeros(shape, device=learner.device) if known is None else known.clone()
    for indices, residuals in learner.trained_batches:
        write(known, indices, residuals)
    return known


def write(grey: Tensor | None, indices: Tensor, residuals: Tensor) -> None:
    """The grey of ``residuals`` (k, c) into the map."""
    from .loss_terms import grey_of

    if grey is not None:
        grey.view(-1)[indices] = grey_of(residuals)


def curvature(grey: Tensor, indices: Tensor) -> Tensor:
    """Squared differences of the Laplacians, in squared grey levels."""
    from .loss_terms import GREY_LEVELS, laplacian_at

    return (laplacian_at(grey, indices) * GREY_LEVELS).square()


def crossed(error: Tensor, bent: Tensor, count: int) -> Tensor:
    """Positions of ``count`` survivors: those in both parents, and the open places filled from each, best first."""
    import torch

    first, second = _top(error, count), _top(bent, count)
    in_first, in_second = (torch.zeros(error.shape[0], dtype=torch.bool, device=error.device) for _ in range(2))
    in_first[first], in_second[second] = True, True
    both = first[in_second[first]]
    left, right = first[~in_second[first]], second[~in_first[second]]
    places = count - both.shape[0]
    seen = error[error < error_map.UNSEEN]
    mean_error = float(seen.mean()) if seen.shape[0] else 1.0
    total = mean_error + float(bent.mean())
    from_first = round(places * (mean_error / total)) if total > 0 else places
    return torch.cat([both, left[:from_first], right[: places - from_first]])


def _top(scores: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` largest, best first."""
    import torch

    return torch.topk(scores, count).indices
