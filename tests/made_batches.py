"""Small pictures, plans of tiny fields, and an executor without processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from conftest import picture
from PIL import Image

from inrfit.artifact import data_set
from inrfit.batch import plan
from inrfit.batch.manifest import rows_of
from inrfit.batch.part_job import Job, Result, run_job
from inrfit.batch.plan import BatchPlan
from inrfit.batch.rules import AskedRules
from inrfit.config.settings import Settings

SETTINGS = {"width": 16, "depth": 3, "budget": "20it", "sampler": "full", "device": "cpu"}
OPTIONS = ["--width", "16", "--depth", "3", "--budget", "20it", "--sampler", "full"]


def pictures(folder: Path, count: int = 5, size: int = 12) -> Path:
    """A folder of ``count`` pictures."""
    folder.mkdir(exist_ok=True)
    for k in range(count):
        Image.fromarray(picture(size, size, seed=k)).save(folder / f"p{k}.png")
    return folder


def listing(folder: str) -> list[tuple[str, str]]:
    """The pictures in a folder."""
    return [(str(path), path.name) for path in sorted(Path(folder).glob("*.png"))]


def planned(
    folder: Path,
    sources: Iterable[str | Path],
    part_size: int = 2,
    asked: AskedRules = AskedRules(),
    **settings: object,
) -> BatchPlan:
    """A plan in ``folder``."""
    rows = rows_of(map(str, sources), listing)
    plan.make(str(folder), rows, Settings(**{**SETTINGS, **settings}), part_size, asked)
    return plan.read(str(folder))


class InThisProcess:
    """Runs jobs here, one after the other, without pauses."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.pauses: list[float] = []

    def map(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """``Executor.map``."""
        for job in jobs:
            self.jobs.append(job)
            yield run_job(job, self.pauses.append)

    def close(self) -> None:
        """Nothing is open."""


def hashes(folder: str | Path) -> dict[int, str]:
    """The SHA-256 of each part."""
    parts = data_set.present_parts(str(folder))
    return {number: hashlib.sha256(Path(entry.path).read_bytes()).hexdigest() for number, entry in parts.items()}
