"""Where the files of a data set are, and the part that has a field."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress

from ..errors import RefusedInput, UnreadableFile, UsageError, printable
from ..io.limits import Limits
from ..io.temporary import is_abandoned
from .artifact import LIMITS, Artifact
from .part_reading import Part, opened

PLAN, ROWS, INDEX, JOURNALS, PARTS = "plan.json", "rows.jsonl", "index.jsonl", "journal", "parts"

PARTS_A_FOLDER = 1000
"""Largest number of parts in a folder."""

ABANDONED_SECONDS = 86_400.0
"""Age in seconds from which a temporary file of another machine is removed."""

_NAME = re.compile(r"part-(\d{5,})\.safetensors")


def part_path(folder: str, part: int) -> str:
    """The file of a part: ``parts/00/part-00017.safetensors``."""
    return os.path.join(folder, PARTS, f"{part // PARTS_A_FOLDER:02d}", f"part-{part:05d}.safetensors")


def present_parts(folder: str) -> dict[int, os.DirEntry[str]]:
    """The parts that are there, by their numbers. Their presence is what says that they are complete."""
    found = {}
    for entry in _entries(folder):
        match = _NAME.fullmatch(entry.name)
        if match is not None:
            found[int(match[1])] = entry
    return dict(sorted(found.items()))


def remove_abandoned(folder: str) -> int:
    """Removes temporary files of parts whose processes were on this machine and have ended, or that are older than
    ABANDONED_SECONDS. Returns their number."""
    removed = 0
    for entry in _entries(folder):
        with suppress(OSError):
            if is_abandoned(entry, time.time() - ABANDONED_SECONDS):
                os.unlink(entry.path)
                removed += 1
    return removed


def is_data_set(path: str) -> bool:
    """Whether the folder ``path`` has the plan of a data set."""
    return os.path.isfile(os.path.join(path, PLAN))


def address_of(path: object) -> tuple[str, str] | None:
    """The part or folder and the id in a path such as ``ds#cat_17``; None if it is that of a file, or has none."""
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        return None
    if "#" not in text or os.path.lexists(text):
        return None
    pieces = text.split("#")
    for count in range(1, len(pieces)):
        place, id = "#".join(pieces[:count]), "#".join(pieces[count:])
        if os.path.exists(place):
            return place, id
    return None


def load_field(place: str, id: str, limits: Limits = LIMITS) -> Artifact:
    """The field called ``id`` of a part, or of a data set. Raises a ``RefusedInput``, or ``UsageError`` if there is
    none."""
    path = place
    if os.path.isdir(place):
        if not is_data_set(place):
            raise UnreadableFile(f"{printable(place)} is not the folder of a data set: it has no {PLAN}", "directory")
        path = _indexed_part(place, id) or _part_with(place, id)
    with opened(path) as (read, size):
        return Part(read, size).artifact(id, limits)


def _indexed_part(folder: str, id: str) -> str | None:
    """The part that has a field, or its failure, by the index; None if that does not say so."""
    beginning = b'{"id":' + json.dumps(id).encode() + b","
    with suppress(OSError, ValueError, KeyError), open(os.path.join(folder, INDEX), "rb") as file:
        for line in file:
            if line.startswith(beginning):
                path = part_path(folder, json.loads(line)["part"])
                with opened(path) as (read, size), suppress(RefusedInput):
                    return path if _has(Part(read, size), id) else None
    return None


def _part_with(folder: str, id: str) -> str:
    """The part that has a field, by looking into all of them."""
    for entry in present_parts(folder).values():
        with opened(entry.path) as (read, size), suppress(RefusedInput):
            if _has(Part(read, size), id):
                return entry.path
    raise UsageError(f"no field {printable(id)[:200]!r} in the data set {printable(folder)}", "id")


def _has(part: Part, id: str) -> bool:
    """Whether a part has the row ``id``."""
    return id in part.places or any(row["id"] == id for row in part.failures)


def addresses(folder: str) -> Iterator[tuple[str, str]]:
    """The part and the id of each field that is there."""
    for entry in present_parts(folder).values():
        with opened(entry.path) as (read, size):
            for id in Part(read, size).places:
                yield entry.path, id


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in the folders of parts."""
    entries: list[os.DirEntry[str]] = []
    with suppress(FileNotFoundError), os.scandir(os.path.join(folder, PARTS)) as folders:
        for each in folders:
            if each.is_dir():
                with os.scandir(each.path) as found:
                    entries += found
    return entries
