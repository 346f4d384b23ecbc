"""A data set of fields for torch: weights, label and split, read from the parts when they are asked for."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..artifact import data_set
from ..artifact.artifact import Artifact
from ..artifact.part_reading import Part, Stack, opened
from ..errors import UnreadableFile, UsageError, printable
from ..io.arguments import BOOLEAN, PATH, TEXT, checked, or_none
from . import index, plan

OPEN_PARTS = 256
"""Number of parts whose headers are kept in memory."""

_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""NumPy types of stored weights; bfloat16 numbers are read as their bits."""


class Item(NamedTuple):
    """A field of a data set. ``weights`` are float32: by their names, or in one tensor (n,). Label and split are those
    of the manifest, "" where it has none."""

    weights: Mapping[str, Tensor] | Tensor
    label: Any
    split: str


class FieldDataset(Dataset[Item]):
    """The fields of a data set, in the order of its plan; ``open_dataset`` makes one.

    It can be pickled and used by the workers of a ``DataLoader``. The parts are mapped into memory."""

    def __init__(self, folder: str, rows: Iterable[Mapping[str, Any]], flat: bool) -> None:
        """``rows`` are those of the index. With ``flat`` the weights of an item are one tensor."""
        fields = [row for row in rows if "place" in row]
        self.folder, self.flat = folder, flat
        self._places = np.array([[row[key] for key in index.PLACE] for row in fields], np.int64).reshape(-1, 3)
        hidden = ("stack", "place")
        self.rows: Sequence[dict[str, Any]] = [{k: v for k, v in row.items() if k not in hidden} for row in fields]
        """A mapping for each field: its id, measures such as psnr, steps, code (0, or 6 below the floor), label, split
        and own columns."""
        self._parts: OrderedDict[int, _OpenPart] = OrderedDict()
        self._numbers: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Item:
        """The field in place ``number``. Raises ``IndexError``."""
        row = self.rows[number]
        part, stack, place = self._places[number].tolist()
        opened_part = self._open(part)
        weights = opened_part.flat(stack, place) if self.flat else opened_part.weights(stack, place)
        return Item(weights, row.get("label", ""), row.get("split", ""))

    def artifact(self, field: int | str) -> Artifact:
        """A field, by its place or its id, as ``inrfit.load`` gives it. Raises ``UsageError`` if there is none."""
        if isinstance(field, str):
            if self._numbers is None:
                self._numbers = {row["id"]: number for number, row in enumerate(self.rows)}
            if field not in self._numbers:
                raise UsageError(f"no field {printable(field)[:200]!r} in {printable(self.folder)}", "id")
            field = self._numbers[field]
        return self._open(int(self._places[field][0])).artifact(self.rows[field]["id"])

    def _open(self, number: int) -> _OpenPart:
        """A part, of which the last OPEN_PARTS stay open."""
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = _OpenPart(data_set.part_path(self.folder, number))
            if len(self._parts) > OPEN_PARTS:
                self._parts.popitem(last=False)
        return part

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parts": OrderedDict()}


class _OpenPart:
    """A part whose header has been read, and whose bytes are mapped into memory, without an open file."""

    def __init__(self, path: str) -> None:
        self.path = path
        with opened(path) as (read, size):
            self._part = Part(read, size)
        self._content = torch.from_file(path, shared=False, size=os.path.getsize(path), dtype=torch.uint8).numpy()
        self._stacks = [self._views(stack) for stack in self._part.stacks]

    def _views(self, stack: Stack) -> dict[str, npt.NDArray[Any]]:
        """The tensors of a stack, as they lie in the file: (fields, numbers). Empty if they are coded."""
        views: dict[str, npt.NDArray[Any]] = {}
        for name in stack.spec.shapes if stack.store != "int" else ():
            tensor = stack.tensors[name]
            content = self._content[self._part.start + tensor.start : self._part.start + tensor.stop]
            views[name] = content.view(_TYPES[tensor.dtype]).reshape(len(stack.rows), -1)
        return views

    def flat(self, stack: int, place: int) -> Tensor:
        """The weights of a field in float32, one tensor after the other."""
        if self._part.stacks[stack].store == "int":
            return torch.cat([weight.reshape(-1) for weight in self.weights(stack, place).values()])
        return torch.from_numpy(np.concatenate([_in_float32(view[place]) for view in self._stacks[stack].values()]))

    def weights(self, stack: int, place: int) -> dict[str, Tensor]:
        """The weights of a field in float32, in the order of its spec."""
        found = self._part.stacks[stack]
        if found.store == "int":
            weights = self.artifact(found.rows[place]["id"]).weights
            return {name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()}
        shapes, views = found.spec.shapes, self._stacks[stack]
        return {
            name: torch.from_numpy(_in_float32(view[place], copy=True).reshape(shapes[name]))
            for name, view in views.items()
        }

    def artifact(self, id: str) -> Artifact:
        """A field of this part."""
        return data_set.load_field(self.path, id)


def _in_float32(stored: npt.NDArray[Any], copy: bool = False) -> npt.NDArray[np.float32]:
    """Stored numbers as float32; bits are those of bfloat16. Others than float32 are copied in any case."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=copy)


@checked(path=PATH, split=or_none(TEXT), flat=BOOLEAN)
def open_dataset(path: str | os.PathLike[str], *, split: str | None = None, flat: bool = False) -> FieldDataset:
    """The fields of the data set in a folder, as a PyTorch ``Dataset`` of weights, label and split.

    With ``split`` only those of that split. With ``flat`` the weights of an item are one tensor (n,), those of the
    field one after the other, otherwise a mapping of their names. ``rows`` has a mapping for each field. Of a batch
    that is not finished, it has the parts that are there.

    Raises ``UnreadableFile`` if there is no data set, or it is damaged, and ``UsageError`` if it has no such split."""
    folder = os.fspath(path)
    planned = plan.read(folder)
    rows = _indexed(folder, planned) or list(index.all_rows(folder))
    if split is not None:
        splits = sorted({str(row["split"]) for row in rows if "split" in row})
        rows = [row for row in rows if row.get("split") == split]
        if not rows:
            raise UsageError(f"split={split!r}: the data set has {', '.join(splits) or 'no splits'}", "option")
    return FieldDataset(folder, rows, flat)


def _indexed(folder: str, planned: plan.BatchPlan) -> list[dict[str, Any]] | None:
    """The rows in the index; None unless it is that of all parts as they are."""
    path = os.path.join(folder, data_set.INDEX)
    present = data_set.present_parts(folder)
    try:
        made_at = os.stat(path).st_mtime_ns
        newest = max((entry.stat().st_mtime_ns for entry in present.values()), default=0)
        if len(present) != planned.part_count or made_at < newest:
            return None
        with open(path, "rb") as file:
            first, *lines = file.read().splitlines()
        if json.loads(first) != index.header(planned):
            return None
        return [json.loads(line) for line in lines]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{printable(path)}: cannot be read: {error} (it can be deleted)", "index") from error
