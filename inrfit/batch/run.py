"""Runs a plan: fits the parts that are missing, and decides what becomes of those whose process ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..artifact import data_set
from ..artifact.part_reading import read_summary
from ..errors import InrfitError, UsageError
from ..io.strict_json import dumps
from .executor import Executor
from .part_job import Died, Done, Job
from .plan import BatchPlan


@dataclass
class Totals:
    """The state of a batch, or of a shard of it. Fields are counted when their part is there."""

    rows: int
    parts: int
    parts_done: int = 0
    fields: int = 0
    failed: int = 0
    without_field: int = 0
    measured: int = 0
    quality_sum: float = 0.0
    unit: str = ""
    codes: dict[int, int] = field(default_factory=dict)
    machines: Counter[str] = field(default_factory=Counter)
    """Number of parts by the machine that made them, as JSON."""

    def add(self, summary: Mapping[str, Any], rows: int) -> None:
        """Counts a part of ``rows`` rows."""
        self.parts_done += 1
        self.fields += summary["fields"]
        self.failed += summary["failed"]
        self.without_field += rows - summary["fields"]
        self.measured += summary["measured"]
        self.quality_sum += (summary["quality"] or 0.0) * summary["measured"]
        self.unit = self.unit or summary["unit"]
        self.machines.update(map(dumps, summary.get("machines", ())))

    @property
    def done(self) -> int:
        """Rows that are finished, with a field or without."""
        return self.fields + self.without_field

    @property
    def mean_quality(self) -> float | None:
        """The mean of the main measure of all fields whose quality is finite."""
        return self.quality_sum / self.measured if self.measured else None


@dataclass(frozen=True)
class Shard:
    """One of ``count`` interleaved sets of parts, from 0 on."""

    index: int = 0
    count: int = 1

    def parts(self, plan: BatchPlan) -> Iterable[int]:
        """The numbers of its parts."""
        return range(self.index, plan.part_count, self.count)


def parse_shard(text: str) -> Shard:
    """A shard from text such as "3/8". Raises ``UsageError``."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(count)):
        raise UsageError(f"--shard {text}: must be INDEX/COUNT, such as 0/8", "option")
    if int(index) >= int(count):
        raise UsageError(f"--shard {text}: the first is 0/{count}, the last one {int(count) - 1}/{count}", "option")
    return Shard(int(index), int(count))


class TooManyFailures(InrfitError):
    """More rows failed than ``--max-failures`` admits."""

    exit_code = 7


def state(plan: BatchPlan, shard: Shard = Shard()) -> Totals:
    """How far the plan is, by the parts that are there."""
    parts = shard.parts(plan)
    totals = Totals(sum(map(plan.rows_in, parts)), len(list(parts)))
    present = data_set.present_parts(plan.folder)
    for part in parts:
        if part in present:
            totals.add(read_summary(present[part].path), plan.rows_in(part))
    return totals


@dataclass(frozen=True)
class Speed:
    """Rows a second since the run began, and the seconds that are left at this speed."""

    rows_per_second: float
    seconds_left: float


OnResult = Callable[[Totals, Speed, Done], None]


def run(
    plan: BatchPlan,
    executor: Executor,
    shard: Shard = Shard(),
    max_failures: float | None = None,
    on_result: OnResult = lambda totals, speed, done: None,
    again: Iterable[int] = (),
    require_same: bool = False,
) -> Totals:
    """Fits the missing parts of ``shard``, or the failed rows of the parts ``again``, and returns the state in the end.
    With ``require_same`` only machines of one kind make parts.

    ``on_result`` is called when a part is there. Raises ``TooManyFailures`` when more than ``max_failures`` rows have
    failed, and what ``Executor.map`` raises. Parts that are there stay in any case."""
    data_set.remove_abandoned(plan.folder)
    totals, repeated = state(plan, shard), list(again)
    jobs = [Job(plan.folder, plan.digest, part, again=True, require_same=require_same) for part in repeated]
    for part in repeated:
        _take_out(totals, plan, part)
    if not repeated:
        present = data_set.present_parts(plan.folder)
        missing = [part for part in shard.parts(plan) if part not in present]
        jobs = [Job(plan.folder, plan.digest, part, require_same=require_same) for part in missing]
    started, before = time.monotonic(), totals.done
    for done in _results(plan, executor, jobs):
        totals.add(done.summary, plan.rows_in(done.job.part))
        rate = (totals.done - before) / max(time.monotonic() - started, 1e-9)
        on_result(totals, Speed(rate, (totals.rows - totals.done) / max(rate, 1e-9)), done)
        if max_failures is not None and totals.failed > max_failures:
            raise TooManyFailures(
                f"{totals.failed:,} rows have failed, more than --max-failures admits ({max_failures:g}); "
                "inrfit batch status says why",
                "failures",
            )
    return totals


def _take_out(totals: Totals, plan: BatchPlan, part: int) -> None:
    """Takes a part that is fitted again out of the ``totals``."""
    summary = read_summary(data_set.part_path(plan.folder, part))
    totals.parts_done -= 1
    totals.fields -= summary["fields"]
    totals.failed -= summary["failed"]
    totals.without_field -= plan.rows_in(part) - summary["fields"]
    totals.measured -= summary["measured"]
    totals.quality_sum -= (summary["quality"] or 0.0) * summary["measured"]


def _results(plan: BatchPlan, executor: Executor, jobs: Iterable[Job]) -> Iterable[Done]:
    """The results of the jobs. One whose process ends is run again. If that ends a process, too, its rows are tried one
    by one, and those that end their process are recorded as failed."""
    died: list[Died] = []
    for attempt in range(2):
        died = []
        for result in executor.map(jobs):
            if isinstance(result, Done):
                yield result
            else:
                died.append(result)
        if not died:
            return
        jobs = [each.job for each in died] if attempt == 0 else []
    tries = [replace(each.job, only=number) for each in died for number, _ in plan.rows_of(each.job.part)]
    killers: dict[int, dict[int, str]] = {}
    for result in executor.map(tries):
        if isinstance(result, Died) and result.job.only is not None:
            killers.setdefault(result.job.part, {})[result.job.only] = result.how
    for result in executor.map([replace(each.job, killers=killers.get(each.job.part, {})) for each in died]):
        if isinstance(result, Died):
            everything = {number: result.how for number, _ in plan.rows_of(result.job.part)}
            yield from (r for r in executor.map([replace(result.job, killers=everything)]) if isinstance(r, Done))
        else:
            yield result
