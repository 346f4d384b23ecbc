"""``inrfit encode``: fits fields to files."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..io.locks import locked_folder
from . import shared_options as shared
from .console import Console
from .encode_jobs import exit_code, run_jobs
from .help import REPORTING, RESUMING, SOURCE
from .paths import Job, batch_folder, list_jobs
from .resuming import JobOptions, load_initial_field
from .sampling_outputs import sampling_outputs_of
from .shared_options import DEFAULTS, LIMITS

if TYPE_CHECKING:
    pass


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
    smallest: shared.Smallest = DEFAULTS.smallest,
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
    max_voxels: shared.MaxVoxels = LIMITS.max_voxels,
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
    from ..io.worker_process import Worker
    from ..runtime import keep_compiled_code, keep_freed_memory, silence_libraries, sleep_idle_threads

    silence_libraries()
    keep_freed_memory()
    keep_compiled_code()
    sleep_idle_threads()
    console = Console(-1 if quiet else int(verbose), as_json)
    settings = shared.settings_from(parameters)
    jobs = list_jobs(sources, output, console, folders_of_frames=settings.type == "video")
    if settings.type in (None, "video"):
        _hint_at_clip(jobs, settings.type, console)
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


def _hint_at_clip(jobs: list[Job], type: str | None, console: Console) -> None:
    """Says so if the sources of a folder may be the frames of a clip. Raises ``UsageError`` if each was asked for as a
    clip."""
    from ..modalities.video.frame_files import look_like_frames

    folders: dict[str, list[str]] = {}
    for job in jobs:
        folders.setdefault(os.path.dirname(job.source), []).append(job.source)
    for name, sources in folders.items():
        if look_like_frames(sources):
            _tell_of_clip(os.path.join(name or ".", ""), len(sources), type, console)


def _tell_of_clip(folder: str, count: int, type: str | None, console: Console) -> None:
    """The hint for one folder."""
    if type is not None:
        raise UsageError(f"{count} numbered pictures: give their folder as one clip: --type video {folder}", "type")
    console.log(f"inrfit: {count} numbered pictures are fitted one by one; as one clip: --type video {folder}")
