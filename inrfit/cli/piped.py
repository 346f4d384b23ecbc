"""Files that are made while they are printed on stdout, or just before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

from ..errors import UnwritableOutput, machine_error
from .console import print_output


class OutputPipe:
    """stdout as a file that is written from its beginning to its end, and its size in bytes so far."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> int:
        """Like ``print_output``."""
        print_output(data)
        self.size += len(data)
        return len(data)


def print_produced(produce: Callable[[Any], object]) -> int:
    """Prints on stdout what ``produce(file)`` writes to a file in which it may go back: one without a name, in the
    folder for temporary files. Returns the bytes. Raises ``UnwritableOutput`` and what ``print_output`` raises."""
    try:
        with tempfile.TemporaryFile() as file:
            produce(file)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            while piece := file.read(1 << 20):
                print_output(piece)
    except OSError as error:
        raise machine_error(error) or UnwritableOutput(f"a temporary file: {error.strerror}", "temporary") from error
    return size
