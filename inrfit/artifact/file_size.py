"""Upper bounds on the size of an artifact's file, before there are weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..fields import FieldSpec
from ..io import strict_json
from . import container, weight_dtypes
from .artifact import Artifact

HEADER_RESERVE = 2500
"""Bytes reserved for what a fit adds to the header: versions, settings, times, quality and notes."""


def max_header_bytes(
    spec: FieldSpec,
    store: str,
    modality: str,
    meta: Mapping[str, Any],
    attachments: Mapping[str, bytes],
    provenance: Mapping[str, Any],
) -> int:
    """Upper bound on the bytes of the header and the attachments. ``provenance`` holds what is known before the fit."""
    artifact = Artifact(spec, {}, modality, meta, provenance, {}, store, attachments)
    metadata = {container.KEY: strict_json.dumps(artifact.header())}
    lengths = {name: len(content) for name, content in attachments.items()}
    header = container.header_bytes(spec.shapes, store, spec.fp32_tensors, metadata, lengths)
    return len(header) + HEADER_RESERVE + sum(lengths.values())


def max_file_bytes(
    spec: FieldSpec,
    store: str,
    modality: str,
    meta: Mapping[str, Any],
    attachments: Mapping[str, bytes],
    provenance: Mapping[str, Any],
) -> int:
    """Upper bound on the bytes of the whole file."""
    weights = weight_dtypes.weight_bytes(spec.shapes, store, spec.fp32_tensors)
    return max_header_bytes(spec, store, modality, meta, attachments, provenance) + weights
