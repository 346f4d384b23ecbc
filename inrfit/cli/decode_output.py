"""The options of ``inrfit decode`` and, from them, the path and the format of each output."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..io.file_names import suffix_of
from ..io.limits import Limits
from .paths import STDIO, Found, decoded_stem, is_folder, output_path

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..modalities import Request


@dataclass(frozen=True)
class DecodeOptions:
    """The options of decode, which apply to every field."""

    output: str | None
    format: str | None
    request: Request
    device: str
    threads: int | None
    force: bool
    skip_existing: bool
    limits: Limits


def output_paths(files: list[Found], options: DecodeOptions) -> list[tuple[str, str]]:
    """Each field that can be read, with the path of its output. They are read only if there are several."""
    from ..artifact.artifact import load

    if len(files) < 2 or options.output == STDIO:
        return []
    paths = []
    for file in files:
        with contextlib.suppress(Exception):  # reported when this field is decoded
            paths.append((file.path, target_of(file, load(file.path, options.limits), options)[0]))
    return paths


def target_of(file: Found, artifact: Artifact, options: DecodeOptions) -> tuple[str, str]:
    """The path of the output of a field, and its suffix. Raises ``UsageError`` for a suffix that is not written."""
    from ..modalities import MODALITIES

    modality, output = MODALITIES[artifact.modality], options.output
    suffix = modality.suffix(artifact.meta)[0]
    if options.format is not None:
        suffix = "." + options.format.removeprefix(".").lower()
    named = output is not None and output != STDIO and not is_folder(output)
    if named and options.format is None:
        suffix = suffix_of(str(output)) or suffix
    ending = suffix_of(str(output))
    if named and ending in modality.output_suffixes and ending != suffix.lower():
        raise UsageError(f"-o {output} and --format {options.format} name two formats: leave one out", "suffix")
    option = f"--format {options.format}" if options.format is not None else f"-o {output}"
    if suffix.lower() not in modality.output_suffixes:
        raise UsageError(f"{option}: this field is written as {' '.join(modality.output_suffixes)}", "suffix")
    if output == STDIO:
        return STDIO, suffix
    stems = Found(decoded_stem(file.path), decoded_stem(file.below) if file.below else "")
    return output_path(stems, output, suffix), suffix
