"""The work of ``inrfit encode``: one job for each source."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ..config.settings import Settings
from ..errors import InrfitError
from ..interrupts import SIGNALS, StopRequest, stop_on_signals
from ..io.registry import plugin_errors
from .console import Console, FitProgress
from .encode_report import print_notes, print_summary, show_plan, show_recipe, summary_record
from .failures import report_failed
from .paths import STDIO, Job, is_skipped, make_folder, with_existing_folder
from .resuming import JobOptions, is_complete, report_interrupt, report_saved_state, save_field
from .sampling_outputs import write_sampling_outputs

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..config.plan import Plan
    from ..viz.recorder import Recorder


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
    with stop_on_signals(SIGNALS) as stop:
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
    try:
        path, size = save_field(artifact, job, job_options, console)
    except InrfitError:
        print_notes(job, artifact, len(planned.signal.notes), console)
        raise
    now = time.monotonic()
    print_summary(job, path, size, artifact, len(planned.signal.notes), console, now - write_start, now - started)
    replaces = job_options.resume or (job_options.force and not stop())  # an interrupted fit may have written its map
    sampling_result = write_sampling_outputs(
        job.pictures, recorder, artifact, job.name, settings.threads, console, replaces, stop
    )
    console.print_json(summary_record(job, path, size, artifact, now - write_start, now - started) | sampling_result)
    if stop():
        if path not in (job.output, STDIO):
            console.log(f"inrfit: {job.name}: interrupted; the field so far is in {path}", level=-1)
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

    if job.source != STDIO and not os.path.exists(job.source):
        files.read(job.source, settings.limits)  # says that it is missing, rather than the folder of its output
    if not job_options.dry_run:
        # With --resume the output may exist already; it is compared with the source once that is read.
        if job.output != STDIO:
            if job.in_folder:
                make_folder(job.output)
            files.check_target(job.output, job_options.force or job_options.resume)
        job.pictures.check(job_options.force or job_options.resume)
        if job_options.rescue is not None:
            files.check_target(with_existing_folder(os.path.join(job_options.rescue, "field")), True)
        if (checkpointing := job_options.checkpointing(job)) is not None:
            checkpointing.check_target(job_options.force, job.source)
    if job.source == "-":
        console.log("inrfit: reading standard input")
    with stop.interrupting_reads():
        planned = plan_file(job_options.worker, job.source, settings, started)
    written_as = MODALITIES[planned.signal.modality].suffix(planned.signal.meta)[1]
    notes = (*planned.signal.notes, *([f"{written_as} by decode"] if written_as else []))
    if notes:
        console.warn(job.name, "; ".join(notes))
    return planned


def needed_bytes(job: Job, planned: Plan, job_options: JobOptions) -> int:
    """Bytes that must be free before the fit, because its field surely takes them; 0 if it has a place of its own
    (``--rescue``), or continues from a state, whose fit would be lost."""
    from ..artifact.file_size import least_bytes

    checkpointing = job_options.checkpointing(job)
    resumes = checkpointing is not None and checkpointing.resume and os.path.exists(checkpointing.path)
    return 0 if resumes or job_options.rescue is not None else least_bytes(planned.spec, planned.store)


def fit_source(
    job: Job, planned: Plan, job_options: JobOptions, console: Console, stop: StopRequest
) -> tuple[Artifact, Recorder | None]:
    """Fits the plan; returns the field with its measured quality, and the recorder of the sampling outputs."""
    from .. import execution
    from ..io import files

    checkpointing = job_options.checkpointing(job)
    if job.output != STDIO:
        files.check_target(job.output, job_options.force, needed_bytes(job, planned, job_options))
    for path in (job.output, *job.pictures.paths, *([checkpointing.path] if checkpointing else [])):
        files.remove_stale(os.path.dirname(path) or ".", os.path.basename(path))
    with stop.interrupting_reads():
        from ..fit import fitting  # noqa: F401  imports torch
    recorder = job.pictures.recorder(planned)
    if checkpointing is not None and checkpointing.resume and os.path.exists(checkpointing.path):
        console.log(f"inrfit: {job.name}: resuming from {checkpointing.path}")
    console.log(f"inrfit: {job.name}: fitting ({planned.budget})", level=1)
    progress = FitProgress(console, os.path.basename(job.name))
    try:
        artifact = execution.execute_plan(
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
