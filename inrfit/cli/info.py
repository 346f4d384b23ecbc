"""``inrfit info``: prints what a field holds, without importing torch."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, printable
from ..fit.outcome import Outcome
from ..io.limits import Limits
from . import shared_options as shared
from .console import Console, format_number, format_quality, print_output
from .encode_report import compare_bytes, describe_store, field_sizes, format_origins
from .failures import exit_code_of, report_failed
from .paths import expand_all, field_suffixes
from .shared_options import LIMITS

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact

MIN_VALUE_WIDTH = 40
"""Minimum width of a value's lines, in characters, on a narrow terminal."""

TIME_LABELS = {
    "startup_seconds": "starting torch",
    "sampler_seconds": "sampler",
    "evaluate_seconds": "evaluation",
    "read_seconds": "reading",
    "coding_seconds": "coding",
    "check_seconds": "final check",
}
"""Labels of the times that the table shows: the first three are part of the fit."""

SETTING_LABELS = {
    "seed": "seed",
    "batch": "batch",
    "engine": "engine",
    "precision": "precision",
    "adam_rate": "Adam rate",
    "muon_rate": "Muon rate",
    "resumed_at_step": "resumed at step",
    "started_from": "started from",
}
"""Labels of the settings that the table shows."""

VERSION_KEYS = ("inrfit", "torch", "numpy", "python", "platform")
"""Keys of the provenance that are shown as versions."""


def info(
    models: shared.Models,
    as_json: shared.ModelJson = False,
    max_bytes: shared.MaxModelBytes = LIMITS.max_bytes,
) -> int:
    """Print what each field holds: source, architecture, size, quality, and how the time was spent.

    Examples:

        inrfit info photo.png.safetensors
    """
    from ..artifact.artifact import Artifact
    from ..artifact.loading import read

    console, limits = Console(as_json=as_json), Limits(max_bytes=max_bytes)
    files = [file.path for file in expand_all(models, field_suffixes, console)]
    if not files:
        raise UsageError("no fields found", "no-sources")
    codes = []
    for model in files:
        try:
            data = read(model, limits)
            artifact, size = Artifact.from_bytes(data, limits), len(data)
            if as_json:
                console.print_json(record(model, artifact, size))
            else:
                show(model, rows(artifact, size))
            codes.append(0)
        except Exception as error:  # whatever is wrong with one field, the others are shown
            codes.append(report_failed(model, error, console))
    return exit_code_of(codes)


def record(model: str, artifact: Artifact, size: int) -> dict[str, Any]:
    """The JSON object: everything that the file holds."""
    provenance = artifact.provenance
    source, samples = provenance.get("source", {}), provenance.get("samples", artifact.quality.get("samples", 0))
    return {
        "ok": True,
        "source": model,
        "bytes": size,
        "store": artifact.store,
        **field_sizes(artifact.spec, size, source.get("bytes"), samples),
        "field": artifact.spec.json(),
        "modality": artifact.modality,
        "signal": dict(artifact.meta),
        "quality": dict(artifact.quality),
        "provenance": dict(provenance),
    }


def rows(artifact: Artifact, size: int) -> list[tuple[str, str]]:
    """Label and text of each row of the table. ``--json`` prints more. A file with a short provenance has fewer."""
    from ..modalities import MODALITIES

    modality, spec = MODALITIES[artifact.modality], artifact.spec
    source_bytes, samples = artifact.provenance.get("source", {}).get("bytes"), artifact.quality.get("samples")
    samples = artifact.provenance.get("samples", samples)
    bits = f", {8 * size / samples:.2f} bits per sample" if samples else ""
    beside = f", {compare_bytes(size, source_bytes, artifact)}" if source_bytes is not None else ""
    return [
        ("contents", f"{artifact.modality}: {modality.describe_source(artifact.meta)}"),
        ("quality", format_quality(artifact.quality, modality.measures)),
        *(
            (_plain(key), format_number(artifact.quality[key]))
            for key in modality.extra_measures
            if key in artifact.quality
        ),
        ("file size", f"{describe_store(artifact, size)}{bits}{beside}"),
        ("architecture", f"{spec.architecture} {spec.depth}x{spec.width} {_in_brackets(spec.options)}".rstrip()),
        ("parameters", f"{spec.parameters:,}"),
        ("cost", f"{spec.macs:,} MACs per sample, {spec.sines:,} sines per sample"),
        *(row for key, row_of in _PROVENANCE_ROWS.items() if key in artifact.provenance for row in row_of(artifact)),
    ]


def _source_rows(artifact: Artifact) -> list[tuple[str, str]]:
    source = artifact.provenance["source"]
    return [("source", f"{source['name']}: {source['bytes']:,} bytes"), ("source SHA-256", source["sha256"])]


def _spent_rows(artifact: Artifact) -> list[tuple[str, str]]:
    spent = artifact.provenance["spent"]
    times = {key: label for key, label in TIME_LABELS.items() if isinstance(spent.get(key), int | float)}
    steps = [
        ("samples chosen by", format_origins(spent["origin"])),
        ("training", f"{spent['steps']:,} steps, {spent['points']:,} samples, {spent['fit_seconds']:.1f} s"),
    ]
    if artifact.provenance.get("ended") == Outcome.CLOSED_FORM.slug:
        steps = [("training", f"none: closed form, {spent['fit_seconds']:.1f} s")]
    return [
        *steps,
        ("time", ", ".join(f"{label} {spent[key]:.1f} s" for key, label in times.items())),
    ]


def _setting_rows(artifact: Artifact) -> list[tuple[str, str]]:
    settings = artifact.provenance["settings"]
    shown = {label: settings[key] for key, label in SETTING_LABELS.items() if settings.get(key) is not None}
    return [("settings", format_pairs(shown))]


def _created_rows(artifact: Artifact) -> list[tuple[str, str]]:
    provenance = artifact.provenance
    where = f" on {provenance['device']}" if "device" in provenance else ""
    where += f", {provenance['threads']} threads" if "threads" in provenance else ""
    versions = {key: provenance[key] for key in VERSION_KEYS if key in provenance}
    return [("created", f"{provenance['created']}{where}"), ("versions", format_pairs(versions))]


def _sampler_rows(artifact: Artifact) -> list[tuple[str, str]]:
    sampler = artifact.provenance["sampler"]
    return [("sampler", f"{sampler['name']} {_in_brackets(sampler['options'])}".rstrip())]


def _ended_rows(artifact: Artifact) -> list[tuple[str, str]]:
    return [("ended", next(outcome.sentence for outcome in Outcome if outcome.slug == artifact.provenance["ended"]))]


_PROVENANCE_ROWS: Mapping[str, Callable[[Artifact], list[tuple[str, str]]]] = {
    "source": _source_rows,
    "sampler": _sampler_rows,
    "budget": lambda artifact: [("budget", _format_budget(artifact.provenance["budget"]))],
    "ended": _ended_rows,
    "spent": _spent_rows,
    "settings": _setting_rows,
    "notes": lambda artifact: [("notes", "; ".join(artifact.provenance["notes"]) or "none")],
    "created": _created_rows,
}
"""The rows about each part of the provenance, which a file may lack."""


def format_pairs(values: Mapping[str, Any]) -> str:
    """``key value, key value``."""
    return ", ".join(
        f"{_plain(key)} {value:,}" if type(value) is int else f"{_plain(key)} {value}" for key, value in values.items()
    )


def _in_brackets(options: Mapping[str, Any]) -> str:
    """Options as "(key=value, key=value)"; empty if there are none."""
    return f"({', '.join(f'{key}={value}' for key, value in options.items())})" if options else ""


def _plain(key: str) -> str:
    return key.replace("_", " ")


def _format_budget(budget: Mapping[str, Any]) -> str:
    units = {"seconds": "{:g} s", "steps": "{:,} steps", "target": "target {:g}"}
    return ", ".join(text.format(budget[key]) for key, text in units.items() if budget[key] is not None)


def show(model: str, table: list[tuple[str, str]]) -> None:
    """Prints a table on stdout, wrapped to the width of the terminal."""
    column = max(len(label) for label, _ in table) + 4
    width = max(MIN_VALUE_WIDTH, shutil.get_terminal_size().columns - column)
    lines = [printable(model)]
    for label, value in table:
        first, *others = textwrap.wrap(printable(value), width, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"  {label:<{column - 2}}{first}".rstrip(), *(" " * column + line for line in others)]
    print_output("\n".join(lines) + "\n")
