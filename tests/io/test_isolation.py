"""Calls in a process of their own, which may crash, never end, or take too much memory."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from inrfit.errors import NotEnoughMemory, UnreadableFile, UsageError
from inrfit.io import isolation
from inrfit.io.isolation import isolated


def test_results_and_errors_arrive_from_another_process():
    assert isolated(os.getpid) != os.getpid()
    data = bytes(range(256)) * 1000
    assert isolated(bytes.count, data, b"\x07") == 1000
    found = isolated(np.arange, 100_000)
    np.testing.assert_array_equal(found, np.arange(100_000))
    found[0] = 5  # it can be written
    with pytest.raises(UsageError, match="no such array") as caught:
        isolated(_misused)
    assert caught.value.reason == "option"
    with pytest.raises(ZeroDivisionError):
        isolated(divmod, 1, 0)


def _misused() -> None:
    raise UsageError("no such array", "option")


def test_a_crash_is_damage_of_the_file():
    with pytest.raises(UnreadableFile, match=r"crashed \(SIGABRT\)") as caught:
        isolated(os.abort)
    assert caught.value.reason == "crash"
    with pytest.raises(UnreadableFile, match=r"crashed \(exit code 9\)"):
        isolated(os._exit, 9)
    with pytest.raises(NotEnoughMemory):
        isolated(_killed)


def _killed() -> None:
    os.kill(os.getpid(), 9)


def test_what_never_ends_is_ended():
    with pytest.raises(UnreadableFile, match="does not come to an end"):
        isolated(sum, _Endless())


class _Endless:
    """An iterable that never ends."""

    def __iter__(self):
        while True:
            yield 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="addresses are limited on Linux only")
def test_memory_is_limited_by_the_size_of_the_file():
    with pytest.raises(UnreadableFile, match="more memory than its size explains"):
        isolated(np.ones, 400_000_000)
    assert isolated(_allowed, 1 << 30) == 1 << 30


def _allowed(size: int) -> int:
    isolation.allow(size)
    return len(bytes(size))


def test_without_an_interpreter_the_call_is_made_here(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    assert isolated(os.getpid) == os.getpid()
