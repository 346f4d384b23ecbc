"""The points per step follow from the time that the budget leaves."""

from __future__ import annotations

import pytest

from inrfit.fit.batch_size import LEAST_POINTS, WANTED_STEPS, BatchSizeTuner
from inrfit.fit.budget import Budget
from inrfit.fit.progress import BudgetTracker


def sizes_of_a_fit(seconds, full, overhead, per_point):
    """The points of each step of a fit of ``seconds`` whose steps take ``overhead + per_point * points`` seconds."""
    now = [0.0]
    tracker = BudgetTracker(Budget(seconds=seconds), lambda: now[0], 0.0)
    tuner, sizes = BatchSizeTuner(full), []
    points = tuner.first
    while not tracker.exhausted:
        sizes.append(points)
        duration = overhead + per_point * points
        now[0] += duration
        tracker.count_step(duration)
        points = tuner.after_step(points, tracker)
    return sizes


def test_a_long_budget_soon_has_whole_batches():
    sizes = sizes_of_a_fit(60.0, 8192, 0.005, 3e-6)
    assert sizes[:7] == [1024, 1024, 2048, 2048, 4096, 4096, 8192]
    assert set(sizes[7:]) == {8192}


def test_a_short_budget_has_the_steps_that_it_needs():
    """0.1 ms a point: whole batches would leave room for six steps."""
    sizes = sizes_of_a_fit(5.0, 8192, 0.0, 1e-4)
    assert max(sizes) <= 2048
    assert len(sizes) >= WANTED_STEPS / 4


def test_points_that_cost_nothing_are_taken():
    """Steps of 50 ms, however many points they have: fewer points would not give more steps."""
    assert sizes_of_a_fit(4.0, 4096, 0.05, 1e-8)[-1] == 4096


@pytest.mark.parametrize("full", [1, 100, 1024, 5000])
def test_no_step_is_larger_than_the_batch(full):
    sizes = sizes_of_a_fit(5.0, full, 0.001, 1e-6)
    assert sizes[0] == min(full, LEAST_POINTS)
    assert max(sizes) == full
