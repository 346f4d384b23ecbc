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
from .container import VERSION
from .provenance import COUNT, PROVENANCE

MAX_ATTACHMENTS, MAX_ATTACHMENT_BYTES = 16, 1 << 24
"""Largest number of attachments, and largest size of one."""

MAX_OUTPUTS = 65_535
"""Largest number of channels of a field."""

_ATTACHMENTS_SCHEMA = mapping(integer(1, MAX_ATTACHMENT_BYTES), MAX_ATTACHMENTS)

FIELD_SCHEMA: Mapping[str, Any] = {
    "inputs": integer(1, 4),
    "outputs": integer(1, MAX_OUTPUTS),
    "width": integer(1, MAX_WIDTH),
    "depth": integer(1, MAX_DEPTH),
    "options": mapping(scalar),
}

_OTHER_QUALITY = {
    "infinite": text(),
    "estimate": boolean,
    "samples": COUNT,
    "plain_codec": text(100),
    "plain_codec_bytes": COUNT,
}
"""Schema of the keys of ``quality`` that say how it was measured; all may be missing."""

ADDED_OPTIONS = frozenset({("grid", "interpolation"), ("grid", "planes"), ("siren", "axis_factors")})
"""Options of architectures that older files lack; they have the default."""


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


def validate(untrusted: Any) -> dict[str, Any]:
    """The header with the keys of the current version, after its version and its schema have been validated."""
    if type(untrusted) is not dict:
        raise UnreadableFile("the header 'inrfit' is not a JSON object", "schema")
    header: dict[str, Any] = untrusted
    version = header.get("version")
    if type(version) is int and version > VERSION:
        provenance = header.get("provenance")
        writer = provenance.get("inrfit") if type(provenance) is dict else None
        release = f"inrfit {printable(writer)[:20]} or newer" if type(writer) is str else "a newer inrfit"
        raise UnsupportedInput(
            f"format version {version}: needs {release} (this one reads up to version {VERSION})", "version"
        )
    before_3 = type(version) is int and version < 3
    schema = {
        "version": integer(1, VERSION),
        "field": {"architecture": registered(FIELDS), **FIELD_SCHEMA},
        "modality": registered(MODALITIES),
        "signal": mapping(lambda value: None),
        **({} if "attachments" not in header or before_3 else {"attachments": _ATTACHMENTS_SCHEMA}),
        "provenance": PROVENANCE if before_3 else some_of(PROVENANCE, header.get("provenance")),
        "quality": mapping(scalar),
    }
    strict_json.check_schema(header, schema, "header", "schema")
    modality = MODALITIES[header["modality"]]
    earlier = modality.meta_before_3 if before_3 else None
    meta_schema = modality.meta_schema if earlier is None else earlier.schema
    if not before_3 and isinstance(meta_schema, Mapping):  # keys that are null are left out of the file
        header = {**header, "signal": dict.fromkeys(meta_schema) | header["signal"]}
    strict_json.check_schema(header["signal"], meta_schema, "header.signal", "schema")
    quality: dict[str, Any] = header["quality"]
    measured = {key: optional(number()) for key in (*modality.measures, *modality.extra_measures) if key in quality}
    measured |= {key: schema for key, schema in _OTHER_QUALITY.items() if key in quality}
    strict_json.check_schema({key: quality[key] for key in measured}, measured, "header.quality", "schema")
    if before_3:
        signal = header["signal"] if earlier is None else earlier.upgrade(header["signal"])
        header = {**header, "signal": signal}
    header = {"attachments": {}, **header}
    if unknown := sorted(header["attachments"].keys() - modality.attachment_names):
        raise UnreadableFile(f"header.attachments: {modality.name}s have no {unknown[0][:40]!r}", "schema")
    try:
        modality.check_meta(header["signal"])
    except ValueError as error:
        raise UnreadableFile(f"header.signal.{error}", "schema") from None
    return header


def check_version(version: int, architecture: str, store: str) -> None:
    """Raises ``UnreadableFile`` if the version of the format had no such architecture or store."""
    if version == 1 and (architecture, store) != ("siren", "fp32"):
        raise UnreadableFile(f"{architecture} in {store}: format version 1 has only siren in fp32", "version")
    if version < 3 and store == "int":
        raise UnreadableFile(f"coded weights: format version {version} has none", "version")


def some_of(schema: Mapping[str, Any], values: Any) -> Mapping[str, Any]:
    """``schema`` without the keys that ``values`` lack."""
    return {key: value for key, value in schema.items() if key in values} if type(values) is dict else schema


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
            if (field["architecture"], name) in ADDED_OPTIONS:
                continue
            raise UnreadableFile(f"header.field.options lacks {name!r}", "field")
        stored = type(field["options"][name])
        if stored is not type(value) and not (stored is int and type(value) is float):
            raise UnreadableFile(f"header.field.options.{name} has the wrong type", "field")
    if parameters > MAX_PARAMETERS:
        raise UnreadableFile(f"{parameters:,} weights, at most {MAX_PARAMETERS:,} are read", "field")
    if spec.formula.TRAITS.raster_only and spec.formula.raster() != MODALITIES[modality].raster(meta):
        raise UnreadableFile("header.field.options.grid is not the raster of the signal", "field")
    if spec.formula.TRAITS.grid_axes not in (None, spec.inputs):
        raise UnreadableFile(f"header.field: {spec.architecture} has {spec.formula.TRAITS.grid_axes} inputs", "field")
    if spec.formula.TRAITS.surfaces_only and (spec.inputs, spec.outputs) != (3, 1):
        raise UnreadableFile(f"header.field: {spec.architecture} has three inputs and one output", "field")
    implied = MODALITIES[modality].field_size(meta)
    if (spec.inputs, spec.outputs) != implied:
        raise UnreadableFile(
            f"header.field has {spec.inputs} inputs and {spec.outputs} outputs, "
            f"but this {modality} has {implied[0]} and {implied[1]}",
            "field",
        )
    return spec
