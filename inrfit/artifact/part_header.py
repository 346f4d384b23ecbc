"""The header of a part of a data set: once what its fields have in common, and for each field what is its own.

docs/artifact.md is the specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UnreadableFile
from ..fields import FIELDS
from ..io import strict_json
from ..io.json_schema import Schema, integer, items, mapping, matching, number, optional, registered, scalar, text
from ..io.json_schema import check as check_value
from ..modalities import MODALITIES
from .header import FIELD_SCHEMA, MAX_ATTACHMENT_BYTES, MAX_ATTACHMENTS, some_of
from .provenance import PROVENANCE
from .weight_dtypes import STORES

SECTIONS = ("signal", "quality", "provenance")
"""The parts of the header of a field that are stored as a common part and, for each field, its own part."""

VOLATILE = ("created", "spent")
"""Keys of the provenance that a part does not keep: they differ between two runs that give the same weights. The
journal has the times."""

VOLATILE_SETTINGS = ("probe", "seed", "settings_sha256")
"""The same of its settings. The seed stands in the row."""

MAX_FIELDS, MAX_ID = 65_536, 200
"""Largest number of fields of a part, and of characters of an id."""

MAX_MACHINES = 100
"""Largest number of machines that a part names."""

ROW_TEXT = 2000
"""Longest text of a failure, in characters."""

_DIGEST = matching("[0-9a-f]{64}", "64 hexadecimal digits")
_ANY = mapping(lambda value: None)


def _id(value: Any) -> None:
    """The schema for the id of a row, as manifests have it."""
    if type(value) is not str or not 0 < len(value) <= MAX_ID or not value.isprintable():
        raise ValueError(f"must be 1 to {MAX_ID} printable characters")


def _provenance(value: Any) -> None:
    """The schema for a part of a provenance."""
    check_value(value, some_of(PROVENANCE, value), "")


_SECTIONS: Mapping[str, Schema] = {"signal": _ANY, "quality": mapping(scalar), "provenance": _provenance}

_IDENTITY: Mapping[str, Schema] = {"id": _id, "number": integer(0, 2**62)}

_MANIFEST: Mapping[str, Schema] = {"label": scalar, "split": text(100), "columns": mapping(scalar)}

_FIELD_ROW: Mapping[str, Schema] = {**_IDENTITY, "seed": integer(0, 2**63 - 1), "steps": integer(0, 2**62)}

_OF_SOME_FIELDS: Mapping[str, Schema] = {
    **_SECTIONS,
    "code": integer(0, 255),
    "attachments": mapping(integer(0, 2**31), MAX_ATTACHMENTS),
    "coded": integer(0, 2**40),
}

_FAILURE_ROW: Mapping[str, Schema] = {
    "code": integer(1, 255),
    "reason": text(100),
    "message": text(ROW_TEXT),
    "source": text(ROW_TEXT),
}


def _row_schema(required: Mapping[str, Schema], others: Mapping[str, Schema]) -> Any:
    """A schema for an object with the keys ``required``, and any of ``others``."""
    known = {**others, **required}

    def validate(value: Any) -> None:
        if type(value) is not dict:
            raise ValueError("must be an object")
        for key, item in value.items():
            if key not in known:
                raise ValueError(f"has an unknown key {key[:40]!r}")
            check_value(item, known[key], f".{key}")
        if missing := required.keys() - value.keys():
            raise ValueError(f"lacks the key {min(missing)!r}")

    return validate


_STACK: Mapping[str, Schema] = {
    "field": {"architecture": registered(FIELDS), **FIELD_SCHEMA},
    "modality": registered(MODALITIES),
    "store": matching("|".join((*STORES, "int")), f"one of {', '.join((*STORES, 'int'))}"),
    "common": _SECTIONS,
    "rows": items(_row_schema(_FIELD_ROW, {**_MANIFEST, **_OF_SOME_FIELDS}), 1, MAX_FIELDS),
}

SCHEMA: Mapping[str, Schema] = {
    "plan": _DIGEST,
    "part": integer(0, 2**31),
    "attachments": items(integer(1, MAX_ATTACHMENT_BYTES), 0, MAX_FIELDS),
    "stacks": items(_STACK, 0, MAX_FIELDS),
    "failures": items(_row_schema({**_IDENTITY, **_FAILURE_ROW}, _MANIFEST), 0, MAX_FIELDS),
}
"""Schema of the header, without its version."""

SUMMARY = _row_schema(
    {
        "version": integer(1, 2**31),
        "fields": integer(0, MAX_FIELDS),
        "failed": integer(0, MAX_FIELDS),
        "measured": integer(0, MAX_FIELDS),
        "quality": optional(number()),
        "unit": text(20),
    },
    {"machines": items(mapping(scalar), 0, MAX_MACHINES)},
)
"""Schema of the summary in the metadata of the file: how many fields it has and how many failed, below the floor
included, the mean of the main measure over those ``measured``, which are all whose quality is finite, and what the
machines were that made the fields: several if some were fitted again."""


def split(records: Sequence[Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """What the SECTIONS of all ``records`` have in common, and the records without it. A section that is empty then is
    left out."""
    common = {section: _shared([record[section] for record in records]) for section in SECTIONS}
    rows = []
    for record in records:
        row = {key: value for key, value in record.items() if key not in SECTIONS}
        for section in SECTIONS:
            own = {key: value for key, value in record[section].items() if key not in common[section]}
            row |= {section: own} if own else {}
        rows.append(row)
    return common, rows


def _shared(sections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The items that all have."""
    first, *others = sections
    return {key: value for key, value in first.items() if all(key in o and o[key] == value for o in others)}


def joined(common: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of ``split`` for one row."""
    return {**row, **{section: {**common[section], **row.get(section, {})} for section in SECTIONS}}


def lasting(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The ``provenance`` of a field without what is VOLATILE."""
    kept = {key: value for key, value in provenance.items() if key not in VOLATILE}
    if "settings" in kept:
        settings = kept["settings"]
        kept["settings"] = {key: value for key, value in settings.items() if key not in VOLATILE_SETTINGS}
    return kept


def check(header: Any) -> dict[str, Any]:
    """The header of a part, after its schema has been validated. Raises ``UnreadableFile``."""
    strict_json.check_schema(header, SCHEMA, "header", "schema")
    checked: dict[str, Any] = header
    rows = [row for stack in checked["stacks"] for row in stack["rows"]] + checked["failures"]
    for key in _IDENTITY:
        if len({row[key] for row in rows}) != len(rows):
            raise UnreadableFile(f"header: two rows have the same {key}", "schema")
    return checked
