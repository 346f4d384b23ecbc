"""``inrfit encode``: fits fields to files."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ..config.settings import Settings
from ..interrupts import StopRequest, stop_on_signals
from ..io.locks import locked_folder
from ..io.registry import plugin_errors
from . import shared_options as shared
from .console import Console, FitProgress
from .encode_report import print_summary, show_plan, show_recipe, summary_record
from .failures import report_failed
from .help import REPORTING, RESUMING, SOURCE
from .paths import STDIO, Job, batch_folder, is_skipped, list_jobs, make_folder
from .resuming import JobOptions, is_complete, load_initial_field, report_interrupt, report_saved_state, save_field
from .sampling_outputs import sampling_outputs_of, write_sampling_outputs
from .shared_options import DEFAULTS, LIMITS

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..config.plan import Plan
    from ..viz.recorder import Recorder


def encode(  # one option a line
    sources: shared.Sources,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            rich_help_panel=SOURCE,
            help="Output file, folder (a new one: NAME/), or - for stdout. Default: SOURCE.safetensors beside it.",
        ),
    ] = None,
    force: Annotated[
        bool,
        shared.flag("-f", "--force", panel=SOURCE, help="Replace an existing output file."),
    ] = False,
    budget: shared.Budgets = None,
    target: shared.Target = None,
    bytes: shared.Bytes = None,
    params: shared.Params = None,
    width: shared.Width = None,
    depth: shared.Depth = None,
    store: shared.Store = DEFAULTS.store,
    provenance: shared.Provenance = DEFAULTS.provenance,
    dry_run: Annotated[
        bool,
        shared.flag(
            "--dry-run",
            panel=REPORTING,
            help="Print what would be kept of the source, the plan and the memory needed; fit nothing.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        shared.flag(
            "--explain",
            panel=REPORTING,
            help="Print what was chosen for the fit (batch size, learning rate, precision and more) and why.",
        ),
    ] = False,
    verify: shared.Verify = None,
    sampling_map: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=REPORTING,
            help="Write a picture of where the training samples were taken: a .png file, or an existing folder for "
            "NAME.map.png.",
        ),
    ] = None,
    sampling_video: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=REPORTING,
            help="Write a video of the fit beside its training samples: a .gif file, an .mp4 file (needs pip install "
            "'inrfit[video]'), or an existing folder for NAME.teaching.gif.",
        ),
    ] = None,
    as_json: Annotated[
        bool, shared.flag("--json", panel=REPORTING, help="Print one JSON object per source on standard output.")
    ] = False,
    quiet: shared.Quiet = False,
    verbose: Annotated[bool, shared.flag("-v", "--verbose", panel=REPORTING, help="Print more messages.")] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=RESUMING,
            help="Save the state of the fit at this interval (30s, 5m) and when it is interrupted, in OUTPUT.state; "
            "continue with --resume.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        shared.flag(
            "--resume",
            panel=RESUMING,
            help="Continue from the saved state with the rest of the budget, or with a larger one. Finished outputs "
            "of the same source and settings are kept.",
        ),
    ] = False,
    skip_existing: shared.SkipExisting = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FIELD",
            rich_help_panel=RESUMING,
            help="Start from the weights of this field, of the same architecture and size.",
        ),
    ] = None,
    rescue: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel=RESUMING,
            help="Where to save a finished field that cannot be written to its output. Otherwise: beside it, in the "
            "user's state folder, or in the temporary folder.",
        ),
    ] = None,
    arch: shared.Arch = DEFAULTS.arch,
    sampler: shared.Sampler = DEFAULTS.sampler,
    options: shared.OptionPairs = None,
    ratio: shared.Ratio = None,
    batch: shared.Batch = str(DEFAULTS.batch),
    lr: shared.Lr = None,
    seed: shared.Seed = DEFAULTS.seed,
    device: shared.Device = DEFAULTS.device,
    threads: shared.Threads = None,
    clock: shared.Clock = DEFAULTS.clock,
    precision: shared.Precision = DEFAULTS.precision,
    engine: shared.Engine = DEFAULTS.engine,
    type: shared.Type = None,
    metadata: shared.Metadata = DEFAULTS.metadata,
    frame: shared.Frame = None,
    max_bytes: shared.MaxBytes = LIMITS.max_bytes,
    max_pixels: shared.MaxPixels = LIMITS.max_pixels,
    max_samples: shared.MaxSamples = LIMITS.max_samples,
    max_channels: shared.MaxChannels = LIMITS.max_channels,
    max_faces: shared.MaxFaces = LIMITS.max_faces,
) -> int:
    """Fit a neural field (a small network) to each file and save it beside the file.

    Examples:

        inrfit encode photo.png
        inrfit encode song.flac --budget 5m --bytes 500kB
    """
    parameters = locals()
    from ..runtime import keep_compiled_code, keep_freed_memory, silence_libraries, sleep_idle_threads
    from .worker import Worker

    silence_libraries()
    keep_freed_memory()
    keep_compiled_code()
    sleep_idle_threads()
    console = Console(-1 if quiet else int(verbose), as_json)
    settings = shared.settings_from(parameters)
    jobs = list_jobs(sources, output, console)
    sampling_outputs = sampling_outputs_of(
        [job.source for job in jobs], [job.output for job in jobs], sampling_map, sampling_video
    )
    jobs = [replace(job, pictures=pictures) for job, pictures in zip(jobs, sampling_outputs, strict=True)]
    initial_field = load_initial_field(start, settings)
    job_options = JobOptions(force, dry_run, explain, checkpoint, resume, initial_field, skip_existing, rescue)
    job_options.checkpointing(jobs[0])  # raises UsageError before anything is read
    with locked_folder(batch_folder(jobs, output, dry_run)), Worker() as worker:
        codes = run_jobs(jobs, settings, replace(job_options, worker=worker if len(jobs) > 1 else None), console)
    return exit_code(codes, len(jobs), console)


def exit_code(codes: list[int], total: int, console: Console) -> int:
    """The exit code of the command from those of its jobs; prints how many failed. An interrupted job is the last."""
    if total == 1 or codes[-1] >= 128:
        return codes[-1]
    failed = sum(code != 0 for code in codes)
    if failed:
        console.log(f"inrfit: {failed} of {total} sources failed", level=-1)
    return 7 if failed else 0


def run_jobs(jobs: list[Job], settings: Settings, job_options: JobOptions, console: Console) -> list[int]:
    """Runs the jobs and returns their exit codes. Sources that are missing come first, so that they are reported before
    the first fit. An interrupt ends the list; each job that is left still gets its JSON object."""
    jobs = sorted(jobs, key=lambda job: job.source == "-" or os.path.exists(job.source))
    codes = []
    with stop_on_signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) as stop:
        for position, job in enumerate(jobs):
            try:
                with plugin_errors():
                    codes.append(run_job(job, settings, job_options, console, stop))
            except KeyboardInterrupt:
                codes.append(report_interrupt(job, console, stop))
                report_saved_state(job, job_options, console)
            except Exception as error:  # whatever is wrong with one source, the others are encoded
                codes.append(report_failed(job.name, error, console))
            if stop():
                for left in jobs[position + 1 :]:
                    report_interrupt(left, console, stop)
                codes.append(stop.exit_code)
                break
    return codes


def run_job(job: Job, settings: Settings, job_options: JobOptions, console: Console, stop: StopRequest) -> int:
    """Encodes one source and returns its exit code."""
    started = time.monotonic()
    if is_skipped(job.source, job.output, job_options.skip_existing, console, lambda: job.name):
        return 0
    planned = plan_source(job, settings, job_options, console, stop, started)
    if job_options.dry_run:
        show_plan(job, planned, console, job_options.force, job_options.explain)
        return 0
    if job_options.resume and not job_options.force and is_complete(job, planned, job_options, console):
        return 0
    artifact, recorder = fit_source(job, planned, job_options, console, stop)
    write_start = time.monotonic()
    path, size = save_field(artifact, job, job_options, console)
    now = time.monotonic()
    print_summary(job, path, size, artifact, len(planned.signal.notes), console, now - write_start, now - started)
    replaces = job_options.resume or (job_options.force and not stop())  # an interrupted fit may have written its map
    sampling_result = write_sampling_outputs(
        job.pictures, recorder, artifact, job.name, settings.threads, console, replaces, stop
    )
    console.print_json(summary_record(job, path, size, artifact, now - write_start, now - started) | sampling_result)
    if stop():
        report_saved_state(job, job_options, console)
        return stop.exit_code
    return int(sampling_result["error"]["code"]) if "error" in sampling_result else 0


def plan_source(
    job: Job, settings: Settings, job_options: JobOptions, console: Console, stop: StopRequest, started: float
) -> Plan:
    """Reads and plans one source. Outputs that could not be written are refused before the source is read."""
    from ..io import files
    from ..modalities import MODALITIES
    from .worker import plan_file

    if not job_options.dry_run:
        # With --resume the output may exist already; it is compared with the source once that is read.
        if job.output != STDIO:
            if job.in_folder:
                make_folder(job.output)
            files.check_target(job.output, job_options.force or job_options.resume)
        job.pictures.check(job_options.force or job_options.resume)
        if (checkpointing := job_options.checkpointing(job)) is not None:
            checkpointing.check_target(job_options.force)
    if job.source == "-":
        console.log("inrfit: reading standard input")
    with stop.interrupting_reads():
        planned = plan_file(job_options.worker, job.source, settings, started)
    written_as = MODALITIES[planned.signal.modality].suffix(planned.signal.meta)[1]
    notes = (*planned.signal.notes, *([f"{written_as} by decode"] if written_as else []))
    if notes:
        console.warn(job.name, "; ".join(notes))
    return planned


def fit_source(
    job: Job, planned: Plan, job_options: JobOptions, console: Console, stop: StopRequest
) -> tuple[Artifact, Recorder | None]:
    """Fits the plan; returns the field with its measured quality, and the recorder of the sampling outputs."""
    from .. import codec
    from ..io import files

    # Check before the fit that there is room for float32 weights (a smaller type may overflow) and the largest header.
    checkpointing = job_options.checkpointing(job)
    if job.output != STDIO:
        files.check_target(job.output, job_options.force, 4 * planned.spec.parameters + (1 << 20))
    for path in (job.output, *job.pictures.paths, *([checkpointing.path] if checkpointing else [])):
        files.remove_stale(os.path.dirname(path) or ".", os.path.basename(path))
    with stop.interrupting_reads():
        from ..fit import loop  # noqa: F401  imports torch
    recorder = job.pictures.recorder(planned)
    if checkpointing is not None and checkpointing.resume and os.path.exists(checkpointing.path):
        console.log(f"inrfit: {job.name}: resuming from {checkpointing.path}")
    console.log(f"inrfit: {job.name}: fitting ({planned.budget})", level=1)
    progress = FitProgress(console, os.path.basename(job.name))
    try:
        artifact = codec.execute_plan(
            planned,
            progress,
            stop,
            lambda share: progress.update(share, "checking"),
            lambda spec, recipe: show_recipe(planned, spec, recipe, console, job_options.explain),
            recorder,
            checkpointing,
            job_options.initial_field,
        )
    finally:
        progress.close()
    return artifact, recorder
