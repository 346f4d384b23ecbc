"""The points of a shape: how many are drawn before the first step, and how the rest is drawn during the fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from test_loop import FakeClock, run

from inrfit.fields import FIELDS
from inrfit.fit.budget import Budget
from inrfit.fit.point_pool import (
    GROWING_SHARE,
    INITIAL_SECONDS,
    LAST_GROWTH,
    LONG_BUDGET_SHARE,
    MAX_SHARE,
    UNCERTAIN_SECONDS,
    PointBudget,
    PointPool,
)
from inrfit.fit.progress import BudgetTracker
from inrfit.io.limits import Limits
from inrfit.modalities.shape import point_sampling, shape
from inrfit.samplers import SAMPLERS, Stream
from inrfit.viz.recorder import Recorder

GRID = FIELDS["grid"].TRAITS.hyperparameters
SPHERE = trimesh.creation.icosphere(1).export(file_type="ply")
CALL, POINTS = 100, 10_000

CPU = torch.device("cpu")

COST = 0.1
"""Seconds of drawing CALL points."""

TICK = 0.0005

clocks: list[FakeClock] = []
"""Drawing advances the last of these clocks."""


@pytest.fixture(autouse=True)
def small_calls(monkeypatch):
    def draw(source, start, until):
        clocks[-1].time += COST
        return freely(source, start, until)

    freely = point_sampling.MeshSource.draw
    clocks[:] = [FakeClock(TICK)]
    monkeypatch.setattr(point_sampling, "QUERY_POINTS", CALL)
    monkeypatch.setattr(point_sampling.MeshSource, "draw", draw)


def ball(pool=POINTS):
    return shape.load(SPHERE, "ball.ply", shape.Options(points=pool), Limits()).named("shape")


class Drawn:
    """The pool of a fit within ``budget``, started after ``spent`` seconds, with its tracker."""

    def __init__(self, budget, arch="siren", stop=lambda: False, pool=POINTS, grows=True, spent=0.0, device=CPU):
        self.now = FakeClock(TICK)
        clocks.append(self.now)
        self.tracker = BudgetTracker(budget, self.now, self.now())
        self.now.time += spent
        tuned = FIELDS[arch].TRAITS.hyperparameters
        self.budget = PointBudget(self.tracker, tuned.point_drawing_seconds, grows)
        generator = torch.Generator().manual_seed(0)
        self.pool = PointPool.new(ball(pool), self.budget, tuned.free_space_share, generator, device, stop)

    def grown(self):
        """The indices that were added, in turn, until no more points are due."""
        added = []
        while not self.pool.complete:
            if self.pool.due():
                added.append(self.pool.grow())
        assert not self.pool.due()
        return added


def drawn(seconds, **more):
    return Drawn(Budget(seconds=seconds) if seconds else Budget(steps=10), **more)


def test_a_budget_in_steps_draws_all_points_first():
    pool = drawn(None).pool
    assert pool.filled == pool.capacity == pool.signal().n == POINTS
    assert not pool.due()


@pytest.mark.parametrize("seconds", [3, 5, 10, 15])
def test_a_short_budget_draws_points_for_about_a_second(seconds):
    of = drawn(seconds, spent=0.9)
    assert of.tracker.seconds < max(MAX_SHARE * seconds, 0.9) + 0.6
    assert 0 < of.pool.filled < POINTS
    of.grown()
    assert of.pool.seconds <= 1.3
    assert of.tracker.progress <= LAST_GROWTH + 0.2


def test_a_longer_budget_draws_the_rest_during_the_fit():
    of = drawn(60)
    pool, first = of.pool, of.pool.filled
    assert pool.seconds <= INITIAL_SECONDS + 0.2
    assert pool.signal().n == pool.samples().raw.shape[0] == first
    assert pool.capacity == pytest.approx(60 * LONG_BUDGET_SHARE / INITIAL_SECONDS * first, rel=0.2)
    assert torch.cat(of.grown()).tolist() == list(range(first, pool.capacity))
    whole = drawn(None).pool.signal()
    assert np.array_equal(pool.signal().points, whole.points[: pool.capacity])
    assert np.array_equal(pool.signal().samples, whole.samples[: pool.capacity])
    assert pool.signal(first).n == first


def test_drawing_and_scoring_points_keep_to_their_share_of_the_time():
    of, last = drawn(300, pool=0), 0.0
    pool = of.pool
    while not pool.complete:
        of.now.time += 0.1  # a step
        if pool.due():
            last = of.tracker.seconds
            pool.grow()
            started_at = of.now()
            of.now.time += 0.3  # finding the errors of the new points
            pool.count_time_since(started_at)
            assert pool.seconds < GROWING_SHARE * last + 0.45
    assert 0.8 * 300 * LONG_BUDGET_SHARE < pool.seconds < 300 * LONG_BUDGET_SHARE + 0.75
    assert last < 300 * 0.2


def test_a_fit_that_may_end_sooner_spends_little_on_points():
    for budget in (Budget(seconds=600, target=30.0), Budget(seconds=600, steps=10_000), Budget(seconds=60)):
        assert Drawn(budget, pool=0).budget.seconds == UNCERTAIN_SECONDS == 60 * LONG_BUDGET_SHARE


@pytest.mark.parametrize("slow", [1.0, 30.0])
def test_points_that_take_longer_than_expected_are_not_all_drawn(slow, monkeypatch):
    of = drawn(60)
    first, expected, draw = of.pool.filled, of.pool.capacity, point_sampling.MeshSource.draw

    def slowly(source, start, until):
        of.now.time += slow
        return draw(source, start, until)

    monkeypatch.setattr(point_sampling.MeshSource, "draw", slowly)
    added = of.grown()
    pool = of.pool
    assert pool.seconds < 60 * LONG_BUDGET_SHARE + slow + 0.5
    assert pool.filled < expected
    assert torch.cat(added).tolist() == list(range(first, pool.filled))
    assert pool.signal().n == len(np.unique(pool.signal().points, axis=0)) == pool.filled


def test_points_are_drawn_for_a_device():
    of = drawn(60, device=torch.device("meta"))
    first = of.pool.filled
    of.grown()
    assert of.pool.samples().raw.shape[0] == of.pool.filled > first


def test_rows_that_are_not_drawn_yet_are_not_in_the_samples():
    pool = drawn(60).pool
    assert pool.all_rows().raw.shape[0] == pool.capacity > pool.samples().raw.shape[0] == pool.filled
    assert not pool.all_rows().points[pool.filled :].any()


def test_whole_selections_have_their_points_before_the_first_step():
    pool = drawn(300, grows=False).pool
    assert pool.complete
    assert len(np.unique(pool.signal().points, axis=0)) == pool.filled
    assert UNCERTAIN_SECONDS - 0.3 < pool.seconds < UNCERTAIN_SECONDS + 0.3


def test_the_hash_grid_gets_far_points_on_top_of_its_points():
    of = drawn(100, arch="grid")
    pool, first = of.pool, of.pool.drawn
    room = pool.capacity - pool.filled
    assert first + room == pytest.approx(
        FIELDS["grid"].TRAITS.hyperparameters.point_drawing_seconds / INITIAL_SECONDS * first, rel=0.2
    )
    assert pool.filled == first + first + room  # as many far from the surface as there will be near it
    far = pool.signal().points[first:].copy()
    of.grown()
    assert np.array_equal(pool.signal().points[first : first + len(far)], far)
    shares = {
        20: MAX_SHARE * 20,
        100: FIELDS["grid"].TRAITS.hyperparameters.point_drawing_seconds,
        600: LONG_BUDGET_SHARE * 600,
    }
    for seconds, most in shares.items():
        assert drawn(seconds, arch="grid").budget.seconds == most


def test_a_stopped_fit_draws_no_more_points():
    pool = drawn(60, stop=lambda: True).pool
    assert pool.filled == pool.capacity == CALL


def test_a_restored_pool_continues_to_grow():
    of = drawn(60)
    signal, numbers = of.pool.signal(), of.pool.to_json()
    generator = torch.Generator().manual_seed(5)
    lot = signal.points, signal.samples
    again = PointPool(ball(), of.budget, generator, CPU, lot, **numbers)
    assert (again.filled, again.capacity) == (of.pool.filled, of.pool.capacity)
    while not again.complete:
        if again.due():
            again.grow()
    assert again.signal().n == len(np.unique(again.signal().points, axis=0)) > signal.n
    assert np.array_equal(again.signal().points[: signal.n], signal.points)


def test_a_fit_adds_points_and_knows_their_errors():
    seen, maps = Recorder(), []

    class Recording(Stream):
        def select(self, learner, previous):
            maps.append((learner.generation, sum(len(rows) for rows, _ in learner.trained_batches)))
            return super().select(learner, previous)

    clocks.append(FakeClock(0.02))
    result = run(ball(), Recording(), Budget(seconds=60), now=clocks[-1], on_step=seen)
    generations = [generation for generation, _ in maps]
    assert generations[0] == 0
    assert generations[-1] > 10
    assert generations[2 * len(maps) // 3] == generations[-1]
    assert sum(count for _, count in maps) > result.usage["points"] - 1000 + (generations[-1] - 1) * CALL
    assert 0 < result.usage["points_seconds"] < 60 * LONG_BUDGET_SHARE + 1
    assert sum(result.usage["origin"].values()) == pytest.approx(result.usage["points"], abs=5)
    assert len(np.unique(result.signal.points, axis=0)) == result.signal.n
    assert int(seen.counts.sum()) == result.usage["points"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_uses_added_points(name):
    clocks.append(FakeClock(0.02))
    result = run(ball(), SAMPLERS[name](), Budget(seconds=60), now=clocks[-1])
    assert result.signal.n > 2000
    assert len(np.unique(result.signal.points, axis=0)) == result.signal.n
    assert result.quality > 0.3


@pytest.mark.parametrize("name", ["egra", "expansive"])
def test_edges_follow_the_points_drawn_so_far(name):
    seen = []

    class Recording(SAMPLERS[name]):
        def select(self, learner, previous):
            selection = super().select(learner, previous)
            edges = selection.memory.get("edges", selection.memory.get("anchors"))
            rows = edges.nonzero().squeeze(1) if name == "egra" else edges
            seen.append((learner.generation, float(learner.samples.take(rows)[1].abs().mean())))
            return selection

    clocks.append(FakeClock(0.1))
    run(ball(), Recording(), Budget(seconds=60), now=clocks[-1])
    assert seen[-1][0] > seen[0][0]
    assert max(distance for _, distance in seen) < 0.2
