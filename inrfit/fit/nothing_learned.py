"""What becomes of a fit whose weights are no better than a constant."""

from __future__ import annotations

import math

from ..errors import BudgetTooShort, Diverged
from .context import FitContext, evaluate
from .divergence import EXPLOSION_FACTOR, LEAST_STEPS
from .outcome import Outcome
from .state import FitState

LATE_START = 0.5
"""Seconds of start-up from which the error for a budget without a step names the clock that leaves them out."""

LITTLE_ERROR = 0.75
"""A fit of few steps whose error is above this share of that of the best constant (1.2 dB) gets a note."""


def require_learned(context: FitContext, state: FitState, outcome: Outcome, started_late: float) -> None:
    """Checks that the fit has made a step, unless the field was exact before, and that the best weights are at least as
    good as the best constant; a NaN error counts as worse. After a few steps without success, that constant becomes the
    result; a note says so, and also if the result is little better than that.

    Otherwise raises ``KeyboardInterrupt`` if the fit was interrupted, ``BudgetTooShort`` if there was no step, or
    ``Diverged``. ``started_late`` is how many seconds of the budget were over when the fit began."""
    step, interrupted = context.tracker.step, outcome is Outcome.INTERRUPTED
    if not step and outcome not in (Outcome.EXACT, Outcome.CLOSED_FORM):
        if interrupted:
            raise KeyboardInterrupt
        raise _too_short(context, state, started_late)
    constant_error = context.evaluator.constant_error * (1 + 1e-6) + 1e-12
    if state.best.error <= constant_error and not math.isnan(state.best.quality):
        if step < LEAST_STEPS and state.best.error > LITTLE_ERROR * constant_error:
            state.notes.append(f"few steps were made ({step:,}): the field is hardly better than the mean")
        return
    if interrupted:
        raise KeyboardInterrupt
    exploded = state.divergence.lr_scale < 1 or not evaluate(context, state).error <= EXPLOSION_FACTOR * constant_error
    if not exploded or step < LEAST_STEPS:
        mean = context.field.formula.constant(state.best.weights, context.evaluator.mean)
        context.engine.load(mean)
        state.best = evaluate(context, state)
        state.notes.append(f"nothing was learned in {step:,} steps: the field is the mean of the samples")
    if not state.best.error <= constant_error or math.isnan(state.best.quality):
        raise Diverged(
            f"the fit diverged: after {step:,} steps it is no better than a constant (try a smaller --lr, or more "
            "--params)",
            "diverged",
        )


def _too_short(context: FitContext, state: FitState, started_late: float) -> BudgetTooShort:
    """The error for a budget that ended before the first step, with what took the time."""
    tracker, prepared, selecting = context.tracker, state.usage.prepare, state.usage.sampler
    parts = {
        "starting torch and choosing the recipe": started_late,
        "preparing the fit": prepared - started_late,
        "the first selection of the sampler": selecting,
        "compiling and the first step": tracker.seconds - prepared - selecting,
    }
    spent = ", ".join(f"{what} took {seconds:.1f} s" for what, seconds in parts.items() if seconds >= 0.05)
    clock = ", or --clock fit, whose clock starts after start-up" if started_late >= LATE_START else ""
    return BudgetTooShort(
        f"the budget of {tracker.budget} ended before the first step: {spent or 'no time was left'} (give it a larger "
        f"--budget{clock})",
        "budget",
    )
