"""The training loop: budgets by a fake clock, determinism, best weights, divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import image_signal

from inrfit.errors import BudgetTooShort, Diverged
from inrfit.fields import FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.batch_queue import queue_selection
from inrfit.fit.budget import Budget
from inrfit.fit.context import start_fit
from inrfit.fit.evaluation import FitEvaluator, stratified
from inrfit.fit.fitting import fit
from inrfit.fit.loop import Loop
from inrfit.fit.lr_schedule import LRSchedule
from inrfit.fit.progress import BudgetTracker
from inrfit.samplers import SAMPLERS, Full, Int, Nint, Selection, Uniform
from inrfit.samplers.learner import Learner
from inrfit.signal import Grid, Signal

CPU = torch.device("cpu")


def spec_for(signal, width=32, depth=2):
    return FieldSpec("siren", signal.dimensions, signal.channels, width, depth, {})


def run(signal, sampler=Uniform(), budget=Budget(steps=40), batch=128, seed=0, **more):
    spec = spec_for(signal)
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(batch=batch, precision="fp32")).config
    return fit(signal, spec, sampler, chosen, budget, CPU, seed, **more)


class FakeClock:
    """A clock that advances by ``tick`` seconds at each call."""

    def __init__(self, tick: float) -> None:
        self.time, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.time += self.tick
        return self.time


def test_a_fit_learns_more_than_the_mean():
    signal = image_signal()
    result = run(signal, budget=Budget(steps=200))
    assert result.quality > 22


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_seed_same_fit(name):
    signal = image_signal()
    first, second = (run(signal, SAMPLERS[name]()) for _ in range(2))
    for key, weight in first.field.weights.items():
        assert torch.equal(weight, second.field.weights[key])


def test_another_seed_is_another_fit():
    signal = image_signal()
    first, second = (run(signal, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.field.weights["first.weight"], second.field.weights["first.weight"])


def test_a_budget_in_steps_is_kept_exactly():
    assert run(image_signal(), budget=Budget(steps=17)).usage["steps"] == 17


@pytest.mark.parametrize("seconds", [5.0, 30.0])
def test_a_budget_in_seconds_is_kept(seconds):
    result = run(image_signal(), budget=Budget(seconds=seconds), now=FakeClock(0.01))
    assert 0.97 * seconds <= result.usage["fit_seconds"] <= seconds + max(0.5, 0.02 * seconds)


def test_the_first_limit_reached_ends_the_fit():
    result = run(image_signal(), budget=Budget(seconds=1e6, steps=9), now=FakeClock(0.001))
    assert result.usage["steps"] == 9


def test_seconds_decide_nothing_under_a_budget_in_steps():
    signal = image_signal()
    slow = run(signal, Nint(), Budget(steps=60), now=FakeClock(7.0))
    fast = run(signal, Nint(), Budget(steps=60), now=FakeClock(1e-6))
    for key, weight in slow.field.weights.items():
        assert torch.equal(weight, fast.field.weights[key])


def test_a_met_target_ends_the_fit_within_a_tenth(monkeypatch):
    from inrfit.fit.progress import BudgetTracker

    met = []

    def finish_early(self, honest=BudgetTracker.finish_early):
        met.append(self.step)
        honest(self)

    monkeypatch.setattr(BudgetTracker, "finish_early", finish_early)
    result = run(image_signal(), budget=Budget(steps=100_000, target=20.0))
    assert result.outcome.slug == "target"
    assert result.quality >= 20.0
    assert met[0] < result.usage["steps"] <= 1.1 * met[0] + 1


def test_a_rate_that_is_too_high_is_halved_until_the_fit_learns():
    signal = image_signal()
    spec = spec_for(signal, 64, 4)
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(batch=128, precision="fp32", lr=0.2)).config
    result = fit(signal, spec, Uniform(), chosen, Budget(steps=600), CPU)
    assert any("halved" in note for note in result.notes)
    assert result.quality > 15


def test_origin_counts_the_points_trained_on():
    result = run(image_signal(), Nint(), Budget(steps=37))
    assert sum(result.usage["origin"].values()) == pytest.approx(result.usage["points"], abs=3)


def test_a_large_one_colour_picture_is_an_exact_fit():
    signal = image_signal(160, 160)
    flat = Signal("image", np.full_like(signal.samples, 9), signal.scale, signal.meta, signal.grid)
    assert run(flat, budget=Budget(steps=10**6)).outcome.slug == "perfect"


def test_a_one_colour_picture_is_an_exact_fit():
    signal = image_signal()
    flat = Signal("image", np.full_like(signal.samples, 77), signal.scale, signal.meta, signal.grid)
    result = run(flat)
    assert result.outcome.slug == "perfect"
    assert result.quality == math.inf


def test_one_pixel_is_an_exact_fit():
    signal = image_signal(1, 1)
    assert run(signal).quality == math.inf


def noise_and_a_wild_rate():
    """Noise, which cannot be learned, and an absurd rate."""
    rng = np.random.default_rng(0)
    signal = image_signal()
    noise = Signal(
        "image",
        rng.integers(0, 256, signal.samples.shape, dtype=np.uint8),
        signal.scale,
        signal.meta,
        signal.grid,
    )
    spec = spec_for(noise)
    wild = recipe.choose(spec, CPU, recipe.UserChoices(batch=128, precision="fp32", lr=10.0)).config
    return noise, spec, wild


def test_after_a_few_steps_that_teach_nothing_the_field_is_the_mean():
    noise, spec, wild = noise_and_a_wild_rate()
    result = fit(noise, spec, Uniform(), wild, Budget(steps=2), CPU)
    mean = noise.samples.mean(0) / 127.5 - 1
    decoded = result.field(torch.rand(50, 2) * 2 - 1)
    assert torch.allclose(decoded, torch.tensor(mean, dtype=torch.float32).expand(50, 3), atol=0.01)
    assert any("the field is the mean of the samples" in note for note in result.notes)


def test_a_fit_that_diverges_is_refused():
    noise, spec, wild = noise_and_a_wild_rate()
    with pytest.raises(Diverged, match="the fit diverged: after 40 steps it is no better than a constant"):
        fit(noise, spec, Uniform(), wild, Budget(steps=40), CPU)


def test_non_finite_weights_fall_back_to_the_last_good_ones(monkeypatch):
    """One step sets weights to NaN: the fit continues from the best weights and ends with finite ones."""
    poisoned = []

    def begin(self, honest=Loop.begin):
        if self.context.tracker.step == 100:
            poisoned.append(True)
            with torch.no_grad():
                self.context.field.weights["last.weight"].fill_(math.nan)
        return honest(self)

    monkeypatch.setattr(Loop, "begin", begin)
    result = run(image_signal(), budget=Budget(steps=200))
    assert poisoned
    assert all(bool(weight.isfinite().all()) for weight in result.field.weights.values())
    assert result.notes
    assert result.quality > 15


def test_stopping_keeps_what_was_fitted():
    calls = iter(range(10**6))
    result = run(image_signal(), budget=Budget(steps=10**6), should_stop=lambda: next(calls) > 150)
    assert result.outcome.slug == "interrupted"
    assert 100 <= result.usage["steps"] <= 151


def test_the_returned_quality_is_that_of_the_returned_weights():
    signal = image_signal()
    result = run(signal, budget=Budget(steps=120))
    from inrfit.modalities.image import quality

    samples = signal.on(CPU)
    coords, values = samples.take(torch.arange(signal.n))
    with torch.no_grad():
        assert quality.estimate(result.field(coords), values, signal) == pytest.approx(result.quality)


def test_progress_reports_come_with_a_quality():
    seen = []
    run(image_signal(), budget=Budget(steps=60), on_report=seen.append, now=FakeClock(0.05))
    assert seen
    assert all(0 <= report.progress <= 1 for report in seen)
    assert "kpoints/s" in str(seen[-1])


def test_full_with_batch_selection_trains_on_every_point_in_every_step():
    signal = image_signal()
    result = run(signal, Full(), Budget(steps=5), batch="selection")
    assert result.usage["points"] == 5 * signal.n


@pytest.mark.parametrize("count", [1, 7, 100, 833, 999, 1000])
def test_evaluation_points_are_spread_and_distinct(count):
    chosen = stratified(1000, count).tolist()
    assert len(set(chosen)) == count
    assert all(k * 1000 // count <= i < (k + 1) * 1000 // count for k, i in enumerate(chosen))


def test_batches_join_selections_without_losing_or_padding_points():
    """Every selected point is used once, in batches of one size, for any size of the selections."""
    signal = image_signal()
    spec = spec_for(signal)
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(batch=100, precision="fp32")).config
    tracker = BudgetTracker(Budget(steps=10), FakeClock(0), 0)
    loop = Loop(*start_fit(signal, spec, Uniform(1.0), chosen, tracker, CPU, 0, bool, None, None))
    epoch = torch.cat([loop.take_batch()[0] for _ in range(signal.n // 100)])
    assert len(set(epoch.tolist())) == signal.n // 100 * 100


def test_grid_coordinates_are_cell_centres():
    grid = Grid((2, 4))
    assert grid.coords(torch.tensor([0, 7])).tolist() == [[-0.5, -0.75], [0.5, 0.75]]
    assert Grid((1, 3)).coords(torch.tensor([1])).tolist() == [[0.0, 0.0]]


def test_neighbours_of_a_long_axis_stay_distinct():
    length = 2**24
    coords = Grid((length,)).coords(torch.tensor([length // 4, length // 4 + 1, length - 2, length - 1]))
    assert coords[0] != coords[1]
    assert coords[2] != coords[3]


@pytest.mark.parametrize("sampler", [Uniform(), Int(), Nint()], ids=["uniform", "int", "nint"])
def test_every_sampler_beats_the_mean_on_a_picture(sampler):
    assert run(image_signal(), sampler, Budget(steps=150)).quality > 18


def test_points_without_weights_count_as_one_beside_weighted_ones():
    bare, weighted = (torch.tensor([3, 1]), None), (torch.tensor([5]), torch.tensor([0.5]))

    def joined(rest, new):
        return queue_selection(learner, Selection(*new, keep_order=True), 2, rest).points

    signal = image_signal()
    field = Field(spec_for(signal), {n: torch.zeros(shape) for n, shape in spec_for(signal).shapes.items()})
    learner = Learner(field, signal.on(CPU), torch.Generator(), torch.float32)
    indices, weights = joined(bare, weighted)
    assert indices.tolist() == [3, 1, 5]
    assert weights.tolist() == [1.0, 1.0, 0.5]
    assert joined(weighted, bare)[1].tolist() == [0.5, 1.0, 1.0]
    assert joined(bare, bare)[1] is None


def test_learning_rates_follow_the_number_of_steps_when_steps_get_faster():
    """The first steps are slow, because code is loaded or compiled: they do not determine the rates of a long fit."""
    seconds = [0.0]
    tracker = BudgetTracker(Budget(seconds=100.0), lambda: seconds[0], 0.0)
    slow = LRSchedule(
        recipe.choose(spec_for(image_signal()), CPU, recipe.UserChoices(batch=128, precision="fp32")).config, tracker
    )
    boosts = []
    for step in range(200):
        tracker.count_step(1.0 if step < 10 else 0.02)
        seconds[0] += tracker.last_step_seconds
        boosts.append(slow.short_run_lr_factor(compiling=False))
    assert boosts[8] == 1.6
    assert boosts[-1] == 0.8


@pytest.mark.parametrize(("error", "quality"), [(math.nan, math.nan), (math.nan, 30.0), (0.0, math.nan)])
def test_a_fit_with_a_nan_error_or_quality_fails(monkeypatch, error, quality):
    monkeypatch.setattr(FitEvaluator, "evaluate", lambda self, field, chunk_size: (error, quality))
    with pytest.raises(Diverged):
        run(image_signal(), budget=Budget(steps=5))


@pytest.mark.parametrize("first_error", [0.9, 1.0, 1.1])
def test_a_budget_too_short_for_a_step_gives_no_field(monkeypatch, first_error):
    first = lambda self, field, chunk_size: (first_error * self.constant_error, 10.0)  # noqa: E731
    monkeypatch.setattr(FitEvaluator, "evaluate", first)
    with pytest.raises(BudgetTooShort, match=r"ended before the first step: .* took 1\.0 s") as caught:
        run(image_signal(), budget=Budget(seconds=1e-3), now=FakeClock(1.0))
    assert (caught.value.reason, caught.value.exit_code) == ("budget", 6)
    with pytest.raises(KeyboardInterrupt):
        run(image_signal(), budget=Budget(seconds=9.0), should_stop=lambda: True)


@pytest.mark.parametrize(("error", "noted"), [(0.9, True), (0.5, False)])
def test_a_fit_of_few_steps_that_taught_little_says_so(monkeypatch, error, noted):
    monkeypatch.setattr(FitEvaluator, "evaluate", lambda self, field, chunk_size: (error * self.constant_error, 10.0))
    assert bool(run(image_signal(), budget=Budget(steps=5)).notes) == noted
    assert not run(image_signal(), budget=Budget(steps=30)).notes
