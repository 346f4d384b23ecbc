"""Runs the parts of a plan, and reports how it goes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UsageError, warn
from .batch_progress import BatchProgress
from .console import Console

if TYPE_CHECKING:
    from ..batch.executor import Executor
    from ..batch.plan import BatchPlan
    from ..batch.run import Shard


def failures_of(text: str | None, planned: BatchPlan) -> float | None:
    """The value of --max-failures as a number of rows. Raises ``UsageError``."""
    if text is None:
        return None
    percent = text.endswith("%")
    if not re.fullmatch(r"\d{1,12}|\d{1,3}(\.\d{1,6})?%", text, re.ASCII) or (percent and float(text[:-1]) > 100):
        raise UsageError(f"--max-failures {text}: must be a number of rows, or a percentage such as 1%", "option")
    value = float(text.removesuffix("%"))
    return planned.row_count * value / 100 if percent else value


@dataclass(frozen=True)
class Place:
    """Where a plan is run: number of processes, address of a cluster, and whether all machines must be alike."""

    workers: int | None
    cluster: str | None
    require_same: bool


def place(workers: int | None, cluster: str | None, require_same: bool) -> Place:
    """The values of the options. Raises ``UsageError``, also if a package is missing."""
    if cluster is not None:
        from ..batch.cluster import parse_address

        parse_address(cluster)
    return Place(workers, cluster, require_same)


def execute(
    planned: BatchPlan,
    console: Console,
    where: Place,
    shard: Shard,
    max_failures: float | None = None,
    again: Sequence[int] = (),
) -> int:
    """Runs a plan, reports its progress, and returns the exit code."""
    from ..batch import index
    from ..batch.run import run as run_plan
    from ..interrupts import SIGNALS, stop_on_signals

    if where.require_same:
        _refuse_unlike_parts(planned)
    progress = BatchProgress(console, planned)
    with stop_on_signals(SIGNALS) as stop, ExitStack() as opened:
        opened.callback(progress.close)
        try:
            executor = _executor(planned, where, console, stop, opened)
            totals = run_plan(planned, executor, shard, max_failures, progress.update, again, where.require_same)
        except KeyboardInterrupt:
            opened.close()
            console.log(f"inrfit: {planned.folder}: interrupted; the same command goes on", level=-1)
            console.print_json({"ok": False, "event": "interrupted", "folder": planned.folder})
            return stop.exit_code
    if index.complete(planned):
        index.write(planned)
    progress.report(totals)
    return 7 if totals.failed or (totals.done < totals.rows and not again) else 0


def _refuse_unlike_parts(planned: BatchPlan) -> None:
    """Raises ``UsageError`` if the parts that are there were made by unlike machines."""
    from ..batch.machine import refuse_unlike
    from ..batch.run import state

    refuse_unlike(planned.folder, [json.loads(text) for text in state(planned).machines])


def _executor(
    planned: BatchPlan, where: Place, console: Console, stop: Callable[[], bool], opened: ExitStack
) -> Executor:
    """An executor, which ``opened`` closes. Raises ``UsageError`` for a cluster that cannot be reached, or whose
    machines are unlike if they must not be; otherwise a warning tells what differs."""
    workers = where.workers or _workers(planned)
    if where.cluster is None:
        from ..batch.local import LocalExecutor

        local = LocalExecutor(workers, stop)
        opened.callback(local.close)
        return local
    from ..batch.cluster import ClusterExecutor
    from ..batch.machine import differences

    cluster = ClusterExecutor(planned, where.cluster, workers if where.cluster == "local" else where.workers, stop)
    opened.callback(cluster.close)
    nodes = cluster.connect()
    found = f"{len(nodes):,} machine{'s' * (len(nodes) != 1)}, {cluster.slots:,} parts at once"
    console.log(f"inrfit: {planned.folder}: Ray, {found}")
    if unlike := differences([(node.host, node.machine) for node in nodes if node.machine is not None]):
        text = f"the machines of the cluster differ in {'; '.join(unlike)}"
        if where.require_same:
            raise UsageError(f"--require-same, but {text}", "machines")
        warn(f"{text}: their weights differ in the last bits (--require-same refuses that)")
    return cluster


def _workers(planned: BatchPlan) -> int:
    """The number of processes that the CPUs of this process are enough for."""
    return max(1, len(os.sched_getaffinity(0)) // (planned.settings.threads or 1))
