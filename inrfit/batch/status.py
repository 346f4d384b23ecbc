"""What is going on in a data set: parts that are there, reasons of failures, and workers at work."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..artifact import data_set
from ..artifact.part_reading import Part, opened, read_summary
from . import journal
from .plan import BatchPlan

RECENT_SECONDS = 600.0
"""Age in seconds from which a worker of another machine that has written nothing is taken for ended."""


@dataclass(frozen=True)
class Activity:
    """What the journals say: parts under way, rows finished in them, and rows a second of all workers at work."""

    parts: tuple[int, ...]
    rows: int
    rows_per_second: float


def failures(plan: BatchPlan) -> Iterator[dict[str, Any]]:
    """The rows that failed, in the order of the plan."""
    for number, entry in data_set.present_parts(plan.folder).items():
        if read_summary(entry.path)["failed"]:
            with opened(entry.path) as (read, size):
                for row in Part(read, size).failures:
                    yield {**row, "part": number}


def reasons(failed: list[dict[str, Any]]) -> Counter[tuple[int, str]]:
    """How often each exit code and reason occurs."""
    return Counter((row["code"], row["reason"]) for row in failed)


def parts_to_retry(plan: BatchPlan) -> list[int]:
    """The parts with rows that failed."""
    present = data_set.present_parts(plan.folder)
    return [number for number, entry in present.items() if read_summary(entry.path)["failed"]]


def activity(plan: BatchPlan, now: float | None = None) -> Activity:
    """What workers are doing, by their journals; ``now`` is the time in seconds since 1970."""
    now = time.time() if now is None else now
    present = data_set.present_parts(plan.folder)
    parts, rows, rate = set(), 0, 0.0
    for entries in journal.by_worker(plan.folder):
        recent = [entry for entry in entries if isinstance(entry.get("time"), int | float)]
        recent = [entry for entry in recent if now - entry["time"] <= RECENT_SECONDS]
        claims = [place for place, entry in enumerate(recent) if entry.get("event") == "claim"]
        finished = [entry for entry in recent if entry.get("event") in ("field", "failure")]
        if len(recent) > 1 and finished:
            rate += len(finished) / max(recent[-1]["time"] - recent[0]["time"], 1e-3)
        if claims and recent[claims[-1]].get("part") not in present:
            parts.add(int(recent[claims[-1]]["part"]))
            rows += sum(entry.get("event") in ("field", "failure") for entry in recent[claims[-1] :])
    return Activity(tuple(sorted(parts)), rows, rate if parts else 0.0)
