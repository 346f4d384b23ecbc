"""Writes a data set in other forms: a file for each field, or one .npz or HDF5 file of stacked weights."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..artifact import data_set
from ..artifact.part_reading import Part, opened
from ..errors import UsageError, printable
from ..io import files
from ..io.temporary import temporary_name
from . import index
from .plan import BatchPlan

if TYPE_CHECKING:
    from ..fields import FieldSpec

KINDS = ("files", "npz", "hdf5")
"""Forms that a data set can be exported to."""

Columns = Mapping[str, npt.NDArray[Any]]

OnField = Callable[[int], None]
"""Called with the number of fields that have been written."""


def export(
    plan: BatchPlan,
    kind: str,
    output: str,
    force: bool,
    on_field: OnField = lambda count: None,
    papers_weights: bool = False,
) -> int:
    """Writes the fields that are there to ``output``, and returns their number: a folder for the kind "files", a file
    for the others, which hold the tensors stacked in float32, an array for each column of the rows, and the
    architecture with its options as JSON. With ``papers_weights`` the tensors are in the papers' parametrisation
    (``FieldSpec.paper_factors``).

    Raises ``UsageError`` for fields of several sizes, which cannot be stacked, or for the papers' weights of several
    options; ``OutputExists``, and ``UnwritableOutput``."""
    if kind == "files":
        return _to_files(plan, output, force, on_field)
    rows = [row for row in index.all_rows(plan.folder) if "place" in row]
    if not rows:
        raise UsageError(f"{printable(plan.folder)} has no fields yet", "no-sources")
    spec = _common_spec(plan, papers_weights)
    files.check_target(output, force)
    columns = _columns(rows) | {"field": np.array(json.dumps(spec.json()))}
    stacked = _Stacked(plan, spec, columns, len(rows), spec.paper_factors if papers_weights else {})
    (_to_npz if kind == "npz" else _to_hdf5)(output, stacked, on_field)
    return len(rows)


def require(kind: str) -> None:
    """Raises ``UsageError`` if a package that the kind needs is not installed."""
    if kind == "hdf5":
        try:
            import h5py  # noqa: F401
        except ImportError:
            raise UsageError("--to hdf5 needs h5py: pip install 'inrfit[hdf5]'", "extra") from None


def _parts(plan: BatchPlan) -> Iterator[Part]:
    """All parts, in the order of the plan."""
    for entry in data_set.present_parts(plan.folder).values():
        with opened(entry.path) as (read, size):
            yield Part(read, size)


@dataclass(frozen=True)
class _Stacked:
    """What a file of stacked weights holds: the tensors of ``count`` fields, divided by ``factors``, and columns."""

    plan: BatchPlan
    spec: FieldSpec
    columns: Columns
    count: int
    factors: Mapping[str, float]

    def parts(self) -> Iterator[Part]:
        """The parts that have fields, in the order of the plan."""
        return (part for part in _parts(self.plan) if part.places)

    def weights(self, part: Part, name: str) -> npt.NDArray[np.float32]:
        """A tensor of all fields of a part in float32, in the order of the plan."""
        found = {}
        for number, stack in enumerate(part.stacks):
            for row, weight in zip(stack.rows, part.stacked(number, name), strict=True):
                found[row["number"]] = weight
        stacked: npt.NDArray[np.float32] = np.stack([found[number] for number in sorted(found)])
        factor = self.factors.get(name, 1.0)
        return stacked if factor == 1 else stacked / np.float32(factor)


def _to_files(plan: BatchPlan, folder: str, force: bool, on_field: OnField) -> int:
    count = 0
    for part in _parts(plan):
        for id in part.places:
            pieces = [piece for piece in id.split("/") if piece not in ("", ".", "..")]
            path = os.path.join(folder, *pieces) + ".safetensors"
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except OSError as error:
                raise files.unwritable(error, printable(path)) from error
            part.artifact(id).save(path, force)
            on_field(count := count + 1)
    return count


def _common_spec(plan: BatchPlan, papers_weights: bool) -> FieldSpec:
    """The architecture and the sizes that all fields have. Raises ``UsageError`` if they differ, or for the papers'
    weights their options."""
    first: FieldSpec | None = None
    for stack in (stack for part in _parts(plan) for stack in part.stacks):
        first = first or stack.spec
        if (stack.spec.architecture, stack.spec.shapes) != (first.architecture, first.shapes):
            raise UsageError(
                "the fields have several architectures or sizes, which cannot be stacked: export --to files", "sizes"
            )
        if papers_weights and dict(stack.spec.options) != dict(first.options):
            raise UsageError(
                "the fields have several frequencies, which the papers' weights do not include: export --weights "
                "stored, or set -O first_omega for all",
                "sizes",
            )
    assert first is not None
    return first


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """An array for each column: of numbers where all rows have numbers, otherwise of texts, "" where a row has none."""
    names = dict.fromkeys(key for row in rows for key in row if key not in index.PLACE)
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        numbers = all(isinstance(value, int | float) for value in values)
        gaps = not numbers and all(value is None or type(value) is float for value in values)
        texts = ["" if value is None else str(value) for value in values]
        columns[name] = np.array([np.nan if value is None else value for value in values] if numbers or gaps else texts)
    return columns


def _to_npz(output: str, stacked: _Stacked, on_field: OnField) -> None:
    """One pass over the parts for each tensor, so that not all weights are in memory."""
    shapes, count = stacked.spec.shapes, stacked.count
    with _replacing(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for number, (name, shape) in enumerate(shapes.items()):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                described = {"descr": "<f4", "fortran_order": False, "shape": (count, *shape)}
                np.lib.format.write_array_header_2_0(file, described)
                for part in stacked.parts():
                    file.write(stacked.weights(part, name).tobytes())
            on_field((number + 1) * count // len(shapes))
        for name, column in stacked.columns.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, column, allow_pickle=False)


def _to_hdf5(output: str, stacked: _Stacked, on_field: OnField) -> None:
    import h5py

    shapes = stacked.spec.shapes
    with _replacing(output) as temporary, h5py.File(temporary, "w") as file:
        tensors = {n: file.create_dataset(n, (stacked.count, *shape), "<f4") for n, shape in shapes.items()}
        start = 0
        for part in stacked.parts():
            stop = start + len(part.places)
            for name, tensor in tensors.items():
                tensor[start:stop] = stacked.weights(part, name)
            on_field(start := stop)
        for name, column in stacked.columns.items():
            text = column.dtype.kind == "U"
            values, kind = (column.astype(object), h5py.string_dtype()) if text else (column, None)
            file.create_dataset(name, data=values, dtype=kind)


@contextmanager
def _replacing(output: str) -> Iterator[str]:
    """A temporary name beside ``output``, which gets that name in the end. Raises ``UnwritableOutput``."""
    folder, name = os.path.split(os.path.abspath(output))
    temporary = os.path.join(folder, temporary_name(name))
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, output)
    except OSError as error:
        raise files.unwritable(error, printable(output)) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
