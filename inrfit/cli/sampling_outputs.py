"""The outputs of ``--sampling-map`` and ``--sampling-video``: their paths, checks and writing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InrfitError, UsageError
from ..interrupts import StopRequest
from ..io import files
from ..runtime import limited_threads
from .console import Console, FitProgress, print_error

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..config.plan import Plan
    from ..viz.recorder import Recorder

MAP_SUFFIX, VIDEO_SUFFIX = ".map.png", ".teaching.gif"
"""Suffixes added to the name of the source if the option names a folder."""


@dataclass(frozen=True)
class SamplingOutputs:
    """Paths of the sampling outputs of one source; None for those that were not requested."""

    map: str | None = None
    video: str | None = None

    @property
    def paths(self) -> list[str]:
        """The requested paths."""
        return [path for path in (self.map, self.video) if path is not None]

    def check(self, force: bool) -> None:
        """Raises before the fit what writing would raise after it."""
        for path in self.paths:
            files.check_target(path, force)

    def recorder(self, planned: Plan) -> Recorder | None:
        """The recorder that the fit must call; None if nothing was requested. Raises ``UsageError`` for a modality that
        cannot be drawn."""
        if not self.paths:
            return None
        from ..viz.recorder import FRAMES, Recorder
        from ..viz.views import check_modality

        check_modality(planned.signal.modality)
        return Recorder(FRAMES if self.video is not None else 0)


def sampling_outputs_of(
    sources: Sequence[str], outputs: Sequence[str], map_path: str | None, video_path: str | None
) -> list[SamplingOutputs]:
    """The sampling outputs of each source. Raises ``UsageError`` for an unsupported suffix, for one path and several
    sources, and if two files would have the same path."""
    maps = _output_paths("--sampling-map", map_path, sources, MAP_SUFFIX)
    videos = _output_paths("--sampling-video", video_path, sources, VIDEO_SUFFIX)
    outputs_per_source = [SamplingOutputs(*pair) for pair in zip(maps, videos, strict=True)]
    for pictures in outputs_per_source:
        if pictures.map is not None and Path(pictures.map).suffix.lower() != ".png":
            raise UsageError(f"--sampling-map {pictures.map}: a map is written as .png", "suffix")
        if pictures.video is not None:
            from ..viz import video_file

            video_file.check_suffix(Path(pictures.video).suffix)
    taken = {os.path.realpath(path) for path in (*outputs, *(source for source in sources if source != "-"))}
    for path in (path for pictures in outputs_per_source for path in pictures.paths):
        if os.path.realpath(path) in taken:
            raise UsageError(f"{path} is also a source or another output", "same-output")
        taken.add(os.path.realpath(path))
    return outputs_per_source


def _output_paths(option: str, path: str | None, sources: Sequence[str], suffix: str) -> Sequence[str | None]:
    """The path for each source: ``path`` itself, or a name in the folder ``path``; None for no ``path``."""
    if path is None:
        return [None] * len(sources)
    if os.path.isdir(path):
        names = ["stdin" if source == "-" else os.path.basename(source) for source in sources]
        return [os.path.join(path, name + suffix) for name in names]
    if len(sources) > 1:
        raise UsageError(f"{option} {path}: several sources need an existing folder", "output")
    return [path]


def write_sampling_outputs(
    pictures: SamplingOutputs,
    recorder: Recorder | None,
    artifact: Artifact,
    name: str,
    threads: int | None,
    console: Console,
    force: bool,
    stop: StopRequest,
) -> dict[str, Any]:
    """Writes the sampling outputs after the field is saved; returns the entries for the JSON object.

    A failure is reported and becomes the ``error`` of the object; the field and the other output are kept. After an
    interrupt the map is still written, unless its file exists, and the video is not."""
    record: dict[str, Any] = {}
    if recorder is None:
        return record
    if not recorder.steps:
        console.warn(name, "the fit made no step, so there is no sampling to show")
        return record
    if pictures.map is not None:
        description = f"{recorder.caption()} over {recorder.steps:,} steps"
        record |= _write_output("sampling_map", pictures.map, recorder.map, force, description, name, console)
    if pictures.video is not None:
        record |= _write_video(pictures.video, recorder, artifact, name, threads, console, force, stop)
    return record


def _write_video(
    path: str,
    recorder: Recorder,
    artifact: Artifact,
    name: str,
    threads: int | None,
    console: Console,
    force: bool,
    stop: StopRequest,
) -> Mapping[str, Any]:
    """Draws and writes the video with a progress bar, unless interrupted; returns the entries for the JSON object."""
    progress = FitProgress(console, os.path.basename(name))

    def on_progress(fraction: float) -> None:
        if stop():
            raise KeyboardInterrupt
        progress.update(fraction, "drawing the video")

    def make() -> bytes:
        on_progress(0.0)
        with limited_threads(threads):
            return recorder.video(artifact, Path(path).suffix, on_progress)

    try:
        description = f"{len(recorder.frames) + 1} frames"
        return _write_output("sampling_video", path, make, force, description, name, console)
    except KeyboardInterrupt:
        console.log(f"inrfit: {name}: interrupted; {path} was not written", level=-1)
        return {"sampling_video": None}
    finally:
        progress.close()


def _write_output(
    key: str, path: str, make: Callable[[], bytes], force: bool, description: str, name: str, console: Console
) -> Mapping[str, Any]:
    """Makes and writes one file, and prints its path or the error; returns the entries for the JSON object."""
    from ..execution import translated_errors

    started = time.monotonic()
    try:
        with translated_errors():
            data = make()
        files.write(path, data, force)
    except InrfitError as error:
        print_error(f"inrfit: error: {name}: {error}")
        failure = {"code": error.exit_code, "reason": error.reason, "message": str(error)}
        return {"ok": False, "error": failure, key: None}
    console.log(f"  {path}: {description}; drawn in {time.monotonic() - started:.1f} s, outside the budget")
    return {key: path}
