"""When a fit counts as diverged, or as learning nothing."""

from __future__ import annotations

import math

import pytest

from inrfit.fit.divergence import DivergenceDetector

CONSTANT = 1.0
"""Error of the best constant."""


def detector() -> DivergenceDetector:
    return DivergenceDetector(CONSTANT)


def test_an_exploding_error_is_a_divergence_at_any_time():
    assert not detector().diverged(0.39, 0.1, 0.01)
    assert detector().diverged(0.41, 0.1, 0.01)
    assert detector().diverged(math.nan, 0.1, 0.01)


def test_an_error_worse_than_a_constant_is_one_once_the_rate_has_had_its_chance():
    assert not detector().diverged(1.06, CONSTANT, 0.04)
    assert detector().diverged(1.06, CONSTANT, 0.06)
    assert not detector().diverged(1.04, CONSTANT, 0.06)


def test_a_rate_that_teaches_nothing_is_halved():
    """An error that stays at the constant's after 15 % of the budget: the rate is too high to learn by."""
    of = detector()
    assert not of.diverged(0.99, CONSTANT, 0.16)  # still falling: there was none before
    assert of.diverged(0.99, CONSTANT, 0.17)
    of.roll_back(0.17)
    assert of.lr_scale == 0.5


@pytest.mark.parametrize(("error", "progress"), [(0.97, 0.5), (0.99, 0.14)])
def test_a_fit_that_learns_or_has_just_begun_is_left_alone(error, progress):
    of = detector()
    assert not of.diverged(error, CONSTANT, progress)
    assert not of.diverged(error, CONSTANT, progress)


def test_an_error_that_still_falls_is_left_alone():
    of = detector()
    assert not any(of.diverged(0.999 - step / 1000, CONSTANT, 0.5) for step in range(10))


def test_a_signal_that_cannot_be_learned_has_its_rate_halved_four_times_and_no_more():
    of, halved = detector(), 0
    for step in range(200):
        if of.diverged(0.99, CONSTANT, 0.2 * step):
            of.roll_back(0.2 * step)
            halved += 1
    assert halved == 4
    assert of.lr_scale == 1 / 16


def test_each_rate_gets_its_own_time():
    of = detector()
    of.roll_back(0.5)
    assert not of.diverged(1.06, CONSTANT, 0.54)
    assert of.diverged(1.06, CONSTANT, 0.56)


def test_its_state_is_plain_numbers():
    of = detector()
    of.diverged(0.99, CONSTANT, 0.3)
    assert DivergenceDetector.from_json(of.to_json()) == of
    assert DivergenceDetector.from_json(detector().to_json()) == detector()
