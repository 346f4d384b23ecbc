"""``inrfit.compare``: a comparison from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..config.settings import settings_from
from ..errors import UsageError
from ..execution import translated_errors
from ..interrupts import stop_on_signals
from ..io.arguments import BOOLEAN, FUNCTION, PATH, TEXT, checked, or_none
from .codec_runs import CodecResult
from .folder import output_folder
from .runs import Comparison, open_comparison, prepare, run_checkpointing, run_comparison, save
from .sizes import several_sizes
from .spec import Result, RunKey

if TYPE_CHECKING:
    from ..fields import Architecture
    from ..fit.events import ProgressReport
    from ..samplers import Sampler

DEFAULT_SAMPLERS = ("uniform", "int", "nint", "evos", "stream")
"""Samplers that are compared by default."""

FIXED_SETTINGS = {"sampler": "samplers", "arch": "archs", "seed": "seeds"}
"""Fields of ``Settings`` that a comparison sets itself, and the arguments that it takes for them."""


@checked(
    output=or_none(PATH),
    force=BOOLEAN,
    checkpoint=or_none(TEXT),
    on_report=or_none(FUNCTION),
    on_run_end=or_none(FUNCTION),
    should_stop=or_none(FUNCTION),
)
def compare(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    samplers: Sequence[str | Sampler] = DEFAULT_SAMPLERS,
    archs: Sequence[str | Architecture] = ("siren",),
    *,
    seeds: int = 3,
    codecs: Sequence[str] = (),
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
    of a run starts with its fit and does not include evaluation. ``bytes`` may be several sizes (["20kB", "40kB"]), at
    each of which every architecture is fitted. ``codecs`` are the names of common lossy formats ("jpeg") that stand
    beside the fields (docs/small-files.md): ``Comparison.rates()`` has a table per source.

    ``output`` is a folder for comparison.json, written after every run. A later call with the same arguments executes
    only the missing runs, unless ``force`` is set. With ``checkpoint`` ("30s") the state of the current run is saved
    there, too. ``on_report`` is called about ten times a second with a ``ProgressReport`` of the current run, and
    ``on_run_end`` with the run's number, the number of runs and its ``Result``. Ctrl-C, or ``should_stop`` returning
    True, ends the comparison.

    Returns a ``Comparison``: ``summary()`` has one table per source, ``results`` all runs with their traces,
    ``unfinished`` the number of runs that failed (``Result.error`` says why) or have not been executed. Raises an
    ``InrfitError`` if no run can be executed."""
    paths = _sequence(sources)
    for name, argument in FIXED_SETTINGS.items():
        if name in settings:
            raise UsageError(f"{name}: a comparison takes {argument} instead", "option")
    settings["bytes"], sizes = several_sizes(settings.get("bytes"))
    checked_settings = settings_from(settings)
    folder = None if output is None else os.fspath(output)
    checkpointing = run_checkpointing(folder, checkpoint)
    with translated_errors():
        methods = (_sequence(samplers), _sequence(archs))
        spec = prepare(paths, *methods, seeds, checked_settings, codecs=codecs, sizes=sizes)
        with output_folder(folder):
            comparison = open_comparison(folder, spec, force)

            def save_results() -> None:
                if folder is not None:
                    save(comparison, folder)

            with nullcontext(should_stop) if should_stop is not None else stop_on_signals() as stop:
                run_comparison(comparison, stop, _Callbacks(on_report, on_run_end), save_results, checkpointing)
    return comparison


def _sequence(given: Any) -> Sequence[Any]:
    """``given`` as a sequence: a text with commas, or a single object, has the items of a list of it."""
    return [given] if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable) else list(given)


class _Callbacks:
    """The functions given to ``compare`` as ``ComparisonCallbacks``."""

    def __init__(
        self,
        on_report: Callable[[ProgressReport], None] | None,
        on_run_end: Callable[[int, int, Result], None] | None,
    ) -> None:
        self.report, self.run_end = on_report, on_run_end

    def on_codec_start(self, number: int, total: int, source: str, codec: str) -> None:
        """Does nothing."""

    def on_codec_progress(self, fraction: float) -> None:
        """Does nothing."""

    def on_codec_end(self, number: int, total: int, result: CodecResult) -> None:
        """Does nothing."""

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
