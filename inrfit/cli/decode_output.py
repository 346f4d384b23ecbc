"""The options of ``inrfit decode`` and, from them, the path, the format and the content of each output."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..io.file_names import suffix_of
from ..io.limits import Limits
from .console import print_output
from .paths import DECODED, STDIO, Found, decoded_stem, is_folder, make_folder, output_path
from .piped import OutputPipe, print_produced

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..io.worker_process import Worker
    from ..modalities import OnProgress, Request


@dataclass(frozen=True)
class DecodeOptions:
    """The options of decode, which apply to every field. ``region``: the part that is decoded, None for the whole;
    ``name_part``: part of the names of outputs before their suffix; ``several``: whether there are several fields."""

    output: str | None
    format: str | None
    request: Request
    device: str
    threads: int | None
    force: bool
    skip_existing: bool
    limits: Limits
    region: Any = None
    name_part: str = DECODED
    several: bool = False


def output_paths(files: list[Found], options: DecodeOptions) -> list[tuple[str, str]]:
    """Each field that can be read, with the path of its output. They are read only if there are several."""
    from ..artifact.loading import load

    if len(files) < 2 or options.output == STDIO:
        return []
    paths = []
    for file in files:
        with contextlib.suppress(Exception):  # reported when this field is decoded
            paths.append((file.path, target_of(file, load(file.path, options.limits), options)[0]))
    return paths


def target_of(
    file: Found, artifact: Artifact, options: DecodeOptions, other_suffixes: tuple[str, ...] = ()
) -> tuple[str, str]:
    """The path of the output of a field, and its suffix. A path that ends with a slash is that of a folder with the
    files of an archive of this suffix. Raises ``UsageError`` for a suffix that is not written: neither by its modality,
    nor one of ``other_suffixes``."""
    from ..modalities import MODALITIES

    modality, output = MODALITIES[artifact.modality], options.output
    suffix, known = modality.suffix(artifact.meta)[0], (*modality.output_suffixes, *other_suffixes)
    if not file.below and (archive := _unpacked(modality.folder_suffixes, suffix, options)) is not None:
        return str(output).rstrip("/") + "/", archive
    if options.format is not None:
        suffix = "." + options.format.removeprefix(".").lower()
    named = output is not None and output != STDIO and not is_folder(output)
    if named and options.format is None:
        suffix = suffix_of(str(output)) or suffix
    ending = suffix_of(str(output))
    if named and ending in known and ending != suffix.lower():
        raise UsageError(f"-o {output} and --format {options.format} name two formats: leave one out", "suffix")
    option = f"--format {options.format}" if options.format is not None else f"-o {output}"
    if suffix.lower() not in known:
        raise UsageError(f"{option}: this field is written as {' '.join(dict.fromkeys(known))}", "suffix")
    if output == STDIO:
        return STDIO, suffix
    stems = Found(*(decoded_stem(path, options.name_part) if path else "" for path in (file.path, file.below)))
    return output_path(stems, output, suffix), suffix


def _unpacked(known: Mapping[str, str], own: str, options: DecodeOptions) -> str | None:
    """The suffix of the archive whose files become the folder that ``-o`` names, if they do: one of ``known``, with the
    suffixes of the folders. ``own``: the suffix of the field's own format."""
    output = options.output
    if output in (None, STDIO) or options.several:
        return None
    name, new = output.rstrip("/"), output.endswith("/") and not os.path.lexists(output)
    for archive, ending in known.items():
        if ending and suffix_of(name) == ending and options.format in (None, archive, archive.removeprefix(".")):
            return archive
        if not ending and new and archive == own and options.format is None:
            return archive
    return None


def prepare(target: str, options: DecodeOptions) -> None:
    """Creates the folder that an output is written into, if it may be missing, and removes what killed processes have
    left of the output. Raises ``OutputExists`` or ``UnwritableOutput`` if it cannot be written."""
    from ..io import files, folders

    name = target.rstrip("/")
    if options.output is not None and is_folder(options.output):
        make_folder(name)
    if target.endswith("/"):
        folders.check_target(name)
    else:
        files.check_target(name, options.force)
        files.remove_stale(os.path.dirname(name) or ".", os.path.basename(name))


def decoded_values(artifact: Artifact, options: DecodeOptions, suffix: str, on_progress: OnProgress) -> Any:
    """The decoded samples for a file with this ``suffix``: an ``ArrayStream`` if the modality has such."""
    from .. import codec
    from ..modalities import MODALITIES

    if MODALITIES[artifact.modality].streaming is None:
        return codec.decode(artifact, options.request, options.device, options.limits, on_progress)
    return codec.decode_stream(artifact, suffix, options.request, options.device, options.limits, on_progress)


def written(
    target: str, suffix: str, decoded: Any, artifact: Artifact, options: DecodeOptions, worker: Worker | None
) -> int:
    """Writes the result of ``decoded_values`` to ``target``, and returns the bytes."""
    from ..execution import translated_errors
    from ..io import files, folders
    from ..modalities import MODALITIES
    from .worker import media_bytes, write_media

    streaming = MODALITIES[artifact.modality].streaming
    how = (artifact.meta, suffix, options.request, artifact.attachments)
    if streaming is None:
        data = media_bytes(worker, artifact.modality, decoded, *how)
        if target.endswith("/"):
            return folders.write_with(target, lambda out: out.write(data))
        if target == STDIO:
            print_output(data)
        else:
            files.write(target, data, options.force)
        return len(data)

    def produce(out: Any) -> None:
        if worker is None:
            streaming.write(decoded, *how, out)
        else:
            write_media(worker, artifact.modality, decoded, *how, out)

    with translated_errors():
        if target.endswith("/"):
            return folders.write_with(target, produce)
        if target != STDIO:
            return files.write_with(target, produce, options.force)
        if suffix.lower() in streaming.piped:
            produce(pipe := OutputPipe())
            return pipe.size
        return print_produced(produce)
