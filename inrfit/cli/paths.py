"""The source files of a command and the paths of their outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from ..io.file_names import suffix_of, without_suffix
from ..io.temporary import SUFFIX as TEMPORARY
from ..output_files import FIELD_SUFFIX, refuse_media_suffix
from ..resume import STATE_SUFFIX
from .console import Console
from .sampling_outputs import MAP_SUFFIX, VIDEO_SUFFIX, SamplingOutputs

Suffixes = Callable[[], frozenset[str]]
"""A function that returns suffixes; they are not needed unless there is a folder."""

STDIO = "-"
"""Stands for standard input as a source, and for standard output as an output."""

DECODED = ".decoded"
"""Part of the names of decoded files, before their suffix."""

QUERY = ".query"
"""The same of the answers of ``inrfit query``."""


@dataclass(frozen=True)
class Found:
    """A file that a command reads: its path, and its path below the folder that was given ("" if a file was given)."""

    path: str
    below: str = ""


@dataclass(frozen=True)
class Job:
    """One source and the path of its output. ``in_folder``: whether the output lies in a folder that is created if it
    is missing."""

    source: str
    output: str
    pictures: SamplingOutputs = SamplingOutputs()
    in_folder: bool = False

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return "standard input" if self.source == STDIO else self.source


def list_jobs(
    sources: Iterable[str], output: str | None, console: Console, folders_of_frames: bool = False
) -> list[Job]:
    """The sources, with folders expanded unless they are ``folders_of_frames``, and their outputs. Raises
    ``UsageError`` if two outputs are the same."""
    if folders_of_frames:
        files = [Found(source.rstrip("/") or source) for source in sources]
    else:
        files = expand_all(sources, source_suffixes, console)
    if not files:
        raise UsageError("no source files found", "no-sources")
    check_output(output, [file.path for file in files], console, "field", "sources")
    if output is not None and not is_folder(output):
        refuse_media_suffix(output, f"-o {output}: encode")
    in_folder = output is not None and is_folder(output)
    jobs = [Job(file.path, output_path(file, output, FIELD_SUFFIX), in_folder=in_folder) for file in files]
    seen: dict[str, Job] = {}
    sources_seen = {os.path.realpath(job.source): job for job in jobs if job.source != STDIO}
    for job in jobs:
        if os.path.realpath(job.output) in sources_seen:
            raise UsageError(f"{job.output} is a source and would be replaced by its field", "same-output")
        earlier = seen.setdefault(os.path.realpath(job.output), job)
        if earlier is not job:
            raise UsageError(f"{earlier.name} and {job.name} have the same output {job.output}", "same-output")
    return jobs


def is_folder(output: str) -> bool:
    """Whether an output option names a folder, which need not exist if it ends with a slash. A folder that is a source
    of its own is none that outputs are written into."""
    return (output.endswith(("/", os.sep)) or os.path.isdir(output)) and not _is_store(output)


def _is_store(path: str) -> bool:
    """Whether a path is that of a folder which is one source."""
    if not os.path.isdir(path):
        return False
    from ..modalities.sources import is_store  # imports NumPy, and all modalities

    return is_store(path)


def check_output(output: str | None, files: Sequence[str], console: Console, what: str, plural: str) -> None:
    """Raises ``UsageError`` for an output option that does not suit the files that are read. ``what`` is written."""
    into_folder = output is not None and is_folder(output)
    if output is not None and not into_folder and len(files) > 1:
        raise UsageError(f"-o {output}: several {plural} need a folder: an existing one, or NAME/", "output")
    if STDIO in files and (output is None or into_folder):
        raise UsageError("standard input needs -o FILE, or -o - for standard output", "output")
    if output == STDIO:
        console.require_pipe(what)


def output_path(file: Found, output: str | None, suffix: str) -> str:
    """The output for a file: ``output`` itself, or the file's name with ``suffix`` beside it, or in the folder
    ``output`` under the same path as below the folder that was given."""
    if output is None:
        return file.path + suffix
    if not is_folder(output):
        return output
    return os.path.join(output, (file.below or os.path.basename(file.path)) + suffix)


def batch_folder(jobs: Sequence[Job], output: str | None, dry_run: bool) -> str | None:
    """The folder that several ``jobs`` are written into, which is created; None if there is none."""
    if output is None or dry_run or len(jobs) < 2 or not is_folder(output):
        return None
    make_folder(os.path.join(output, ""))
    return output


def make_folder(output: str) -> None:
    """Creates the folder of an output, and those above it, if they are missing. Errors are left to the check of the
    output."""
    folder = os.path.dirname(output)
    if folder and not os.path.isdir(folder):
        try:
            os.makedirs(folder, exist_ok=True)
        except (OSError, ValueError):
            return


def with_existing_folder(output: str) -> str:
    """``output``, or if folders above it are missing, the first of them: what would be made there shows whether the
    output can be written."""
    folder = os.path.dirname(output)
    while folder and not os.path.lexists(folder):
        output, folder = folder, os.path.dirname(folder)
    return output


def source_suffixes() -> frozenset[str]:
    """The suffixes of the files that are read and written, of all modalities, those of plug-ins as well."""
    from ..modalities import MODALITIES

    MODALITIES.load_all()
    return frozenset(suffix for m in MODALITIES.values() for suffix in (*m.input_suffixes, *m.output_suffixes))


def field_suffixes() -> frozenset[str]:
    """The suffix of fields."""
    return frozenset({FIELD_SUFFIX})


def expand_all(sources: Iterable[str], suffixes: Suffixes, console: Console) -> list[Found]:
    """The sources with folders expanded to the files that have one of ``suffixes()``. If several folders are given,
    paths below them begin with their names."""
    given = list(sources)
    folders = [source for source in given if source != STDIO and os.path.isdir(source) and not _is_store(source)]
    found = []
    for source in given:
        files = expand(source, suffixes, console)
        if len(folders) > 1 and source in folders:
            name = os.path.basename(os.path.abspath(source))
            files = [replace(file, below=os.path.join(name, file.below)) for file in files]
        found += files
    return found


def expand(source: str, wanted: Suffixes, console: Console) -> list[Found]:
    """A file as it is; a folder as the sorted files in and below it that have one of ``wanted()``, without what inrfit
    itself has written there. What is left out is counted, and listed with ``-v``."""
    if source == STDIO or not os.path.isdir(source):
        return [Found(source)]
    if _is_store(source):
        return [Found(source.rstrip("/") or source)]
    suffixes = wanted()
    from ..artifact import data_set  # it imports NumPy, which help pages do without
    from ..modalities.sources import companions

    if FIELD_SUFFIX in suffixes and data_set.is_data_set(source):
        return [Found(f"{part}#{id}", id + FIELD_SUFFIX) for part, id in data_set.addresses(source)]
    found, skipped = [], {"of other kinds": list[str](), "written by inrfit": list[str]()}
    unreadable: list[OSError] = []
    for folder, folders, names in os.walk(source, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        stores = [os.path.join(folder, name) for name in folders if _is_store(os.path.join(folder, name))]
        folders[:] = [name for name in folders if os.path.join(folder, name) not in stores]
        if FIELD_SUFFIX in suffixes:
            skipped["of other kinds"] += stores
        else:
            found += [Found(path, os.path.relpath(path, source)) for path in stores]
        samples = companions(folder, names)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.startswith(".") or name.endswith(TEMPORARY) or name in samples:
                continue
            if FIELD_SUFFIX not in suffixes and is_product(name):
                skipped["written by inrfit"].append(path)
            elif suffix_of(name) in suffixes and os.path.isfile(path):
                found.append(Found(path, os.path.relpath(path, source)))
            else:
                skipped["of other kinds"].append(path)
    for error in unreadable:
        console.warn(source, f"{error.filename}: {error.strerror}")
    _report_skipped(source, len(found), skipped, console, FIELD_SUFFIX not in suffixes)
    return found


def is_product(name: str) -> bool:
    """Whether inrfit gives files such names: fields, states, decoded files, maps and videos of the sampling."""
    if name.endswith((FIELD_SUFFIX, FIELD_SUFFIX + STATE_SUFFIX, MAP_SUFFIX, VIDEO_SUFFIX)):
        return True
    return without_suffix(name).endswith((DECODED, QUERY))


def _report_skipped(source: str, used: int, skipped: dict[str, list[str]], console: Console, has_v: bool) -> None:
    """Reports the files in a folder that are left out. ``has_v``: whether the command has the option ``-v``."""
    parts = [f"{len(paths)} {what}" for what, paths in skipped.items() if paths]
    if parts:
        hint = " (-v lists them)" if has_v and console.level <= 0 else ""
        console.log(f"inrfit: {source}: files found: {used}; left out: {', '.join(parts)}{hint}")
    for what, paths in skipped.items():
        for path in paths:
            console.log(f"  left out: {path} ({what})", level=1)
    counts = {"other": len(skipped["of other kinds"]), "products": len(skipped["written by inrfit"])}
    console.print_json({"ok": True, "folder": source, "files": used, "left_out": counts})


def decoded_stem(model: str, part: str = DECODED) -> str:
    """``photo.png.safetensors`` -> ``photo.decoded``, or with another ``part``; only suffixes of files that
    inrfit knows are removed. A field of a data set gives the last part of its id."""
    from ..artifact import data_set

    if (address := data_set.address_of(model)) is not None:
        return os.path.basename(address[1]) + part
    stem = model.removesuffix(FIELD_SUFFIX)
    return (without_suffix(stem) if suffix_of(stem) in source_suffixes() else stem) + part


def refuse_duplicates(targets: Sequence[tuple[str, str]]) -> None:
    """Raises ``UsageError`` if two of (source, output) have the same output."""
    seen: dict[str, str] = {}
    for source, target in targets:
        earlier = seen.setdefault(os.path.realpath(target), source)
        if earlier is not source:
            raise UsageError(
                f"{earlier} and {source} have the same output {target}: write them into different folders",
                "same-output",
            )


def is_skipped(job: Any, output: str, skip_existing: bool, console: Console, name: Callable[[], str]) -> bool:
    """Whether the output exists and is left as it is (``--skip-existing``), which is reported."""
    if not skip_existing or output == STDIO or not os.path.lexists(output):
        return False
    console.log(f"inrfit: {name()}: {output} exists: skipped")
    console.print_json({"ok": True, "source": job, "output": output, "skipped": True})
    return True
