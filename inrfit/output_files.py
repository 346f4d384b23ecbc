"""The file that a field is written to: what it holds already, and its name if the fit was interrupted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .errors import (
    FolderNotSynced,
    InrfitError,
    NotEnoughMemory,
    OutputExists,
    RefusedInput,
    UnwritableOutput,
    UsageError,
    printable,
)
from .fit.outcome import Outcome
from .io import files
from .io.file_names import suffix_of
from .resume import STARTED_FROM, CheckpointPolicy, initial_field_record

if TYPE_CHECKING:
    from .artifact.artifact import Artifact
    from .config.plan import Plan

FIELD_SUFFIX = ".safetensors"

MAX_NAME_BYTES = 255
"""Longest name of a file on common file systems, in bytes."""


def find_complete(planned: Plan, output: str, initial_field: Artifact | None = None) -> Artifact | None:
    """The complete field of ``planned``, started from ``initial_field``, if ``output`` holds it; None if there is no
    such file. Raises ``OutputExists`` if the file is anything else."""
    from .artifact.loading import load
    from .config.identity import settings_digest, stored_digest

    if not os.path.lexists(output):
        return None
    name = printable(output)
    try:
        artifact = load(output)
    except RefusedInput as error:
        raise OutputExists(f"{name}: exists and is not a field: {error}", "exists") from None
    provenance = artifact.provenance
    if not provenance.keys() >= {"source", "settings", "ended"}:
        raise OutputExists(
            f"{name}: does not say which settings it was made with (replace it with --force)", "other-settings"
        )
    if provenance["source"]["sha256"] != planned.sha256:
        raise OutputExists(f"{name}: is the field of another source (replace it with --force)", "other-source")
    if stored_digest(provenance["settings"]) != settings_digest(planned):
        raise OutputExists(
            f"{name}: is a field made with another budget or other settings (replace it with --force)", "other-settings"
        )
    if provenance["settings"].get(STARTED_FROM) != initial_field_record(initial_field).get(STARTED_FROM):
        raise OutputExists(
            f"{name}: is a field that started from other weights (replace it with --force)", "other-start"
        )
    if provenance["ended"] == Outcome.INTERRUPTED.slug:
        raise OutputExists(f"{name}: is the field of an interrupted fit (replace it with --force)", "interrupted")
    return artifact


def refuse_media_suffix(output: str, writer: str) -> None:
    """Raises ``UsageError`` if the field that ``writer`` writes would get the suffix of a picture, a sound or a
    mesh."""
    suffix = suffix_of(output)
    from .modalities import MODALITIES

    if any(suffix in (*m.input_suffixes, *m.output_suffixes) for m in MODALITIES.values()):
        raise UsageError(
            f"{writer} writes a field (a network), not a {suffix} file; name it {output}{FIELD_SUFFIX}, and turn it "
            "back with inrfit decode",
            "suffix",
        )


def save(
    artifact: Artifact,
    output: str,
    force: bool,
    checkpointing: CheckpointPolicy | None,
    rescue_folder: str | None = None,
) -> str:
    """Writes the field and returns the name written: ``output`` for a complete field, a name beside it for an
    interrupted one. The saved state of the fit is deleted once the field is complete.

    If the field cannot be written, it is rescued (``rescue``), and the error says where it is, or that it is lost."""
    try:
        name, replaces = _name_for(artifact, output)
        artifact.save(name, force=replaces or (force and name == output))
    except (NotEnoughMemory, OutputExists, UnwritableOutput) as error:
        if isinstance(error, FolderNotSynced):
            raise
        fate = describe_rescue(rescue(artifact, output, rescue_folder), checkpointing)
        raise type(error)(f"{error}; {fate}", error.reason) from None
    if checkpointing is not None and name == output:
        checkpointing.remove_state(force)
    return name


def rescue(artifact: Artifact, output: str, folder: str | None, beside: bool = True) -> str | None:
    """Writes a field that cannot be written to ``output`` to the first possible folder: ``folder``, that of the output
    (if ``beside``), the user's folder for the state of programs, or the temporary folder. Returns its path; None if
    there is none."""
    name, own = os.path.basename(output), os.path.dirname(output) or "."
    for candidate in _rescue_folders(folder, own if beside else None):
        with contextlib.suppress(InrfitError, OSError):
            if candidate != own:
                os.makedirs(candidate, 0o700, exist_ok=True)
            path = free_name(os.path.join(candidate, name), "rescued")
            artifact.save(path)
            os.chmod(path, 0o600)
            return path
    return None


def describe_rescue(rescued: str | None, checkpointing: CheckpointPolicy | None = None) -> str:
    """What has become of a finished field that could not be written to its output."""
    if rescued is not None:
        return f"the finished field was written to {printable(rescued)}"
    failed = "the finished field could not be saved elsewhere either"
    if checkpointing is not None and os.path.isfile(checkpointing.path):
        return f"{failed}; continue its fit with --resume ({printable(checkpointing.path)})"
    return f"{failed}: the fit is lost"


def _rescue_folders(*first: str | None) -> Iterator[str]:
    """The folders of ``rescue``; ``first`` are those before the general ones."""
    import tempfile

    import platformdirs

    yield from (folder for folder in first if folder is not None)
    with contextlib.suppress(RuntimeError):  # there is no home folder
        yield platformdirs.user_state_dir("inrfit", appauthor=False)
    with contextlib.suppress(OSError):
        yield tempfile.gettempdir()


def _name_for(artifact: Artifact, output: str) -> tuple[str, bool]:
    """The name to write, and whether an existing file of this name is replaced. The interrupted field of a resumed fit
    replaces the one that its earlier part has left; any other one gets a new name."""
    if artifact.provenance["ended"] != Outcome.INTERRUPTED.slug:
        return output, False
    if "resumed_at_step" in artifact.provenance["settings"]:
        for name in _names(output, "interrupted"):
            if not os.path.lexists(name):
                return name, False
            if _is_earlier_part(name, artifact):
                return name, True
    return free_name(output, "interrupted"), False


def _is_earlier_part(path: str, artifact: Artifact) -> bool:
    """Whether the file holds the field of the same fit at a step before ``artifact`` was resumed."""
    from .artifact.loading import load
    from .config.identity import stored_digest

    with contextlib.suppress(RefusedInput):
        earlier, own = load(path).provenance, artifact.provenance
        same = all(earlier.get(key) == own[key] for key in ("source", "budget", "sampler"))
        same = same and stored_digest(earlier.get("settings", {})) == stored_digest(own["settings"])
        return same and earlier["spent"]["steps"] <= own["settings"]["resumed_at_step"]
    return False


def _beside(output: str, word: str) -> str:
    """``photo.png.WORD.safetensors`` for ``photo.png.safetensors``, with a hash in place of a name that would be too
    long."""
    folder, name = os.path.split(output.removesuffix(FIELD_SUFFIX))
    if len(os.fsencode(f"{name}.{word}{FIELD_SUFFIX}")) > MAX_NAME_BYTES:
        name = files.sha256(os.fsencode(name))[:32]
    return os.path.join(folder, f"{name}.{word}{FIELD_SUFFIX}")


def free_name(output: str, word: str) -> str:
    """The first of ``_names`` that does not exist."""
    return next(name for name in _names(output, word) if not os.path.lexists(name))


def _names(output: str, word: str) -> Iterator[str]:
    """``photo.png.WORD.safetensors``, ``photo.png.WORD2.safetensors``, ..."""
    return (_beside(output, f"{word}{number}") for number in ("", *range(2, 1000)))
