"""The bytes of a part of a data set: the weights of many fields, stacked, and one header."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InrfitError, RefusedInput
from ..io.strict_json import dumps
from ..modalities import MODALITIES
from . import container, part_header, weight_code, weight_dtypes
from .artifact import Artifact
from .checks import equal
from .container import Stored
from .part_reading import Part
from .weight_dtypes import STORES

VERSION = 1
"""Version of the format that is written."""


@dataclass(frozen=True)
class FittedRow:
    """A field of a part. ``row`` has its id, its number in the plan, seed and steps, and label, split, columns and exit
    code where there are such."""

    artifact: Artifact
    row: Mapping[str, Any]


@dataclass
class _Attachments:
    """The attachments of a part: equal ones are stored once."""

    contents: list[bytes] = field(default_factory=list)
    _places: dict[bytes, int] = field(default_factory=dict)

    def place_of(self, content: bytes) -> int:
        """The number of an attachment, which is added if it is new."""
        if content not in self._places:
            self._places[content] = len(self.contents)
            self.contents.append(content)
        return self._places[content]


def to_bytes(
    plan: str,
    number: int,
    fitted: Sequence[FittedRow],
    failures: Sequence[Mapping[str, Any]],
    machines: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """The file of part ``number`` of the plan with the digest ``plan``, made on ``machines``. Equal arguments give
    equal bytes. Fields of one architecture, size and options form a stack; they keep their order.

    The bytes are read back, and every field must have the very weights that its quality was measured with: raises
    ``InrfitError`` otherwise."""
    attachments = _Attachments()
    tensors: dict[str, Stored] = {}
    groups = _groups(fitted)
    stacks = []
    for position, group in enumerate(groups):
        stack, stacked = _stack(group, attachments)
        stacks.append(stack)
        tensors |= {tensor_name(name, position, len(groups)): tensor for name, tensor in stacked.items()}
    lengths = [len(content) for content in attachments.contents]
    if lengths:
        tensors["attachments"] = container.bytes_tensor(b"".join(attachments.contents))
    header = {"plan": plan, "part": number, "attachments": lengths, "stacks": stacks, "failures": list(failures)}
    ordered = sorted(tensors.items(), key=lambda item: -_item_size(item[1]))  # so that all are aligned
    about = {"version": VERSION, **summary(fitted, failures), "machines": list(machines)}
    metadata = {container.PART_KEY: dumps(about)}
    data = container.serialize_with(metadata, {container.PART_KEY: container.deflated(header), **dict(ordered)})
    _verify(data, fitted)
    return data


def tensor_name(name: str, stack: int, stacks: int) -> str:
    """The name of a tensor of a stack: its own one if there is one stack only."""
    return name if stacks == 1 else f"{stack}.{name}"


def summary(fitted: Iterable[FittedRow], failures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many fields a part has, and how good they are."""
    rows = list(fitted)
    mains = [MODALITIES[each.artifact.modality].main_measure for each in rows]
    values = [each.artifact.quality.get(main) for each, main in zip(rows, mains, strict=True)]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return {
        "fields": len(rows),
        "failed": len(failures) + sum(bool(each.row.get("code")) for each in rows),
        "measured": len(finite),
        "quality": round(math.fsum(finite) / len(finite), 6) if finite else None,
        "unit": MODALITIES[rows[0].artifact.modality].unit if rows else "",
    }


def _groups(fitted: Sequence[FittedRow]) -> list[list[FittedRow]]:
    """The fields by what the fields of a stack have in common."""
    groups: dict[str, list[FittedRow]] = {}
    for each in fitted:
        header = each.artifact.header()
        groups.setdefault(dumps([header["field"], header["modality"]]), []).append(each)
    return list(groups.values())


def _stack(group: Sequence[FittedRow], attachments: _Attachments) -> tuple[dict[str, Any], dict[str, Stored]]:
    """The header and the tensors of a stack. If its fields have several stores, all are in fp32, which holds the
    weights of each as they are."""
    artifacts = [each.artifact for each in group]
    stores = {artifact.store for artifact in artifacts}
    store = stores.pop() if len(stores) == 1 else "fp32"
    spec, headers = artifacts[0].spec, [artifact.header() for artifact in artifacts]
    tensors = {}
    for name, kind in weight_dtypes.tensor_stores(spec.shapes, store, spec.fp32_tensors).items():
        packed = np.stack([weight_dtypes.pack(artifact.weights[name], kind) for artifact in artifacts])
        tensors[name] = Stored(STORES[kind].dtype, packed.shape, packed.tobytes())
    records = []
    for each, header in zip(group, headers, strict=True):
        record = {**each.row, **{section: header[section] for section in part_header.SECTIONS}}
        record["provenance"] = part_header.lasting(header["provenance"])
        if each.artifact.attachments:
            named = sorted(each.artifact.attachments.items())
            record["attachments"] = {name: attachments.place_of(content) for name, content in named}
        records.append(record)
    if store == "int":
        coded = [weight_code.pack(spec, each.weights, each.steps) for each in artifacts]
        tensors[container.CODED] = container.bytes_tensor(b"".join(coded))
        for record, code in zip(records, coded, strict=True):
            record["coded"] = len(code)
    common, rows = part_header.split(records)
    stack = {"field": headers[0]["field"], "modality": headers[0]["modality"], "store": store}
    return {**stack, "common": common, "rows": rows}, tensors


def _item_size(tensor: Stored) -> int:
    """Bytes of a number of the tensor."""
    return next((store.size for store in STORES.values() if store.dtype == tensor.dtype), 1)


def _verify(data: bytes, fitted: Sequence[FittedRow]) -> None:
    """Raises ``InrfitError`` unless the part can be read, with the weights of ``fitted``."""
    try:
        part = Part.from_bytes(data)
        measured = {each.row["id"]: each.artifact for each in fitted}
        for number, stack in enumerate(part.stacks):
            ids = [row["id"] for row in stack.rows]
            if stack.store == "int":
                found = [part.artifact(id).weights for id in ids]
            else:
                tensors = {name: part.stacked(number, name) for name in stack.spec.shapes}
                found = [{name: tensor[place] for name, tensor in tensors.items()} for place in range(len(ids))]
            for id, weights in zip(ids, found, strict=True):
                part.described(id)
                if not equal(weights, measured.pop(id).weights):
                    raise InrfitError(f"{id}: the weights are not read back as they were measured", "artifact")
        if measured:
            raise InrfitError(f"{next(iter(measured))} is not read back", "artifact")
    except (RefusedInput, KeyError, ValueError, TypeError) as error:
        raise InrfitError(f"this part could not be loaded again: {error}", "artifact") from error
