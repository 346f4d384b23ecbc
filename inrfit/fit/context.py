"""The parts of a fit that stay the same while it runs, and the start of a fit: new, or from a saved state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ..errors import PluginError, UnreadableFile
from ..fields import FieldSpec
from ..fields.module import Field
from ..io.registry import describe_plugin
from ..modalities import MODALITIES, Modality
from ..runtime import matmul_precision, out_of_memory
from ..samplers import SAMPLERS, Sampler, Selection
from ..samplers.learner import FORWARDS_PER_TRAINED_POINT, Learner, default_chunk_size
from ..samplers.selection import invalid_because
from ..signal import Samples, Signal
from .batch_size import BatchSizeTuner
from .checkpoint import SavedState, check_tensors, saved_points
from .divergence import DivergenceDetector
from .engine.background_compile import wait_for_all
from .engine.config import TrainingConfig
from .engine.step import Engine
from .engine.thread_count import ThreadCountTuner
from .engine_choice import SLOWER_WITHOUT_KERNEL, lacks_kernel
from .evaluation import BUSY_EVALUATION_POINTS, FIT_EVALUATION_POINTS, FitEvaluator
from .lr_schedule import LRSchedule
from .point_pool import PointBudget, PointPool
from .progress import BudgetTracker
from .recipe import FLOAT32_FINISH_DB, FLOAT32_FINISH_SHARE
from .state import BestWeights, FitState, restore

if TYPE_CHECKING:
    from ..fields.tsdf.tsdf import Tsdf

EVALUATION_SHARE = 0.02
"""Maximum share of the arithmetic that is spent on evaluations, besides the first and the last one."""


SHORT_SECONDS = 20.0
"""Budget in seconds up to which a busy machine would spend too much of it on evaluations."""


class Cancelled(Exception):
    """Raised between chunks of work when the fit must end: it was stopped, or its time is up."""


@dataclass(frozen=True)
class FitContext:
    """Everything that a fit works with, except its state."""

    signal: Signal
    samples: Samples
    sampler: Sampler
    config: TrainingConfig
    tracker: BudgetTracker
    field: Field
    engine: Engine
    evaluator: FitEvaluator
    threads: ThreadCountTuner | None
    """Adapts the number of threads; None if that is fixed."""
    batch_size: BatchSizeTuner | None
    """Adapts the number of points per step; None if that is fixed."""
    should_stop: Callable[[], bool]
    """Whether the caller wants the fit to end."""
    check_cancelled: Callable[[], None]
    """Called between chunks of work; raises ``Cancelled``."""
    constant: bool
    """Whether all samples of the signal are equal."""
    restored: Selection | None = None
    """The selection of the saved state that the fit resumes from. It comes from a file."""

    @property
    def modality(self) -> Modality:
        """The modality of the signal."""
        return MODALITIES[self.signal.modality]

    def is_exact(self, best: BestWeights) -> bool:
        """Whether every sample is known to decode exactly, so that the fit can end."""
        whole_signal = self.constant or self.evaluator.indices.shape[0] == self.signal.n
        return best.quality == math.inf and whole_signal

    def evaluation_due(self, state: FitState) -> bool:
        """Whether evaluations have cost less than EVALUATION_SHARE of the arithmetic. Points are counted, not seconds,
        so that the same steps give the same evaluations."""
        cost = self.field.formula.TRAITS.single_point_cost
        affordable = EVALUATION_SHARE * FORWARDS_PER_TRAINED_POINT * state.usage.points / cost
        return state.usage.points_evaluated <= affordable + self.evaluator.indices.shape[0] / 4

    def float32_finish_due(self, state: FitState) -> bool:
        """Whether to switch to float32 now: the last part of a fit so good that bfloat16 would limit it."""
        due = self.tracker.progress >= 1 - FLOAT32_FINISH_SHARE and self.modality.unit == "dB"
        return due and self.engine.precision != torch.float32 and state.best.quality >= FLOAT32_FINISH_DB

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next selection. Raises ``PluginError`` if a sampler of another package returns something invalid,
        ``UnreadableFile`` if the sampler cannot use the memory in a saved state."""
        try:
            selection = self.sampler.select(learner, previous)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            if previous is None or previous is not self.restored or out_of_memory(error):
                raise
            name = type(self.sampler).__name__
            raise UnreadableFile(f"the state holds no memory of the sampler {name}: {error}", "state") from error
        if not SAMPLERS.is_built_in(type(self.sampler)) and (problem := invalid_because(selection, learner)):
            raise PluginError(f"{describe_plugin(type(self.sampler), 'sampler')}: {problem}", "plugin")
        return selection

    def attribute_points(self, state: FitState) -> None:
        """Attributes the points trained on since the last selection to the origins of that selection, pro rata."""
        usage = state.usage
        points, usage.points_at_selection = usage.points - usage.points_at_selection, usage.points
        if state.selection is None:
            return
        selected = max(1, sum(state.selection.origin.values()))
        for name, count in state.selection.origin.items():
            usage.origin[name] = usage.origin.get(name, 0.0) + points * count / selected

    def close(self) -> None:
        """Restores the number of threads and frees the captured graphs of the engine."""
        if self.threads is not None:
            self.threads.restore()
        self.engine.close()


def learner_view(context: FitContext, state: FitState) -> Learner:
    """The sampler's view of the fit in its current state."""
    return Learner(
        context.field,
        context.samples if state.pool is None else state.pool.samples(),
        state.generator,
        context.engine.precision,
        context.tracker.step,
        context.tracker.progress,
        state.batch,
        state.trained_batches,
        state.usage.points,
        replace(state.scoring_cost),
        state.generation,
        state.scoring_chunk_size,
        context.check_cancelled,
    )


def evaluate(context: FitContext, state: FitState) -> BestWeights:
    """A copy of the current weights, with their error and quality on the evaluation points. The arithmetic is that of
    decoding: float32 throughout."""
    started_at = context.tracker.now()
    with matmul_precision("highest"):
        error, quality = context.evaluator.evaluate(context.field, state.scoring_chunk_size)
    state.usage.points_evaluated += context.evaluator.cost
    seconds = context.tracker.now() - started_at
    state.usage.evaluate += seconds
    context.tracker.reserve_for_evaluation(seconds)
    return BestWeights(context.engine.snapshot(), error, quality)


def start_fit(
    signal: Signal,
    spec: FieldSpec,
    sampler: Sampler,
    config: TrainingConfig,
    tracker: BudgetTracker,
    device: torch.device,
    seed: int,
    should_stop: Callable[[], bool],
    initial_weights: Mapping[str, Tensor] | None,
    saved_state: SavedState | None,
) -> tuple[FitContext, FitState]:
    """Starts a fit: a new one, whose first weights are evaluated, or the one of ``saved_state``. Raises
    ``UnreadableFile`` if that cannot be a state of this fit."""

    def check_cancelled() -> None:
        if should_stop() or (tracker.timed and tracker.seconds > tracker.step_deadline):
            raise Cancelled

    if not tracker.timed:
        wait_for_all(should_stop)
    generator = torch.Generator().manual_seed(seed)
    pool = _point_pool(signal, spec, config, tracker, device, should_stop, generator, saved_state)
    signal = signal if pool is None else pool.signal(pool.first)
    samples = signal.on(device)
    threads = ThreadCountTuner(config.first_threads) if tracker.timed and config.adapt_threads else None
    evaluator = FitEvaluator(signal, samples, _evaluation_points(config, tracker))
    weights, constant = _first_weights(spec, signal, samples, evaluator, generator, initial_weights)
    field = Field(spec, weights).to(device)
    engine_samples = samples if pool is None else pool.all_rows()
    engine = Engine(field, engine_samples, config, not tracker.timed, check_cancelled)
    batch_size = BatchSizeTuner(config.batch) if tracker.timed and config.adapt_batch and config.batch else None
    context = FitContext(
        signal,
        samples,
        sampler,
        config,
        tracker,
        field,
        engine,
        evaluator,
        threads,
        batch_size,
        should_stop,
        check_cancelled,
        constant,
    )
    state = _initial_state(context, pool, torch.Generator(device).manual_seed(seed + 1))
    if saved_state is None:
        state.usage.prepare = tracker.seconds
        state.best = evaluate(context, state)
        state.cycle_error = state.best.error
    else:
        _resume(context, state, saved_state)
    return replace(context, restored=state.selection), state


def _evaluation_points(config: TrainingConfig, tracker: BudgetTracker) -> int:
    """Number of points by which the weights are compared."""
    short = (tracker.budget.seconds or math.inf) <= SHORT_SECONDS
    return BUSY_EVALUATION_POINTS if config.first_threads and short else FIT_EVALUATION_POINTS


def _resume(context: FitContext, state: FitState, saved_state: SavedState) -> None:
    """Puts ``saved_state`` into the initial ``state``. Raises ``UnreadableFile`` if it cannot belong to the fit."""
    check_tensors(saved_state, state, context.signal.n if state.pool is None else state.pool.filled)
    try:
        restore(state, saved_state.tensors, saved_state.values)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise UnreadableFile(f"tensors and values of the state contradict each other: {error}", "state") from None
    context.engine.chunk_size = state.engine_chunk_size
    if state.float32_from_step is not None:
        context.engine.set_precision(torch.float32)


def _point_pool(
    signal: Signal,
    spec: FieldSpec,
    config: TrainingConfig,
    tracker: BudgetTracker,
    device: torch.device,
    should_stop: Callable[[], bool],
    generator: torch.Generator,
    saved_state: SavedState | None,
) -> PointPool | None:
    """The points of a signal that has none of its own; None for other signals."""
    if signal.point_source is None:
        return None
    tuned = spec.formula.TRAITS.hyperparameters
    budget = PointBudget(tracker, tuned.point_drawing_seconds, config.batch is not None)
    if saved_state is None:
        return PointPool.new(signal, budget, tuned.free_space_share, generator, device, should_stop)
    values, lot = saved_points(saved_state, signal)
    return PointPool(signal, budget, generator, device, lot, **values)


def _first_weights(
    spec: FieldSpec,
    signal: Signal,
    samples: Samples,
    evaluator: FitEvaluator,
    generator: torch.Generator,
    initial_weights: Mapping[str, Tensor] | None,
) -> tuple[dict[str, Tensor], bool]:
    """The weights before the first step, and whether the signal is constant; then the field is that constant. They are
    the final ones of an architecture that has them in closed form."""
    closed_form = spec.formula.TRAITS.closed_form
    if closed_form is not None:
        if spec.formula.TRAITS.surfaces_only:
            values = _surface_values(signal, spec)
        else:
            values = samples.take(samples.all_indices)[1].cpu()
        return dict(closed_form(spec, values)), False
    weights = spec.formula.initial(spec, generator, evaluator.mean.cpu())
    if initial_weights is not None:
        weights = {name: initial_weights[name].clone() for name in weights}
    constant = bool((signal.samples == signal.samples[:1]).all())
    if constant:
        weights = spec.formula.constant(weights, evaluator.values[0].cpu())
    return weights, constant


def _surface_values(signal: Signal, spec: FieldSpec) -> Tensor:
    """The values of a surface's signed distances at the nodes of the field."""
    values_on, formula = MODALITIES[signal.modality].values_on, cast("Tsdf", spec.formula)
    assert values_on is not None
    return torch.from_numpy(values_on(signal, formula.nodes, formula.reach))


def _initial_state(context: FitContext, pool: PointPool | None, generator: torch.Generator) -> FitState:
    """The state before the first step and the first evaluation."""
    formula, signal_class = context.field.formula, context.modality.signal_class
    notes = list(formula.notes())
    if lacks_kernel(context.field.spec, context.field.device):
        notes.append(SLOWER_WITHOUT_KERNEL)
    if signal_class in formula.TRAITS.unreliable_on:
        name = context.field.spec.architecture
        notes.append(f"{name} learned little of the {signal_class} it was tried on (docs/architectures.md)")
    return FitState(
        weights=context.engine.weights,
        optimizer=context.engine.optimiser.state(),
        generator=generator,
        tracker=context.tracker,
        schedule=LRSchedule(context.config, context.tracker),
        divergence=DivergenceDetector(context.evaluator.constant_error),
        best=BestWeights({}, math.inf, -math.inf),
        batch=context.config.batch if context.batch_size is None else context.batch_size.first,
        engine_chunk_size=context.engine.chunk_size,
        scoring_chunk_size=default_chunk_size(context.field),
        pool=pool,
        notes=notes,
    )
