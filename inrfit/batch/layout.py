"""Where the files of a data set are."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress

from ..io.temporary import is_abandoned

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


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in the folders of parts."""
    entries: list[os.DirEntry[str]] = []
    with suppress(FileNotFoundError), os.scandir(os.path.join(folder, PARTS)) as folders:
        for each in folders:
            if each.is_dir():
                with os.scandir(each.path) as found:
                    entries += found
    return entries
