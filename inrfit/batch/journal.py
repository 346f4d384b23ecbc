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

from ..io.temporary import host_id
from .layout import JOURNALS


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


def entries(folder: str) -> Iterator[dict[str, Any]]:
    """All complete lines of all journals, journal by journal. Lines that a kill has cut are passed over."""
    with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(folder, JOURNALS)) as found:
        for entry in sorted(found, key=lambda each: each.name):
            with open(entry.path, "rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError):
                        value = json.loads(line)
                        if isinstance(value, dict) and line.endswith(b"\n"):
                            yield value
