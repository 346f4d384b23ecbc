"""``inrfit encode``: files into fields."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from ..errors import InrfitError, NotEnoughMemory, OutputClosed, OutputExists, UnwritableOutput, UsageError
from ..fields import FIELDS
from ..io.limits import Limits
from ..runtime import Stop, catching
from .console import Console, FitProgress
from .encode_report import record_of, show_plan, show_recipe, tell
from .paths import Job, free_name, list_jobs
from .sampling_outputs import draw, pictures_of

LIMITS = Limits()


def encode(  # one option a line: long by nature
    sources: Annotated[list[str], typer.Argument(help="Files or folders; - reads standard input.", show_default=False)],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="A file (one source) or an existing folder. Default: SOURCE.safetensors beside the source.",
        ),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            help="Teaching strategy: auto (the best measured), full, uniform, int, nint, egra, expansive, soft-mining, "
            "evos, stream."
        ),
    ] = "auto",
    arch: Annotated[
        str,
        typer.Option(help=f"Architecture: {', '.join(FIELDS)}; or auto, the best measured for file, budget and size."),
    ] = "siren",
    width: Annotated[
        int | None, typer.Option(help="Units per hidden layer. Default: the architecture's (siren: 256).")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Hidden layers. Default: the architecture's (siren: 5).")] = None,
    params: Annotated[
        str | None, typer.Option(help="At most so many weights, in place of --width: 50000, 50k, 1M.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--bytes", help="A file of at most so many bytes, in place of --width: 500kB, 2MB (thousands)."),
    ] = None,
    store: Annotated[
        str,
        typer.Option(help="Number type of the weights in the file: fp32, fp16, bf16. auto: fp32; with --bytes fp16."),
    ] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option("-O", help="key=value: a setting of the sampler, architecture or modality; repeatable."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="60s, 5m, 1h30m, 2000it; repeatable: the first reached ends the fit. Default 60s; --target alone: 10m."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Quality that ends the fit: 35dB PSNR (images), SNR (sounds), 0.98 IoU (shapes)."),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(help="Share of the samples in one selection, 0 to 1. Default: the sampler's own."),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(help="Points per optimiser step: a number, selection (one step a selection) or auto."),
    ] = "auto",
    lr: Annotated[
        float | None,
        typer.Option(help="Peak learning rate (Adam's; Muon's follows in proportion). Default: see --explain."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="Hidden layers while fitting: auto, fp32, medium, bf16.")] = "auto",
    engine: Annotated[
        str, typer.Option(help="How steps are made: auto, plain, explicit, compiled, graph (CUDA). Equal to rounding.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: torch's.")] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of weights and draws. Same seed and threads, same weights, with a budget in steps alone; "
            "with seconds they differ."
        ),
    ] = 0,
    kind: Annotated[
        str | None, typer.Option("--type", help="image, audio or shape, where content and name do not tell.")
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(help="full: measure every sample; sample: one million. Default: full up to 16 million."),
    ] = None,
    sampling_map: Annotated[
        str | None,
        typer.Option(
            help="Write where the selections fell: a .png (over the image; over time; from three sides), "
            "or an existing folder for NAME.map.png."
        ),
    ] = None,
    sampling_video: Annotated[
        str | None,
        typer.Option(
            help="Write the progress of field and selections side by side: a .gif, an .mp4 (needs inrfit[video]), "
            "or an existing folder for NAME.teaching.gif."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Replace an existing output, once the new one is complete.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be kept, what not, the plan and the memory; fit nothing."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what was chosen for the fit (batch, rates, precision ...) and why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a source on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    max_bytes: Annotated[int, typer.Option(help="Largest source, bytes.")] = LIMITS.max_bytes,
    max_pixels: Annotated[int, typer.Option(help="Largest image, pixels.")] = LIMITS.max_pixels,
    max_samples: Annotated[int, typer.Option(help="Longest sound, samples per channel.")] = LIMITS.max_samples,
    max_channels: Annotated[int, typer.Option(help="Most channels of a sound.")] = LIMITS.max_channels,
    max_faces: Annotated[int, typer.Option(help="Largest mesh, triangles.")] = LIMITS.max_faces,
) -> int:
    """Fit a field to each source and write it, measured, beside the source.

    Example: inrfit encode photo.png --sampler nint --budget 60s
    """
    from ..config.settings import Settings
    from ..io.options import parse_pairs
    from ..runtime import keep_compiled_code, keep_freed_memory, wait_politely

    keep_freed_memory()
    keep_compiled_code()
    wait_politely()

    console = Console(-1 if quiet else int(verbose), as_json)
    settings = Settings(
        sampler, arch, width, depth, params, size, store, parse_pairs(option or ()), tuple(budget or ()), target, ratio,
        batch if batch in ("auto", "selection") else _count(batch), lr, device, precision, engine, threads,
        seed=seed, type=kind, verify=verify,
        limits=Limits(max_bytes, max_pixels, max_samples, max_channels, max_faces),
    )  # fmt: skip
    jobs = list_jobs(sources, output, console)
    shown = pictures_of([job.source for job in jobs], [job.output for job in jobs], sampling_map, sampling_video)
    jobs = [replace(job, pictures=pictures) for job, pictures in zip(jobs, shown, strict=True)]
    codes = run_jobs(jobs, settings, console, force, dry_run, explain)
    if len(jobs) == 1 or codes[-1] >= 128:
        return codes[-1]
    failed = sum(code != 0 for code in codes)
    if failed:
        console.say(f"inrfit: {failed} of {len(jobs)} sources failed", level=-1)
    return 7 if failed else 0


def run_jobs(jobs: list[Job], settings: Any, console: Console, force: bool, dry_run: bool, explain: bool) -> list[int]:
    """Exit code of every job; an interrupt ends the list, and the jobs left get their JSON object all the same."""
    codes = []
    with catching((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) as stop:
        for position, job in enumerate(jobs):
            try:
                codes.append(run_job(job, settings, console, force, dry_run, explain, stop))
            except OutputClosed:
                raise
            except KeyboardInterrupt:
                codes.append(interrupted(job, console, stop))
            except InrfitError as error:
                console.failed(job.name, error)
                codes.append(error.exit_code)
            except MemoryError:
                failure = NotEnoughMemory("out of memory (try a smaller --batch)", "memory")
                console.failed(job.name, failure)
                codes.append(failure.exit_code)
            if stop():
                for left in jobs[position + 1 :]:
                    interrupted(left, console, stop)
                codes.append(stop.code)
                break
    return codes


def interrupted(job: Job, console: Console, stop: Stop) -> int:
    """Says that nothing was written for ``job``; its exit code."""
    code = stop.code if stop() else 130
    message = "interrupted before anything was learned; nothing written"
    console.say(f"inrfit: {job.name}: {message}", level=-1)
    error = {"code": code, "reason": "interrupted", "message": message}
    console.result({"ok": False, "source": job.source, "error": error})
    return code


def run_job(job: Job, settings: Any, console: Console, force: bool, dry_run: bool, explain: bool, stop: Stop) -> int:
    """One source from its bytes to the written field."""
    from .. import codec
    from ..config.plan import plan
    from ..io import files

    begun = time.monotonic()
    if not dry_run:
        files.check_target(job.output, force)
        job.pictures.check(force)
    if job.source == "-":
        console.say("inrfit: reading standard input")
    with stop.at_once():
        data = files.read(job.source, settings.limits)
        planned = plan(data, os.path.basename(job.source), settings, begun)
    del data
    if planned.signal.notes:
        console.warn(job.name, "; ".join(planned.signal.notes))
    if dry_run:
        show_plan(job, planned, console, force, explain)
        return 0
    # Room for the weights (fp32: a type may turn out too narrow) and the largest header, before the fit and not after.
    files.check_target(job.output, force, 4 * planned.spec.parameters + (1 << 20))
    for path in (job.output, *job.pictures.paths):
        files.sweep(os.path.dirname(path) or ".", os.path.basename(path))
    recorder = job.pictures.recorder(planned)
    console.say(f"inrfit: {job.name}: fitting ({planned.budget})", level=1)
    progress = FitProgress(console, os.path.basename(job.name))
    try:
        artifact = codec.carry_out(
            planned,
            progress,
            stop,
            lambda share: progress.share(share, "checking"),
            lambda spec, recipe: show_recipe(planned, spec, recipe, console, explain),
            recorder,
        )
    finally:
        progress.close()
    writing = time.monotonic()
    written = save(artifact, job, force, console)
    now = time.monotonic()
    tell(job, written, artifact, len(planned.signal.notes), console, now - writing, now - begun)
    drawn = draw(job.pictures, recorder, artifact, job.name, settings.threads, console, force, stop)
    console.result(record_of(job, written, artifact, now - writing, now - begun) | drawn)
    if stop():
        return stop.code
    return int(drawn["error"]["code"]) if "error" in drawn else 0


def save(artifact: Any, job: Job, force: bool, console: Console) -> str:
    """Writes the artifact and returns the name written. An interrupted fit never replaces an older output; a fit that
    cannot be written where it should be is written beside it, for it may have taken an hour."""
    if artifact.provenance["ended"] == "interrupted" and os.path.lexists(job.output):
        output = free_name(job.output, "interrupted")
        artifact.save(output)
        return output
    try:
        artifact.save(job.output, force)
    except (OutputExists, UnwritableOutput) as error:
        rescue = free_name(job.output, "rescued")
        try:
            artifact.save(rescue)
        except InrfitError:
            raise error from None
        console.say(f"inrfit: {job.name}: the finished field was written to {rescue} instead", level=-1)
        raise
    return job.output


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--batch {text}: write a whole number, selection or auto", "option") from None
