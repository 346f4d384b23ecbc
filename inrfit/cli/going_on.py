"""What ``inrfit encode`` does with each source besides its fit: overwriting, and going on with saved states."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.settings import Settings
from ..errors import RefusedInput
from ..resume import Keeping, complete, keeping
from .console import Console
from .paths import Job

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..config.plan import Plan


@dataclass(frozen=True)
class Handling:
    """What is done with each source besides its fit: the options of encode that are no ``Settings``."""

    force: bool = False
    dry_run: bool = False
    explain: bool = False
    checkpoint: str | None = None
    resume: bool = False
    start: Artifact | None = None

    def keeping(self, job: Job) -> Keeping | None:
        """How the state of the fit is kept."""
        return keeping(job.output, self.checkpoint, self.resume)


def first_field(path: str | None, settings: Settings) -> Artifact | None:
    """The field that fits start from."""
    if path is None:
        return None
    from ..artifact.artifact import load

    try:
        return load(path, settings.limits)
    except RefusedInput as error:
        raise type(error)(f"--from {path}: {error}", error.reason) from None


def left_as_it_is(job: Job, planned: Plan, handling: Handling, console: Console) -> bool:
    """Whether the complete field of this source and these settings is there already. Raises ``OutputExists`` for
    another one."""
    found = complete(planned, job.output, handling.start)
    if found is None:
        return False
    keeping = handling.keeping(job)
    if keeping is not None:
        keeping.done_with(found)
    console.log(f"inrfit: {job.name}: {job.output} is complete already")
    record = {"ok": True, "source": job.source, "output": job.output, "complete": True, "quality": found.quality}
    console.print_json(record)
    return True


def tell_how_to_go_on(job: Job, handling: Handling, console: Console) -> None:
    """After an interrupt, where the state of the fit is kept."""
    kept = handling.keeping(job)
    if kept is not None and os.path.exists(kept.path):
        console.log(f"inrfit: {job.name}: interrupted; go on with --resume ({kept.path})", level=-1)
