"""The training loop of a fit (``fitting.py`` starts and ends fits). Only it writes the state of the fit
(``fit/state.py``), besides the counters that ``context.evaluate`` and ``FitContext.attribute_points`` update for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from ..runtime import out_of_memory
from ..samplers.learner import Learner, residuals_at
from . import record
from .batch_queue import Batch, BatchQueue, next_batch, queue_selection
from .checkpoint import Checkpointer
from .context import Cancelled, FitContext, evaluate, learner_view
from .engine.step import Step
from .engine.thread_count import ThreadCountTuner
from .events import ProgressReport, StepEvent
from .outcome import Outcome
from .state import BestWeights, FitState, IterationMark

T = TypeVar("T")

FINITE_CHECK_STEPS = 16
"""Steps between two checks for non-finite residuals on the CPU. On CUDA a check would wait for the device, so there
only evaluations detect them."""

MAX_BATCH_HALVINGS = 4
"""Maximum number of times the batch is halved when memory runs out."""

SLOW_EVALUATION_SECONDS = 0.4
"""Weights are not evaluated once more after an interrupt if that takes longer."""


class Loop:
    """Selects points and evaluates until the budget is used up. Who runs it makes the steps: ``run`` those of one fit,
    ``ensemble.py`` those of several fits at once.

    ``outcome`` is None until the fit has ended."""

    def __init__(
        self,
        context: FitContext,
        state: FitState,
        on_report: Callable[[ProgressReport], None] | None = None,
        on_step: Callable[[StepEvent], None] | None = None,
        checkpointer: Checkpointer | None = None,
    ) -> None:
        self.context, self.state = context, state
        self._on_step, self._checkpointer = on_step, checkpointer
        self._reporter = None if on_report is None else record.Reporter(on_report)
        self._first_step = True
        self._learner: Learner | None = None
        self._halvings = 0
        self._mark: IterationMark
        self._step: Step
        self._step_started_at: float
        self.outcome: Outcome | None = None

    def run(self) -> Outcome:
        """Runs the fit to its end."""
        while self.outcome is None:
            step = self.begin()
            if step is not None:
                residuals = self.guarded(partial(self.context.engine.step, *step))
                if residuals is not None:
                    self.complete(residuals)
        return self.outcome

    def begin(self) -> Step | None:
        """The next step to be made; None if the fit has ended (``outcome``), or begins again after memory ran out."""
        if self.context.field.formula.TRAITS.closed_form is not None:
            self.outcome = Outcome.CLOSED_FORM
            return None
        if self.context.is_exact(self.state.best):
            self.outcome = Outcome.EXACT
            return None
        self._mark = self.state.mark()
        return self.guarded(self._next_step)

    def complete(self, residuals: Tensor) -> None:
        """Everything after a step, of which ``residuals`` (k, c) are those before it."""
        self.guarded(lambda: self._complete(residuals))
        if self.outcome is None and self._checkpointer is not None:
            now = self.context.tracker.now()
            if self._checkpointer.due(now):
                self._checkpointer.save(self.state, now)

    def guarded(self, work: Callable[[], T]) -> T | None:
        """Does ``work``, a part of an iteration. Returns None if the fit ended meanwhile, because it was cancelled, or
        if memory ran out: then the batch is halved, and the fit continues from the best weights."""
        try:
            return work()
        except Cancelled:
            self.outcome = self._end_cancelled(self._mark)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or self._halvings == MAX_BATCH_HALVINGS:
                raise
            self._halvings += 1
            self._halve_batch()
        return None

    def _next_step(self) -> Step | None:
        """The next step, or None once the budget is used up."""
        context, state, tracker = self.context, self.state, self.context.tracker
        if context.should_stop():
            raise Cancelled
        indices, weights = self.take_batch()
        if not tracker.exhausted:
            self._step = self._prepared_step(indices, weights)
            return self._step
        self._keep_if_better(evaluate(context, state))
        ended = Outcome.STEPS if tracker.step == tracker.budget.steps else Outcome.BUDGET
        self.outcome = ended if tracker.finish is None else Outcome.TARGET
        return None

    def _complete(self, residuals: Tensor) -> None:
        """Counts a step that was made, and the checks after it."""
        context, state, tracker = self.context, self.state, self.context.tracker
        self._count_step(residuals)
        check_finite = tracker.step % FINITE_CHECK_STEPS == 0 and residuals.device.type == "cpu"
        if check_finite and not bool(residuals.isfinite().all()):
            self._roll_back()
        if (context.evaluation_due(state) or tracker.cycle != state.cycle) and self._evaluate():
            self.outcome = Outcome.EXACT
        elif self._reporter is not None:
            self._reporter.report(context, state)

    def take_batch(self) -> Batch:
        """The points of the next step. Asks the sampler for a new selection when the last one is used up."""
        if self._learner is None:
            self._learner = learner_view(self.context, self.state)
        batch = None
        while batch is None:
            batch, self.state.queue = next_batch(self._learner, self.state.queue)
            if batch is None:
                self._select()
        return batch

    def _select(self) -> None:
        """Asks the sampler for a selection and queues it."""
        context, state = self.context, self.state
        started_at = context.tracker.now()
        context.attribute_points(state)
        self._learner = learner = learner_view(context, state)
        selection = context.select(learner, state.selection)
        state.selection, state.scoring_cost, state.trained_batches = selection, learner.scoring_cost, ()
        if selection.note and selection.note not in state.notes:
            state.notes.append(selection.note)
        state.usage.sampler += context.tracker.now() - started_at
        state.queue = queue_selection(learner, selection, state.batch, state.queue.leftover)

    def _prepared_step(self, indices: Tensor, weights: Tensor | None) -> Step:
        """The step on a batch. Its time counts from here on."""
        context, state, tracker = self.context, self.state, self.context.tracker
        if self._first_step:
            self._prepare_first_step()
        elif state.pool is not None and state.pool.due():
            self._add_points()
        self._step_started_at = tracker.now()
        if (threads := self._free_threads) is not None:
            threads.before_step()
        loss_terms = () if state.selection is None else state.selection.loss_terms
        factor = state.schedule.factor(context.engine.backend.compiling) * state.divergence.lr_scale
        return Step(indices, weights, factor, loss_terms)

    def _count_step(self, residuals: Tensor) -> None:
        """Keeps the residuals of the step that was made on the last batch, and counts it."""
        context, state, tracker = self.context, self.state, self.context.tracker
        indices = self._step.indices
        state.keep_trained(indices, residuals)
        tracker.count_step(tracker.now() - self._step_started_at)
        if (threads := self._free_threads) is not None:
            threads.after_step(tracker.last_step_seconds)
        if context.batch_size is not None:
            self._set_batch(context.batch_size.after_step(state.batch or 1, tracker))
        if self._on_step is not None:
            signal = context.signal if state.pool is None else state.pool.signal()
            copy_weights = context.engine.snapshot
            self._on_step(StepEvent(tracker.step, tracker.seconds, tracker.progress, indices, copy_weights, signal))

    @property
    def _free_threads(self) -> ThreadCountTuner | None:
        """What adapts the number of threads, unless a compilation keeps them busy."""
        return None if self.context.engine.backend.compiling else self.context.threads

    def _set_batch(self, points: int) -> None:
        """Makes the steps that follow with so many points."""
        state, threads = self.state, self.context.threads
        if points == state.batch:
            return
        state.batch, state.queue = points, replace(state.queue, batch_size=points)
        if threads is not None:
            threads.forget()

    def _prepare_first_step(self) -> None:
        """Before the first step of the fit: starts the learning-rate schedule."""
        state, tracker = self.state, self.context.tracker
        self._first_step = False
        if state.usage.first_step is None:
            state.usage.first_step = tracker.seconds
            progress = tracker.progress if tracker.timed else 0.0
            state.schedule.start(progress)
            state.divergence.start(progress)

    def _add_points(self) -> None:
        """Draws more points of a shape. Their residuals are kept like those of trained points, so that samplers know
        them."""
        context, state, pool = self.context, self.state, self.state.pool
        assert pool is not None
        added = pool.grow()
        started_at = context.tracker.now()
        precision, chunk_size = context.engine.precision, state.scoring_chunk_size
        with torch.no_grad():
            scored = residuals_at(context.field, pool.samples(), added, chunk_size, precision, context.check_cancelled)
        state.trained_batches = (*state.trained_batches, *scored)
        state.generation += 1
        pool.count_time_since(started_at)

    def _evaluate(self) -> bool:
        """Evaluates the weights: keeps the best, rolls back a diverged fit, starts the final annealing, switches to
        float32. Returns whether the fit is exact."""
        context, state, tracker = self.context, self.state, self.context.tracker
        cycle_ended = tracker.cycle != state.cycle
        evaluated = evaluate(context, state)
        diverged = state.divergence.diverged(evaluated.error, state.cycle_error, tracker.progress, tracker.step)
        self._keep_if_better(evaluated)
        if diverged:
            self._roll_back()
        if cycle_ended:
            state.cycle_error = context.evaluator.constant_error
        elif tracker.cycle_progress >= context.config.warm_up:  # before, the weights still are those of the last cycle
            state.cycle_error = min(state.cycle_error, evaluated.error)
        state.cycle = tracker.cycle
        if context.is_exact(state.best):
            return True
        if tracker.budget.target is not None and state.best.quality >= tracker.budget.target:
            tracker.finish_early()
        if context.float32_finish_due(state):
            context.engine.set_precision(torch.float32)
            state.float32_from_step = tracker.step
        return False

    def _keep_if_better(self, evaluated: BestWeights) -> None:
        """Replaces the best weights if ``evaluated`` are at least as good."""
        if evaluated.error <= self.state.best.error:
            self.state.best = evaluated

    def _roll_back(self) -> None:
        """Returns to the best weights after a divergence and halves the learning rate."""
        state, progress = self.state, self.context.tracker.progress
        self.context.engine.load(state.best.weights)
        state.divergence.roll_back(progress)
        state.notes.append(f"the fit diverged at {progress:.0%} of the budget; the learning rate was halved")

    def _halve_batch(self) -> None:
        """After memory ran out: halves the batch and all chunk sizes, and returns to the best weights."""
        context, state = self.context, self.state
        context.engine.halve_chunk_size()
        state.engine_chunk_size = context.engine.chunk_size
        state.scoring_chunk_size = max(1, state.scoring_chunk_size // 2)
        state.batch = None if state.batch is None else max(1, state.batch // 2)
        if context.batch_size is not None and state.batch is not None:
            context.batch_size.full = state.batch
        state.queue = BatchQueue()
        context.engine.load(state.best.weights)
        state.notes.append(f"out of memory at {context.tracker.progress:.0%} of the budget; the batch was halved")

    def _end_cancelled(self, mark: IterationMark) -> Outcome:
        """Ends a cancelled fit. Discards the unfinished iteration, saves the state if the fit was stopped after a step,
        and evaluates the weights."""
        context, state = self.context, self.state
        state.undo_to(mark)
        interrupted = context.should_stop()
        if interrupted and context.tracker.step and self._checkpointer is not None:
            self._checkpointer.save(state, context.tracker.now())
        if not (interrupted and state.best.weights and context.tracker.reserved_seconds > SLOW_EVALUATION_SECONDS):
            self._keep_if_better(evaluate(context, state))
        return Outcome.INTERRUPTED if interrupted else Outcome.BUDGET
