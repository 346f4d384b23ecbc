"""The size of an artifact's file, before there are weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ..fields import FieldSpec
from . import container
from .artifact import Artifact
from .weight_dtypes import CODED_BITS, STORES, tensor_stores

HEADER_RESERVE = {"full": 450, "short": 250, "none": 120}
"""Bytes reserved for what a fit adds to the header: versions, settings, times, quality and notes, deflated."""


@dataclass(frozen=True)
class FileContents:
    """What is known of a file before the fit. ``store`` is a key of STORES or of CODED_BITS, or "auto"; ``provenance``
    holds what is known so far."""

    store: str
    modality: str
    meta: Mapping[str, Any]
    attachments: Mapping[str, bytes]
    provenance: Mapping[str, Any]
    provenance_kept: str

    def bytes_per_weight(self, spec: FieldSpec) -> float:
        """Bytes that are planned for a weight which is not always stored in fp32."""
        return planned_bits(self.store, spec.formula.TRAITS.planned_bits) / 8

    def header_bytes(self, spec: FieldSpec) -> int:
        """Upper bound on the bytes of everything but the weights."""
        kind = self.store if self.store in STORES else "int"
        artifact = Artifact(
            spec, {}, self.modality, self.meta, self.provenance, {}, "fp32", self.attachments,
            provenance_kept=self.provenance_kept,
        )  # fmt: skip
        tensors = {container.KEY: container.deflated(artifact.header())}
        for name, store in tensor_stores(spec.shapes, kind, spec.fp32_tensors).items():
            tensors[name] = container.Stored(STORES[store].dtype, spec.shapes[name], b"")
        if kind == "int":
            tensors[container.CODED] = container.bytes_tensor(b"")
        for name, content in self.attachments.items():
            tensors[container.ATTACHMENT_PREFIX + name] = container.bytes_tensor(content)
        offsets = 20 * len(tensors)  # of tensors that are not empty
        return len(container.serialize(container.VERSION, tensors)) + offsets + HEADER_RESERVE[self.provenance_kept]

    def file_bytes(self, spec: FieldSpec) -> int:
        """Upper bound on the bytes of the whole file; of coded weights, the bytes that are planned for them."""
        exact = sum(prod(spec.shapes[name]) for name in spec.fp32_tensors)
        weights = 4 * exact + self.bytes_per_weight(spec) * (spec.parameters - exact)
        return self.header_bytes(spec) + round(weights)


def least_bytes(spec: FieldSpec, store: str) -> int:
    """Lower bound on the bytes of a file. Coded weights may take hardly any: those of a picture of one colour do."""
    rounded = sum(map(sum, spec.rounding_groups.values()))
    size = STORES[store].size if store in STORES else 0
    return 4 * (spec.parameters - rounded) + size * rounded


def planned_bits(store: str, of_architecture: float) -> float:
    """Bits a weight in a store; for "auto" those of the architecture."""
    return 8 * STORES[store].size if store in STORES else CODED_BITS.get(store, of_architecture)
