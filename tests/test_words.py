"""Budgets, targets, options and the JSON schema: what is accepted and what is refused."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Literal

import pytest

from inrfit.config.settings import Settings
from inrfit.errors import InrfitWarning, UsageError
from inrfit.fit import budget
from inrfit.fit.budget import Budget
from inrfit.fit.progress import BudgetTracker
from inrfit.io import json_schema, options
from inrfit.io.options import setting
from inrfit.io.renamed import OLD_OPTIONS, OLD_VALUES, with_new_values, with_old_names, with_old_values
from inrfit.modalities.shape.shape import Options


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], Budget(60.0)),
        (["60s"], Budget(60.0)),
        (["1h30m"], Budget(5400.0)),
        (["5m"], Budget(300.0)),
        (["0.5s"], Budget(0.5)),
        (["2000it"], Budget(None, 2000)),
        (["60s", "2000it"], Budget(60.0, 2000)),
        (["60s,2000it"], Budget(60.0, 2000)),
        (["60s", "5s"], Budget(5.0)),
    ],
)
def test_budgets_are_read(texts, expected):
    assert budget.parse(texts) == expected


def test_a_target_alone_has_ten_minutes():
    assert budget.parse([], 35.0) == Budget(600.0, None, 35.0)
    assert budget.parse(["60s"], 35.0) == Budget(60.0, None, 35.0)


def test_a_zero_budget_is_refused_beside_a_valid_one():
    with pytest.raises(UsageError):
        budget.parse(["0it", "5it"])


@pytest.mark.parametrize("text", ["60", "", "s", "-5s", "1e3s", "5x", "it", "0s", "0it", "60 s"])
def test_other_budgets_are_refused(text):
    with pytest.raises(UsageError):
        budget.parse([text] if text else [" ", "s"])


def test_targets_are_read():
    assert (
        budget.parse_target("35dB", "dB") == budget.parse_target("35 db", "dB") == budget.parse_target(35, "dB") == 35
    )
    assert budget.parse_target("0.98", "") == 0.98
    for text, unit in (
        ("good", "dB"),
        ("nan", "dB"),
        ("", ""),
        ("30dB", ""),
        ("30", ""),
        ("0.98", "dB"),
        ("-3dB", "dB"),
    ):
        with pytest.raises(UsageError):
            budget.parse_target(text, unit)


class ManualClock:
    """A clock that the test sets."""

    time = 0.0

    def __call__(self) -> float:
        return self.time


def test_progress_is_the_larger_share():
    clock = ManualClock()
    tracker = BudgetTracker(Budget(10.0, 100), clock, 0.0)
    clock.time, tracker.step = 5.0, 20
    assert tracker.progress == 0.5
    tracker.step = 80
    assert tracker.progress == 0.8


def test_a_step_that_would_end_too_late_is_not_started():
    clock = ManualClock()
    tracker = BudgetTracker(Budget(10.0), clock, 0.0)
    clock.time = 9.0
    tracker.count_step(1.5)
    assert not tracker.exhausted
    tracker.count_step(2.5)
    assert tracker.exhausted


def test_without_a_target_there_is_one_cycle():
    clock = ManualClock()
    tracker = BudgetTracker(Budget(10.0), clock, 0.0)
    clock.time = 7.0
    assert (tracker.cycle, tracker.cycle_progress) == (0, pytest.approx(0.7))


def test_with_a_target_each_cycle_is_twice_as_long_and_the_last_ends_with_the_budget():
    clock = ManualClock()
    tracker = BudgetTracker(Budget(126.0, None, 99.0), clock, 0.0)
    seen = []
    for second in range(63):
        clock.time = 2.0 * second
        seen.append(tracker.cycle)
    assert [seen.count(k) for k in range(6)] == [1, 2, 4, 8, 16, 32]
    clock.time = 4.0
    assert tracker.cycle_progress == pytest.approx(0.5)
    clock.time = 126.0
    assert (tracker.cycle, tracker.cycle_progress) == (5, 1.0)


def test_after_the_target_the_final_annealing_takes_a_tenth_and_progress_runs_to_1():
    clock = ManualClock()
    tracker = BudgetTracker(Budget(1000.0), clock, 0.0)
    clock.time = 100.0
    tracker.finish_early()
    assert tracker.progress == pytest.approx(0.1)
    clock.time = 105.0
    assert tracker.progress == pytest.approx(0.55)
    assert tracker.finish_progress == pytest.approx(0.5)
    clock.time = 110.0
    assert tracker.exhausted


@dataclasses.dataclass(frozen=True)
class Some:
    ratio: float = setting(0.2, "a share", 0.0, 1.0)
    kind: Literal["a", "b"] = setting("a", "a kind")
    count: int = setting(3, "a count", 1)
    on: bool = setting(False, "a switch")


def test_options_are_converted_by_type():
    built = options.build({"some": Some}, {"ratio": "0.5", "kind": "b", "count": "7", "on": "true"})
    assert built["some"] == Some(0.5, "b", 7, True)


@pytest.mark.parametrize(
    "given",
    [
        {"ratio": "2"},
        {"ratio": "x"},
        {"ratio": "nan"},
        {"kind": "c"},
        {"count": "0"},
        {"count": "1.5"},
        {"on": "7"},
    ],
)
def test_options_out_of_range_are_refused(given):
    with pytest.raises(UsageError):
        options.build({"some": Some}, given)


def test_an_unknown_option_names_the_valid_ones():
    with pytest.raises(UsageError, match=r"unknown option -O rate.*count, kind, on, ratio"):
        options.build({"some": Some}, {"rate": "1"})


@dataclasses.dataclass(frozen=True)
class Renamed:
    points: int = setting(3, "a count", 1, old_name="pool")
    kind: str = setting("new", "a kind", choices=("new",), old_values={"old": "new"})


def test_old_names_and_values_are_accepted_with_a_notice():
    with pytest.warns(InrfitWarning, match="option 'pool' is now called 'points'"):
        assert options.build({"some": Renamed}, {"pool": "7"})["some"] == Renamed(7)
    with pytest.warns(InrfitWarning, match="value of kind 'old' is now called 'new'"):
        assert options.check_option(Renamed, "kind", "old") == "new"


def test_old_values_of_settings_are_accepted_with_a_notice_and_read_from_saved_files():
    for name, values in OLD_VALUES.items():
        for old, new in values.items():
            with pytest.warns(InrfitWarning, match=f"value of {name} '{old}' is now called '{new}'"):
                assert getattr(Settings(**{name: old}), name) == new
            assert with_new_values({name: old, "seed": 1}) == {name: new, "seed": 1}
            assert with_old_values({name: new, "seed": 1}) == {name: old, "seed": 1}


def test_the_hashes_of_saved_files_have_the_old_names_of_options():
    assert with_old_names({"name": "shape", "points": 0}) == {"name": "shape", "pool": 0}
    assert set(OLD_OPTIONS.values()) <= set(options.declared(Options))


def test_an_old_name_beside_the_new_one_is_refused():
    with pytest.raises(UsageError, match="-O pool and -O points"):
        options.build({"some": Renamed}, {"pool": "7", "points": "8"})


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a=1", "a=2"]])
def test_pairs_must_be_pairs(pairs):
    with pytest.raises(UsageError):
        options.parse_pairs(pairs)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (True, json_schema.integer(0, 5)),
        (1.0, json_schema.integer(0, 5)),
        (6, json_schema.integer(0, 5)),
        (math.nan, json_schema.number()),
        (math.inf, json_schema.number()),
        ("1", json_schema.number()),
        ("x" * 11, json_schema.text(10)),
        (1, json_schema.one_of(True)),
        (1, json_schema.boolean),
        ([1, "a"], json_schema.items(json_schema.integer(0, 5), 0, 5)),
        ({"a": 1}, {"b": json_schema.integer(0, 5)}),
        ({}, {"b": json_schema.integer(0, 5)}),
        ({"a": 1, "b": 1}, {"b": json_schema.integer(0, 5)}),
        ([], {}),
    ],
)
def test_the_schema_is_exact(value, rule):
    with pytest.raises(ValueError, match="value"):
        json_schema.check(value, rule, "value")


def test_the_public_names_are_listed_before_they_are_loaded():
    script = "import inrfit, sys; assert not {*inrfit.__all__} - {*dir(inrfit)}; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
