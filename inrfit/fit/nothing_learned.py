"""What becomes of a fit whose weights are no better than a constant."""

from __future__ import annotations

import math

from ..errors import BudgetTooShort, Diverged
from .context import FitContext, evaluate
from .divergence import EXPLOSION_FACTOR, LEAST_STEPS
from .state import FitState


def require_learned(context: FitContext, state: FitState, interrupted: bool, started_late: float) -> None:
    """Checks that the best weights are at least as good as the best constant, and better if the budget was too short
    for a step; a NaN error counts as worse. If they are not, after a few steps, that constant becomes the result.

    Otherwise raises ``KeyboardInterrupt`` if the fit was ``interrupted``, ``BudgetTooShort`` if there was no step, or
    ``Diverged``. ``started_late`` is how many seconds of the budget were over when the fit began."""
    step = context.tracker.step
    rounding = 1e-6 if step or interrupted else -1e-6
    constant_error = context.evaluator.constant_error * (1 + rounding) + 1e-12
    if state.best.error <= constant_error and not math.isnan(state.best.quality):
        return
    if interrupted:
        raise KeyboardInterrupt
    if not step:
        raise _too_short(context, state, started_late)
    exploded = state.divergence.lr_scale < 1 or not evaluate(context, state).error <= EXPLOSION_FACTOR * constant_error
    if not exploded or step < LEAST_STEPS:
        mean = context.field.formula.constant(state.best.weights, context.evaluator.mean)
        context.engine.load(mean)
        state.best = evaluate(context, state)
        state.notes.append(f"nothing was learned in {step:,} steps: the field is the mean of the samples")
    if not state.best.error <= constant_error or math.isnan(state.best.quality):
        raise Diverged(
            f"the fit diverged: after {step:,} steps it is no better than a constant (try a smaller --lr)", "diverged"
        )


def _too_short(context: FitContext, state: FitState, started_late: float) -> BudgetTooShort:
    """The error for a budget that ended before the first step, with what took the time."""
    tracker, prepared = context.tracker, state.usage.prepare
    parts = {
        "starting torch and choosing the recipe": started_late,
        "preparing the fit": prepared - started_late,
        "compiling and the first step": tracker.seconds - prepared,
    }
    spent = ", ".join(f"{what} took {seconds:.1f} s" for what, seconds in parts.items() if seconds >= 0.05)
    return BudgetTooShort(
        f"the budget of {tracker.budget} ended before the first step: {spent or 'no time was left'} (give it a larger "
        "--budget, or --clock fit, whose clock starts after start-up)",
        "budget",
    )
