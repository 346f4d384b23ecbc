"""Functions run in another process, which may crash."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from inrfit.config.plan import plan
from inrfit.config.settings import Settings
from inrfit.errors import InrfitError, InrfitWarning, UnreadableFile, warn
from inrfit.io import worker_process as module
from inrfit.io.worker_process import Worker, WorkerDied


def test_calls_share_one_process_which_is_not_this_one():
    with Worker() as worker:
        first = worker.call(os.getpid)
        assert first == worker.call(os.getpid) != os.getpid()


def test_a_process_that_ends_costs_one_call():
    with Worker() as worker:
        with pytest.raises(WorkerDied, match="SIGABRT"):
            worker.call(os.abort)
        with pytest.raises(WorkerDied, match="exit code 3"):
            worker.call(os._exit, 3)
        assert worker.call(max, 1, 2) == 2


def test_errors_and_warnings_arrive():
    with Worker() as worker:
        with pytest.raises(UnreadableFile) as caught:
            worker.call(plan, b"\x89PNG\r\n\x1a\nbroken", "a.png", Settings(), 0.0)
        assert caught.value.reason
        assert str(caught.value)
        with pytest.warns(InrfitWarning, match="something"):
            worker.call(warn, "something")


def test_what_is_printed_there_is_no_answer():
    with Worker() as worker:
        assert worker.call(os.write, 1, b"a library prints") == 16
        assert worker.call(print, "more") is None


def test_results_of_any_size_arrive():
    with Worker() as worker:
        assert worker.call(np.zeros, 3_000_000).shape == (3_000_000,)


def no_answer():
    """A result that does not fit into memory."""

    class Large:
        def __reduce__(self):
            raise MemoryError

    return Large()


def test_no_memory_is_no_crash():
    with Worker() as worker:
        with pytest.raises(WorkerDied) as caught:
            worker.call(no_answer)
        failure = caught.value.failure(UnreadableFile, "it read the file")
        assert (failure.exit_code, str(failure)) == (5, "out of memory while it read the file (exit code 5)")


class Odd(Exception):
    """An exception that cannot be made again from its arguments."""

    def __init__(self, first, second):
        super().__init__(first)


def odd():
    raise Odd(1, 2)


def test_an_exception_that_cannot_travel_is_reported_all_the_same():
    with Worker() as worker:
        with pytest.raises(InrfitError, match="a bug in inrfit"):
            worker.call(odd)
        assert worker.call(max, 1, 2) == 2


def read_stdin():
    return os.read(0, 1)


def test_what_a_library_reads_is_not_the_next_call():
    with Worker() as worker:
        assert worker.call(read_stdin) == b""
        assert worker.call(max, 1, 2) == 2


def test_modules_in_the_current_folder_are_not_run(tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with Worker() as worker:
        assert worker.call(max, 1, 2) == 2


def test_where_no_interpreter_is_known_calls_are_made_here(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with Worker() as worker:
        assert worker.call(os.getpid) == os.getpid()


def test_a_process_does_not_outlive_its_parent():
    script = (
        "import os, time; from inrfit.io.worker_process import Worker; w = Worker(); "
        "print(w.call(os.getpid), flush=True); w.call(time.sleep, 60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 30
    while time.monotonic() < until and os.path.exists(f"/proc/{child}"):
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{child}")


def test_an_interrupted_call_does_not_answer_the_next_one(monkeypatch):
    def interrupted(stream):
        raise KeyboardInterrupt

    with Worker() as worker:
        with monkeypatch.context() as patched:
            patched.setattr(module.pickle, "load", interrupted)
            with pytest.raises(KeyboardInterrupt):
                worker.call(time.time)
        assert worker.call(max, 1, 2) == 2


def some(items, count):
    """The first ``count`` items, and this process."""
    return [next(items) for _ in range(count)], os.getpid()


def collected(items, more):
    return [*items, more]


def refused(items):
    next(items)
    raise UnreadableFile("the second is missing", "truncated")


def died(items):
    next(items)
    os.abort()


def test_items_are_made_when_they_are_asked_for():
    made = []

    def items():
        for number in range(5):
            made.append(number)
            yield np.full(2, number)

    with Worker() as worker:
        found, process = worker.call_with_items(some, items(), 3)
        assert [array.tolist() for array in found] == [[0, 0], [1, 1], [2, 2]]
        assert made == [0, 1, 2]
        assert process == worker.call(os.getpid) != os.getpid()
        assert worker.call_with_items(collected, iter("ab"), "c") == ["a", "b", "c"]
        assert worker.call_with_items(collected, iter(()), "c") == ["c"]


def test_what_goes_wrong_between_items_costs_one_call():
    def spoiled():
        yield 1
        raise KeyError("two")

    with Worker() as worker:
        for function, items, error in (
            (refused, iter(range(9)), UnreadableFile),
            (collected, spoiled(), KeyError),
            (died, iter(range(9)), WorkerDied),
        ):
            with pytest.raises(error):
                worker.call_with_items(function, items, *([0] if function is collected else []))
            assert worker.call(max, 1, 2) == 2


def test_items_are_used_here_where_no_interpreter_is_known(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with Worker() as worker:
        assert worker.call_with_items(some, iter("abc"), 2) == (["a", "b"], os.getpid())
