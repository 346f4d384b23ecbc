"""Measures an artifact against its source, and says whether that confirms the quality in its header."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError, warn
from ..io import options as io_options
from ..io.arguments import PATH, described, source_or_values
from ..io.file_names import suffix_of
from ..io.limits import Limits
from ..modalities import MODALITIES, Modality, file_of
from ..modalities.notes import about_samples
from ..modalities.recognition import identify, load_signal
from ..modalities.sources import read_source
from ..signal import Scale, Signal
from .header import json_quality

if TYPE_CHECKING:
    import torch

    from .artifact import Artifact

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Figure:
    """One measure: its value in the header and the value that was measured (inf: perfect; nan: undefined; None: there
    is none), and whether they confirm each other (None: one of them is missing, or it is of other samples)."""

    key: str
    stated: float | None
    measured: float | None
    confirmed: bool | None


def source_bytes(artifact: Artifact, source: Any, coords: Any, values: Any, limits: Limits) -> tuple[bytes, str]:
    """The bytes of a source, a path, an array, or ``values`` at ``coords``, and its name. Raises ``UsageError`` for
    anything else."""
    source = source_or_values(source, coords, values)
    if isinstance(source, np.ndarray):
        known = {**artifact.meta, **MODALITIES[artifact.modality].options_of(artifact.meta)}
        arguments: dict[str, Any] = {key: known[key] for key in ("rate", "axes") if key in known}
        return file_of(source, arguments if coords is None else {**arguments, "coords": coords}), "array"
    if PATH.accepts(source):
        return read_source(source, limits), os.fspath(source)
    raise UsageError(f"source: must be a path or a NumPy array, not {described(source)}", "option")


def source_signal(artifact: Artifact, data: bytes, name: str, limits: Limits, values: Mapping[str, Any]) -> Signal:
    """The signal of a source file, read with the options that the field was made with as far as it tells them, and with
    the further options ``values``, in the scale and the place of the field. Raises ``RefusedInput``, and ``UsageError``
    for a source that differs in what the field describes."""
    modality, shown = MODALITIES[artifact.modality], os.path.basename(name)
    found = modality if suffix_of(name) in modality.named_suffixes else identify(data, name)
    if found.name != modality.name:
        raise UsageError(f"of the type {found.name}, the field is of the type {modality.name}", "different")
    given = modality.options_of(artifact.meta) | dict(values)
    options = io_options.build({modality.name: modality.options}, given)[modality.name]
    signal = load_signal(modality, data, name, options, limits)
    meta, shape = artifact.meta, modality.raster(signal.meta)
    placed = modality.in_place_of(signal, meta)
    scale = Scale.from_json(meta["scale"]) if "scale" in meta else signal.scale
    same = shape == modality.raster(meta) and signal.channels == artifact.spec.outputs
    if not same or scale.dtype != placed.scale.dtype or meta.get("rate") != signal.meta.get("rate"):
        own, other = modality.describe_source(meta), modality.describe_source(signal.meta)
        raise UsageError(f"not the source of this field: {other}, not {own}", "different")
    known = artifact.provenance.get("notes", ())
    if changes := [note for note in about_samples(signal.notes) if note not in known]:
        warn(f"{shown}: what is compared is not the file as it is: {'; '.join(changes)}")
    return replace(placed, meta=meta, scale=scale)


def measured(
    artifact: Artifact, signal: Signal, device: torch.device, on_progress: OnProgress = lambda fraction: None
) -> dict[str, Any]:
    """The quality of the artifact's weights, as they are stored, on every sample; if that in the header is an estimate
    on as many samples as inrfit takes for estimates, on the same ones."""
    from ..fit import evaluation

    stored = type(artifact).from_bytes(artifact.to_bytes(), Limits(max_bytes=2**62))
    field, quality, modality = stored.field(device), artifact.quality, MODALITIES[artifact.modality]
    if quality.get("estimate") and (count := quality.get("samples")) in evaluation.ESTIMATE_POINTS:
        return evaluation.estimate(field, signal, count, on_progress)
    found = modality.measure(field, signal, on_progress)
    stated = quality.get("samples", artifact.provenance.get("samples", signal.n))
    found |= {"samples": signal.n if modality.held_out else stated, "estimate": False}
    return found | plain_codec(modality, signal, found)


def plain_codec(modality: Modality, signal: Signal, quality: Mapping[str, Any]) -> dict[str, Any]:
    """What ``quality`` records about a common lossy format: its name, and its bytes for the same quality."""
    plain = modality.plain_codec(signal, quality)
    return {} if plain is None else {"plain_codec": plain[0], "plain_codec_bytes": plain[1]}


def check_integrity(artifact: Artifact, limits: Limits, device: torch.device, on_progress: OnProgress) -> str:
    """Decodes the whole field and returns a description of the result. Structure, ranges and finite weights were
    checked when the file was read. Raises ``RefusedInput`` or ``Diverged``."""
    modality, field = MODALITIES[artifact.modality], artifact.field(device)
    request = modality.whole(artifact.meta)
    decode = modality.decode if modality.streaming is None else modality.streaming.decode
    decoded = decode(field, artifact.meta, request, limits, on_progress)
    if modality.streaming is not None:
        for _ in decoded:
            pass
    suffix = modality.suffix(artifact.meta)[0]
    return modality.describe_decoded(decoded, artifact.meta, suffix, request)


def figures(artifact: Artifact, quality: Mapping[str, Any], own_source: bool = True) -> list[Figure]:
    """The measures of the modality that were measured, or stand in the header, in the order in which they are
    printed. Those of another source than the field's are not refuted where a field may be measured on other samples."""
    stated, found, modality = artifact.quality, json_quality(quality), MODALITIES[artifact.modality]
    figures = []
    for key, measure in modality.measures.items():
        before, now = _value(stated, key), _value(found, key)
        confirmed = None
        if before is not None and now is not None:
            room = measure.tolerance + measure.relative_tolerance * abs(before)
            confirmed = before == now or (before != before and now != now) or abs(before - now) <= room
        if before is not None or now is not None:
            figures.append(Figure(key, before, now, confirmed))
    if modality.held_out and not own_source and any(figure.confirmed is False for figure in figures):
        return [replace(figure, confirmed=None) for figure in figures]
    return figures


def _value(quality: Mapping[str, Any], key: str) -> float | None:
    """A measure with inf and nan, which ``json_quality`` replaced by None; None if there is none."""
    if key not in quality:
        return None
    infinite = key in str(quality.get("infinite", "")).split()
    return (math.inf if infinite else math.nan) if quality[key] is None else float(quality[key])
