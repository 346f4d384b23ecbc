"""fit(): the only training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .budget import Budget
from .clock import Clock
from .engine import Engine
from .errors import Diverged
from .fields import FieldSpec
from .fields.field import Field
from .learner import TEACHING_COST, Learner
from .machine import out_of_memory
from .modalities import MODALITIES
from .points import judged_points, stratified
from .recipe import EXACT_FROM, EXACT_TAIL, Recipe
from .samplers import Sampler, Selection
from .samplers.uniform import LONGEST_SHUFFLE
from .signal import CHUNK, Signal
from .threads import Threads

EVALUATED = 16_384
"""Points of the fixed, stratified subset that decides which weights are best."""

EVALUATION_SHARE = 0.02
"""Largest share of the arithmetic spent on evaluations; the first and the last come on top."""

EXPLODED = 4.0
"""An error this many times the best one of the annealing cycle is a divergence, not noise."""

HOPELESS = 1.05
"""An error this many times that of the best constant means the same, once the fit has had PATIENCE."""

PATIENCE = 0.05
"""Share of the budget in which a rate may show what it is worth."""

LOOK_EVERY = 16
"""Steps between two looks for non-finite residuals on the CPU; on CUDA looking means waiting: evaluations look."""

MOST_HALVINGS = 4
"""So often the batch is halved when memory runs out."""

POOL_SHARE = 0.25
"""Largest share of a budget in seconds spent on drawing points."""

REPORT_SECONDS = 0.1


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
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.sampler, self.recipe, self.clock = sampler, recipe, clock
        self.report, self.stop = report, stop
        self.signal = signal.renew(generator, self._more) if signal.renew else signal
        self.modality = MODALITIES[signal.modality]
        self.samples = self.signal.on(device)
        self.subset = stratified(self.signal.n, EVALUATED).to(device)
        self.subset_coords, self.subset_values = self.samples.take(self.subset)
        self.judged = judged_points(self.signal, EVALUATED, device) if self.modality.PROBED else None
        mean = self.subset_values.double().mean(0).float().cpu()
        self.constant_error = float((self.subset_values - mean.to(device)).square().mean())
        weights = spec.settings.initial(spec, generator, mean)
        self.constant = bool((self.signal.samples == self.signal.samples[:1]).all())
        if self.constant:
            weights = spec.settings.constant(weights, self.subset_values[0].cpu())
        self.field = Field(spec, weights).to(device)
        self.engine = Engine(self.field, self.samples, recipe)
        self.threads = Threads() if clock.timed and recipe.adapt_threads else None
        self.batch = recipe.batch
        draws = torch.Generator(device).manual_seed(seed + 1)
        self.learner = Learner(self.field, self.samples, draws, self.engine.precision)
        self.learner.tick = self.engine.tick = self._tick
        self.spent = Spent()
        self.back_off = 1.0
        self.notes: list[str] = []
        self.exact_from: int | None = None
        self._reported = -1.0
        self._rate = 0.0
        self._retreated = 0.0
        self._selection: Selection | None = None
        self._points_at_selection = 0

    def _more(self) -> bool:
        """Whether to draw more points before the first step."""
        limit = self.clock.budget.seconds
        return not self.stop() and (limit is None or self.clock.seconds < POOL_SHARE * limit)

    def _tick(self) -> None:
        """Called between chunks of anything long."""
        if self.stop():
            raise Stopped
        if self.clock.timed and self.clock.seconds > self.clock.limit:
            raise Stopped

    def batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Points of one step at a time: a stream of shuffled selections, cut into batches of one size; what is left of
        a selection opens the first batch of the next."""
        rest: tuple[Tensor, Tensor | None] | None = None
        while True:
            selection = self._select()
            count = self.learner.n if selection.indices is None else selection.indices.shape[0]
            if self.batch == 0:
                indices = self._whole() if selection.indices is None else selection.indices
                yield indices, selection.weights
                continue
            size = min(self.batch, count)
            if selection.indices is None and self.learner.n > LONGEST_SHUFFLE:
                for _ in range(count // size):
                    yield self.learner.draw(size), None
                continue
            stream = _joined(rest, self._shuffled(selection))
            full = stream[0].shape[0] // size * size
            for start in range(0, full, size):
                yield _part(stream, start, start + size)
            rest = _part(stream, full, stream[0].shape[0])

    def _whole(self) -> Tensor:
        return torch.arange(self.learner.n, device=self.learner.device)

    def _shuffled(self, selection: Selection) -> tuple[Tensor, Tensor | None]:
        """Indices and weights in random order."""
        if selection.indices is None:
            return self.learner.permutation(self.learner.n), None
        order = self.learner.permutation(selection.indices.shape[0])
        weights = None if selection.weights is None else selection.weights[order]
        return selection.indices[order], weights

    def _select(self) -> Selection:
        """Asks the sampler, on a stopwatch of its own."""
        begun = self.clock.now()
        self.settle()
        self.learner.step, self.learner.progress = self.clock.step, self.clock.progress
        self._selection = self.sampler.select(self.learner, self._selection)
        self.learner.taught.clear()
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
        begun = self.clock.now()
        if self.threads is not None:
            self.threads.begin()
        residuals = self.engine.step(indices, weights, self.factor())
        self.learner.remember(indices, residuals)
        self.spent.points += indices.shape[0]
        self.clock.step += 1
        self.clock.step_seconds = self.clock.now() - begun
        if self.threads is not None:
            self.threads.ended(self.clock.step_seconds)
        return residuals

    def factor(self) -> float:
        """Share of the peak rates for the next step."""
        if self.clock.finish is None:
            self._rate = self.recipe.factor(self.clock.cycle_share)
            return self._rate * self.back_off
        return self._rate * (1 - self.clock.finishing) * self.back_off

    @torch.no_grad()
    def evaluate(self) -> Best:
        """The current weights on the subset, in the decoder's arithmetic."""
        begun = self.clock.now()
        predicted = torch.cat([self.field(piece) for piece in self.subset_coords.split(CHUNK // 4)])
        error = float((predicted - self.subset_values).square().mean())
        values = self.subset_values
        if self.judged is not None:
            values = self.judged[1]
            predicted = torch.cat([self.field(piece) for piece in self.judged[0].split(CHUNK // 4)])
        quality = self.modality.estimate(predicted, values, self.signal.scale)
        self.spent.points_evaluated += self.subset.shape[0] + (0 if self.judged is None else values.shape[0])
        taken = self.clock.now() - begun
        self.spent.evaluate += taken
        self.clock.reserve = 1.25 * taken + 0.005
        return Best(self.engine.snapshot(), error, quality)

    def retreat(self, best: Best) -> None:
        """The fit went astray: back to the best weights, with half the rate."""
        self.engine.load(best.weights)
        self.back_off /= 2
        self._retreated = self.clock.progress
        self.notes.append(f"the fit diverged at {self.clock.progress:.0%} of the budget; the rate was halved")

    def shrink(self, best: Best) -> None:
        """Memory ran out: half the batch, from the best weights on."""
        self.engine.halve()
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

    def hopeless(self, found: Best) -> bool:
        """Whether a rate that has had its chance still teaches less than nothing."""
        patient = self.clock.progress < self._retreated + PATIENCE
        return not patient and found.error > HOPELESS * self.constant_error

    def evaluation_due(self) -> bool:
        """By counted arithmetic, so that the same steps give the same evaluations."""
        allowed = EVALUATION_SHARE * TEACHING_COST * self.spent.points
        return self.spent.points_evaluated <= allowed + self.subset.shape[0] / 4

    def perfect(self, best: Best) -> bool:
        """Nothing is left to learn: every sample decodes exactly."""
        return best.quality == math.inf and (self.constant or self.subset.shape[0] == self.signal.n)

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
) -> Fit:
    """Fits one field to ``signal`` within ``budget``; the clock starts at ``started`` (default: now).

    Returns the best weights seen; ``stop`` becoming true ends the fit with what there is. Raises ``Diverged`` when that
    is worse than a constant, ``KeyboardInterrupt`` when it is so because of ``stop``."""
    clock = Clock(budget, now, now() if started is None else started)
    run = Run(signal, spec, sampler, recipe, clock, device, seed, report, stop)
    run.spent.prepare = clock.seconds
    best = run.evaluate()
    ended = "perfect" if run.perfect(best) else ""
    try:
        ended = ended or teach_within_memory(run, best)
    except Stopped:
        ended = "interrupted" if stop() else "budget"
        _keep(best, run.evaluate())
    finally:
        if run.threads is not None:
            run.threads.restore()
    run.engine.load(best.weights)
    if best.error > run.constant_error * 1.000001 + 1e-12:
        if ended == "interrupted":
            raise KeyboardInterrupt
        raise Diverged(
            f"after {clock.step} steps the fit is still worse than a constant (give it a larger --budget)",
            "diverged",
        )
    return Fit(run.field, run.signal, best.quality, ended, summary(run), used(run), tuple(run.notes))


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
            if not found.error <= EXPLODED * cycle_error or run.hopeless(found):
                run.retreat(best)
            cycle_error = run.constant_error if cycle_ended else min(cycle_error, found.error)
            cycle = clock.cycle
            _keep(best, found)
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
    return {"engine": run.engine.told(), "batch": run.batch, "last_threads": threads, "exact_from_step": run.exact_from}


def _joined(
    first: tuple[Tensor, Tensor | None] | None, second: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    if first is None or not first[0].shape[0]:
        return second
    indices = torch.cat([first[0], second[0]])
    if first[1] is None or second[1] is None:
        return indices, None
    return indices, torch.cat([first[1], second[1]])


def _part(stream: tuple[Tensor, Tensor | None], start: int, stop: int) -> tuple[Tensor, Tensor | None]:
    indices, weights = stream
    return indices[start:stop], None if weights is None else weights[start:stop]
