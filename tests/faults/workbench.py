"""What the loops of this folder share: forked children with caps on time and memory, and a report.

A loop is a script (``python tests/faults/kills.py --count 200 --seed 0``). It imports torch once and runs every case
in a fork of itself, which costs milliseconds. test_loops.py runs a short share of each. A case is named by its number
and the seed, so that ``--only NUMBER`` runs a find again.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # a process with threads cannot be forked; read when NumPy is imported

EXIT_CODES = {0, 2, 3, 4, 5, 6}
"""Exit codes that a command may end with, whatever its input is."""

MEMORY_CAP = 512 << 20
"""Bytes above those of the idle process that one case may take."""

SILENT_SECONDS = 5.0
"""Longest time without a line on stderr."""

TIME_CAP = 30.0
"""Seconds after which a case is ended."""


@dataclass(frozen=True)
class Verdict:
    """How one command line ended. ``code`` is negative if a signal ended it; ``peak`` are bytes above the idle
    process, as far as they are known, and ``cap`` are those that it may take."""

    code: int
    seconds: float
    out: str = ""
    err: str = ""
    peak: int = 0
    cap: int = MEMORY_CAP

    def problem(self, codes: Iterable[int] = EXIT_CODES, silent: bool = False) -> str | None:
        """What is wrong with it: a crash, a traceback, an unexpected code, several error lines, memory; if ``silent``,
        also SILENT_SECONDS without a line of progress."""
        lines = [line for line in self.err.splitlines() if line.startswith("inrfit: error:")]
        if self.code == -signal.SIGKILL and self.seconds >= TIME_CAP:
            return f"no end after {self.seconds:.0f} s"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        if self.code not in codes or "Traceback" in self.err:
            return f"exit code {self.code}: {self.err.strip()[-600:]}"
        if self.code and (len(lines) != 1 or not all(line.startswith("inrfit: ") for line in self.err.splitlines())):
            return f"exit code {self.code} with {len(lines)} error lines: {self.err.strip()[-600:]}"
        if not self.err.replace("\n", "").isprintable():
            return f"control characters on stderr: {self.err[-600:]!r}"
        if self.peak > self.cap:
            return f"{self.peak >> 20} MiB, more than {self.cap >> 20}"
        if silent and self.seconds > SILENT_SECONDS and "%" not in self.err:
            return f"{self.seconds:.1f} s without a line of progress"
        return None


def command(words: Iterable[Any]) -> int:
    """Runs one command line of inrfit in this process."""
    from inrfit.__main__ import run

    return run([os.fsdecode(word) if isinstance(word, bytes) else str(word) for word in words])


def forked(work: Callable[[], int], delay: float | None = None) -> Verdict:
    """Runs ``work`` in a fork of this process, whose exit code is what it returns. ``delay``: after how many seconds it
    is killed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            _redirect(out.fileno(), err.fileno())
            limit_memory()
            _leave(work)
        handle = os.pidfd_open(child)
        ended, _, _ = select.select([handle], [], [], TIME_CAP if delay is None else delay)
        if not ended:
            os.kill(child, signal.SIGKILL)
        os.close(handle)
        _, status = os.waitpid(child, 0)
        seconds = time.monotonic() - begun
        return Verdict(os.waitstatus_to_exitcode(status), seconds, _text(out), _text(err))


def _redirect(out: int, err: int) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)


def _leave(work: Callable[[], int]) -> None:
    """Ends the forked process as the interpreter would end it."""
    code = 1
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="backslashreplace"))


def status(key: str) -> int:
    """A size in /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


def limit_memory() -> None:
    """Addresses for four times the cap: what asks for more at once gets a ``MemoryError``, like on a full machine."""
    limit = status("VmSize") + 4 * MEMORY_CAP
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def in_turn(cases: Iterable[Any], work: Callable[[Any], Verdict]) -> Iterator[tuple[Any, Verdict]]:
    """Every case with its verdict. Many cases share one forked process; after one that kills it, or takes too long, the
    rest go on in another."""
    waiting = list(cases)
    while waiting:
        readable, writable = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.close(readable)
            limit_memory()
            _leave(lambda: _work_through(waiting, work, writable))  # noqa: B023 - called in this iteration
        os.close(writable)
        done, begun = 0, time.monotonic()
        with os.fdopen(readable, "rb", buffering=0) as pipe:
            for line in _lines(pipe):
                yield waiting[done], Verdict(**json.loads(line))
                done, begun = done + 1, time.monotonic()
        if done < len(waiting):
            os.kill(child, signal.SIGKILL) if time.monotonic() - begun >= TIME_CAP else None
        _, state = os.waitpid(child, 0)
        if done < len(waiting):
            yield waiting[done], Verdict(os.waitstatus_to_exitcode(state) or -9, time.monotonic() - begun)
        waiting = waiting[done + 1 :]


def _work_through(cases: list[Any], work: Callable[[Any], Verdict], pipe: int) -> int:
    for case in cases:
        os.write(pipe, json.dumps(vars(work(case))).encode() + b"\n")
    return 0


def _lines(pipe: Any) -> Iterator[bytes]:
    """The lines of a pipe, until it ends or brings nothing for TIME_CAP seconds."""
    rest = b""
    while select.select([pipe], [], [], TIME_CAP)[0] and (piece := pipe.read(1 << 16)):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def in_process(words: Iterable[Any]) -> Verdict:
    """One command line in this process."""
    return measured(lambda: command(words))


def measured(work: Callable[[], int]) -> Verdict:
    """What ``work`` returns, as an exit code, with its output, seconds and peak memory."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = [os.dup(1), os.dup(2)]
        _redirect(out.fileno(), err.fileno())
        idle = _reset_peak()
        begun = time.monotonic()
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
            code = 1
        seconds = time.monotonic() - begun
        sys.stdout.flush()
        sys.stderr.flush()
        peak = status("VmHWM") - idle
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        return Verdict(code, seconds, _text(out)[-20_000:], _text(err)[-20_000:], peak)


def _reset_peak() -> int:
    """Sets the peak of this process's memory to what it takes now, and returns that."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier cases left in the heap would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


@dataclass
class Report:
    """What a loop has tried and found. ``figures`` are shown and asserted by the tests."""

    name: str
    seed: int
    figures: Counter[str] = field(default_factory=Counter)
    finds: list[str] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0
    fullest: float = 0.0
    """Largest share of the memory that a case may take."""

    def add(self, number: int, what: str, verdict: Verdict, problem: str | None) -> None:
        """Counts one case."""
        self.figures["cases"] += 1
        self.figures[f"exit {verdict.code}"] += 1
        self.slowest, self.largest = max(self.slowest, verdict.seconds), max(self.largest, verdict.peak)
        self.fullest = max(self.fullest, verdict.peak / verdict.cap)
        if self.figures["cases"] % 20 == 0:
            print(f"{self.figures['cases']} cases, {len(self.finds)} finds", file=sys.stderr, flush=True)
        if problem is not None:
            self.finds.append(f"--seed {self.seed} --only {number} ({what}): {problem}")
            print(f"FOUND {self.finds[-1]}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Prints the report as JSON and ends the loop: 1 if anything was found."""
        summary = {"loop": self.name, "seed": self.seed, **dict(sorted(self.figures.items()))}
        summary |= {"slowest_seconds": round(self.slowest, 2), "peak_mib": self.largest >> 20}
        summary |= {"largest_share_of_cap": round(self.fullest, 2), "finds": self.finds}
        print(json.dumps(summary))
        sys.exit(1 if self.finds else 0)


def parser(description: str | None, count: int) -> argparse.ArgumentParser:
    """The options of a loop: how many cases, the seed, and the one case to run again."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--count", type=int, default=count, help="Number of cases.")
    made.add_argument("--seed", type=int, default=0, help="Every seed gives other cases.")
    made.add_argument("--only", type=int, help="Run only the case of this number.")
    return made


def chance(seed: int, number: int) -> random.Random:
    """The random numbers of one case."""
    return random.Random(f"{seed} {number}")


def warm_up() -> None:
    """Imports everything that the cases use, so that they do not import it in every fork."""
    import torch

    torch.set_num_threads(1)
    for module in ("matplotlib.figure", "soundfile", "trimesh", "igl", "skimage.measure", "tifffile"):
        __import__(module)
