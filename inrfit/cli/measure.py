"""``inrfit measure``: checks a field against its source, or compares two files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..interrupts import StopRequest, stop_on_signals
from ..io.limits import Limits
from ..io.options import parse_pairs
from ..io.registry import plugin_errors
from ..runtime import keep_freed_memory, limited_threads, sleep_idle_threads
from . import shared_options as shared
from .console import Console, FitProgress, format_number, print_output
from .help import SOURCE
from .paths import STDIO
from .shared_options import LIMITS

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..artifact.measuring import Figure
    from ..modalities import Modality
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
            help="The source of the field, or the file that A is compared with. Default: only the integrity of A is "
            "checked.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, shared.flag("--json", panel=SOURCE, help="Print one JSON object on stdout.")] = False,
    quiet: shared.Quiet = False,
    options: shared.FileOptions = None,
    frame: shared.Frame = None,
    device: shared.Device = shared.DEFAULTS.device,
    threads: shared.Threads = None,
    max_bytes: shared.MaxBytes = LIMITS.max_bytes,
    max_pixels: shared.MaxPixels = LIMITS.max_pixels,
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
    keep_freed_memory()
    sleep_idle_threads()
    console = Console(-1 if quiet else 0, as_json)
    limits = Limits(max_bytes, max_pixels, max_samples, max_channels, max_faces, max_output)
    values: dict[str, Any] = dict(parse_pairs(options or []))
    if frame is not None:
        values["frame"] = frame
    if first == second == STDIO:
        raise UsageError("only one of the files can be standard input", "option")
    with stop_on_signals() as stop, plugin_errors(), limited_threads(threads):
        return _Measurement(first, second, values, device, limits, console, stop).run()


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
        stop: StopRequest,
    ) -> None:
        self.first, self.second, self.values, self.device = first, second, values, device
        self.limits, self.console, self.stop = limits, console, stop
        self.progress = FitProgress(console, os.path.basename(first))

    def run(self) -> int:
        """Measures, prints, and returns the exit code."""
        from ..artifact.artifact import Artifact
        from ..artifact.container import is_safetensors
        from ..io import files

        with self.stop.interrupting_reads():
            data = files.read(self.first, self.limits)
        try:
            if not is_safetensors(data):
                return self._compare(data)
            artifact = Artifact.from_bytes(data, self.limits)
            return self._check(artifact) if self.second is None else self._confirm(artifact, self.second)
        except KeyboardInterrupt:
            return self.stop.exit_code
        finally:
            self.progress.close()

    def _check(self, artifact: Artifact) -> int:
        """Integrity alone."""
        from ..artifact.measuring import check_integrity
        from ..fit.engine.step import choose_device

        decoded = check_integrity(artifact, self.limits, choose_device(self.device), self._on_progress)
        self.progress.close()
        if not self.console.as_json:
            print_output(f"{self.first}: intact; decodes to {decoded} (name its source to check the quality)\n")
        self.console.print_json({"ok": True, "source": self.first, "intact": True, "confirmed": None})
        return 0

    def _confirm(self, artifact: Artifact, source: str) -> int:
        """The quality of a field against its source, beside that in its header."""
        from ..artifact.measuring import figures, measured, source_signal
        from ..fit.engine.step import choose_device
        from ..io import files

        with self.stop.interrupting_reads():
            data = files.read(source, self.limits)
        signal = source_signal(artifact, data, source, self.limits, self.values)
        stated = artifact.provenance.get("source", {}).get("sha256")
        if stated is not None and stated != files.sha256(data):
            self.console.warn(source, "not the very file that the field was made from (its SHA-256 differs)")
        quality = measured(artifact, signal, choose_device(self.device), self._on_progress)
        found = figures(artifact, quality)
        self.progress.close()
        confirmed = any(figure.confirmed for figure in found) and all(f.confirmed is not False for f in found)
        if not self.console.as_json:
            self._print(artifact, found)
        self.console.print_json(
            {
                "ok": confirmed,
                "source": self.first,
                "reference": source,
                "confirmed": confirmed,
                "quality": {figure.key: figure.measured for figure in found},
                "stated": {figure.key: figure.stated for figure in found},
            }
        )
        if not confirmed:
            self.console.log(f"inrfit: {self.first}: figure not confirmed", level=-1)
        return 0 if confirmed else NOT_CONFIRMED

    def _print(self, artifact: Artifact, found: list[Figure]) -> None:
        """The table of a field's measures."""
        from ..modalities import MODALITIES

        measures = MODALITIES[artifact.modality].measures
        rows: list[tuple[str, ...]] = [("", "measured", "in the header", "")]
        for figure in found:
            unit = measures[figure.key].unit
            said = {True: "confirmed", False: "NOT CONFIRMED", None: "not in the header"}[figure.confirmed]
            if figure.confirmed is None and figure.measured is None:
                said = "not measured"
            infinite = figure.key in str(artifact.quality.get("infinite", "")).split()
            measured = f"{format_number(figure.measured, infinite)} {unit}".rstrip()
            stated = f"{format_number(figure.stated, infinite)} {unit}".rstrip() if said != "not in the header" else ""
            rows.append((measures[figure.key].label, measured, stated, said))
        print_output(f"{self.first}\n" + _table(rows))

    def _compare(self, data: bytes) -> int:
        """Two pictures, sounds or meshes."""
        from ..artifact.header import json_quality
        from ..io import files

        if self.second is None:
            raise UsageError(f"{self.first} is not a field: name the file that it is compared with", "option")
        with self.stop.interrupting_reads():
            other = files.read(self.second, self.limits)
        modality, signal = self._load(data, self.first)
        reference_modality, reference = self._load(other, self.second)
        if modality.name != reference_modality.name or modality.compare is None:
            raise UsageError(
                f"{self.first} ({modality.name}) and {self.second} ({reference_modality.name}) cannot be compared",
                "different",
            )
        quality = json_quality(modality.compare(signal, reference, self._on_progress))
        self.progress.close()
        infinite = quality.get("infinite", "").split()
        rows: list[tuple[str, ...]] = [
            (measure.label, f"{format_number(quality[key], key in infinite)} {measure.unit}".rstrip())
            for key, measure in modality.measures.items()
            if key in quality
        ]
        if not self.console.as_json:
            print_output(f"{self.first} against {self.second}\n" + _table(rows))
        self.console.print_json(
            {"ok": True, "source": self.first, "reference": self.second, "confirmed": None, "quality": quality}
        )
        return 0

    def _load(self, data: bytes, name: str) -> tuple[Modality, Signal]:
        """The modality and the signal of a file that is no field."""
        from ..io import options
        from ..modalities.recognition import identify, load_signal

        modality = identify(data, name)
        known = options.declared(modality.options)
        values = {key: value for key, value in self.values.items() if key in known or key != "frame"}
        built = options.build({modality.name: modality.options}, values)[modality.name]
        return modality, load_signal(modality, data, name, built, self.limits)

    def _on_progress(self, fraction: float) -> None:
        if self.stop():
            raise KeyboardInterrupt
        self.progress.update(fraction, "measuring")


def _table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"  {line.rstrip()}\n" for line in lines)
