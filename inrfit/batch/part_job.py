"""The work on one part, which is the same in every executor: fit its rows, write them, say how it went."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..artifact.data_set import part_path
from ..artifact.part_reading import Part, opened
from ..artifact.part_writing import FittedRow, summary, to_bytes
from ..errors import InrfitError, UnwritableOutput, printable
from ..io import files
from ..io.strict_json import dumps
from . import fitting, plan
from .fitting import Failure, Fitted, Fitter
from .journal import Journal
from .machine import Machine, describe, require
from .manifest import Row
from .plan import BatchPlan

KILLED = "killed"
"""Reason of the failure of a row during whose fit the process ended."""


@dataclass(frozen=True)
class Job:
    """A part to be fitted. ``killers`` are rows by their numbers that are not tried, with the reason. With ``again``
    the part is there, and the rows that failed in it are fitted again. With ``only`` one row is tried, to see whether
    the process survives it, and nothing is written. With ``require_same`` all parts must come from machines alike."""

    folder: str
    digest: str
    part: int
    killers: Mapping[int, str] = field(default_factory=dict)
    again: bool = False
    only: int | None = None
    require_same: bool = False


@dataclass(frozen=True)
class Done:
    """A part that is there: its summary, the rows that failed, and the seconds that it took."""

    job: Job
    summary: Mapping[str, Any]
    failures: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Died:
    """A job during which the process ended, in words."""

    job: Job
    how: str


Result = Done | Died


@lru_cache(maxsize=4)
def _plan_of(folder: str, digest: str) -> BatchPlan:
    """The plan in a folder, read once in a process."""
    found = plan.read(folder)
    if found.digest != digest:
        raise InrfitError(f"{printable(folder)}: the plan was replaced while it was run", "plan")
    return found


@lru_cache(maxsize=4)
def _machine(folder: str, digest: str) -> Machine:
    """This machine, for the fits of a plan."""
    return describe(_plan_of(folder, digest).settings)


def run_job(job: Job, pause: Callable[[float], None] = time.sleep) -> Done:
    """Does the work of ``job``. A part that is there already is left as it is.

    Raises ``UnwritableOutput`` if the part cannot be written, after two more tries, and ``UsageError`` for a machine
    that ``require_same`` does not admit."""
    batch, journal = _plan_of(job.folder, job.digest), Journal(job.folder)
    started, path = time.monotonic(), part_path(job.folder, job.part)
    machine = _machine(job.folder, job.digest)
    if job.require_same:
        require(job.folder, machine)
    if job.only is not None:
        row = dict(batch.rows_of(job.part))[job.only]
        list(Fitter(batch.settings, batch.rules, pause).fit([(job.only, row)]))
        return Done(job, {})
    if batch.has(job.part) and not job.again:
        return Done(job, _part(path).summary)
    journal.note("claim", part=job.part, host=socket.gethostname(), pid=os.getpid())
    fitted, machines = _kept(path) if job.again else ([], [])
    done = {each.row["number"] for each in fitted}
    rows = [(number, row) for number, row in batch.rows_of(job.part) if number not in done]
    new, failures = _fit(rows, batch, job.killers, journal, pause)
    fitted = sorted([*fitted, *new], key=lambda each: each.row["number"])
    machines = sorted({dumps(each): each for each in (*machines, machine)}.values(), key=dumps)
    _write(path, to_bytes(batch.digest, job.part, fitted, failures, machines), pause)
    seconds = time.monotonic() - started
    found = summary(fitted, failures)
    journal.note("commit", part=job.part, seconds=round(seconds, 3), **found)
    return Done(job, found, failures, seconds)


def _fit(
    rows: Sequence[tuple[int, Row]],
    batch: BatchPlan,
    killers: Mapping[int, str],
    journal: Journal,
    pause: Callable[[float], None],
) -> tuple[list[FittedRow], list[dict[str, Any]]]:
    """The fields of ``rows``, and the rows that failed."""
    named, fitted, failures = dict(rows), [], []

    def fail(number: int, failure: Failure) -> None:
        row = named[number]
        place = {"id": row.id, "number": number, "source": os.path.basename(row.source), **row.carried()}
        failures.append({**place, **failure.json()})
        journal.note("failure", id=row.id, **failure.json())

    for number in sorted(killers.keys() & named.keys()):
        fail(number, Failure(1, KILLED, f"the process that fitted it ended: {killers[number]}"))
    rest = [(number, row) for number, row in rows if number not in killers]
    for number, result in Fitter(batch.settings, batch.rules, pause).fit(rest):
        if isinstance(result, Fitted):
            row = named[number]
            fitted.append(FittedRow(result.artifact, fitting.record(number, row, result)))
            journal.note("field", id=row.id, seconds=round(result.seconds, 3))
        else:
            fail(number, result)
    return fitted, sorted(failures, key=lambda each: int(each["number"]))


def _kept(path: str) -> tuple[list[FittedRow], list[Machine]]:
    """The fields of a part that is there, and the machines that made them."""
    with opened(path) as (read, size):
        part = Part(read, size)
        keys = ("id", "number", "seed", "steps", "code", "label", "split", "columns")
        rows = [row for stack in part.stacks for row in stack.rows]
        kept = [FittedRow(part.artifact(row["id"]), {key: row[key] for key in keys if key in row}) for row in rows]
        return kept, part.summary.get("machines", []) if kept else []


def _part(path: str) -> Part:
    with opened(path) as (read, size):
        return Part(read, size)


def _write(path: str, data: bytes, pause: Callable[[float], None]) -> None:
    """Writes a part. It may replace one that is there, which another process has written meanwhile: equal rows give
    equal bytes."""
    for attempt in range(fitting.RETRIES + 1):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            files.write(path, data, force=True)
        except (OSError, UnwritableOutput) as error:
            if attempt == fitting.RETRIES:
                if isinstance(error, OSError):
                    raise files.unwritable(error, printable(path)) from error
                raise
            pause(fitting.FIRST_PAUSE * 2**attempt)
        else:
            return
