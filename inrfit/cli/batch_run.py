"""Runs the parts of a plan, and reports how it goes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from .batch_progress import BatchProgress
from .console import Console

if TYPE_CHECKING:
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


def execute(
    planned: BatchPlan,
    console: Console,
    workers: int | None,
    shard: Shard,
    max_failures: float | None = None,
    again: Sequence[int] = (),
) -> int:
    """Runs a plan, reports its progress, and returns the exit code."""
    from ..batch import index
    from ..batch.local import LocalExecutor
    from ..batch.run import run as run_plan
    from ..interrupts import SIGNALS, stop_on_signals

    progress = BatchProgress(console, planned)
    with stop_on_signals(SIGNALS) as stop:
        executor = LocalExecutor(workers or _workers(planned), stop)
        try:
            totals = run_plan(planned, executor, shard, max_failures, progress.update, again)
        except KeyboardInterrupt:
            executor.close()
            progress.close()
            console.log(f"inrfit: {planned.folder}: interrupted; the same command goes on", level=-1)
            console.print_json({"ok": False, "event": "interrupted", "folder": planned.folder})
            return stop.exit_code
        finally:
            executor.close()
            progress.close()
    if index.complete(planned):
        index.write(planned)
    progress.report(totals)
    return 7 if totals.failed else 0


def _workers(planned: BatchPlan) -> int:
    """The number of processes that the CPUs of this process are enough for."""
    return max(1, len(os.sched_getaffinity(0)) // (planned.settings.threads or 1))
