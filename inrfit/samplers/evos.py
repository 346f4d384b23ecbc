"""EVOS: evolutionary selection (Zhang et al., CVPR 2025, arXiv:2412.10153)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..io.options import setting
from . import error_map
from .int import scheduled_ratio
from .selection import Selection, ratio_base
from .uniform import next_shuffled

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .learner import Learner
    from .loss_terms import LaplacianLoss

FIRST_INTERVAL, LAST_INTERVAL = 0.02, 0.01
"""Share of the budget between two fitness steps at its start and at its end: 100 and 50 of 5,000 steps."""

SUPERVISION_END = 0.3
"""Share of the budget at which cross-frequency supervision ends: 1,500 of 5,000 steps."""

MAX_RASTER_SAMPLES = 1 << 24
"""The points of larger rasters are selected only by error, because the residuals of all samples would be kept twice."""

NO_LAPLACIAN_NOTE = (
    f"evos: the signal is not a raster of at least two axes and at most {MAX_RASTER_SAMPLES:,} samples, so points are "
    "selected only by error, without Laplacian and cross-frequency supervision"
)


@dataclass(frozen=True)
class Evos:
    """Selects points of high fitness, which stay selected until the next *fitness step*, and new uniformly sampled
    points in every selection.

    Source: "EVOS: Efficient Implicit Neural Training via EVOlutionary Selector" (Zhang et al., CVPR 2025,
    arXiv:2412.10153), with its three parts:

    - Sparse fitness evaluation: the interval between fitness steps falls from 2 % to 1 % of the budget.
    - Frequency-guided crossover: the parents are the k points of largest squared error and the k points of largest
      squared difference of the grey Laplacians (times ``coefficient``). Points in both parents are kept. Of the open
      places the first parent fills the share mean(error) / (mean(error) + mean(Laplacian)), the second the rest.
    - Augmented unbiased mutation: a share ``mutation`` of the first ratio is sampled uniformly from the other points.

    Cross-frequency supervision (``LaplacianLoss``, weighted by ``coefficient``) is added to the loss during the first
    30 % of the budget, and at fitness steps that train. Cost without scoring: 3 ratio F per selection (F: one forward
    pass over all points).

    Departures from the authors' code:

    - Errors and residuals come from maps that trained points update, and are rescored only as far as ``scoring``
      allows. With ``scoring=1`` and ``--batch selection`` a fitness step trains on, and so scores, all points (3 F), as
      the authors' does.
    - Fitness steps are counted down. Theirs come irregularly, because the modulus of the step counter changes.
    - A parent with a quota of 0 fills no places; their slice ``[-0:]`` takes all points.
    - Random numbers come from the generator of the fit; their code seeds new ones at every selection.
    - The Laplacian is that of the residuals; theirs is the difference of the Laplacians of clamped images.
    - The Laplacian of a volume is that along all its axes. Sounds and shapes have none: their points are selected only
      by error, without supervision."""

    ratio: float = setting(0.5, "share of the points in one selection, at the start", 1e-6, 1.0)
    schedule: Literal["constant", "step"] = setting("constant", "how the ratio grows over the budget")
    mutation: float = setting(0.5, "share of the first ratio that is sampled uniformly", 0.0, 1.0)
    crossover: Literal["select", "add", "none"] = setting(
        "select", "two parents, or the sum of error and Laplacian, or only the error"
    )
    coefficient: float = setting(1e-5, "weight of the Laplacian in fitness and loss; 0: none of it", 0.0, 1.0)
    scoring: float = setting(0.04, "largest share of the arithmetic spent on scoring; 1 lifts the bound", 0.0, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The fittest points and a new mutation; all points at a fitness step that trains."""
        import torch

        before = {} if previous is None else dict(previous.memory)
        errors = error_map.current_errors(learner, previous, mean_squared)
        grey = self._grey_map(learner, before)
        maps = {"errors": errors} if grey is None else {"errors": errors, "grey": grey}
        loss_terms = () if grey is None else (self._laplacian_loss(grey),)
        note = NO_LAPLACIAN_NOTE if self.coefficient and grey is None else error_map.long_signal_note(learner)
        last = float(before.get("fitness", -1.0))
        due = last < 0 or learner.progress >= last + FIRST_INTERVAL - (FIRST_INTERVAL - LAST_INTERVAL) * last
        trains_all = self.scoring >= 1 and learner.batch is None
        trained_all = previous is not None and previous.indices is None and bool(learner.trained_batches)
        if due and trains_all and not trained_all:
            return Selection(None, None, before | maps, {"chance": learner.n}, loss_terms=loss_terms, note=note)
        ratio = scheduled_ratio(self.schedule, self.ratio, learner.progress)
        count = max(1, int(ratio * ratio_base(learner)))
        fit_count = count - min(count, int(self.mutation * self.ratio * ratio_base(learner)))
        fittest = before.get("hard")
        if due or fittest is None or fittest.shape[0] != fit_count:
            fittest = self._fittest(learner, errors, grey, fit_count, rescored=trains_all)
            last = learner.progress if due else last
        shuffle_memory = before if "order" in before else None
        mutation, shuffle = next_shuffled(learner, shuffle_memory, count - fit_count, fittest)
        memory = {**maps, "hard": fittest, "fitness": torch.tensor(last, dtype=torch.float64), **shuffle}
        unknown = error_map.unknown_count(errors, fittest)
        origin = {"error": fit_count - unknown, "chance": count - fit_count + unknown}
        supervision = loss_terms if learner.progress < SUPERVISION_END else ()
        return Selection(torch.cat([fittest, mutation]), None, memory, origin, loss_terms=supervision, note=note)

    def _laplacian_loss(self, grey: Float[Tensor, "..."]) -> LaplacianLoss:
        """The loss term of cross-frequency supervision."""
        from .loss_terms import LaplacianLoss

        return LaplacianLoss(self.coefficient, grey)

    def _grey_map(self, learner: Learner, memory: Mapping[str, Tensor]) -> Float[Tensor, "..."] | None:
        """A new map of the last known grey residuals, zero where no point has been trained yet; None if the signal has
        no Laplacian or the coefficient is 0."""
        import torch

        shape = raster_shape(learner) if self.coefficient else None
        if shape is None:
            return None
        grey = memory["grey"].clone() if "grey" in memory else torch.zeros(shape, device=learner.device)
        for indices, residuals in learner.trained_batches:
            write_grey(grey, indices, residuals)
        return grey

    def _fittest(
        self,
        learner: Learner,
        errors: Float[Tensor, "n"],
        grey: Float[Tensor, "..."] | None,
        count: int,
        rescored: bool,
    ) -> Int[Tensor, "k"]:
        """The ``count`` fittest points. Unless ``rescored`` (all errors are new), random points are scored first, and
        ``errors`` and ``grey`` are updated in place."""
        if not rescored:
            scored = learner.scoring_candidates(cost=1.0, share=self.scoring)
            if scored is not None:
                residuals = learner.residuals(scored)
                errors[scored] = mean_squared(residuals)
                write_grey(grey, scored, residuals)
        if count == 0 or grey is None or self.crossover == "none":
            return error_map.largest_errors(learner, errors, count)
        candidates = error_map.topk_candidates(learner, count)
        error, laplacian = errors[candidates], self.coefficient * laplacian_error(grey, candidates)
        if self.crossover == "add":
            return candidates[_largest(error + laplacian, count)]
        return candidates[crossover_positions(error, laplacian, count)]


def raster_shape(learner: Learner) -> tuple[int, ...] | None:
    """The shape of a raster of two axes or more and at most MAX_RASTER_SAMPLES; None for any other signal."""
    grid = learner.samples.signal.grid
    if grid is None or len(grid.shape) < 2 or learner.n > MAX_RASTER_SAMPLES:
        return None
    return grid.shape


def mean_squared(residuals: Float[Tensor, "k c"]) -> Float[Tensor, "k"]:
    """Mean square over the channels."""
    return residuals.square().mean(-1).float()


def write_grey(grey: Float[Tensor, "..."] | None, indices: Int[Tensor, "k"], residuals: Float[Tensor, "k c"]) -> None:
    """Writes the grey of ``residuals`` into the map in place, if there is one."""
    from .loss_terms import grey_residuals

    if grey is not None:
        grey.view(-1)[indices] = grey_residuals(residuals)


def laplacian_error(grey: Float[Tensor, "..."], indices: Int[Tensor, "k"]) -> Float[Tensor, "k"]:
    """Squared differences of the Laplacians of prediction and image, in squared grey levels."""
    from .loss_terms import GREY_LEVELS, laplacian_at

    return (laplacian_at(grey, indices) * GREY_LEVELS).square()


def crossover_positions(error: Float[Tensor, "m"], laplacian: Float[Tensor, "m"], count: int) -> Int[Tensor, "k"]:
    """Positions of ``count`` survivors: those in both parents, and the open places filled from each, best first."""
    import torch

    first, second = _largest(error, count), _largest(laplacian, count)
    in_first, in_second = (torch.zeros(error.shape[0], dtype=torch.bool, device=error.device) for _ in range(2))
    in_first[first], in_second[second] = True, True
    both = first[in_second[first]]
    first_only, second_only = first[~in_second[first]], second[~in_first[second]]
    places = count - both.shape[0]
    known = error[error < error_map.UNKNOWN_ERROR]
    mean_error = float(known.mean()) if known.shape[0] else 1.0
    total = mean_error + float(laplacian.mean())
    from_first = round(places * (mean_error / total)) if total > 0 else places
    return torch.cat([both, first_only[:from_first], second_only[: places - from_first]])


def _largest(scores: Float[Tensor, "m"], count: int) -> Int[Tensor, "k"]:
    """Positions of the ``count`` largest scores, best first."""
    import torch

    return torch.topk(scores, count).indices
