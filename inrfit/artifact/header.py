"""The JSON header of an artifact: its schema, and its conversion from and to the values in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ..errors import UnreadableFile, UnsupportedInput, UsageError, printable
from ..fields import FIELDS, MAX_DEPTH, MAX_PARAMETERS, MAX_WIDTH, FieldSpec
from ..io import strict_json
from ..io.json_schema import boolean, integer, mapping, number, optional, registered, scalar, text
from ..modalities import MODALITIES
from .provenance import COUNT, PROVENANCE

VERSION = 2
"""Version of the header that is written. Version 1 had the architecture siren with float32 weights only."""

MAX_OUTPUTS = 65_535
"""Largest number of channels of a field."""

_FIELD_SCHEMA: Mapping[str, Any] = {
    "inputs": integer(1, 4),
    "outputs": integer(1, MAX_OUTPUTS),
    "width": integer(1, MAX_WIDTH),
    "depth": integer(1, MAX_DEPTH),
    "options": mapping(scalar),
}

_OTHER_QUALITY = {"infinite": text(), "estimate": boolean, "samples": COUNT}
"""Schema of the keys of ``quality`` that say how it was measured; all may be missing."""


def json_quality(quality: Mapping[str, Any]) -> dict[str, Any]:
    """``quality`` as JSON values: infinity and NaN become None.

    The names of the values that were infinite, which means a perfect reconstruction, are listed in the key
    ``infinite``, separated by spaces."""
    values: dict[str, Any] = {}
    infinite = []
    for name, measured in quality.items():
        value = measured.item() if isinstance(measured, np.generic) else measured
        values[name] = None if isinstance(value, float) and not math.isfinite(value) else value
        if value == math.inf:
            infinite.append(name)
    if infinite:
        values["infinite"] = " ".join(infinite)
    return values


def sanitized_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """``provenance`` with the source's name and the notes made printable and cut to the lengths of the schema.

    File names need not be valid Unicode, and a long note must not make a finished fit unwritable."""
    sanitized = dict(provenance)
    if isinstance(source := sanitized.get("source"), Mapping):
        sanitized["source"] = {**source, "name": printable(os.path.basename(str(source.get("name"))))[:1000]}
    if isinstance(notes := sanitized.get("notes"), list | tuple):
        sanitized["notes"] = [printable(note)[:1000] for note in notes[:100]]
    return sanitized


def validate(header: Any) -> dict[str, Any]:
    """Validates the version and the schema of ``header`` and returns it."""
    if type(header) is not dict:
        raise UnreadableFile("the header 'inrfit' is not a JSON object", "schema")
    version = header.get("version")
    if type(version) is int and version > VERSION:
        raise UnsupportedInput(
            f"format version {version}: needs a newer inrfit (this one reads up to {VERSION})", "version"
        )
    schema = {
        "version": integer(1, VERSION),
        "field": {"architecture": registered(FIELDS), **_FIELD_SCHEMA},
        "modality": registered(MODALITIES),
        "signal": mapping(lambda value: None),
        "provenance": PROVENANCE,
        "quality": mapping(scalar),
    }
    strict_json.check_schema(header, schema, "header", "schema")
    modality = MODALITIES[header["modality"]]
    strict_json.check_schema(header["signal"], modality.meta_schema, "header.signal", "schema")
    quality: dict[str, Any] = header["quality"]
    measured = {key: optional(number()) for key in (*modality.measures, *modality.extra_measures) if key in quality}
    measured |= {key: schema for key, schema in _OTHER_QUALITY.items() if key in quality}
    strict_json.check_schema({key: quality[key] for key in measured}, measured, "header.quality", "schema")
    return header


def spec_of(field: Mapping[str, Any], modality: str, meta: Mapping[str, Any]) -> FieldSpec:
    """The ``FieldSpec`` in the validated header. Raises ``UnreadableFile`` if it is inconsistent or does not match the
    signal."""
    architecture = FIELDS[field["architecture"]]
    spec = FieldSpec(**field)
    try:
        options, parameters = asdict(spec.formula), spec.parameters
    except UsageError as error:
        raise UnreadableFile(f"header.field.options: {str(error).removeprefix('-O ')}", "field") from None
    for name in field["options"]:
        if name not in options:
            raise UnreadableFile(f"header.field.options: {architecture.__name__} has no option {name[:40]!r}", "field")
    for name, value in options.items():
        if name not in field["options"]:
            raise UnreadableFile(f"header.field.options lacks {name!r}", "field")
        stored = type(field["options"][name])
        if stored is not type(value) and not (stored is int and type(value) is float):
            raise UnreadableFile(f"header.field.options.{name} has the wrong type", "field")
    if parameters > MAX_PARAMETERS:
        raise UnreadableFile(f"{parameters:,} weights, at most {MAX_PARAMETERS:,} are read", "field")
    if spec.formula.TRAITS.raster_only and spec.formula.raster() != MODALITIES[modality].raster(meta):
        raise UnreadableFile("header.field.options.grid is not the raster of the signal", "field")
    implied = MODALITIES[modality].field_size(meta)
    if (spec.inputs, spec.outputs) != implied:
        raise UnreadableFile(
            f"header.field has {spec.inputs} inputs and {spec.outputs} outputs, "
            f"but this {modality} has {implied[0]} and {implied[1]}",
            "field",
        )
    return spec
