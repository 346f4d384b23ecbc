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


def header_bytes(
    spec: FieldSpec, store: str, modality: str, meta: Mapping[str, Any], provenance: Mapping[str, Any]
) -> int:
    """Most bytes before the weights of the file; ``provenance`` as far as it is known."""
    bare = Artifact(spec, {}, modality, meta, provenance, {}, store)
    metadata = {container.KEY: strict_json.dumps(bare.inside())}
    return len(weight_dtypes.head(spec.shapes, store, spec.exact, metadata)) + UNKNOWN


def file_bytes(
    spec: FieldSpec, store: str, modality: str, meta: Mapping[str, Any], provenance: Mapping[str, Any]
) -> int:
    """Most bytes of the whole file."""
    weights = weight_dtypes.weight_bytes(spec.shapes, store, spec.exact)
    return header_bytes(spec, store, modality, meta, provenance) + weights
