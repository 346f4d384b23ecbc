"""The state of one fit under way, and what can be done with it: select, step, evaluate, retreat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..fields import FieldSpec
from ..fields.module import Field
from ..modalities import MODALITIES
from ..runtime import matmul_precision
from ..samplers import Sampler, Selection
from ..samplers.learner import TEACHING_COST, Learner
from ..signal import Signal
from .batching import Batch, batches
from .divergence import Guard
from .engine.step import Engine
from .engine.thread_count import Threads
from .evaluation import Subset
from .lr_schedule import Schedule
from .point_pool import Pool
from .progress import Clock
from .recipe import EXACT_FROM, EXACT_TAIL, Recipe, signal_class

EVALUATION_SHARE = 0.02
"""Largest share of the arithmetic spent on evaluations; the first and the last come on top."""

REPORT_SECONDS = 0.1

KERNEL_SECONDS, KERNEL_SHARE = 3.0, 0.4
"""Waited for its compiler at most, and of the budget that is left: it takes 1.2 s (first figures, a Xeon)."""


class Stopped(Exception):
    """Raised between chunks when the work must end now."""


@dataclass(frozen=True)
class Report:
    """The fit seen from outside; ``quality`` is an estimate in ``unit``."""

    share: float
    seconds: float
    step: int
    quality: float
    unit: str
    points_per_second: float
    sampler_share: float

    def __str__(self) -> str:
        return (
            f"{self.share:4.0%}  {self.seconds:6.1f} s  {self.quality:.2f} {self.unit}  "
            f"{self.points_per_second / 1e3:.0f} kpoints/s  sampler {self.sampler_share:.0%}"
        )


@dataclass(frozen=True)
class Moment:
    """The fit after a step, for who watches it: the points of ``signal`` just taught, ``seconds`` since the clock
    started, the share of the budget spent, and ``weights``, which makes a copy of them."""

    step: int
    seconds: float
    progress: float
    indices: Tensor
    weights: Callable[[], dict[str, Tensor]]
    signal: Signal


@dataclass
class Best:
    """The best weights seen and their error and quality on the subset."""

    weights: dict[str, Tensor]
    error: float
    quality: float


@dataclass
class Spent:
    """Where the time and the points went."""

    prepare: float = 0.0
    sampler: float = 0.0
    evaluate: float = 0.0
    points: int = 0
    points_evaluated: int = 0
    origin: dict[str, float] = field(default_factory=dict)


class Run:
    """The state of one fit."""

    def __init__(
        self,
        signal: Signal,
        spec: FieldSpec,
        sampler: Sampler,
        recipe: Recipe,
        clock: Clock,
        device: torch.device,
        seed: int,
        report: Callable[[Report], None] | None,
        stop: Callable[[], bool],
        watch: Callable[[Moment], None] | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.sampler, self.recipe, self.clock = sampler, recipe, clock
        self.report, self.stop, self.watch = report, stop, watch
        self.pool = Pool(signal, clock, spec.formula.TRAITS.hyperparameters, generator, stop, grows=recipe.batch > 0)
        self.signal = self.pool.signal
        self.modality = MODALITIES[signal.modality]
        self.samples = self.signal.on(device)
        self.subset = Subset(self.signal, self.samples)
        weights = spec.formula.initial(spec, generator, self.subset.mean.cpu())
        self.constant = bool((self.signal.samples == self.signal.samples[:1]).all())
        if self.constant:
            weights = spec.formula.constant(weights, self.subset.values[0].cpu())
        self.field = Field(spec, weights).to(device)
        self.engine = Engine(self.field, self.samples, recipe)
        self.engine.patient = not clock.timed
        self.threads = Threads() if clock.timed and recipe.adapt_threads else None
        self.batch = recipe.batch
        draws = torch.Generator(device).manual_seed(seed + 1)
        self.learner = Learner(self.field, self.samples, draws, self.engine.precision)
        self.learner.tick = self.engine.tick = self._tick
        self.spent = Spent()
        self.guard = Guard(self.subset.constant_error)
        self.notes = list(spec.formula.notes())
        if signal_class(signal) in spec.formula.TRAITS.unreliable_on:
            self.notes.append(
                f"{spec.architecture} learnt little of the {signal.modality} it was tried on (docs/architectures.md)"
            )
        self.alone = spec.formula.TRAITS.single_point_cost
        self.exact_from: int | None = None
        self._reported = -1.0
        self.first_step: float | None = None
        self.schedule = Schedule(recipe, clock)
        self._selection: Selection | None = None
        self._points_at_selection = 0

    def _patience(self) -> float:
        """Seconds to wait for the kernel before the first step."""
        if not self.clock.timed:
            return math.inf
        return min(KERNEL_SECONDS, KERNEL_SHARE * (self.clock.limit - self.clock.seconds))

    def _tick(self) -> None:
        """Called between chunks of anything long."""
        if self.stop():
            raise Stopped
        if self.clock.timed and self.clock.seconds > self.clock.limit:
            raise Stopped

    def batches(self) -> Iterator[Batch]:
        """Points of one step at a time, as the sampler selects them."""
        return batches(self.learner, self._select, self.batch)

    def _select(self) -> Selection:
        """Asks the sampler, on a stopwatch of its own."""
        begun = self.clock.now()
        self.settle()
        self.learner.step, self.learner.progress = self.clock.step, self.clock.progress
        self.learner.batch = self.batch
        self._selection = self.sampler.select(self.learner, self._selection)
        self.learner.taught.clear()
        if self._selection.note and self._selection.note not in self.notes:
            self.notes.append(self._selection.note)
        self.spent.sampler += self.clock.now() - begun
        return self._selection

    def settle(self) -> None:
        """Books the points taught since the last selection to where that selection came from, in its proportions."""
        points = self.spent.points - self._points_at_selection
        self._points_at_selection = self.spent.points
        if self._selection is None:
            return
        chosen = max(1, sum(self._selection.origin.values()))
        for name, count in self._selection.origin.items():
            self.spent.origin[name] = self.spent.origin.get(name, 0.0) + points * count / chosen

    def step(self, indices: Tensor, weights: Tensor | None) -> Tensor:
        """One optimiser step; the residuals before it."""
        if self.first_step is None:
            self.engine.wait(self._patience())
            self.first_step = self.clock.seconds
            self.schedule.begun_at = self.guard.since = self.clock.progress if self.clock.timed else 0.0
        elif self.pool.due():
            self.pool.grow(self.samples, self.learner.meet)
        begun = self.clock.now()
        trying = self.threads if not self.engine.compiling else None
        if trying is not None:
            trying.begin()
        terms = () if self._selection is None else self._selection.terms
        factor = self.schedule.factor(self.engine.compiling) * self.guard.back_off
        residuals = self.engine.step(indices, weights, factor, terms)
        self.learner.remember(indices, residuals)
        self.spent.points += indices.shape[0]
        self.clock.step_took(self.clock.now() - begun)
        if trying is not None:
            trying.ended(self.clock.step_seconds)
        if self.watch is not None:
            clock = self.clock
            taught = self.pool.meant(indices)
            self.watch(Moment(clock.step, clock.seconds, clock.progress, taught, self.engine.snapshot, self.signal))
        return residuals

    def evaluate(self) -> Best:
        """The current weights on the subset, in the decoder's arithmetic."""
        begun = self.clock.now()
        with matmul_precision("highest"):
            error, quality = self.subset.judge(self.field, self.learner.piece)
        self.spent.points_evaluated += self.subset.cost
        taken = self.clock.now() - begun
        self.spent.evaluate += taken
        self.clock.reserve = 1.25 * taken + 0.005
        return Best(self.engine.snapshot(), error, quality)

    def retreat(self, best: Best) -> None:
        """The fit went astray: back to the best weights, with half the rate."""
        self.engine.load(best.weights)
        self.guard.retreat(self.clock.progress)
        self.notes.append(f"the fit went astray at {self.clock.progress:.0%} of the budget; the rate was halved")

    def shrink(self, best: Best) -> None:
        """Memory ran out: half the batch, and half the points of everything else, from the best weights on."""
        self.engine.halve()
        self.learner.piece = max(1, self.learner.piece // 2)
        self.batch = max(1, self.batch // 2) if self.batch else 0
        self.engine.load(best.weights)
        self.notes.append(f"out of memory at {self.clock.progress:.0%} of the budget; the batch was halved")

    def finish_exactly(self, best: Best) -> None:
        """The last share of a good fit in float32, which bfloat16 hidden layers would hold back."""
        due = self.clock.progress >= 1 - EXACT_TAIL and self.modality.UNIT == "dB"
        if due and self.engine.precision != torch.float32 and best.quality >= EXACT_FROM:
            self.engine.use(torch.float32)
            self.learner.precision = torch.float32
            self.exact_from = self.clock.step

    def close(self) -> None:
        """Threads as before, and no knots between the objects: a folder of files must not pile up in memory."""
        if self.threads is not None:
            self.threads.restore()
        self.engine.close()
        self.learner.tick = lambda: None

    def evaluation_due(self) -> bool:
        """By counted arithmetic, so that the same steps give the same evaluations."""
        allowed = EVALUATION_SHARE * TEACHING_COST * self.spent.points / self.alone
        return self.spent.points_evaluated <= allowed + self.subset.indices.shape[0] / 4

    def perfect(self, best: Best) -> bool:
        """Nothing is left to learn: every sample decodes exactly."""
        return best.quality == math.inf and (self.constant or self.subset.indices.shape[0] == self.signal.n)

    def tell(self, best: Best) -> None:
        """Calls ``report``, at most every tenth of a second."""
        seconds = self.clock.seconds
        if self.report is None or seconds - self._reported < REPORT_SECONDS:
            return
        self._reported = seconds
        rate = self.spent.points / max(seconds, 1e-9)
        share = self.spent.sampler / max(seconds, 1e-9)
        self.report(
            Report(self.clock.progress, seconds, self.clock.step, best.quality, self.modality.UNIT, rate, share)
        )
