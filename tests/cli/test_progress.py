"""Long work is announced, and its progress told, also where there is no terminal."""

from __future__ import annotations

import pytest

from inrfit.cli.console import Console, FitProgress, LongWork


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_the_first_line_comes_after_five_seconds_and_the_next_ones_every_ten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock, told = Clock(), []
    progress = FitProgress(Console(), "a", clock)
    for second in range(1, 31):
        clock.time = 100.0 + second
        progress.update(second / 40, "decoding")
        if line := capsys.readouterr().err:
            told.append((second, line))
    assert [second for second, _ in told] == [5, 15, 25]
    assert told[0][1] == "a: decoding 12%\n"
    assert told[1][1] == "a: decoding 38%, about 25 s left\n"


def test_quiet_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress, announcement = FitProgress(Console(-1), "a", clock), LongWork(Console(-1), "a", clock)
    clock.time += 100
    progress.update(0.1, "decoding")
    announcement.expect(1000)
    assert not capsys.readouterr().err


def test_long_work_is_announced_once_by_its_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    announcement = LongWork(Console(), "a", clock)
    announcement.expect(9.9)
    assert not capsys.readouterr().err
    announcement.expect(1234.0)
    clock.time += 5
    announcement.update(0.01)
    assert capsys.readouterr().err == "inrfit: a: decoding takes about 1,234 s\n"


def test_work_that_begins_slowly_is_announced_by_its_speed(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    announcement = LongWork(Console(), "a", clock)
    clock.time += 0.5
    announcement.update(0.01)
    clock.time += 1.5
    announcement.update(0.1)
    announcement.update(0.1)
    assert capsys.readouterr().err == "inrfit: a: decoding takes about 17 s\n"  # 15 s from now on


def test_what_comes_before_work_says_nothing_about_its_speed(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress, announcement = FitProgress(Console(), "a", clock), LongWork(Console(), "a", clock)
    clock.time += 1000  # steps of a fit, or a library that starts
    for step in range(1, 11):
        progress.update(step / 100, "checking")
        announcement.update(step / 100)
        clock.time += 0.1
    assert capsys.readouterr().err == "a: checking 1%\n"
    clock.time += 10
    progress.update(0.25, "checking")
    left = 11 * 0.75 / 0.24
    assert capsys.readouterr().err == f"a: checking 25%, about {left:.0f} s left\n"
    progress.update(0.3, "decoding")
    clock.time += 10
    progress.update(0.8, "decoding")
    assert capsys.readouterr().err == "a: decoding 80%, about 4 s left\n"
