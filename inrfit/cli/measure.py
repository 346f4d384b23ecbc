"""``inrfit measure``: checks a field against its source, or compares two files."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..io.limits import Limits
from ..io.options import parse_pairs
from ..io.registry import plugin_errors
from ..output_files import FIELD_SUFFIX
from ..runtime import keep_freed_memory, limited_threads, silence_libraries, sleep_idle_threads
from . import shared_options as shared
from .console import Console, FitProgress, format_number, print_output
from .failures import report_failed
from .help import REPORTING, SOURCE
from .paths import STDIO
from .shared_options import LIMITS

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..artifact.measuring import Figure
    from ..modalities import Modality
    from ..modalities.modality import Measure
    from ..signal import Signal

NOT_CONFIRMED = 8
"""Exit code if a figure in the header is not that of the file."""


def measure(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            rich_help_panel=SOURCE,
            help="A field, or a picture, sound or mesh; - for standard input.",
            show_default=False,
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]",
            rich_help_panel=SOURCE,
            help="The source of the field, or the file that A is compared with. Default: only whether A is well-formed "
            "and decodes.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, shared.flag("--json", panel=REPORTING, help="Print one JSON object on stdout.")] = False,
    quiet: Annotated[
        bool, shared.flag("-q", "--quiet", panel=REPORTING, help="Print errors only; the exit code is the result.")
    ] = False,
    options: shared.FileOptions = None,
    frame: shared.Frame = None,
    device: shared.Device = shared.DEFAULTS.device,
    threads: shared.Threads = None,
    max_bytes: shared.MaxBytes = LIMITS.max_bytes,
    max_pixels: shared.MaxPixels = LIMITS.max_pixels,
    max_voxels: shared.MaxVoxels = LIMITS.max_voxels,
    max_samples: shared.MaxSamples = LIMITS.max_samples,
    max_channels: shared.MaxChannels = LIMITS.max_channels,
    max_faces: shared.MaxFaces = LIMITS.max_faces,
    max_output: shared.MaxOutput = LIMITS.max_output,
) -> int:
    """Measure how good a field is, and check the figure in its header; or how alike two files are.

    The field is read back and decoded, and every sample is compared with the source. Exit code 0: the figure is
    confirmed within rounding; 8: it is not.

    Examples:

        inrfit measure photo.png.safetensors photo.png
        inrfit measure photo.decoded.png photo.png
        inrfit measure photo.png.safetensors
    """
    silence_libraries()
    keep_freed_memory()
    sleep_idle_threads()
    console = Console(-1 if quiet else 0, as_json)
    limits = Limits(max_bytes, max_pixels, max_voxels, max_samples, max_channels, max_faces, max_output)
    values: dict[str, Any] = dict(parse_pairs(options or []))
    if frame is not None:
        values["frame"] = frame
    if first == second == STDIO:
        raise UsageError("only one of the files can be standard input", "option")
    with plugin_errors(), limited_threads(threads):
        return _Measurement(first, second, values, device, limits, console).run()


class _Measurement:
    """One run of the command."""

    def __init__(
        self,
        first: str,
        second: str | None,
        values: dict[str, Any],
        device: str,
        limits: Limits,
        console: Console,
    ) -> None:
        self.first, self.second, self.values, self.device = first, second, values, device
        self.limits, self.console = limits, console
        self.progress = FitProgress(console, os.path.basename(first))
        self.current = first
        """The file that is worked on, which errors name."""

    def run(self) -> int:
        """Measures, prints, and returns the exit code."""
        try:
            return self._run()
        except Exception as error:
            self.progress.close()
            return report_failed(self.current, error, self.console)
        finally:
            self.progress.close()

    def _run(self) -> int:
        from ..artifact.artifact import Artifact
        from ..artifact.container import is_safetensors

        data = self._read(self.first)
        other = None if self.second is None else self._read(self.second)
        for path, content in ((self.second, other), (self.first, data)):
            if content is not None and str(path).endswith(FIELD_SUFFIX) and not is_safetensors(content):
                self.current = str(path)
                Artifact.from_bytes(content, self.limits)  # says what is wrong with it
        self.current = self.first
        if other is not None and is_safetensors(other):
            hint = "name its source" if is_safetensors(data) else "name the field first"
            raise UsageError(f"{self.second} is a field: {hint}", "option")
        if not is_safetensors(data):
            return self._compare(data, other)
        artifact = Artifact.from_bytes(data, self.limits)
        return self._check(artifact) if other is None else self._confirm(artifact, other)

    def _read(self, path: str) -> bytes:
        from ..artifact.loading import read
        from ..modalities.sources import is_store, read_source, with_companion

        self.current = path
        if is_store(path):
            return read_source(path, self.limits)
        return with_companion(read(path, self.limits, or_other=True), path, self.limits)

    def _check(self, artifact: Artifact) -> int:
        """Integrity alone."""
        from ..artifact.measuring import check_integrity
        from ..fit.engine.step import choose_device

        decoded = check_integrity(artifact, self.limits, choose_device(self.device), self._on_progress)
        self._print(f"{self.first}: well-formed; decodes to {decoded} (name its source to check the quality)\n")
        self.console.print_json({"ok": True, "source": self.first, "decodes": True, "confirmed": None})
        return 0

    def _confirm(self, artifact: Artifact, data: bytes) -> int:
        """The quality of a field against its source, beside that in its header."""
        from ..artifact.header import json_quality
        from ..artifact.measuring import figures, measured, source_signal
        from ..fit.engine.step import choose_device
        from ..io import files
        from ..modalities import MODALITIES

        self.current = source = str(self.second)
        signal = source_signal(artifact, data, source, self.limits, self.values)
        stated = artifact.provenance.get("source", {}).get("sha256")
        own = stated == files.sha256(data)
        if not own and stated is not None:
            self.console.warn(source, "not the very file that the field was made from (its SHA-256 differs)")
        self.current = self.first
        found = figures(artifact, measured(artifact, signal, choose_device(self.device), self._on_progress), own)
        answers = {figure.key: figure.confirmed for figure in found}
        main = answers.get(MODALITIES[artifact.modality].main_measure)
        confirmed = False if False in answers.values() else main
        self._print(f"{self.first}\n" + _table(self._rows(artifact, found)))
        record = {
            "ok": confirmed is not False,
            "source": self.first,
            "reference": source,
            "confirmed": confirmed,
            "quality": json_quality({f.key: f.measured for f in found if f.measured is not None}),
            "stated": json_quality({f.key: f.stated for f in found if f.stated is not None}),
        }
        if confirmed is False:
            failure = {"code": NOT_CONFIRMED, "reason": "not-confirmed", "message": "figure not confirmed"}
            hint = " (if the field was made with --frame or -O, name them)" if own else ""
            self.console.log(f"inrfit: error: {self.first}: {failure['message']}{hint}", level=-1)
            record |= {"error": failure}
        elif confirmed is None:
            stands = any(figure.stated is not None for figure in found)
            why = "the figures in the header are of other samples" if stands else "there is no quality in the header"
            self.console.log(f"inrfit: {self.first}: nothing is confirmed: {why}")
        self.console.print_json(record)
        return NOT_CONFIRMED if confirmed is False else 0

    def _rows(self, artifact: Artifact, found: list[Figure]) -> list[tuple[str, ...]]:
        """The table of a field's measures."""
        from ..modalities import MODALITIES

        rows: list[tuple[str, ...]] = [("", "measured", "in the header", "")]
        for figure in found:
            measure = MODALITIES[artifact.modality].measures[figure.key]
            missing = "not in the header" if figure.stated is None else "of other samples"
            said = {True: "confirmed", False: "NOT CONFIRMED", None: missing}[figure.confirmed]
            rows.append((measure.label, _figure(figure.measured, measure), _figure(figure.stated, measure), said))
        return rows

    def _compare(self, data: bytes, other: bytes | None) -> int:
        """Two pictures, sounds or meshes."""
        from ..artifact.header import json_quality

        if other is None or self.second is None:
            raise UsageError("not a field: name the file that it is compared with, too", "option")
        modality, signal = self._load(data, self.first)
        reference_modality, reference = self._load(other, self.second)
        self.current = self.first
        if modality.name == reference_modality.name and modality.compare is None:
            raise UsageError(
                f"files of the type {modality.name} are not compared: measure a field against one", "option"
            )
        if modality.name != reference_modality.name or modality.compare is None:
            kinds = f"type {modality.name}; {self.second} is of the type {reference_modality.name}"
            raise UsageError(f"cannot be compared: this file is of the {kinds}", "different")
        quality = modality.compare(signal, reference, self._on_progress)
        if signal.grid is not None and signal.n != reference.n:
            compared = f"only the first {min(signal.n, reference.n):,} are compared"
            self.console.warn(self.first, f"{signal.n:,} samples, {self.second} has {reference.n:,}: {compared}")
        rows: list[tuple[str, ...]] = [
            (measure.label, _figure(quality[key], measure))
            for key, measure in modality.measures.items()
            if key in quality
        ]
        self._print(f"{self.first} against {self.second}\n" + _table(rows))
        record = {"ok": True, "source": self.first, "reference": self.second, "confirmed": None}
        self.console.print_json(record | {"quality": json_quality(quality)})
        return 0

    def _load(self, data: bytes, name: str) -> tuple[Modality, Signal]:
        """The modality and the signal of a file that is no field."""
        from ..io import options
        from ..modalities.recognition import identify, load_signal

        self.current = name
        modality = identify(data, name)
        known = options.declared(modality.options)
        values = {key: value for key, value in self.values.items() if key in known or key != "frame"}
        built = options.build({modality.name: modality.options}, values)[modality.name]
        return modality, load_signal(modality, data, name, built, self.limits)

    def _print(self, text: str) -> None:
        """Prints a result, unless there is JSON or only errors are wanted."""
        self.progress.close()
        if not self.console.as_json and self.console.level >= 0:
            print_output(text)

    def _on_progress(self, fraction: float) -> None:
        self.progress.update(fraction, "measuring")


def _figure(value: float | None, measure: Measure) -> str:
    """A measure with its unit; nothing if there is none."""
    if value is None:
        return ""
    return f"{format_number(value, infinite=value == math.inf)} {measure.unit}".rstrip()


def _table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"  {line.rstrip()}\n" for line in lines)
