"""A shape's points: how many before the first step, the rest during the fit, and what is told of their copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh
from test_fit import FakeClock, run

from inrfit.budget import Budget
from inrfit.clock import Clock
from inrfit.limits import Limits
from inrfit.modalities import shape
from inrfit.pool import FIRST_SECONDS, GROWING_SHARE, LONG_SHARE, MOST_SHARE, Pool
from inrfit.samplers import SAMPLERS, Stream
from inrfit.teaching import Recorder
from inrfit.tuning import TUNINGS

SPHERE = trimesh.creation.icosphere(1).export(file_type="ply")
CALL, POINTS = 100, 10_000


@pytest.fixture(autouse=True)
def small_calls(monkeypatch):
    monkeypatch.setattr(shape, "CALL", CALL)


def ball(pool=POINTS):
    return shape.load(SPHERE, "ball.ply", shape.Options(pool=pool), Limits())


def drawn(seconds, tick=0.05, arch="siren", stop=lambda: False, pool=POINTS):
    """The pool of a fit of so many seconds, where every look at the clock takes ``tick``."""
    now = FakeClock(tick)
    clock = Clock(Budget(seconds=seconds) if seconds else Budget(steps=10), now, now())
    return Pool(ball(pool), clock, TUNINGS[arch], torch.Generator().manual_seed(0), stop)


def grown(pool):
    """Until it is whole; the rows that were new, in turn."""
    samples, rows = pool.signal.on(torch.device("cpu")), []
    while not pool.whole:
        if pool.due():
            rows.append(pool.grow(samples))
    return rows


def test_all_points_are_there_at_once_where_steps_are_counted():
    pool = drawn(None)
    assert pool.signal.n == POINTS
    assert pool.signal.rest is None
    assert not pool.due()


def test_a_short_budget_has_the_points_of_its_first_second_and_no_more():
    pool = drawn(5)
    assert 0 < pool.signal.n < POINTS
    assert pool.signal.rest is None
    assert pool.seconds <= FIRST_SECONDS + 0.2


def test_a_longer_budget_draws_the_rest_while_it_runs():
    pool = drawn(60)
    rest = pool.signal.rest
    assert pool.seconds <= FIRST_SECONDS + 0.2
    assert pool.signal.n == rest.until == pytest.approx(60 * LONG_SHARE / FIRST_SECONDS * rest.since, rel=0.2)
    copies = np.arange(rest.until) % rest.since
    assert np.array_equal(pool.signal.points, pool.signal.points[copies])
    assert np.array_equal(pool.signal.samples, pool.signal.samples[copies])
    assert torch.cat(grown(pool)).tolist() == list(range(rest.since, rest.until))
    whole = drawn(None).signal
    assert np.array_equal(pool.signal.points, whole.points[: rest.until])
    assert np.array_equal(pool.signal.samples, whole.samples[: rest.until])
    assert not pool.due()


def test_drawing_takes_its_share_of_the_time_and_no_more():
    pool = drawn(60, tick=0.01)
    clock, samples = pool._clock, pool.signal.on(torch.device("cpu"))
    while not pool.whole:
        clock.now.time += 0.1  # a step
        if pool.due():
            before = pool.seconds
            pool.grow(samples)
            assert before < GROWING_SHARE * clock.seconds
    assert pool.seconds < 60 * LONG_SHARE


def test_points_that_take_longer_than_expected_are_not_all_drawn():
    pool = drawn(60)
    draw, now, rest = pool.signal.rest.draw, pool._clock.now, pool.signal.rest

    def slow(start):
        now.time += 1.0
        return draw(start)

    object.__setattr__(rest, "draw", slow)
    rows = grown(pool)
    assert 60 * LONG_SHARE <= pool.seconds < 60 * LONG_SHARE + 1.5
    assert pool._reached < rest.until
    assert rows[-1].tolist() == list(range(pool._reached - CALL, rest.until))
    times = np.unique(pool.signal.points, axis=0, return_counts=True)[1]
    assert times.max() - times.min() <= 1
    everything = torch.arange(rest.until)
    assert torch.equal(pool.meant(everything), everything % pool._reached)


def test_the_hash_grid_gets_its_points_and_the_free_ones_on_top():
    pool = drawn(100, arch="grid")
    rest = pool.signal.rest
    assert rest.until == pytest.approx(TUNINGS["grid"].pool_seconds / FIRST_SECONDS * rest.since, rel=0.2)
    assert pool.signal.n == 2 * rest.until
    free = pool.signal.points[rest.until :].copy()
    grown(pool)
    assert np.array_equal(pool.signal.points[rest.until :], free)
    shares = {20: MOST_SHARE * 20, 100: TUNINGS["grid"].pool_seconds, 600: LONG_SHARE * 600}
    for seconds, most in shares.items():
        assert drawn(seconds, arch="grid")._allowed == most


def test_copies_count_as_the_points_that_they_copy():
    pool = drawn(60)
    rest, n = pool.signal.rest, pool.signal.n
    everything = torch.arange(n)
    assert torch.equal(pool.meant(everything), everything % rest.since)
    pool.grow(pool.signal.on(torch.device("cpu")))
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

    found = run(ball(), Told(), Budget(seconds=60), now=FakeClock(0.02), watch=seen)
    rest = found.signal.rest
    generations = [generation for generation, _ in maps]
    assert generations[0] == 0
    assert generations[-1] == math.ceil((rest.until - rest.since) / CALL)
    assert generations[len(maps) // 2] == generations[-1]
    assert sum(count for _, count in maps) > found.spent["points"] - 1000 + rest.until - rest.since
    assert sum(found.spent["origin"].values()) == pytest.approx(found.spent["points"], abs=5)
    assert len(np.unique(found.signal.points, axis=0)) == found.signal.n
    assert int(seen.counts.sum()) == found.spent["points"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_strategy_takes_new_points(name):
    found = run(ball(8000), SAMPLERS[name](), Budget(seconds=60), now=FakeClock(0.02))
    assert found.signal.rest is not None
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

    run(ball(2000), Told(), Budget(seconds=40), now=FakeClock(0.1))
    assert seen[-1][0] > seen[0][0]
    assert max(distance for _, distance in seen) < 0.2
