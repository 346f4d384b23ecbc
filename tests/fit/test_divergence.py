"""When a fit counts as diverged or stalled."""

from __future__ import annotations

import math

import pytest

from inrfit.fit.divergence import DivergenceDetector

CONSTANT = 1.0
"""Error of the best constant."""

STEP = 20
"""The first step after which a fit may have failed or stalled."""


def detector() -> DivergenceDetector:
    return DivergenceDetector(CONSTANT)


def test_an_exploding_error_is_a_divergence_at_any_time():
    assert not detector().diverged(0.39, 0.1, 0.01, STEP)
    assert detector().diverged(0.41, 0.1, 0.01, STEP)
    assert detector().diverged(math.nan, 0.1, 0.01, STEP)


def test_an_error_above_the_constant_is_a_divergence_after_5_percent_at_a_rate():
    assert not detector().diverged(1.06, CONSTANT, 0.04, STEP)
    assert detector().diverged(1.06, CONSTANT, 0.06, STEP)
    assert not detector().diverged(1.04, CONSTANT, 0.06, STEP)


def test_in_its_first_steps_a_fit_can_explode_but_neither_fail_nor_stall():
    assert not detector().diverged(1.06, CONSTANT, 0.5, STEP - 1)
    assert detector().diverged(1.06, CONSTANT, 0.5, STEP)
    assert detector().diverged(4.1, CONSTANT, 0.5, 1)


def test_a_stalled_fit_is_rolled_back():
    """The error stays at that of the constant after 15 % of the budget: the rate is too high."""
    of = detector()
    assert not of.diverged(0.99, CONSTANT, 0.16, STEP)  # still falling: there was none before
    assert of.diverged(0.99, CONSTANT, 0.17, STEP)
    of.roll_back(0.17)
    assert of.lr_scale == 0.5


@pytest.mark.parametrize(("error", "progress"), [(0.97, 0.5), (0.99, 0.14)])
def test_a_fit_that_learns_or_has_just_started_is_not_rolled_back(error, progress):
    of = detector()
    assert not of.diverged(error, CONSTANT, progress, STEP)
    assert not of.diverged(error, CONSTANT, progress, STEP)


def test_a_falling_error_is_not_rolled_back():
    of = detector()
    assert not any(of.diverged(0.999 - step / 1000, CONSTANT, 0.5, STEP) for step in range(10))


def test_a_stalled_fit_is_rolled_back_four_times_at_most():
    of, halved = detector(), 0
    for step in range(200):
        if of.diverged(0.99, CONSTANT, 0.2 * step, STEP):
            of.roll_back(0.2 * step)
            halved += 1
    assert halved == 4
    assert of.lr_scale == 1 / 16


def test_the_time_counts_from_the_last_rollback():
    of = detector()
    of.roll_back(0.5)
    assert not of.diverged(1.06, CONSTANT, 0.54, STEP)
    assert of.diverged(1.06, CONSTANT, 0.56, STEP)


def test_the_state_is_json_and_is_restored():
    of = detector()
    of.diverged(0.99, CONSTANT, 0.3, STEP)
    assert DivergenceDetector.from_json(of.to_json()) == of
    assert DivergenceDetector.from_json(detector().to_json()) == detector()
