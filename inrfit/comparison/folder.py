"""The folder of a comparison."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UnwritableOutput, printable
from ..io.locks import locked_folder


@contextmanager
def output_folder(folder: str | None) -> Iterator[None]:
    """Creates the folder of a comparison unless it exists, and keeps other processes from writing a comparison into it.

    Raises ``UnwritableOutput``, or ``UsageError`` if another process writes into it."""
    if folder is not None:
        make_folder(folder)
    with locked_folder(folder):
        yield


def make_folder(folder: str) -> None:
    """Creates the folder unless it exists. Raises ``UnwritableOutput``."""
    if os.path.isdir(folder):
        return
    try:
        os.mkdir(folder)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UnwritableOutput(f"{printable(folder)}: {reason[:1].lower() + reason[1:]}", "folder") from error
