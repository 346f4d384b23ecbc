"""What ``inrfit encode`` does besides the fit itself: overwriting outputs, saving and resuming fits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.settings import Settings
from ..errors import OutputClosed, RefusedInput, UnwritableOutput, UsageError
from ..interrupts import StopRequest
from ..output_files import FIELD_SUFFIX, describe_rescue, find_complete, rescue, save
from ..resume import CheckpointPolicy, checkpoint_policy
from .console import Console, print_output
from .paths import STDIO, Job

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..config.plan import Plan
    from ..io.worker_process import Worker


@dataclass(frozen=True)
class JobOptions:
    """The options of encode that are not ``Settings``: they apply to every job."""

    force: bool = False
    dry_run: bool = False
    explain: bool = False
    checkpoint: str | None = None
    resume: bool = False
    initial_field: Artifact | None = None
    skip_existing: bool = False
    rescue: str | None = None
    worker: Worker | None = None
    """Where the readers of files run; None: in this process."""

    def checkpointing(self, job: Job) -> CheckpointPolicy | None:
        """How the state of the fit of ``job`` is saved and resumed; None if it is not. Raises ``UsageError``."""
        if job.output == STDIO and (self.checkpoint is not None or self.resume):
            raise UsageError("-o -: a field on standard output can be neither saved on the way nor resumed", "option")
        return checkpoint_policy(job.output, self.checkpoint, self.resume)


def load_initial_field(path: str | None, settings: Settings) -> Artifact | None:
    """The field whose weights the fits start from (``--from``)."""
    if path is None:
        return None
    from ..artifact.loading import load

    try:
        return load(path, settings.limits)
    except RefusedInput as error:
        raise type(error)(f"--from {path}: {error}", error.reason) from None


def is_complete(job: Job, planned: Plan, job_options: JobOptions, console: Console) -> bool:
    """Whether the output is the complete field of this source and these settings, which is then reported and left as
    it is. Raises ``OutputExists`` if it is another file."""
    artifact = find_complete(planned, job.output, job_options.initial_field)
    if artifact is None:
        return False
    checkpointing = job_options.checkpointing(job)
    if checkpointing is not None:
        checkpointing.remove_state_of(artifact)
    console.log(f"inrfit: {job.name}: {job.output} is already complete")
    record = {"ok": True, "source": job.source, "output": job.output, "complete": True, "quality": artifact.quality}
    console.print_json(record)
    return True


def report_saved_state(job: Job, job_options: JobOptions, console: Console) -> None:
    """After an interrupt, reports where the state of the fit was saved."""
    checkpointing = job_options.checkpointing(job)
    if checkpointing is not None and os.path.exists(checkpointing.path):
        console.log(f"inrfit: {job.name}: interrupted; continue with --resume ({checkpointing.path})", level=-1)


def report_interrupt(job: Job, console: Console, stop: StopRequest) -> int:
    """Reports that nothing was written for ``job``; returns its exit code."""
    code = stop.exit_code if stop() else 130
    message = "interrupted before the first step; no field was written"
    console.log(f"inrfit: {job.name}: {message}", level=-1)
    error = {"code": code, "reason": "interrupted", "message": message}
    console.print_json({"ok": False, "source": job.source, "error": error})
    return code


def save_field(artifact: Artifact, job: Job, job_options: JobOptions, console: Console) -> tuple[str, int]:
    """Writes the artifact and returns its path and its size in bytes: the job's output, or another name beside it after
    an interrupted fit. If that fails, the field, which may have taken hours, is rescued before the error is raised."""
    if job.output != STDIO:
        path = save(artifact, job.output, job_options.force, job_options.checkpointing(job), job_options.rescue)
        return path, os.path.getsize(path)
    data = artifact.to_bytes()
    try:
        print_output(data)
    except (OutputClosed, UnwritableOutput):
        name = "stdin" if job.source == STDIO else os.path.basename(job.source)
        rescued = rescue(artifact, name + FIELD_SUFFIX, job_options.rescue, beside=False)
        console.log(f"inrfit: {job.name}: {describe_rescue(rescued)}", level=-1)
        raise
    return STDIO, len(data)
