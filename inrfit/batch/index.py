"""The index of a data set: a line for each row, made from the headers of the parts, which it can always be made from
again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..artifact import data_set
from ..artifact.part_reading import Part, opened
from ..io import files
from ..modalities import MODALITIES
from .plan import BatchPlan

PLACE = ("part", "stack", "place")
"""Keys of a row that say where its field is: part, stack and place in the stack."""


def complete(plan: BatchPlan) -> bool:
    """Whether all parts are there."""
    return len(data_set.present_parts(plan.folder)) == plan.part_count


def rows_of(part: Part, number: int) -> list[dict[str, Any]]:
    """The rows of a part: of each field its id, measures, steps, exit code and own columns, and where it is; of a row
    without a field the exit code and the reason."""
    rows = []
    for k, stack in enumerate(part.stacks):
        measures = MODALITIES[stack.modality].measures
        for n, row in enumerate(stack.rows):
            shown = {"id": row["id"], "number": row["number"], "seed": row["seed"], "steps": row["steps"]}
            shown["code"] = row.get("code", 0)
            shown |= {key: row["quality"][key] for key in measures if key in row["quality"]}
            source = row["provenance"].get("source", {})
            if "sha256" in source:
                shown["sha256"] = source["sha256"]
            rows.append({**shown, **_carried(row), "part": number, "stack": k, "place": n})
    rows += [
        {**{k: v for k, v in row.items() if k != "columns"}, **_carried(row), "part": number} for row in part.failures
    ]
    return sorted(rows, key=lambda row: int(row["number"]))


def _carried(row: Mapping[str, Any]) -> dict[str, Any]:
    """Label, split and own columns."""
    return {key: row[key] for key in ("label", "split") if key in row} | dict(row.get("columns", {}))


def all_rows(folder: str) -> Iterator[dict[str, Any]]:
    """The rows of all parts that are there, in the order of the plan."""
    for number, entry in data_set.present_parts(folder).items():
        with opened(entry.path) as (read, size):
            yield from rows_of(Part(read, size), number)


def header(plan: BatchPlan) -> dict[str, Any]:
    """The first line of the index."""
    return {"plan": plan.digest, "parts": plan.part_count}


def write(plan: BatchPlan) -> None:
    """Writes the index."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    lines = [json.dumps(header(plan)), *map(encode, all_rows(plan.folder)), ""]
    files.write(os.path.join(plan.folder, data_set.INDEX), "\n".join(lines).encode(), force=True)
