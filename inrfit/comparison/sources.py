"""The sources of a comparison: their names, and the check that every method can be fitted to each."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..config.plan import plan, replan
from ..errors import InrfitError, NotEnoughMemory, RefusedInput, UnreadableFile, UsageError, printable
from ..io import files
from ..io.arguments import type_name
from ..modalities.recognition import identify
from ..modalities.sources import read_source
from .codec_runs import check_suited
from .spec import ComparisonSpec, Source


def load_sources(
    spec: ComparisonSpec,
    paths: Sequence[str | os.PathLike[str]],
    on_bad_source: Callable[[str, InrfitError], None] | None,
) -> tuple[Source, ...]:
    """Loads each file once, to check that every method can be fitted to it. One that cannot be read is passed to
    ``on_bad_source`` and left out, if that is given and there are several; otherwise its error is raised. Raises
    ``UsageError`` for settings that do not suit a file. Errors name the file."""
    sources = []
    for path, name in named_sources(paths):
        try:
            sources.append(_load_source(spec, path, name))
        except InrfitError as error:
            if on_bad_source is None or len(paths) == 1 or not isinstance(error, RefusedInput | NotEnoughMemory):
                raise type(error)(f"{printable(path)}: {error}", error.reason) from error
            on_bad_source(path, error)
    return tuple(sources)


def _load_source(spec: ComparisonSpec, path: str, name: str) -> Source:
    """The source in a file that every method can be fitted to, and that the codecs of its kind can hold."""
    settings = spec.settings
    data = read_source(path, settings.limits)
    modality = identify(data, os.path.basename(path), settings.type)
    planned = None
    for method in spec.methods:
        run_settings = spec.settings_for(method, modality.name)
        planned = replan(planned, run_settings) if planned else plan(data, os.path.basename(path), run_settings)
    assert planned is not None
    check_suited(spec.codecs, modality, planned.signal.meta)
    grid = modality.raster(planned.signal.meta)
    samples = None if grid is None else math.prod(grid)
    return Source(name, path, files.sha256(data), len(data), modality.name, samples)


def named_sources(given: Sequence[str | os.PathLike[str]]) -> list[tuple[str, str]]:
    """Each path with its name in the comparison: the name of the file, or the path if file names are not unique.

    Raises ``UsageError`` if there are none, for pipes, which cannot be read more than once, and for repetitions."""
    if wrong := [path for path in given if not isinstance(path, str | os.PathLike)]:
        raise UsageError(f"a source must be the path of a file, not {type_name(wrong[0])}", "source")
    paths = [os.fspath(path).rstrip("/") or "/" for path in given]
    if not paths:
        raise UsageError("there are no sources to be compared", "no-sources")
    if wrong := [path for path in paths if "\0" in path]:
        raise UnreadableFile(f"{printable(wrong[0])}: no such file", "missing")
    for path in paths:
        if path == "-" or Path(path).is_fifo():
            raise UsageError(f"{printable(path)}: must be a file, because it is read more than once", "source")
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UsageError("a source is given twice", "source")
    names = [os.path.basename(path) for path in paths]
    unique = len(set(names)) == len(names)
    return [(path, printable(name if unique else path)) for path, name in zip(paths, names, strict=True)]
