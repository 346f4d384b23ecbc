"""The progress of a batch: a bar on a terminal, otherwise a line now and then, or a JSON object for each part."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import printable
from .console import FIRST_LINE, LINE_INTERVAL, Console, format_number, interactive, without_color

if TYPE_CHECKING:
    from ..batch.part_job import Done
    from ..batch.plan import BatchPlan
    from ..batch.run import Speed, Totals

SHOWN_FAILURES = 10
"""Failures that are printed one by one; all are in the data set."""


class BatchProgress:
    """Shows how far a batch is."""

    def __init__(self, console: Console, plan: BatchPlan, now: Callable[[], float] = time.monotonic) -> None:
        self.console, self.plan, self.now = console, plan, now
        self.last_line = now() - LINE_INTERVAL + FIRST_LINE
        self.failures = 0
        self.bar: Any = None
        if console.level >= 0 and interactive():
            self._open()

    def _open(self) -> None:
        from rich.console import Console as Rich
        from rich.progress import BarColumn, Progress, TextColumn

        text = (TextColumn("{task.description}", markup=False), BarColumn())
        status = TextColumn("{task.fields[status]}", markup=False)
        self.bar = Progress(*text, status, console=Rich(stderr=True, no_color=without_color()), transient=True)
        self.task = self.bar.add_task(printable(self.plan.folder), total=self.plan.row_count, status="starting")
        self.bar.start()

    def update(self, totals: Totals, speed: Speed, done: Done) -> None:
        """Called when a part is there."""
        for failure in done.failures:
            self.failures += 1
            if self.failures <= SHOWN_FAILURES:
                self.console.log(
                    f"inrfit: error: {failure['id']} ({failure['source']}): {failure['message']}", level=-1
                )
            if self.failures == SHOWN_FAILURES + 1:
                self.console.log("inrfit: more rows have failed (inrfit batch status counts them)", level=-1)
        status = f"{words(totals)}; {speed.rows_per_second:.3g} rows/s, about {duration(speed.seconds_left)} left"
        if self.bar is not None:
            self.bar.update(self.task, completed=totals.done, total=totals.rows, status=status)
        elif self.now() - self.last_line >= LINE_INTERVAL:
            self.last_line = self.now()
            self.console.log(f"{self.plan.folder}: {status}")
        self.console.print_json(
            {
                "ok": True,
                "event": "part",
                "part": done.job.part,
                "seconds": round(done.seconds, 3),
                **record(totals),
                "rows_per_second": round(speed.rows_per_second, 4),
                "seconds_left": round(speed.seconds_left, 1),
                "failures": list(done.failures),
            }
        )

    def report(self, totals: Totals) -> None:
        """The last line."""
        self.console.log(f"inrfit: {self.plan.folder}: {words(totals)}")
        ok = not totals.failed and totals.done == totals.rows
        self.console.print_json({"ok": ok, "event": "end", "folder": self.plan.folder, **record(totals)})

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def words(totals: Totals) -> str:
    """``120 of 500 rows done, 2 failed, mean 36.21 dB``."""
    failed = f", {totals.failed:,} failed" if totals.failed else ""
    mean = totals.mean_quality
    quality = "" if mean is None else f", mean {format_number(mean)} {totals.unit}".rstrip()
    return f"{totals.done:,} of {totals.rows:,} rows done{failed}{quality}"


def record(totals: Totals) -> dict[str, Any]:
    """The same as JSON values."""
    mean = totals.mean_quality
    return {
        "rows": totals.rows,
        "done": totals.done,
        "fields": totals.fields,
        "failed": totals.failed,
        "parts": totals.parts,
        "parts_done": totals.parts_done,
        "mean_quality": None if mean is None else round(mean, 4),
        "unit": totals.unit,
    }


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
