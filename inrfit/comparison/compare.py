"""``inrfit.compare``: a comparison from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..codec import translated_memory_errors
from ..config.settings import Settings, changed_options, registered_name
from ..fields import FIELDS, Architecture
from ..interrupts import stop_on_signals
from ..io.registry import Registry
from ..samplers import SAMPLERS, Sampler
from .runs import Comparison, open_comparison, prepare, run_checkpointing, run_comparison, save
from .spec import Result, RunKey

if TYPE_CHECKING:
    from ..fit.events import ProgressReport

DEFAULT_SAMPLERS = ("uniform", "int", "nint", "evos", "stream")
"""Samplers that are compared by default."""


def compare(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    samplers: Sequence[str | Sampler] = DEFAULT_SAMPLERS,
    archs: Sequence[str | Architecture] = ("siren",),
    *,
    seeds: int = 3,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    checkpoint: str | None = None,
    on_report: Callable[[ProgressReport], None] | None = None,
    on_run_end: Callable[[int, int, Result], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Comparison:
    """Fits every source with every combination of sampler and architecture, with equal budgets and initial weights.

    ``sources`` are paths. A method is a name, with options if it has its own ("nint:xi=0.5", "siren:width=128"), or an
    instance (``Nint(xi=0.5)``); the first combination is the one that the others are compared with. Each is fitted
    ``seeds`` times. ``settings`` are the fields of ``Settings`` for all runs, such as ``budget="60s"``; the budget
    of a run starts with its fit and does not include evaluation.

    ``output`` is a folder for comparison.json, written after every run. A later call with the same arguments executes
    only the missing runs, unless ``force`` is set. With ``checkpoint`` ("30s") the state of the current run is saved
    there, too. ``on_report`` is called about ten times a second with a ``ProgressReport`` of the current run, and
    ``on_run_end`` with the run's number, the number of runs and its ``Result``. Ctrl-C, or ``should_stop`` returning
    True, ends the comparison.

    Returns a ``Comparison``: ``summary()`` has one table per source, ``results`` all runs with their traces,
    ``unfinished`` the number of runs that failed (``Result.error`` says why) or have not been executed. Raises an
    ``InrfitError`` if no run can be executed."""
    paths = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    checked_settings = Settings(**settings)
    sampler_list, arch_list = _as_list(samplers, SAMPLERS), _as_list(archs, FIELDS)
    folder = None if output is None else os.fspath(output)
    checkpointing = run_checkpointing(folder, checkpoint)
    with translated_memory_errors():
        spec = prepare([os.fspath(path) for path in paths], sampler_list, arch_list, seeds, checked_settings)
        comparison = open_comparison(folder, spec, force)

        def save_results() -> None:
            if folder is not None:
                save(comparison, folder)

        with nullcontext(should_stop) if should_stop is not None else stop_on_signals() as stop:
            run_comparison(comparison, stop, _Callbacks(on_report, on_run_end), save_results, checkpointing)
    return comparison


def _as_list(methods: str | Sequence[Any], registry: Registry[Any]) -> str:
    """Samplers or architectures as they are listed on the command line."""
    return ",".join(_as_text(method, registry) for method in ([methods] if isinstance(methods, str) else methods))


def _as_text(method: Any, registry: Registry[Any]) -> str:
    """A sampler or an architecture as it is written on the command line: name:option=value."""
    if isinstance(method, str):
        return method
    options = [f"{name}={value}" for name, value in changed_options(method).items()]
    return ":".join([registered_name(method, registry), *options])


class _Callbacks:
    """The functions given to ``compare`` as ``ComparisonCallbacks``."""

    def __init__(
        self,
        on_report: Callable[[ProgressReport], None] | None,
        on_run_end: Callable[[int, int, Result], None] | None,
    ) -> None:
        self.report, self.run_end = on_report, on_run_end

    def on_run_start(self, number: int, total: int, run_key: RunKey) -> None:
        """Does nothing."""

    def on_fit_progress(self, report: ProgressReport) -> None:
        """Passes the report to ``on_report``."""
        if self.report is not None:
            self.report(report)

    def on_evaluation_progress(self, fraction: float) -> None:
        """Does nothing."""

    def on_run_end(self, number: int, total: int, result: Result) -> None:
        """Passes the result to ``on_run_end``."""
        if self.run_end is not None:
            self.run_end(number, total, result)
