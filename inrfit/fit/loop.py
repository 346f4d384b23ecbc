"""fit(): the only training loop. It writes the state of the fit (``state.py``); nothing else does, but for the counters
in ``running.evaluate`` and ``Running.settle``, which it calls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..fields import FieldSpec
from ..runtime import out_of_memory
from ..samplers import Sampler
from ..samplers.learner import Learner, residuals_at
from ..signal import Signal
from . import record, running
from .batching import Batch, Queue, next_batch, queued
from .budget import Budget
from .checkpoint import Checkpointer, Saved
from .engine.config import TrainingConfig
from .events import Moment, Report
from .outcome import Outcome
from .progress import Clock
from .record import Fit
from .running import Running, Stopped, evaluate, learner_of
from .state import Best, FitState, Mark

LOOK_EVERY = 16
"""Steps between two looks for non-finite residuals on the CPU; on CUDA looking means waiting: evaluations look."""

MOST_HALVINGS = 4
"""Times the batch is halved when memory runs out."""

REMEMBERED = 1 << 21
"""Most taught points whose residuals are kept for the next selection."""

REPORT_SECONDS = 0.1

KERNEL_SECONDS, KERNEL_SHARE = 3.0, 0.4
"""The first step waits for the kernel's compiler for at most 3 s, and 40 % of what is left of the budget: it takes
1.2 s (docs/benchmarks.md)."""


def fit(
    signal: Signal,
    spec: FieldSpec,
    sampler: Sampler,
    config: TrainingConfig,
    budget: Budget,
    device: torch.device,
    seed: int = 0,
    *,
    report: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[Moment], None] | None = None,
    now: Callable[[], float] = time.monotonic,
    started: float | None = None,
    initial: Mapping[str, Tensor] | None = None,
    saved: Saved | None = None,
    checkpointer: Checkpointer | None = None,
) -> Fit:
    """Fits one field to ``signal`` within ``budget`` and returns the best weights seen.

    The clock starts at ``started`` (default: now). ``report`` is called about ten times a second, ``watch`` after every
    step; ``stop`` becoming true ends the fit with what there is. ``initial`` are the weights to start from, ``saved``
    is the state of the same fit, to go on from; ``checkpointer`` saves the state on the way, and when the fit is
    stopped. Raises ``Diverged`` when the result is no better than a constant, ``KeyboardInterrupt`` when it is so
    because of ``stop``."""
    clock = Clock(budget, now, now() if started is None else started)
    run, state = running.begun(signal, spec, sampler, config, clock, device, seed, stop, initial, saved)
    try:
        outcome = Loop(run, state, report, watch, checkpointer).teach()
    finally:
        run.close()
    run.engine.load(state.best.weights)
    running.refuse_unlearned(run, state, outcome is Outcome.INTERRUPTED)
    taught = run.signal if state.pool is None else state.pool.signal()
    run.settle(state)
    spent, used = record.spent(run, state), record.used(run, state)
    return Fit(run.field, taught, state.best.quality, outcome, spent, used, tuple(state.notes))


class Loop:
    """Selects, teaches and evaluates until the budget is spent."""

    def __init__(
        self,
        run: Running,
        state: FitState,
        report: Callable[[Report], None] | None = None,
        watch: Callable[[Moment], None] | None = None,
        checkpointer: Checkpointer | None = None,
    ) -> None:
        self.run, self.state = run, state
        self._report, self._watch, self._checkpointer = report, watch, checkpointer
        self._reported = -1.0
        self._first = True
        self._learner: Learner | None = None

    def teach(self) -> Outcome:
        """The whole fit, with half the batch each time that memory runs out."""
        run, state = self.run, self.state
        if run.perfect(state.best):
            return Outcome.PERFECT
        halvings = 0
        while True:
            before = state.mark()
            try:
                if run.stop():
                    raise Stopped
                outcome = self._iteration()
            except Stopped:
                return self._stopped(before)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or halvings == MOST_HALVINGS:
                    raise
                halvings += 1
                self._halve()
                continue
            if outcome is not None:
                return outcome
            if self._checkpointer is not None and self._checkpointer.due(run.clock.now()):
                self._checkpointer.save(state, run.clock.now())

    def _iteration(self) -> Outcome | None:
        """One step and what follows it; how the fit ended, if it did."""
        run, state, clock = self.run, self.state, self.run.clock
        indices, weights = self.take_batch()
        if clock.over:
            self._keep(evaluate(run, state))
            if clock.finish is not None:
                return Outcome.TARGET
            return Outcome.STEPS if clock.step == clock.budget.steps else Outcome.BUDGET
        residuals = self.step(indices, weights)
        looking = clock.step % LOOK_EVERY == 0 and residuals.device.type == "cpu"
        if looking and not bool(residuals.isfinite().all()):
            self._roll_back()
        if (run.evaluation_due(state) or clock.cycle != state.cycle) and self._evaluated():
            return Outcome.PERFECT
        self._tell()
        return None

    def take_batch(self) -> Batch:
        """The points of the next step, as the sampler selects them."""
        if self._learner is None:
            self._learner = learner_of(self.run, self.state)
        batch = None
        while batch is None:
            batch, self.state.queue = next_batch(self._learner, self.state.queue)
            if batch is None:
                self._select()
        return batch

    def _select(self) -> None:
        """Asks the sampler, and queues what it selects."""
        run, state = self.run, self.state
        begun = run.clock.now()
        run.settle(state)
        self._learner = learner = learner_of(run, state)
        selection = run.sampler.select(learner, state.selection)
        state.selection, state.scored, state.taught = selection, learner.scoring_cost, ()
        if selection.note and selection.note not in state.notes:
            state.notes.append(selection.note)
        state.spent.sampler += run.clock.now() - begun
        state.queue = queued(learner, selection, state.batch, state.queue.rest)

    def step(self, indices: Tensor, weights: Tensor | None) -> Tensor:
        """One optimiser step; the residuals before it."""
        run, state, clock = self.run, self.state, self.run.clock
        if self._first:
            self._begin()
        elif state.pool is not None and state.pool.due():
            self._add_points()
        begun = clock.now()
        threads = run.threads if not run.engine.backend.compiling else None
        if threads is not None:
            threads.begin()
        loss_terms = () if state.selection is None else state.selection.loss_terms
        factor = state.schedule.factor(run.engine.backend.compiling) * state.divergence.lr_scale
        residuals = run.engine.step(indices, weights, factor, loss_terms)
        self._remember(indices, residuals)
        clock.step_took(clock.now() - begun)
        if threads is not None:
            threads.ended(clock.step_seconds)
        if self._watch is not None:
            signal = run.signal if state.pool is None else state.pool.signal()
            self._watch(Moment(clock.step, clock.seconds, clock.progress, indices, run.engine.snapshot, signal))
        return residuals

    def _begin(self) -> None:
        """Before the first step of this process: waits for compiled code; the rates rise from here."""
        run, state, clock = self.run, self.state, self.run.clock
        self._first = False
        patience = math.inf
        if clock.timed:
            patience = min(KERNEL_SECONDS, KERNEL_SHARE * (clock.limit - clock.seconds))
        run.engine.backend.wait(patience, run.check_cancelled)
        if state.spent.first_step is None:
            state.spent.first_step = clock.seconds
            progress = clock.progress if clock.timed else 0.0
            state.schedule.begin(progress)
            state.divergence.begin(progress)

    def _add_points(self) -> None:
        """Draws more points of a shape. Their residuals count as taught, so that samplers know them."""
        run, state, pool = self.run, self.state, self.state.pool
        assert pool is not None
        added = pool.grow()
        begun = run.clock.now()
        precision, piece = run.engine.precision, state.learner_piece
        with torch.no_grad():
            found = residuals_at(run.field, pool.samples(), added, piece, precision, run.check_cancelled)
        state.taught = (*state.taught, *found)
        state.generation += 1
        pool.spent(begun)

    def _remember(self, indices: Tensor, residuals: Tensor) -> None:
        """Keeps what a step has taught for the next selection."""
        state = self.state
        state.spent.points += indices.shape[0]
        taught = (*state.taught, (indices, residuals))
        state.taught = taught[1:] if len(taught) * indices.shape[0] > REMEMBERED and len(taught) > 1 else taught
        if state.selection is not None and state.selection.loss_terms:
            loss_terms = tuple(term.with_residuals(indices, residuals) for term in state.selection.loss_terms)
            state.selection = replace(state.selection, loss_terms=loss_terms)

    def _evaluated(self) -> bool:
        """Evaluates the weights and acts on what is found; whether nothing is left to learn."""
        run, state, clock = self.run, self.state, self.run.clock
        cycle_ended = clock.cycle != state.cycle
        found = evaluate(run, state)
        diverged = state.divergence.diverged(found.error, state.cycle_error, clock.progress)
        self._keep(found)
        if diverged:
            self._roll_back()
        if cycle_ended:
            state.cycle_error = run.subset.constant_error
        elif clock.cycle_share >= run.config.warm_up:  # before, the weights still are those of the last annealing
            state.cycle_error = min(state.cycle_error, found.error)
        state.cycle = clock.cycle
        if run.perfect(state.best):
            return True
        if clock.budget.target is not None and state.best.quality >= clock.budget.target:
            clock.finish_soon()
        if run.ends_in_float32(state):
            run.engine.use(torch.float32)
            state.exact_from = clock.step
        return False

    def _keep(self, found: Best) -> None:
        """``found`` becomes the best if it is at least as good."""
        if found.error <= self.state.best.error:
            self.state.best = found

    def _roll_back(self) -> None:
        """The fit diverged: back to the best weights, with half the rate."""
        state, progress = self.state, self.run.clock.progress
        self.run.engine.load(state.best.weights)
        state.divergence.rolled_back(progress)
        state.notes.append(f"the fit went astray at {progress:.0%} of the budget; the rate was halved")

    def _halve(self) -> None:
        """Memory ran out: half the batch, and half the points of everything else, from the best weights on."""
        run, state = self.run, self.state
        run.engine.halve()
        state.engine_piece, state.learner_piece = run.engine.piece, max(1, state.learner_piece // 2)
        state.batch = None if state.batch is None else max(1, state.batch // 2)
        state.queue = Queue()
        run.engine.load(state.best.weights)
        state.notes.append(f"out of memory at {run.clock.progress:.0%} of the budget; the batch was halved")

    def _stopped(self, before: Mark) -> Outcome:
        """The work was cut short, perhaps in the midst of a selection or a step, which is undone: saves the state, if
        anything has been taught, then evaluates what there is."""
        run, state = self.run, self.state
        state.back_to(before)
        interrupted = run.stop()
        if interrupted and run.clock.step and self._checkpointer is not None:
            self._checkpointer.save(state, run.clock.now())
        self._keep(evaluate(run, state))
        return Outcome.INTERRUPTED if interrupted else Outcome.BUDGET

    def _tell(self) -> None:
        """Calls ``report``, at most every tenth of a second."""
        clock, spent = self.run.clock, self.state.spent
        seconds = clock.seconds
        if self._report is None or seconds - self._reported < REPORT_SECONDS:
            return
        self._reported = seconds
        rate, share = spent.points / max(seconds, 1e-9), spent.sampler / max(seconds, 1e-9)
        quality, unit = self.state.best.quality, self.run.modality.unit
        self._report(Report(clock.progress, seconds, clock.step, quality, unit, rate, share))
