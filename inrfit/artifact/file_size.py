"""How large an artifact's file will be, before there are weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..fields import FieldSpec
from ..io import strict_json
from . import container, weight_dtypes
from .artifact import Artifact

UNKNOWN = 2500
"""Bytes that a fit adds to the header that was known before it: versions, settings, times, quality, remarks."""


def max_header_bytes(
    spec: FieldSpec, store: str, modality: str, meta: Mapping[str, Any], provenance: Mapping[str, Any]
) -> int:
    """Most bytes before the weights of the file; ``provenance`` as far as it is known."""
    bare = Artifact(spec, {}, modality, meta, provenance, {}, store)
    metadata = {container.KEY: strict_json.dumps(bare.header())}
    return len(weight_dtypes.header_bytes(spec.shapes, store, spec.fp32_tensors, metadata)) + UNKNOWN


def max_file_bytes(
    spec: FieldSpec, store: str, modality: str, meta: Mapping[str, Any], provenance: Mapping[str, Any]
) -> int:
    """Most bytes of the whole file."""
    weights = weight_dtypes.weight_bytes(spec.shapes, store, spec.fp32_tensors)
    return max_header_bytes(spec, store, modality, meta, provenance) + weights
