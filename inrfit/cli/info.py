"""``inrfit info``: what a field is, without torch."""

from __future__ import annotations

from typing import Any

from ..errors import InrfitError
from ..io.limits import Limits
from . import shared_options as shared
from .console import Console, format_number, format_quality, print_output
from .encode_report import sizes
from .shared_options import LIMITS


def info(
    models: shared.Models,
    as_json: shared.ModelJson = False,
    max_bytes: shared.MaxModelBytes = LIMITS.max_bytes,
) -> int:
    """Print what each field holds: source, architecture, size, quality, and how the time was spent.

    Examples:

        inrfit info photo.png.safetensors
    """
    from ..artifact.artifact import load

    console = Console(as_json=as_json)
    codes = []
    for model in models:
        try:
            artifact = load(model, Limits(max_bytes=max_bytes))
        except InrfitError as error:
            console.report_failure(model, error)
            codes.append(error.exit_code)
            continue
        size = artifact.stored_bytes
        if as_json:
            console.print_json(record(model, artifact, size))
        else:
            show(model, rows(artifact, size))
        codes.append(0)
    if len(codes) == 1:
        return codes[0]
    return 7 if any(codes) else 0


def record(model: str, artifact: Any, size: int) -> dict[str, Any]:
    """Everything as JSON."""
    source = artifact.provenance["source"]
    return {
        "ok": True,
        "source": model,
        "bytes": size,
        "store": artifact.store,
        **sizes(artifact.spec, size, source["bytes"], artifact.provenance["samples"]),
        "field": artifact.spec.json(),
        "modality": artifact.modality,
        "signal": dict(artifact.meta),
        "quality": dict(artifact.quality),
        "provenance": dict(artifact.provenance),
    }


def rows(artifact: Any, size: int) -> list[tuple[str, str]]:
    """Label and text, for people."""
    from ..modalities import MODALITIES

    modality, provenance, spec = MODALITIES[artifact.modality], artifact.provenance, artifact.spec
    source, spent, samples = provenance["source"], provenance["spent"], provenance["samples"]
    sampler = provenance["sampler"]
    budget = {key: value for key, value in provenance["budget"].items() if value is not None}
    return [
        ("modality", f"{artifact.modality}: {modality.describe_source(artifact.meta)}"),
        ("architecture", f"{spec.architecture} {spec.depth}x{spec.width} {format_pairs(spec.options)}".rstrip()),
        ("parameters", f"{spec.parameters:,}"),
        ("MACs per sample", f"{spec.macs:,}"),
        ("sines per sample", f"{spec.sines:,}"),
        (f"stored {artifact.store}", f"{size:,} bytes, {8 * size / samples:.2f} bits per sample"),
        (
            "source",
            f"{source['name']}: {source['bytes']:,} bytes, {8 * source['bytes'] / samples:.2f} bits per sample",
        ),
        ("source SHA-256", source["sha256"]),
        ("quality", format_quality(artifact.quality, modality.measures)),
        *((key, format_number(artifact.quality[key])) for key in modality.extra_measures if key in artifact.quality),
        ("sampler", f"{sampler['name']} {format_pairs(sampler['options'])}".rstrip()),
        ("budget", f"{format_pairs(budget)}; ended: {provenance['ended']}"),
        ("spent", format_pairs({key: value for key, value in spent.items() if key != "origin"})),
        ("selected", format_pairs(spent["origin"])),
        ("settings", format_pairs(provenance["settings"])),
        ("notes", "; ".join(provenance["notes"]) or "none"),
        ("made", f"{provenance['created']} on {provenance['device']}, {provenance['threads']} threads"),
        (
            "versions",
            format_pairs({key: provenance[key] for key in ("inrfit", "torch", "numpy", "python", "platform")}),
        ),
    ]


def format_pairs(values: Any) -> str:
    """``key value, key value``."""
    return ", ".join(f"{key} {value:,}" if type(value) is int else f"{key} {value}" for key, value in values.items())


def show(model: str, table: list[tuple[str, str]]) -> None:
    """A table on stdout; plain text where stdout is no terminal."""
    from ..errors import printable

    width = max(len(label) for label, _ in table)
    text = "\n".join(f"  {label:<{width}}  {printable(value)}" for label, value in table)
    print_output(f"{printable(model)}\n{text}\n")
