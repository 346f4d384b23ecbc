"""``inrfit compare``: samplers and architectures side by side."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError, printable
from ..fields import FIELDS
from ..interrupts import StopRequest, stop_on_signals
from . import shared_options as shared
from .compare_report import NO_MATPLOTLIB, finish, plot_available
from .console import Console, FitProgress, format_quality
from .help import BUDGET, METHODS, REPORTING, RESUMING, SOURCE
from .paths import expand_all, source_suffixes
from .shared_options import DEFAULTS

if TYPE_CHECKING:
    from ..comparison.codec_runs import CodecResult
    from ..comparison.runs import Comparison
    from ..comparison.spec import ComparisonSpec, Result, RunKey
    from ..fit.events import ProgressReport
    from ..resume import CheckpointPolicy


def compare(  # one option a line
    sources: shared.CompareSources,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            rich_help_panel=SOURCE,
            help="Folder for comparison.json, comparison.png and, with --codecs, rates.png. Runs of the same "
            "comparison that it already holds are not repeated.",
        ),
    ] = None,
    force: Annotated[
        bool,
        shared.flag("-f", "--force", panel=SOURCE, help="Start again and replace the comparison in the folder."),
    ] = False,
    samplers: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            rich_help_panel=METHODS,
            help="Samplers to compare, separated by commas, each with its own options: "
            "uniform,nint:xi=0.5:alpha=0.2. The others are compared with the first.",
        ),
    ] = "uniform,int,nint,evos,stream",
    archs: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            rich_help_panel=METHODS,
            help=f"Architectures to compare ({', '.join(FIELDS)}), separated by commas, each with its own options, "
            "width and depth, or bytes: siren,wire:width=128:variant=real,grid:bytes=40kB.",
        ),
    ] = "siren",
    codecs: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            rich_help_panel=METHODS,
            help="Common lossy formats to compare with, separated by commas: jpeg, webp, avif and jxl for pictures, "
            "opus, mp3 and vorbis for sounds, draco for meshes. A second table has bytes and qualities, and the bytes "
            "that each codec needs for the quality of each field.",
        ),
    ] = None,
    seeds: shared.Seeds = 3,
    budget: shared.CompareBudgets = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="QUALITIES",
            rich_help_panel=BUDGET,
            help="Report the time needed to reach these qualities: 30dB,35dB, or 0.98 (IoU of a shape). Default: the "
            "final quality of the first method.",
        ),
    ] = None,
    bytes: shared.CompareBytes = None,
    params: shared.Params = None,
    width: shared.Width = None,
    depth: shared.Depth = None,
    store: shared.Store = DEFAULTS.store,
    as_json: Annotated[
        bool,
        shared.flag("--json", panel=REPORTING, help="Print one JSON object on standard output instead of the table."),
    ] = False,
    quiet: Annotated[
        bool, shared.flag("-q", "--quiet", panel=REPORTING, help="Print only errors and the table.")
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=RESUMING,
            help="Save the state of the current run at this interval (30s, 5m) and when it is interrupted, in the "
            "folder of -o; the same command continues from it.",
        ),
    ] = None,
    regime: shared.Regime = DEFAULTS.regime,
    options: shared.CompareOptionPairs = None,
    ratio: shared.Ratio = None,
    batch: shared.Batch = str(DEFAULTS.batch),
    lr: shared.Lr = None,
    device: shared.Device = DEFAULTS.device,
    threads: shared.Threads = None,
    precision: shared.Precision = DEFAULTS.precision,
    engine: shared.CompareEngine = DEFAULTS.engine,
    type: shared.Type = None,
) -> int:
    """Fit each source with several samplers and architectures, and print a table of their quality and time.

    All methods start from the same weights with the same seeds. The time of a run is that of its fit; measuring the
    quality does not count. Failed runs are reported and the rest continue (exit code 7). With -o, the finished runs
    are kept after Ctrl-C, and the same command continues.

    Examples:

        inrfit compare photo.png --samplers uniform,int,nint --budget 60s
        inrfit compare photos/ --archs siren,grid --bytes 100kB -o comparison
        inrfit compare photo.png --codecs jpeg,webp --archs grid --samplers stream --bytes 20kB,40kB
    """
    parameters = locals()
    from ..comparison.folder import output_folder
    from ..comparison.runs import PLOT_FILE, open_comparison, prepare, run_checkpointing
    from ..comparison.sizes import several_sizes
    from ..comparison.statistics import parse_levels
    from ..execution import translated_errors
    from ..runtime import keep_compiled_code, keep_freed_memory, silence_libraries, sleep_idle_threads

    silence_libraries()
    keep_freed_memory()
    keep_compiled_code()
    sleep_idle_threads()
    console = Console(-1 if quiet else 0, as_json)
    if output == "-":
        raise UsageError("-o -: results cannot be written to standard output; name a folder, or use --json", "output")
    levels = () if to is None else parse_levels(to)
    one_size, sizes = several_sizes(bytes)
    settings = shared.settings_from(parameters | {"bytes": one_size})
    checkpointing = run_checkpointing(output, checkpoint)
    with stop_on_signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) as stop:
        try:
            with translated_errors():
                with stop.interrupting_reads():
                    paths = [found.path for found in expand_all(sources, source_suffixes, console)]
                    methods = (samplers, archs, seeds, settings)
                    spec = prepare(paths, *methods, console.report_failure, () if codecs is None else codecs, sizes)
                    bad_sources = len(paths) - len(spec.sources)
                    if not spec.sources:
                        return report_bad_sources(bad_sources, len(paths), console)
                    from ..fit import fitting  # noqa: F401  imports torch
                if output is not None and not plot_available():
                    console.log(f"inrfit: {PLOT_FILE} will not be written: {NO_MATPLOTLIB}")
                with output_folder(output):
                    with stop.interrupting_reads():
                        comparison = open_comparison(output, spec, force)
                    run_all(comparison, output, levels, console, stop, checkpointing)
                    code = finish(comparison, output, levels, console, stop, bad_sources)
                    return code or (report_bad_sources(bad_sources, len(paths), console) if bad_sources else 0)
        except KeyboardInterrupt:
            return report_interrupt(console, stop)


def report_bad_sources(bad: int, total: int, console: Console) -> int:
    """Reports how many sources could not be read; returns the exit code."""
    console.log(f"inrfit: {bad} of {total} sources failed", level=-1)
    return 7


def report_interrupt(console: Console, stop: StopRequest) -> int:
    """Reports that no run was started; returns the exit code."""
    code, message = stop.exit_code if stop() else 130, "interrupted before the first run"
    console.log(f"inrfit: {message}", level=-1)
    console.print_json(
        {"ok": False, "source": None, "error": {"code": code, "reason": "interrupted", "message": message}}
    )
    return code


def run_all(
    comparison: Comparison,
    output: str | None,
    levels: tuple[str, ...],
    console: Console,
    stop: StopRequest,
    checkpointing: CheckpointPolicy | None,
) -> None:
    """Executes the unfinished runs and saves the comparison after each."""
    from ..comparison.runs import run_comparison, save

    if comparison.unfinished < comparison.runs:
        done = comparison.runs - comparison.unfinished
        console.log(f"inrfit: {output}: {done} of {comparison.runs} runs are already finished")
    reporter = ComparisonProgress(console, comparison.spec)

    def save_results() -> None:
        if output is not None:
            save(comparison, output, levels)

    try:
        run_comparison(comparison, stop, reporter, save_results, checkpointing)
    finally:
        reporter.progress.close()


class ComparisonProgress:
    """Shows the progress of the runs, and prints one line for each that ends."""

    def __init__(self, console: Console, spec: ComparisonSpec) -> None:
        self.console, self.spec = console, spec
        self.progress = FitProgress(console, "starting")

    def on_codec_start(self, number: int, total: int, source: str, codec: str) -> None:
        """Shows the name of the codec that starts."""
        self.progress.begin_part(f"run {number} of {total}: {source} {codec}", number - 1, total)

    def on_codec_progress(self, fraction: float) -> None:
        """Shows the progress of a codec."""
        self.progress.update(fraction, "encoding and decoding")

    def on_codec_end(self, number: int, total: int, result: CodecResult) -> None:
        """Prints the range of the files of a codec, or its error."""
        name = f"run {number} of {total}: {printable(result.source)} {result.codec}"
        if result.error is not None:
            self.console.log(f"inrfit: error: {name}: {result.error['message']}", level=-1)
        elif result.points:
            sizes = [point.bytes for point in result.points]
            files = f"{len(sizes)} files of {min(sizes):,} to {max(sizes):,} bytes"
            self.console.log(f"{name}: {files}, by {result.writer}")

    def on_run_start(self, number: int, total: int, run_key: RunKey) -> None:
        """Shows the name of the run that starts."""
        self.progress.begin_part(f"run {number} of {total}: {self._name(run_key)}", number - 1, total)

    def on_fit_progress(self, report: ProgressReport) -> None:
        """Shows the progress of the fit."""
        self.progress(report)

    def on_evaluation_progress(self, fraction: float) -> None:
        """Shows the progress of the evaluation after a fit."""
        self.progress.update(fraction, "evaluating")

    def on_run_end(self, number: int, total: int, result: Result) -> None:
        """Prints the result of a run, or its error."""
        name = f"run {number} of {total}: {self._name(result.run_key)}"
        if result.error is not None:
            self.console.log(f"inrfit: error: {name}: {result.error['message']}", level=-1)
            return
        spent = f"{result.spent['steps']:,} steps, {result.spent['fit_seconds']:.1f} s"
        kind = next(source.kind for source in self.spec.sources if source.name == result.run_key.source)
        self.console.log(f"{name}: {format_quality(result.quality, kind.measures)}; {spent}")
        for note in result.notes:
            self.console.warn(name, note)

    def _name(self, run_key: RunKey) -> str:
        return f"{run_key.source} {self.spec.method_name(run_key.arch, run_key.sampler)} seed {run_key.seed}"
