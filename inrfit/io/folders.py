"""Writing the files of an archive as a folder, which is there with all of them or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
from collections.abc import Callable
from typing import Any

from ..errors import OutputExists, UnwritableOutput, printable
from ..interrupts import finishing_output, removing_on_exit
from . import files
from .temporary import temporary_folder


def check_target(path: str) -> None:
    """Raises the ``OutputExists`` or ``UnwritableOutput`` that ``write_with`` would raise, before the work for the
    output."""
    name = path.rstrip("/")
    if os.path.lexists(name):
        raise _exists_error(name)
    files.check_target(name, force=False)


def write_with(path: str, produce: Callable[[Any], object]) -> int:
    """Writes as a new folder ``path`` the files of the .zip archive that ``produce(file)`` writes to a file; returns
    their size in bytes. Those above it must exist.

    Raises ``OutputExists``, ``UnwritableOutput`` and what ``produce`` raises; then nothing is left of it."""
    target = os.path.realpath(path.rstrip("/"))
    check_target(target)
    try:
        with temporary_folder(os.path.dirname(target)) as room, removing_on_exit(room):
            archive, folder = os.path.join(room, "archive"), os.path.join(room, "folder")
            files.write_with(archive, produce, force=False)
            os.mkdir(folder)
            size = _unpack(archive, folder)
            with finishing_output():
                _publish(folder, target)
    except (OSError, MemoryError) as error:
        raise files.unwritable(error, printable(path)) from error
    with contextlib.suppress(OSError):  # the folder is complete and in its place
        files.sync_folder(os.path.dirname(target))
    return size


def _unpack(archive: str, folder: str) -> int:
    """Writes the files of the archive below ``folder``; returns their size in bytes."""
    size = 0
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            path = os.path.normpath(os.path.join(folder, member.filename))
            if not path.startswith(folder + os.sep):
                raise UnwritableOutput(f"{printable(member.filename)} would be outside of its folder", "name")
            if member.is_dir():
                os.makedirs(path, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            files.write(path, opened.read(member), force=False)
            size += member.file_size
    return size


def _publish(folder: str, target: str) -> None:
    """Gives the folder its name. Raises ``OutputExists`` if another one of that name has files by now."""
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _exists_error(target) from None
        raise


def _exists_error(path: str) -> OutputExists:
    return OutputExists(f"{printable(path)}: already exists (a folder is not replaced: remove it first)", "exists")
