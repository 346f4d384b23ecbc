"""A shape's points: how many before the first step, the rest during the fit, and what is told of their copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from test_loop import FakeClock, run

from inrfit.fields import FIELDS
from inrfit.fit.budget import Budget
from inrfit.fit.point_pool import (
    FIRST_SECONDS,
    GROWING_SHARE,
    LONG_SHARE,
    MOST_SHARE,
    UNCERTAIN_SECONDS,
    UNTIL,
    Pool,
)
from inrfit.fit.progress import Clock
from inrfit.io.limits import Limits
from inrfit.modalities.shape import point_sampling, shape
from inrfit.samplers import SAMPLERS, Stream
from inrfit.signal import Samples
from inrfit.viz.recorder import Recorder

SIREN, GRID = (FIELDS[name].TRAITS.hyperparameters for name in ("siren", "grid"))
SPHERE = trimesh.creation.icosphere(1).export(file_type="ply")
CALL, POINTS = 100, 10_000


COST = 0.1
"""Seconds of drawing CALL points."""

TICK = 0.0005

clocks: list[FakeClock] = []
"""The last of them pays for drawing."""


@pytest.fixture(autouse=True)
def small_calls(monkeypatch):
    def draw(source, start, until):
        clocks[-1].time += COST
        return freely(source, start, until)

    freely = point_sampling.Source.draw
    clocks[:] = [FakeClock(TICK)]
    monkeypatch.setattr(point_sampling, "CALL", CALL)
    monkeypatch.setattr(point_sampling.Source, "draw", draw)


def ball(pool=POINTS):
    return shape.load(SPHERE, "ball.ply", shape.Options(pool=pool), Limits())


def drawn(seconds, arch="siren", stop=lambda: False, pool=POINTS, grows=True, spent=0.0):
    """The pool of a fit of so many seconds, after ``spent`` of them."""
    now = FakeClock(TICK)
    clocks.append(now)
    clock = Clock(Budget(seconds=seconds) if seconds else Budget(steps=10), now, now())
    now.time += spent
    return Pool(ball(pool), clock, FIELDS[arch].TRAITS.hyperparameters, torch.Generator().manual_seed(0), stop, grows)


def grown(pool):
    """Until it is whole; the rows that were new, in turn."""
    samples, rows = pool.signal.on(torch.device("cpu")), []
    while not pool.whole:
        if pool.due():
            pool.grow(samples, rows.append)
    assert not pool.due()
    return rows


def test_all_points_are_there_at_once_where_steps_are_counted():
    pool = drawn(None)
    assert pool.signal.n == POINTS
    assert pool.signal.rest is None
    assert not pool.due()


@pytest.mark.parametrize("seconds", [3, 5, 10, 15])
def test_a_short_budget_has_the_points_of_a_second_early_or_none_late(seconds):
    pool = drawn(seconds, spent=0.9)
    assert pool._clock.seconds < max(MOST_SHARE * seconds, 0.9) + 0.6
    assert 0 < pool.signal.n < POINTS
    grown(pool)
    assert pool.seconds <= 1.3
    assert pool._clock.progress <= UNTIL + 0.2


def test_a_longer_budget_draws_the_rest_while_it_runs():
    pool = drawn(60)
    rest = pool.signal.rest
    assert pool.seconds <= FIRST_SECONDS + 0.2
    assert pool.signal.n == rest.until == pytest.approx(60 * LONG_SHARE / FIRST_SECONDS * rest.since, rel=0.2)
    copies = np.arange(rest.until) % rest.since
    assert np.array_equal(pool.signal.points, pool.signal.points[copies])
    assert np.array_equal(pool.signal.samples, pool.signal.samples[copies])
    assert len(pool.without_copies().samples) == rest.since
    assert torch.cat(grown(pool)).tolist() == list(range(rest.since, rest.until))
    whole = drawn(None).signal
    assert np.array_equal(pool.signal.points, whole.points[: rest.until])
    assert np.array_equal(pool.signal.samples, whole.samples[: rest.until])
    assert pool.without_copies().n == rest.until


def test_drawing_and_looking_take_their_share_of_the_time_and_no_more():
    pool = drawn(300, pool=0)
    now, samples, last = pool._clock.now, pool.signal.on(torch.device("cpu")), 0.0

    def look(rows):
        now.time += 0.3

    while not pool.whole:
        now.time += 0.1  # a step
        if pool.due():
            last, reached = pool._clock.seconds, pool._reached
            pool.grow(samples, look)
            assert pool._reached == reached or pool.seconds < GROWING_SHARE * last + 0.45
    assert 0.8 * 300 * LONG_SHARE < pool.seconds < 300 * LONG_SHARE + 0.75
    assert last < 300 * 0.2


def test_a_fit_that_may_end_sooner_spends_little_on_points():
    for budget in (Budget(seconds=600, target=30.0), Budget(seconds=600, steps=10_000), Budget(seconds=60)):
        now = FakeClock(TICK)
        clocks.append(now)
        pool = Pool(ball(0), Clock(budget, now, now()), SIREN, torch.Generator().manual_seed(0), bool)
        assert pool._allowed == UNCERTAIN_SECONDS == 60 * LONG_SHARE


@pytest.mark.parametrize("slow", [1.0, 30.0])
def test_points_that_take_longer_than_expected_are_not_all_drawn(slow):
    pool = drawn(60)
    draw, now, rest = pool.signal.rest.draw, pool._clock.now, pool.signal.rest

    def slowly(start):
        now.time += slow
        return draw(start)

    object.__setattr__(rest, "draw", slowly)
    rows = grown(pool)
    assert pool.seconds < 60 * LONG_SHARE + slow + 0.5
    assert pool._reached < rest.until
    assert torch.cat(rows).tolist() == list(range(rest.since, pool._reached))
    times = np.unique(pool.signal.points, axis=0, return_counts=True)[1]
    assert times.max() - times.min() <= 1
    everything = torch.arange(rest.until)
    assert torch.equal(pool.meant(everything), everything % pool._reached)
    kept = pool.without_copies()
    assert kept.n == pool._reached
    assert kept.rest is None


def test_on_a_device_the_points_are_drawn_too():
    pool = drawn(60)
    there = Samples(pool.signal, *(torch.from_numpy(part.copy()) for part in (pool.signal.samples, pool.signal.points)))
    while not pool.whole:
        if pool.due():
            pool.grow(there, lambda rows: None)
    assert np.array_equal(there.raw.numpy(), pool.signal.samples)
    assert np.array_equal(there.points.numpy(), pool.signal.points)
    assert len(np.unique(there.points.numpy(), axis=0)) == pool.signal.n


def test_whole_selections_are_not_made_longer_by_copies():
    pool = drawn(300, grows=False)
    assert pool.signal.rest is None
    assert len(np.unique(pool.signal.points, axis=0)) == pool.signal.n
    assert UNCERTAIN_SECONDS - 0.3 < pool.seconds < UNCERTAIN_SECONDS + 0.3


def test_the_hash_grid_gets_its_points_and_the_free_ones_on_top():
    pool = drawn(100, arch="grid")
    rest = pool.signal.rest
    assert rest.until == pytest.approx(GRID.pool_seconds / FIRST_SECONDS * rest.since, rel=0.2)
    assert pool.signal.n == 2 * rest.until
    free = pool.signal.points[rest.until :].copy()
    grown(pool)
    assert np.array_equal(pool.signal.points[rest.until :], free)
    shares = {20: MOST_SHARE * 20, 100: GRID.pool_seconds, 600: LONG_SHARE * 600}
    for seconds, most in shares.items():
        assert drawn(seconds, arch="grid")._allowed == most


def test_copies_count_as_the_points_that_they_copy():
    pool = drawn(60)
    rest, n = pool.signal.rest, pool.signal.n
    everything = torch.arange(n)
    assert torch.equal(pool.meant(everything), everything % rest.since)
    pool.grow(pool.signal.on(torch.device("cpu")), lambda rows: None)
    expected = torch.where(everything < rest.since + CALL, everything, everything % rest.since)
    assert torch.equal(pool.meant(everything), expected)
    grown(pool)
    assert torch.equal(pool.meant(everything), everything)


def test_a_fit_that_was_stopped_draws_no_further():
    pool = drawn(60, stop=lambda: True)
    assert pool.signal.n == CALL
    assert pool.signal.rest is None


def test_a_fit_grows_its_points_and_learns_their_errors():
    seen, maps = Recorder(), []

    class Told(Stream):
        def select(self, learner, previous):
            maps.append((learner.generation, sum(len(rows) for rows, _ in learner.taught)))
            return super().select(learner, previous)

    clocks.append(FakeClock(0.02))
    found = run(ball(), Told(), Budget(seconds=60), now=clocks[-1], watch=seen)
    generations = [generation for generation, _ in maps]
    assert generations[0] == 0
    assert generations[-1] > 10
    assert generations[2 * len(maps) // 3] == generations[-1]
    assert sum(count for _, count in maps) > found.spent["points"] - 1000 + (generations[-1] - 1) * CALL
    assert 0 < found.spent["points_seconds"] < 60 * LONG_SHARE + 1
    assert sum(found.spent["origin"].values()) == pytest.approx(found.spent["points"], abs=5)
    assert len(np.unique(found.signal.points, axis=0)) == found.signal.n
    assert int(seen.counts.sum()) == found.spent["points"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_strategy_takes_new_points(name):
    clocks.append(FakeClock(0.02))
    found = run(ball(), SAMPLERS[name](), Budget(seconds=60), now=clocks[-1])
    assert found.signal.n > 2000
    assert len(np.unique(found.signal.points, axis=0)) == found.signal.n
    assert found.quality > 0.3


@pytest.mark.parametrize("name", ["egra", "expansive"])
def test_edges_are_those_of_the_points_that_are_there(name):
    seen = []

    class Told(SAMPLERS[name]):
        def select(self, learner, previous):
            found = super().select(learner, previous)
            marked = found.memory.get("edges", found.memory.get("anchors"))
            rows = marked.nonzero().squeeze(1) if name == "egra" else marked
            seen.append((learner.generation, float(learner.samples.take(rows)[1].abs().mean())))
            return found

    clocks.append(FakeClock(0.1))
    run(ball(), Told(), Budget(seconds=60), now=clocks[-1])
    assert seen[-1][0] > seen[0][0]
    assert max(distance for _, distance in seen) < 0.2
