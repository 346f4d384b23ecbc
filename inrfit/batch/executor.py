"""What an executor of jobs is: ``local.py`` has one for processes of this machine, ``cluster.py`` one for clusters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from .part_job import Job, Result


class Executor(Protocol):
    """Runs jobs, in any order and place, each as ``part_job.run_job`` does."""

    def map(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """The results of the jobs, as they come. Each job has one, ``Died`` if its process ended.

        Raises ``KeyboardInterrupt`` if the work was asked to stop, and the ``InrfitError`` of a job that could not be
        done for a reason outside of its rows, such as a full disk."""
        ...

    def close(self) -> None:
        """Ends all processes."""
        ...
