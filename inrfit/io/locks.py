"""A lock on a folder of outputs, which ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import UsageError, printable


@contextmanager
def locked_folder(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Within the context no other process gets the lock on ``folder`` (None, or a file system without locks: nothing
    happens). Raises ``UsageError`` if another one has it."""
    descriptor = None
    with suppress(OSError):
        descriptor = None if folder is None else os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if descriptor is None:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = printable(os.fsdecode(folder or ""))
            raise UsageError(
                f"{name}: another inrfit is writing into this folder (wait for it, or choose another folder)", "locked"
            ) from None
        except OSError:  # no locks here
            pass
        yield
    finally:
        with suppress(OSError):  # it must not hide the error of an output
            os.close(descriptor)
