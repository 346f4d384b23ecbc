"""The source files of a command and the paths of their outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..io.temporary import SUFFIX as TEMPORARY
from ..output_files import FIELD_SUFFIX
from ..resume import STATE_SUFFIX
from .console import Console
from .sampling_outputs import SamplingOutputs


@dataclass(frozen=True)
class Job:
    """One source and the path of its output."""

    source: str
    output: str
    pictures: SamplingOutputs = SamplingOutputs()

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return "standard input" if self.source == "-" else self.source


def list_jobs(sources: Iterable[str], output: str | None, console: Console) -> list[Job]:
    """The sources, with folders expanded, and their outputs. Raises ``UsageError`` if two outputs are the same."""
    files = [file for source in sources for file in expand(source, console)]
    if not files:
        raise UsageError("no source files found", "no-sources")
    into_folder = output is not None and os.path.isdir(output)
    if output == "-":
        raise UsageError("-o -: a field cannot be written to standard output; name a file", "output")
    if output is not None and not into_folder and len(files) > 1:
        raise UsageError(f"-o {output}: several sources need an existing folder", "output")
    jobs = []
    for file in files:
        if file == "-" and (output is None or into_folder):
            raise UsageError("standard input needs -o FILE", "output")
        if output is None:
            target = file + FIELD_SUFFIX
        else:
            target = os.path.join(output, os.path.basename(file) + FIELD_SUFFIX) if into_folder else output
        jobs.append(Job(file, target))
    seen: dict[str, Job] = {}
    sources_seen = {os.path.realpath(job.source): job for job in jobs if job.source != "-"}
    for job in jobs:
        if os.path.realpath(job.output) in sources_seen:
            raise UsageError(f"{job.output} is a source and would be replaced by its field", "same-output")
        earlier = seen.setdefault(os.path.realpath(job.output), job)
        if earlier is not job:
            raise UsageError(f"{earlier.name} and {job.name} have the same output {job.output}", "same-output")
    return jobs


def expand(source: str, console: Console) -> list[str]:
    """A file as it is; a folder as the sorted files in and below it that have a known suffix."""
    from ..modalities import MODALITIES

    if source == "-" or not os.path.isdir(source):
        return [source]
    MODALITIES.load_all()
    suffixes = {suffix for modality in MODALITIES.values() for suffix in modality.input_suffixes}
    paths, skipped = [], 0
    unreadable: list[OSError] = []
    for folder, folders, names in os.walk(source, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if Path(name).suffix.lower() in suffixes and not name.startswith(".") and os.path.isfile(path):
                paths.append(path)
            else:
                skipped += not name.endswith((FIELD_SUFFIX, FIELD_SUFFIX + STATE_SUFFIX, TEMPORARY))
    for error in unreadable:
        console.warn(source, f"{error.filename}: {error.strerror}")
    if skipped:
        console.log(f"inrfit: {source}: {skipped} files of other types skipped")
    return paths
