"""What a fit works with and what does not change while it runs: field, samples, engine, evaluation subset, clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import Diverged, UnreadableFile
from ..fields import FieldSpec
from ..fields.module import Field
from ..modalities import MODALITIES, Modality
from ..runtime import matmul_precision, out_of_memory
from ..samplers import Sampler
from ..samplers.learner import FORWARDS_PER_TRAINED_POINT, Learner, default_chunk_size
from ..signal import Samples, Signal
from .checkpoint import Saved, refuse_misfits, saved_points
from .divergence import DivergenceDetector
from .engine.background_compile import wait_for_all
from .engine.config import TrainingConfig
from .engine.step import Engine
from .engine.thread_count import Threads
from .evaluation import Subset
from .lr_schedule import Schedule
from .point_pool import PointBudget, PointPool
from .progress import Clock
from .recipe import EXACT_FROM, EXACT_TAIL
from .state import Best, FitState, restore

EVALUATION_SHARE = 0.02
"""Largest share of the arithmetic spent on evaluations; the first and the last come on top."""


class Stopped(Exception):
    """Raised between chunks when the work must end now."""


@dataclass(frozen=True)
class Running:
    """A fit under way, without its state."""

    signal: Signal
    samples: Samples
    sampler: Sampler
    config: TrainingConfig
    clock: Clock
    field: Field
    engine: Engine
    subset: Subset
    threads: Threads | None
    stop: Callable[[], bool]
    check_cancelled: Callable[[], None]
    constant: bool
    """Whether all samples are equal."""

    @property
    def modality(self) -> Modality:
        """The modality of the signal."""
        return MODALITIES[self.signal.modality]

    def perfect(self, best: Best) -> bool:
        """Nothing is left to learn: every sample decodes exactly."""
        whole = self.constant or self.subset.indices.shape[0] == self.signal.n
        return best.quality == math.inf and whole

    def evaluation_due(self, state: FitState) -> bool:
        """Whether evaluations have cost less than their share of the arithmetic: counted, not timed, so that the same
        steps give the same evaluations."""
        alone = self.field.formula.TRAITS.single_point_cost
        allowed = EVALUATION_SHARE * FORWARDS_PER_TRAINED_POINT * state.spent.points / alone
        return state.spent.points_evaluated <= allowed + self.subset.indices.shape[0] / 4

    def ends_in_float32(self, state: FitState) -> bool:
        """Whether the last share of a good fit begins, which bfloat16 hidden layers would hold back."""
        due = self.clock.progress >= 1 - EXACT_TAIL and self.modality.unit == "dB"
        return due and self.engine.precision != torch.float32 and state.best.quality >= EXACT_FROM

    def settle(self, state: FitState) -> None:
        """Attributes the points taught since the last selection to its origins, in its proportions."""
        spent = state.spent
        points, spent.points_at_selection = spent.points - spent.points_at_selection, spent.points
        if state.selection is None:
            return
        chosen = max(1, sum(state.selection.origin.values()))
        for name, count in state.selection.origin.items():
            spent.origin[name] = spent.origin.get(name, 0.0) + points * count / chosen

    def close(self) -> None:
        """Restores the number of threads and frees what refers to the engine."""
        if self.threads is not None:
            self.threads.restore()
        self.engine.close()


def learner_of(run: Running, state: FitState) -> Learner:
    """The sampler's view of the fit as it is now."""
    return Learner(
        run.field,
        run.samples if state.pool is None else state.pool.samples(),
        state.generator,
        run.engine.precision,
        run.clock.step,
        run.clock.progress,
        state.batch,
        state.taught,
        state.spent.points,
        replace(state.scored),
        state.generation,
        state.learner_piece,
        run.check_cancelled,
    )


def evaluate(run: Running, state: FitState) -> Best:
    """The current weights on the evaluation subset, in the decoder's arithmetic."""
    begun = run.clock.now()
    with matmul_precision("highest"):
        error, quality = run.subset.judge(run.field, state.learner_piece)
    state.spent.points_evaluated += run.subset.cost
    taken = run.clock.now() - begun
    state.spent.evaluate += taken
    run.clock.evaluation_took(taken)
    return Best(run.engine.snapshot(), error, quality)


def refuse_unlearned(run: Running, state: FitState, interrupted: bool) -> None:
    """Raises ``Diverged`` unless the best weights are as good as the best constant; comparisons with an error that is
    no number are false."""
    constant = run.subset.constant_error * 1.000001 + 1e-12
    if state.best.error <= constant and not math.isnan(state.best.quality):
        return
    if interrupted:
        raise KeyboardInterrupt
    raise Diverged(
        f"after {run.clock.step} steps the fit is still worse than a constant (give it a larger --budget)",
        "diverged",
    )


def begun(
    signal: Signal,
    spec: FieldSpec,
    sampler: Sampler,
    config: TrainingConfig,
    clock: Clock,
    device: torch.device,
    seed: int,
    stop: Callable[[], bool],
    initial: Mapping[str, Tensor] | None,
    saved: Saved | None,
) -> tuple[Running, FitState]:
    """A fit that begins, with its first evaluation, or that goes on from ``saved``."""

    def check_cancelled() -> None:
        if stop() or (clock.timed and clock.seconds > clock.limit):
            raise Stopped

    if not clock.timed:
        wait_for_all(stop)
    generator = torch.Generator().manual_seed(seed)
    pool = _pool(signal, spec, config, clock, device, stop, generator, saved)
    signal = signal if pool is None else pool.signal(pool.first)
    samples = signal.on(device)
    subset = Subset(signal, samples)
    weights, constant = _weights(spec, signal, subset, generator, initial)
    field = Field(spec, weights).to(device)
    room = samples if pool is None else pool.room()
    engine = Engine(field, room, config, not clock.timed, check_cancelled)
    threads = Threads() if clock.timed and config.adapt_threads else None
    run = Running(
        signal, samples, sampler, config, clock, field, engine, subset, threads, stop, check_cancelled, constant
    )
    state = _fresh(run, pool, torch.Generator(device).manual_seed(seed + 1))
    if saved is None:
        state.spent.prepare = clock.seconds
        state.best = evaluate(run, state)
        state.cycle_error = state.best.error
    else:
        _restore(run, state, saved)
    return run, state


def _restore(run: Running, state: FitState, saved: Saved) -> None:
    """The fit goes on from ``saved``. Raises ``UnreadableFile`` where that cannot be its state."""
    refuse_misfits(saved, state, run.signal.n if state.pool is None else state.pool.filled)
    try:
        restore(state, saved.tensors, saved.numbers)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise UnreadableFile(f"the state's tensors and numbers do not belong together: {error}", "state") from None
    run.engine.piece = state.engine_piece
    if state.exact_from is not None:
        run.engine.use(torch.float32)


def _pool(
    signal: Signal,
    spec: FieldSpec,
    config: TrainingConfig,
    clock: Clock,
    device: torch.device,
    stop: Callable[[], bool],
    generator: torch.Generator,
    saved: Saved | None,
) -> PointPool | None:
    """The points of a signal that has none of its own."""
    if signal.point_source is None:
        return None
    tuned = spec.formula.TRAITS.hyperparameters
    budget = PointBudget(clock, tuned.point_drawing_seconds, config.batch is not None)
    if saved is None:
        return PointPool.new(signal, budget, tuned.free_space_share, generator, device, stop)
    numbers, lot = saved_points(saved, signal)
    return PointPool(signal, budget, generator, device, lot, **numbers)


def _weights(
    spec: FieldSpec,
    signal: Signal,
    subset: Subset,
    generator: torch.Generator,
    initial: Mapping[str, Tensor] | None,
) -> tuple[dict[str, Tensor], bool]:
    """The first weights, and whether the signal is constant, which they then are too."""
    weights = spec.formula.initial(spec, generator, subset.mean.cpu())
    if initial is not None:
        weights = {name: initial[name].clone() for name in weights}
    constant = bool((signal.samples == signal.samples[:1]).all())
    if constant:
        weights = spec.formula.constant(weights, subset.values[0].cpu())
    return weights, constant


def _fresh(run: Running, pool: PointPool | None, generator: torch.Generator) -> FitState:
    """The state before the first step and the first evaluation."""
    formula, kind = run.field.formula, run.modality.signal_class
    notes = list(formula.notes())
    if kind in formula.TRAITS.unreliable_on:
        name = run.field.spec.architecture
        notes.append(f"{name} learnt little of the {kind} it was tried on (docs/architectures.md)")
    return FitState(
        weights=run.engine.weights,
        optimizer=run.engine.optimiser.state(),
        generator=generator,
        clock=run.clock,
        schedule=Schedule(run.config, run.clock),
        divergence=DivergenceDetector(run.subset.constant_error),
        best=Best({}, math.inf, -math.inf),
        batch=run.config.batch,
        engine_piece=run.engine.piece,
        learner_piece=default_chunk_size(run.field),
        pool=pool,
        notes=notes,
    )
