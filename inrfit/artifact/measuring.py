"""Measures an artifact against its source, and says whether that confirms the quality in its header."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..io import options as io_options
from ..io.limits import Limits
from ..modalities import MODALITIES, Request
from ..modalities.recognition import load_signal
from ..signal import Signal
from .header import json_quality

if TYPE_CHECKING:
    import torch

    from .artifact import Artifact

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Figure:
    """One measure: its value in the header (None: there is none, or it is not finite), the value that was measured, and
    whether they confirm each other (None: the header has no such measure)."""

    key: str
    stated: float | None
    measured: float | None
    confirmed: bool | None


def source_signal(artifact: Artifact, data: bytes, name: str, limits: Limits, values: Mapping[str, Any]) -> Signal:
    """The signal of a source file, read with the options that the field was made with as far as it tells them, and with
    the further options ``values``. Raises ``RefusedInput``, and ``UsageError`` for a source that differs in what the
    field describes."""
    modality = MODALITIES[artifact.modality]
    given = modality.options_of(artifact.meta) | dict(values)
    options = io_options.build({modality.name: modality.options}, given)[modality.name]
    signal = load_signal(modality, data, name, options, limits)
    shape = modality.raster(artifact.meta)
    if (None if signal.grid is None else signal.grid.shape) != shape or signal.channels != artifact.spec.outputs:
        own, other = modality.describe_source(artifact.meta), modality.describe_source(signal.meta)
        raise UsageError(f"{os.path.basename(name)} is not the source of this field: {other}, not {own}", "different")
    return signal


def measured(
    artifact: Artifact, signal: Signal, device: torch.device, on_progress: OnProgress = lambda fraction: None
) -> dict[str, Any]:
    """The quality of the artifact's weights, as they are stored, on every sample; if that in the header is an estimate,
    on the same samples."""
    from ..fit import evaluation

    stored = type(artifact).from_bytes(artifact.to_bytes(), Limits(max_bytes=2**62))
    field, quality = stored.field(device), artifact.quality
    if quality.get("estimate") and isinstance(count := quality.get("samples"), int):
        return evaluation.estimate(field, signal, count, on_progress)
    found = MODALITIES[artifact.modality].measure(field, signal, on_progress)
    return {**found, "samples": quality.get("samples", signal.n), "estimate": False}


def check_integrity(artifact: Artifact, limits: Limits, device: torch.device, on_progress: OnProgress) -> str:
    """Decodes the whole field and returns a description of the result. Structure, ranges and finite weights were
    checked when the file was read. Raises ``RefusedInput`` or ``Diverged``."""
    modality = MODALITIES[artifact.modality]
    decoded = modality.decode(artifact.field(device), artifact.meta, Request(), limits, on_progress)
    suffix = modality.suffix(artifact.meta)[0]
    return modality.describe_decoded(decoded, artifact.meta, suffix, Request())


def figures(artifact: Artifact, quality: Mapping[str, Any]) -> list[Figure]:
    """The measures of the modality that were measured, or stand in the header, in the order in which they are
    printed."""
    stated, found = artifact.quality, json_quality(quality)
    keys = [key for key in MODALITIES[artifact.modality].measures if key in stated or key in found]
    return [_figure(artifact, key, stated, found) for key in keys]


def _figure(artifact: Artifact, key: str, stated: Mapping[str, Any], found: Mapping[str, Any]) -> Figure:
    before, now = stated.get(key), found.get(key)
    confirmed = None
    if key in stated and key in found:
        infinite = [key in str(quality.get("infinite", "")).split() for quality in (stated, found)]
        measure = MODALITIES[artifact.modality].measures[key]
        if before is None or now is None:
            confirmed = before is now and infinite[0] == infinite[1]
        else:
            confirmed = abs(before - now) <= measure.tolerance + measure.relative_tolerance * abs(before)
    return Figure(key, before, now, confirmed)
