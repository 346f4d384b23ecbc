"""Reads the parts of data sets. Only what is asked for is read: a summary, the header, or one field.

The header is validated, and the table of tensors must account for every byte of the file, before anything of the size
that they claim is allocated.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import UnreadableFile, UnsupportedInput, UsageError, machine_error
from ..fields import FieldSpec
from ..io import strict_json
from ..io.limits import Limits
from . import container, part_header, weight_code, weight_dtypes
from .artifact import LIMITS, Artifact
from .container import PART_KEY, ParsedContainer, Tensor
from .header import spec_of, validate
from .weight_dtypes import STORES

Bytes = Callable[[int, int], bytes]
"""The bytes of a file from a first one on, so many of them."""

MAX_HEADER = 1 << 26
"""Largest header that is read, in bytes."""

MAX_TENSORS = 20_000
"""Largest number of tensors that is read."""

VERSION = 1
"""Version up to which parts are read."""

_SUMMARY_BYTES = 65_536


@dataclass(frozen=True)
class Stack:
    """Fields of one architecture, size and options. ``rows`` are the entries of the header, complete; ``tensors`` have
    the fields on their first axis; ``coded`` is where the code of each field begins and ends."""

    spec: FieldSpec
    modality: str
    store: str
    rows: Sequence[Mapping[str, Any]]
    tensors: Mapping[str, Tensor]
    coded: Sequence[tuple[int, int]]


class Part:
    """A part of a data set, of which the header has been read."""

    def __init__(self, read: Bytes, size: int) -> None:
        """``size``: that of the file in bytes. Raises a ``RefusedInput``."""
        self._read = read
        start = read(0, _SUMMARY_BYTES)
        length = int.from_bytes(start[:8], "little")
        if _SUMMARY_BYTES < 8 + length <= 8 + container.MAX_HEADER:
            start = read(0, 8 + length)
        self.summary, tensors, self.start = _table(start)
        header_size = tensors[PART_KEY].stop if PART_KEY in tensors else 0
        inflated = read(self.start, min(header_size, size, MAX_HEADER))
        end, header = container.inflated_header(inflated, tensors, PART_KEY, MAX_HEADER)
        self.header = part_header.check(header)
        self.tensors = {name: tensor for name, tensor in tensors.items() if name != PART_KEY}
        container.check_layout(ParsedContainer({}, self.tensors, self.start, size - self.start, end))
        self.stacks = [_stack(entry, self._own_tensors(k)) for k, entry in enumerate(self.header["stacks"])]
        self._check_all_named()
        self.places = {row["id"]: (k, n) for k, stack in enumerate(self.stacks) for n, row in enumerate(stack.rows)}

    @staticmethod
    def from_bytes(data: bytes) -> Part:
        """The part in ``data``, the bytes of a file."""
        return Part(lambda start, count: data[start : start + count], len(data))

    @property
    def failures(self) -> Sequence[Mapping[str, Any]]:
        """The rows without a field."""
        failures: Sequence[Mapping[str, Any]] = self.header["failures"]
        return failures

    def artifact(self, id: str, limits: Limits = LIMITS) -> Artifact:
        """The field called ``id``. Raises ``UsageError`` if there is none, or a ``RefusedInput``."""
        if id not in self.places:
            raise UsageError(self._no_such(id), "id")
        stack, place = self.stacks[self.places[id][0]], self.places[id][1]
        limits.check("max_bytes", 4 * stack.spec.parameters, "size of the weights in bytes")
        attachments = self._attachments(stack.rows[place])
        header, spec = self.described(id)
        weights, steps = self._weights(stack, place)
        return Artifact(
            spec,
            weights,
            stack.modality,
            header["signal"],
            header["provenance"],
            header["quality"],
            stack.store,
            attachments,
            steps,
        )

    def described(self, id: str) -> tuple[dict[str, Any], FieldSpec]:
        """The header of the field called ``id``, and its architecture. Raises ``UnreadableFile``."""
        stack, place = self.stacks[self.places[id][0]], self.places[id][1]
        row, lengths = stack.rows[place], self.header["attachments"]
        header = validated(stack, row, {name: lengths[at] for name, at in row.get("attachments", {}).items()})
        return header, spec_of(header["field"], stack.modality, header["signal"])

    def stacked(self, stack: int, name: str) -> Any:
        """A tensor of all fields of a stack in float32, as an array (fields, ...). Raises ``UnreadableFile`` for values
        that are not finite."""
        import numpy as np

        found = self.stacks[stack]
        if found.store == "int":
            return np.stack([self.artifact(row["id"]).weights[name] for row in found.rows])
        tensor, shape = found.tensors[name], (len(found.rows), *found.spec.shapes[name])
        kind = next(kind for kind, store in STORES.items() if store.dtype == tensor.dtype)
        raw = self._read(self.start + tensor.start, tensor.stop - tensor.start)
        return _finite(name, weight_dtypes.unpack(raw, shape, kind))

    def _no_such(self, id: str) -> str:
        """Why there is no field called ``id``."""
        for row in self.failures:
            if row["id"] == id:
                return f"{id} has no field: {row['message']}"
        names = list(self.places)
        return f"no field {id[:200]!r} in this part" + (f" ({len(names):,} from {names[0]} on)" if names else "")

    def _own_tensors(self, stack: int) -> dict[str, Tensor]:
        """The tensors of a stack by their names within it."""
        if len(self.header["stacks"]) == 1:
            return {name: tensor for name, tensor in self.tensors.items() if name != "attachments"}
        prefix = f"{stack}."
        return {n.removeprefix(prefix): tensor for n, tensor in self.tensors.items() if n.startswith(prefix)}

    def _check_all_named(self) -> None:
        """Raises ``UnreadableFile`` if there are other tensors than those of the stacks and the attachments, or the
        attachments have another size."""
        lengths = self.header["attachments"]
        if len(self.tensors) != sum(len(stack.tensors) for stack in self.stacks) + bool(lengths):
            raise UnreadableFile("there are tensors that no stack has", "tensors")
        total, tensor = sum(lengths), self.tensors.get("attachments")
        if lengths and (tensor is None or tensor != Tensor("U8", (total,), tensor.start, tensor.start + total)):
            raise UnreadableFile(f"the tensor 'attachments' must be {total:,} bytes (U8)", "attachment")
        for stack in self.stacks:
            for row in stack.rows:
                if any(place >= len(lengths) for place in row.get("attachments", {}).values()):
                    raise UnreadableFile("a field names an attachment that there is not", "attachment")

    def _attachments(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        lengths, found = self.header["attachments"], {}
        for name, place in row.get("attachments", {}).items():
            begin = self.start + self.tensors["attachments"].start + sum(lengths[:place])
            found[name] = self._read(begin, lengths[place])
        return found

    def _weights(self, stack: Stack, place: int) -> tuple[dict[str, Any], dict[str, tuple[float, ...]]]:
        """The weights of a field as float32, in the order of its spec, and the steps of coded ones."""
        spec, weights = stack.spec, {}
        for name, kind in weight_dtypes.tensor_stores(spec.shapes, stack.store, spec.fp32_tensors).items():
            count = STORES[kind].size * math.prod(spec.shapes[name])
            raw = self._read(self.start + stack.tensors[name].start + place * count, count)
            weights[name] = weight_dtypes.unpack(raw, spec.shapes[name], kind)
        steps: dict[str, tuple[float, ...]] = {}
        if stack.store == "int":
            begin, end = stack.coded[place]
            raw = self._read(self.start + stack.tensors[container.CODED].start + begin, end - begin)
            coded, steps = weight_code.unpack(raw, spec)
            weights |= coded
        for name, weight in weights.items():
            _finite(name, weight).flags.writeable = False  # the quality is that of these weights
        return {name: weights[name] for name in spec.shapes}, steps


def _finite(name: str, weight: Any) -> Any:
    """``weight``. Raises ``UnreadableFile`` if it has values that are not finite."""
    import numpy as np

    if not np.isfinite(weight).all():
        raise UnreadableFile(f"tensor {name!r} has values that are not finite", "nonfinite")
    return weight


def validated(stack: Stack, row: Mapping[str, Any], attachments: Mapping[str, int]) -> dict[str, Any]:
    """The header that the field of ``row`` would have in a file of its own. Raises ``UnreadableFile``."""
    provenance = dict(row["provenance"])
    if "settings" in provenance and "seed" in row:
        provenance["settings"] = {**provenance["settings"], "seed": row["seed"]}
    header = {"version": container.VERSION, "field": stack.spec.json(), "modality": stack.modality}
    header |= {"signal": row["signal"], "quality": row["quality"], "provenance": provenance}
    return validate(header | ({"attachments": dict(attachments)} if attachments else {}))


def _table(start: bytes) -> tuple[dict[str, Any], dict[str, Tensor], int]:
    """The summary and the tensors of a part, whose file begins with ``start``, and the offset of the first byte after
    the safetensors header."""
    metadata, tensors, offset = container.parse_table(start, MAX_TENSORS)
    if type(metadata) is not dict or type(metadata.get(PART_KEY)) is not str or len(metadata) != 1:
        raise UnsupportedInput("not a part of a data set", "metadata")
    summary = strict_json.loads(metadata[PART_KEY].encode(), f"the metadata {PART_KEY!r}")
    version = summary.get("version") if type(summary) is dict else None
    if type(version) is int and version > VERSION:
        raise UnsupportedInput(f"part of version {version}: needs a newer inrfit (this one reads 1)", "version")
    strict_json.check_schema(summary, part_header.SUMMARY, f"the metadata {PART_KEY!r}", "schema")
    return summary, tensors, offset


def _stack(entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Stack:
    """A stack of the validated header, and its ``tensors``, which must be those of its fields."""
    rows = [part_header.joined(entry["common"], row) for row in entry["rows"]]
    stack = Stack(FieldSpec(**entry["field"]), entry["modality"], entry["store"], rows, tensors, [])
    header = validated(stack, rows[0], {})
    spec = spec_of(header["field"], stack.modality, header["signal"])
    kinds = weight_dtypes.tensor_stores(spec.shapes, stack.store, spec.fp32_tensors)
    names = {*kinds, *([container.CODED] if stack.store == "int" else [])}
    if tensors.keys() != names:
        raise UnreadableFile(f"a stack has other tensors than {', '.join(sorted(names))}", "tensors")
    for name, kind in kinds.items():
        container.check_weights(name, tensors[name], kind, (len(rows), *spec.shapes[name]))
    ends, coded = 0, []
    for row in rows if stack.store == "int" else ():
        coded.append((ends, ends := ends + row.get("coded", 0)))
    if stack.store == "int" and tensors[container.CODED].shape != (ends,):
        raise UnreadableFile(f"tensor {container.CODED!r} must be {ends:,} bytes", "coded")
    return Stack(spec, stack.modality, stack.store, rows, tensors, coded)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[Bytes, int]]:
    """The bytes of a file, and its size. Raises ``UnreadableFile``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise machine_error(error) or UnreadableFile(f"cannot be read: {error}", "missing") from error
    try:
        size = os.fstat(descriptor).st_size
        yield lambda start, count: os.pread(descriptor, count, start), size
    except OSError as error:
        raise machine_error(error) or UnreadableFile(f"cannot be read: {error}", "unreadable") from error
    finally:
        os.close(descriptor)


def read_summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """How many fields the part in a file has, how many failed, and their mean quality, from its first bytes. Raises a
    ``RefusedInput``."""
    with opened(path) as (read, _):
        start = read(0, _SUMMARY_BYTES)
        length = int.from_bytes(start[:8], "little")
        if _SUMMARY_BYTES < 8 + length <= 8 + container.MAX_HEADER:
            start = read(0, 8 + length)
        return _table(start)[0]
