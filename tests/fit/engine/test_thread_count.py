"""Thread counts are tried, the faster kept, and all put back."""

from __future__ import annotations

import pytest
import torch

from inrfit.fit.engine.thread_count import ThreadCountTuner


@pytest.fixture
def eight():
    """A process with eight threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def after(threads: ThreadCountTuner, seconds, steps=200):
    """The thread count in use after ``steps`` that take ``seconds[count]`` each."""
    for _ in range(steps):
        threads.before_step()
        threads.after_step(seconds[torch.get_num_threads()])
    threads.before_step()
    return threads.counts[threads.level]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({8: 0.1, 4: 0.2, 2: 0.4, 1: 0.8}, 8),
        ({8: 0.9, 4: 0.5, 2: 0.3, 1: 0.2}, 1),
        ({8: 0.9, 4: 0.3, 2: 0.4, 1: 0.8}, 4),
        ({8: 0.1, 4: 0.095, 2: 0.4, 1: 0.8}, 8),
    ],
)
@pytest.mark.usefixtures("eight")
def test_the_fastest_count_is_found(seconds, expected):
    threads = ThreadCountTuner()
    assert after(threads, seconds) == expected
    threads.restore()
    assert torch.get_num_threads() == 8


@pytest.mark.usefixtures("eight")
def test_all_threads_come_back_when_the_machine_is_quiet_again():
    threads = ThreadCountTuner()
    assert after(threads, {8: 0.9, 4: 0.5, 2: 0.3, 1: 0.2}) == 1
    assert after(threads, {8: 0.1, 4: 0.2, 2: 0.4, 1: 0.8}) == 8


@pytest.mark.usefixtures("eight")
def test_trials_are_few():
    threads = ThreadCountTuner()
    others = 0
    for _ in range(1000):
        threads.before_step()
        others += torch.get_num_threads() != 8
        threads.after_step(0.02 if torch.get_num_threads() == 8 else 0.04)
    assert others <= 25


def test_one_thread_is_left_alone():
    threads = ThreadCountTuner()
    assert after(threads, {1: 0.1}) == 1
