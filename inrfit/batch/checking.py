"""Checks a data set: that every part can be read, and that every row of the plan is in one part, once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..artifact import data_set
from ..artifact.part_reading import Part
from ..errors import InrfitError, RefusedInput
from ..io import files
from . import plan
from .plan import BatchPlan


@dataclass(frozen=True)
class Problem:
    """What is wrong with a part."""

    part: int
    path: str
    message: str


def check(batch: BatchPlan, on_part: Callable[[int], None] = lambda part: None) -> Iterator[Problem]:
    """The problems of the parts that are there. Every field of every part is read. ``on_part`` is called with the
    number of each part.

    Raises ``UnreadableFile`` if the plan itself is damaged."""
    rows = plan.all_rows(batch)
    for number, entry in data_set.present_parts(batch.folder).items():
        on_part(number)
        try:
            problem = _problem(batch, number, entry.path, [row.id for row in rows[batch.numbers_of(number)]])
        except InrfitError as error:
            problem = str(error)
        if problem:
            yield Problem(number, entry.path, problem)


def _problem(batch: BatchPlan, number: int, path: str, ids: list[str]) -> str:
    """What is wrong with a part that should have the rows ``ids``; "" if nothing is. Raises a ``RefusedInput``."""
    if number >= batch.part_count:
        return f"the plan has {batch.part_count:,} parts only"
    if os.path.realpath(path) != os.path.realpath(data_set.part_path(batch.folder, number)):
        return "is in another folder than its number says"
    part = Part.from_bytes(files.read(path, plan.LARGE))
    if (part.header["plan"], part.header["part"]) != (batch.digest, number):
        return "is a part of another plan, or another part"
    first = batch.numbers_of(number).start
    found = {row["id"]: row["number"] for stack in part.stacks for row in stack.rows}
    found |= {row["id"]: row["number"] for row in part.failures}
    wanted = {id: first + k for k, id in enumerate(ids)}
    if found != wanted:
        missing = sorted(wanted.keys() - found.keys())
        return f"lacks {len(missing):,} of its rows" if missing else "has other rows than the plan"
    for id in part.places:
        try:
            part.artifact(id, plan.LARGE)
        except RefusedInput as error:
            return f"{id}: {error}"
    return ""
