"""fit(): the only training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import Diverged
from ..fields import FieldSpec
from ..fields.module import Field
from ..runtime import out_of_memory
from ..samplers import Sampler
from ..signal import Signal
from .budget import Budget
from .progress import Clock
from .recipe import Recipe
from .state import Best, Moment, Report, Run, Stopped

LOOK_EVERY = 16
"""Steps between two looks for non-finite residuals on the CPU; on CUDA looking means waiting: evaluations look."""

MOST_HALVINGS = 4
"""So often the batch is halved when memory runs out."""


@dataclass(frozen=True)
class Fit:
    """What came out: the best weights seen, how the budget was spent, what became of the recipe, and how it ended
    (``budget`` of seconds, ``steps``, ``target``, ``perfect`` or ``interrupted``)."""

    field: Field
    signal: Signal
    quality: float
    ended: str
    spent: dict[str, Any]
    used: dict[str, Any]
    notes: tuple[str, ...] = ()


def fit(
    signal: Signal,
    spec: FieldSpec,
    sampler: Sampler,
    recipe: Recipe,
    budget: Budget,
    device: torch.device,
    seed: int = 0,
    report: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.monotonic,
    started: float | None = None,
    watch: Callable[[Moment], None] | None = None,
) -> Fit:
    """Fits one field to ``signal`` within ``budget``; the clock starts at ``started`` (default: now); ``watch`` is
    called after every step.

    Returns the best weights seen; ``stop`` becoming true ends the fit with what there is. Raises ``Diverged`` when that
    is worse than a constant, ``KeyboardInterrupt`` when it is so because of ``stop``."""
    clock = Clock(budget, now, now() if started is None else started)
    run = Run(signal, spec, sampler, recipe, clock, device, seed, report, stop, watch)
    run.spent.prepare = clock.seconds
    best = run.evaluate()
    ended = "perfect" if run.perfect(best) else ""
    try:
        ended = ended or teach_within_memory(run, best)
    except Stopped:
        ended = "interrupted" if stop() else "budget"
        _keep(best, run.evaluate())
    finally:
        run.close()
    run.engine.load(best.weights)
    if best.error > run.subset.constant_error * 1.000001 + 1e-12:
        if ended == "interrupted":
            raise KeyboardInterrupt
        raise Diverged(
            f"after {clock.step} steps the fit is still worse than a constant (give it a larger --budget)",
            "diverged",
        )
    return Fit(run.field, run.pool.without_copies(), best.quality, ended, summary(run), used(run), tuple(run.notes))


def teach_within_memory(run: Run, best: Best) -> str:
    """``teach``, with half the batch each time that memory runs out."""
    for _ in range(MOST_HALVINGS):
        try:
            return teach(run, best)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        run.shrink(best)
    return teach(run, best)


def teach(run: Run, best: Best) -> str:
    """Steps until the budget, the target or perfection; keeps ``best`` current in place. Returns how it ended."""
    clock = run.clock
    cycle, cycle_error = 0, best.error
    for indices, weights in run.batches():
        if run.stop():
            _keep(best, run.evaluate())
            return "interrupted"
        if clock.over:
            break
        residuals = run.step(indices, weights)
        looking = clock.step % LOOK_EVERY == 0 and run.samples.raw.device.type == "cpu"
        if looking and not bool(residuals.isfinite().all()):
            run.retreat(best)
        cycle_ended = clock.cycle != cycle
        if run.evaluation_due() or cycle_ended:
            found = run.evaluate()
            astray = run.guard.astray(found.error, cycle_error, clock.progress)
            _keep(best, found)
            if astray:
                run.retreat(best)
            if cycle_ended:
                cycle_error = run.subset.constant_error
            elif clock.cycle_share >= run.recipe.warm_up:  # before, the weights still are those of the last annealing
                cycle_error = min(cycle_error, found.error)
            cycle = clock.cycle
            if run.perfect(best):
                return "perfect"
            if clock.budget.target is not None and best.quality >= clock.budget.target:
                clock.finish_soon()
            run.finish_exactly(best)
        run.tell(best)
    _keep(best, run.evaluate())
    if clock.finish is not None:
        return "target"
    return "steps" if clock.step == clock.budget.steps else "budget"


def _keep(best: Best, found: Best) -> None:
    """``found`` becomes the best if it is at least as good."""
    if found.error <= best.error:
        best.weights, best.error, best.quality = found.weights, found.error, found.quality


def summary(run: Run) -> dict[str, Any]:
    """How the budget was spent, as JSON."""
    learner = run.learner
    run.settle()
    return {
        "fit_seconds": run.clock.seconds,
        "prepare_seconds": run.spent.prepare,
        "first_step_seconds": run.first_step or 0.0,
        "points_seconds": run.pool.seconds,
        "sampler_seconds": run.spent.sampler,
        "evaluate_seconds": run.spent.evaluate,
        "steps": run.clock.step,
        "points": run.spent.points,
        "scoring_passes": learner.scoring_passes,
        "scoring_points": learner.points_scored,
        "origin": {name: round(count) for name, count in run.spent.origin.items()},
    }


def used(run: Run) -> dict[str, Any]:
    """What became of the recipe on the way, as JSON."""
    threads = torch.get_num_threads() if run.threads is None else run.threads.counts[run.threads.level]
    return {
        "engine": run.engine.told(),
        "batch": run.batch,
        "last_threads": threads,
        "boost": round(run.schedule.boost(run.engine.compiling), 3),
        "exact_from_step": run.exact_from,
    }
