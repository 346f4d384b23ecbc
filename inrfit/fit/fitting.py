"""Fits: started, run to their end alone or several at once, and their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ..fields import FieldSpec
from ..samplers import Sampler
from ..signal import Signal
from . import record
from .budget import Budget
from .checkpoint import Checkpointer, SavedState
from .context import FitContext, start_fit
from .engine.config import TrainingConfig
from .engine.stack import step_together
from .events import ProgressReport, StepEvent
from .loop import Loop
from .nothing_learned import require_learned
from .progress import BudgetTracker
from .record import FitResult
from .state import FitState


def fit(
    signal: Signal,
    spec: FieldSpec,
    sampler: Sampler,
    config: TrainingConfig,
    budget: Budget,
    device: torch.device,
    seed: int = 0,
    *,
    on_report: Callable[[ProgressReport], None] | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.monotonic,
    started_at: float | None = None,
    initial_weights: Mapping[str, Tensor] | None = None,
    saved_state: SavedState | None = None,
    checkpointer: Checkpointer | None = None,
) -> FitResult:
    """Fits one field to ``signal`` within ``budget`` and returns the best weights seen.

    The seconds of the budget count from ``started_at``, a time of ``now`` (default: the time of the call).
    ``on_report`` is called about ten times a second, ``on_step`` after every step; once ``should_stop()`` returns True,
    the fit ends with the best weights so far. The fit starts from ``initial_weights``, if given, or resumes from
    ``saved_state``. ``checkpointer`` saves the state at its interval and when the fit is stopped.

    A fit that learned nothing in the few steps of a short budget gives the field of the mean. Raises ``BudgetTooShort``
    if the budget ended before the first step, ``Diverged`` if the fit diverged and has no weights better than a
    constant, or ``KeyboardInterrupt`` if one of both is so because the fit was stopped."""
    tracker = BudgetTracker(budget, now, now() if started_at is None else started_at)
    with Fit(
        signal, spec, sampler, config, tracker, device, seed, should_stop, initial_weights, saved_state,
        on_report, on_step, checkpointer,
    ) as started:  # fmt: skip
        started.loop.run()
    return started.result()


class Fit:
    """A fit that has started (``context.start_fit``). Leaving the context frees what its steps need."""

    def __init__(
        self,
        signal: Signal,
        spec: FieldSpec,
        sampler: Sampler,
        config: TrainingConfig,
        tracker: BudgetTracker,
        device: torch.device,
        seed: int,
        should_stop: Callable[[], bool] = lambda: False,
        initial_weights: Mapping[str, Tensor] | None = None,
        saved_state: SavedState | None = None,
        on_report: Callable[[ProgressReport], None] | None = None,
        on_step: Callable[[StepEvent], None] | None = None,
        checkpointer: Checkpointer | None = None,
    ) -> None:
        self._started_late = tracker.seconds
        start = (signal, spec, sampler, config, tracker, device, seed, should_stop, initial_weights, saved_state)
        self.context: FitContext
        self.state: FitState
        self.context, self.state = start_fit(*start)
        self.loop = Loop(self.context, self.state, on_report, on_step, checkpointer)

    def __enter__(self) -> Fit:
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()

    def result(self) -> FitResult:
        """The result of the fit, which has ended. Raises as ``fit`` does."""
        context, state, outcome = self.context, self.state, self.loop.outcome
        assert outcome is not None
        require_learned(context, state, outcome, self._started_late)
        context.engine.load(state.best.weights)
        fitted_signal = context.signal if state.pool is None else state.pool.signal()
        context.attribute_points(state)
        usage, final_settings = record.usage_record(context, state), record.final_settings(context, state)
        quality, points, notes = state.best.quality, context.evaluator.quality_points, tuple(state.notes)
        return FitResult(context.field, fitted_signal, quality, points, outcome, usage, final_settings, notes)


def run_together(fits: Sequence[Fit]) -> None:
    """Runs fits to their ends, all of them step by step. Each has the result that it has alone, bit for bit if its
    steps are computed by one thread.

    Budgets must be in steps: the seconds of each step would count for all."""
    running = [each.loop for each in fits]
    while running:
        steps = [(loop, step) for loop in running if (step := loop.begin()) is not None]
        made = step_together([loop.context.engine for loop, _ in steps], [step for _, step in steps])
        for (loop, step), residuals in zip(steps, made, strict=True):
            found = residuals
            if found is None:  # it could not be made with the others
                found = loop.guarded(partial(loop.context.engine.step, *step))
            if found is not None:
                loop.complete(found)
        running = [loop for loop in running if loop.outcome is None]
