"""The state of one fit under way, and what can be done with it: select, step, evaluate, retreat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .blocks import block_batches
from .clock import Clock
from .engine import Engine
from .fields import Bound, FieldSpec, Shared
from .fields.field import Field
from .guard import Guard
from .learner import TEACHING_COST, Learner
from .machine import matmul_precision
from .modalities import MODALITIES
from .points import judged_points, stratified
from .recipe import EXACT_FROM, EXACT_TAIL, LONGEST_WARM_UP, Recipe
from .samplers import Sampler, Selection
from .samplers.uniform import LONGEST_SHUFFLE
from .signal import Signal
from .threads import Threads
from .tuning import TUNINGS

EVALUATED = 16_384
"""Points of the fixed, stratified subset that decides which weights are best."""

EVALUATION_SHARE = 0.02
"""Largest share of the arithmetic spent on evaluations; the first and the last come on top."""

KNOWN_STEPS = 8
"""Steps after which their length is known well enough to say how many there will be."""

POOL_SHARE = 0.25
"""Largest share of a budget in seconds that is spent on drawing points."""

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
        tuned = TUNINGS[spec.architecture]
        self._drawing_since, self._drawing_most = clock.seconds, tuned.pool_seconds
        self.signal = signal.renew(generator, self._more, tuned.free) if signal.renew else signal
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
        self.engine.patient = not clock.timed
        self.threads = Threads() if clock.timed and recipe.adapt_threads else None
        self.batch = recipe.batch
        draws = torch.Generator(device).manual_seed(seed + 1)
        self.learner = Learner(self.field, self.samples, draws, self.engine.precision)
        self.learner.tick = self.engine.tick = self._tick
        self.spent = Spent()
        self.guard = Guard(self.constant_error)
        architecture = self.field.architecture
        self.notes = list(architecture.notes()) if isinstance(architecture, Bound) else []
        if signal.modality in getattr(architecture, "DOUBTED", ()):
            self.notes.append(
                f"{spec.architecture} learnt little of the {signal.modality} it was tried on (docs/architectures.md)"
            )
        self.alone = architecture.ALONE if isinstance(architecture, Shared) else 1.0
        self.exact_from: int | None = None
        self._reported = -1.0
        self.first_step: float | None = None
        self._rate = 0.0
        self._begun_at = 0.0
        self._expected: dict[tuple[int, int], float] = {}
        self._selection: Selection | None = None
        self._points_at_selection = 0

    def _more(self) -> bool:
        """Whether to draw more points before the first step."""
        limit = self.clock.budget.seconds
        if limit is None:
            return not self.stop()
        drawing = self.clock.seconds - self._drawing_since
        return not self.stop() and self.clock.seconds < POOL_SHARE * limit and drawing < self._drawing_most

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
            if selection.indices is None and self.learner.blocks is not None:
                for indices in block_batches(self.learner, self.batch or count):
                    yield indices, None
                continue
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
        """Indices and weights in random order, or as the sampler has dealt them."""
        if selection.indices is None:
            return self.learner.permutation(self.learner.n), None
        if selection.dealt:
            return selection.indices, selection.weights
        order = self.learner.permutation(selection.indices.shape[0])
        weights = None if selection.weights is None else selection.weights[order]
        return selection.indices[order], weights

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
        begun = self.clock.now()
        if self.first_step is None:
            self.first_step = self.clock.seconds
            self._begun_at = self.guard.since = self.clock.progress if self.clock.timed else 0.0
        trying = self.threads if not self.engine.compiling else None
        if trying is not None:
            trying.begin()
        terms = () if self._selection is None else self._selection.terms
        residuals = self.engine.step(indices, weights, self.factor(), terms)
        self.learner.remember(indices, residuals)
        self.spent.points += indices.shape[0]
        self.clock.step_took(self.clock.now() - begun)
        if trying is not None:
            trying.ended(self.clock.step_seconds)
        if self.watch is not None:
            clock = self.clock
            self.watch(Moment(clock.step, clock.seconds, clock.progress, indices, self.engine.snapshot, self.signal))
        return residuals

    def factor(self) -> float:
        """Share of the peak rates for the next step; the rise begins with the first step, not with the clock."""
        clock = self.clock
        if not self.recipe.annealed:
            return self.guard.back_off
        if clock.finish is not None:
            return self._rate * (1 - clock.finishing) * self.guard.back_off * self.boost()
        share, risen = clock.cycle_share, clock.cycle_share / self.recipe.warm_up + 0.05
        if clock.cycle == 0:
            begun = self._begun_at * (2.0**clock.cycles - 1)
            share = max(0.0, (share - begun) / (1 - begun)) if begun < 1 else share
            rise = min(self.recipe.warm_up * self.expected_steps(), LONGEST_WARM_UP)
            risen = (clock.step + 1) / max(rise, 1.0)
        self._rate = self.recipe.factor(share, risen)
        return self._rate * self.guard.back_off * self.boost()

    def boost(self) -> float:
        """What the recipe adds to the rates for a fit, or an annealing cycle of it, as short or long as this one. Steps
        beside a compilation are slow, and would make a long fit look like a short one."""
        found = self.recipe.boost(self.expected_steps())
        return min(found, 1.0) if self.engine.compiling else found

    def expected_steps(self) -> float:
        """Of the running annealing cycle: found at its start, when the length of a step is known, and whenever twice as
        many steps have been made."""
        clock = self.clock
        known = (clock.cycle, clock.step.bit_length() if clock.step >= KNOWN_STEPS else 0)
        if known not in self._expected:
            self._expected[known] = clock.expected_steps * 2.0**clock.cycle / (2.0**clock.cycles - 1)
        return self._expected[known]

    @torch.no_grad()
    def evaluate(self) -> Best:
        """The current weights on the subset, in the decoder's arithmetic."""
        begun = self.clock.now()
        with matmul_precision("highest"):
            return self._evaluate(begun)

    def _evaluate(self, begun: float) -> Best:
        piece = self.learner.piece
        predicted = torch.cat([self.field(part) for part in self.subset_coords.split(piece)])
        error = float((predicted - self.subset_values).square().mean())
        values = self.subset_values
        if self.judged is not None:
            values = self.judged[1]
            predicted = torch.cat([self.field(part) for part in self.judged[0].split(piece)])
        quality = self.modality.estimate(predicted, values, self.signal.scale)
        self.spent.points_evaluated += self.subset.shape[0] + (0 if self.judged is None else values.shape[0])
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


def _joined(
    first: tuple[Tensor, Tensor | None] | None, second: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    if first is None or not first[0].shape[0]:
        return second
    indices = torch.cat([first[0], second[0]])
    if first[1] is None and second[1] is None:
        return indices, None
    weights = [
        torch.ones(part[0].shape[0], device=indices.device) if part[1] is None else part[1] for part in (first, second)
    ]
    return indices, torch.cat(weights)


def _part(stream: tuple[Tensor, Tensor | None], start: int, stop: int) -> tuple[Tensor, Tensor | None]:
    indices, weights = stream
    return indices[start:stop], None if weights is None else weights[start:stop]
