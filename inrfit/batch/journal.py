"""What workers have done, line by line, for the progress of a batch. The parts alone say what is complete.

A worker appends to a file of its own. Errors are ignored: a full disk must not end a fit because of its journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from ..artifact.data_set import JOURNALS
from ..io.temporary import host_id, is_alive


class Journal:
    """The journal of this process in the folder of a data set."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, JOURNALS, f"{host_id()}-{os.getpid()}.jsonl")

    def note(self, event: str, **values: Any) -> None:
        """Appends a line: "claim" and "commit" of a part, "field" and "failure" of a row."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **values}, separators=(",", ":")) + "\n"
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)


def by_worker(folder: str) -> Iterator[list[dict[str, Any]]]:
    """The lines of the journal of each worker, but of those of this machine that have ended. Lines that a kill has cut
    are passed over."""
    with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(folder, JOURNALS)) as found:
        for entry in sorted(found, key=lambda each: each.name):
            host, _, process = entry.name.removesuffix(".jsonl").partition("-")
            if host == host_id() and not (process.isdecimal() and is_alive(int(process))):
                continue
            with open(entry.path, "rb") as file:
                yield [value for line in file if (value := _entry(line)) is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        return value if isinstance(value, dict) and line.endswith(b"\n") else None
    return None
