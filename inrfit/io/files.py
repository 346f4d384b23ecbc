"""Reading whole inputs and writing whole outputs. An output file is either the old or the new one, never a part of it.

All outputs of inrfit are written by ``write`` or ``write_with``. Messages about an output begin with its escaped name;
those about an input do not, because the caller adds it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable

from ..errors import (
    FolderNotSynced,
    InrfitError,
    NotEnoughMemory,
    OutputExists,
    UnreadableFile,
    UnwritableOutput,
    UsageError,
    machine_error,
    printable,
)
from ..interrupts import finishing_output, removing_on_exit
from .checked_file import CheckedFile
from .descriptors import Head, keep_owner_and_mode, read_all, require_input, require_regular
from .fifo import notice_of_waiting
from .limits import Limits
from .temporary import is_stale, temporary_name

_UNSUPPORTED_ERRNOS = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Error numbers of file systems without hard links, or without fsync of folders."""


def sha256(data: bytes) -> str:
    """The SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read(path: str | os.PathLike[str] | int, limits: Limits, head: Head | None = None) -> bytes:
    """The whole content of a file, which is read once. ``path`` may be "-" for stdin, a file descriptor, or a FIFO.
    With ``head``, its beginning is judged first, and not more than a byte beyond the expected size is read.

    Raises ``UsageError`` for a value of another type, ``UnreadableFile`` (with the reason missing, directory, device,
    permission, empty or unreadable), and ``OverLimit`` before more than ``limits.max_bytes`` bytes are in memory."""
    if not isinstance(path, str | bytes | int | os.PathLike):
        raise UsageError(f"a file is named by its path, not by a value of type {type(path).__name__}", "option")
    try:
        if path == "-":
            require_input()
        if path == "-" or isinstance(path, int):
            data = read_all(0 if path == "-" else int(path), limits, head)
        else:
            # Checked before opening, which has side effects on some devices.
            require_regular(status := os.stat(path))
            with notice_of_waiting(path) if stat.S_ISFIFO(status.st_mode) else contextlib.nullcontext():
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = read_all(descriptor, limits, head)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise machine_error(error) or _unreadable(error, path) from error
    except (ValueError, OverflowError) as error:  # a NUL in the name; a number that is no descriptor
        raise UnreadableFile(f"no such file ({error})", "missing") from error
    except MemoryError:
        raise NotEnoughMemory("the file does not fit into memory", "memory") from None
    if not data:
        raise UnreadableFile("the file is empty", "empty")
    return data


def _unreadable(error: OSError, path: str | os.PathLike[str] | int) -> UnreadableFile:
    """The ``UnreadableFile`` for an error while reading ``path``."""
    if error.errno == errno.ENOENT:
        dangling = not isinstance(path, int) and os.path.islink(path)
        return UnreadableFile("no such file" + " (a broken link)" * dangling, "missing")
    if error.errno in (errno.EACCES, errno.EPERM):
        return UnreadableFile("permission denied", "permission")
    if error.errno == errno.EBADF:
        return UnreadableFile("is closed", "unreadable")
    return UnreadableFile(f"cannot be read: {_describe_error(error)}", "unreadable")


def check_target(path: str | os.PathLike[str], force: bool, size: int = 0) -> None:
    """Raises the ``OutputExists`` or ``UnwritableOutput`` that ``write`` would raise, before the work for the output.

    ``size``: bytes that must be free. A probe file is created beside the target and removed."""
    target, label = _target(path, force)
    folder, name = os.path.split(target)
    probe = os.path.join(folder, temporary_name(name))
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(probe)
        space = os.statvfs(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(probe)
        raise unwritable(error, label) from error
    free = space.f_bavail * space.f_frsize
    if size > free:
        raise UnwritableOutput(f"{label}: needs {size:,} bytes, but only {free:,} are free", "enospc")


def _target(path: str | os.PathLike[str], force: bool) -> tuple[str, str]:
    """The file that ``path`` refers to, with links followed, and its escaped name for messages. Raises ``OutputExists``
    or ``UnwritableOutput`` if it cannot be written."""
    name = os.fsdecode(path)
    label = printable(name)
    if not os.path.basename(name):
        raise UnwritableOutput(f"{label!r} is not the name of a file", "name")
    try:
        target = os.path.realpath(name)
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            problem = "not a folder" if os.path.lexists(folder) else "no such folder"
            raise UnwritableOutput(f"{label}: {problem}: {printable(folder)}", "folder")
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return target, label
    except OSError as error:
        raise UnwritableOutput(f"{label}: {_describe_error(error)}", _errno_name(error)) from error
    except ValueError as error:  # a NUL in the name
        raise UnwritableOutput(f"{label}: {error}", "name") from error
    if stat.S_ISDIR(mode):
        raise UnwritableOutput(f"{label}: is a directory", "directory")
    if not stat.S_ISREG(mode):
        # As root, a rename would replace a device such as /dev/null.
        raise UnwritableOutput(f"{label}: is not a regular file", "device")
    if not force:
        raise _exists_error(label)
    return target, label


def _exists_error(label: str) -> OutputExists:
    """The error for a target that exists."""
    return OutputExists(f"{label}: already exists (replace it with --force)", "exists")


def write(
    path: str | os.PathLike[str],
    data: bytes,
    force: bool,
    check: Callable[[bytes], None] | None = None,
) -> None:
    """Writes ``data`` to ``path``, completely or not at all. ``check(data)`` is called when the data is on disk, before
    it gets its name, and may raise.

    Links are followed. A file that is replaced keeps its owner and permissions; those of a new one follow the umask.
    Raises ``OutputExists`` if the target exists and ``force`` is
    false, ``UnwritableOutput`` for errors of the system, and the exceptions of ``check``. Temporary files are removed
    in any case, also on Ctrl-C."""
    with finishing_output():
        _write(path, lambda file: file.write(data), force, lambda: check and check(data))


def write_with(path: str | os.PathLike[str], produce: Callable[[CheckedFile], object], force: bool) -> int:
    """Writes to ``path``, completely or not at all, what ``produce(file)`` writes to a file, and returns its size in
    bytes. ``produce`` may take long and may raise; a signal that ends the process meanwhile removes the temporary file.

    Otherwise like ``write``."""
    return _write(path, produce, force, lambda: None)


def _write(
    path: str | os.PathLike[str], produce: Callable[[CheckedFile], object], force: bool, check: Callable[[], object]
) -> int:
    """``write_with``, with a check before the file gets its name."""
    target, label = _target(path, force)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, temporary_name(name))
    try:
        with removing_on_exit(temporary):
            try:
                replaced = _status(target) if force else None
                made, file = _write_new(temporary, produce, 0o666 if replaced is None else 0o600)
                if not file.reads_back():
                    raise UnwritableOutput(f"{label}: what was read back differs from what was written", "readback")
                check()
                with finishing_output():
                    if force:
                        keep_owner_and_mode(temporary, made, replaced)
                        os.replace(temporary, target)
                    else:
                        _publish(temporary, target, label)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
    except (OSError, MemoryError) as error:
        raise unwritable(error, label) from error
    try:
        sync_folder(folder)
    except OSError as error:
        raise FolderNotSynced(
            f"{label}: the new file is complete and in its place, but the folder could not be synced, so that a power "
            f"failure may undo it: {_describe_error(error)}",
            _errno_name(error),
        ) from error
    return file.size


def unwritable(error: OSError | MemoryError, label: str) -> InrfitError:
    """The error for an exception while the output ``label`` is written."""
    if (failure := machine_error(error)) is not None:
        return type(failure)(f"{label}: {failure}", failure.reason)
    assert isinstance(error, OSError)
    return UnwritableOutput(f"{label}: {_describe_error(error)}", _errno_name(error))


def _status(path: str) -> os.stat_result | None:
    """The status of a file, if it exists."""
    with contextlib.suppress(OSError):
        return os.stat(path)
    return None


def _write_new(path: str, produce: Callable[[CheckedFile], object], mode: int) -> tuple[os.stat_result, CheckedFile]:
    """Creates a file, lets ``produce`` write to it and syncs it to disk; returns its status, and the closed file."""
    file = CheckedFile(path, mode)
    try:
        produce(file)
        return file.sync(), file
    finally:
        file.close()


def _publish(temporary: str, target: str, label: str) -> None:
    """Gives the temporary file its name, unless a file of that name exists. Unlike a rename, a hard link does not
    replace an existing file."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _exists_error(label) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED_ERRNOS:
            raise
        # On FAT and some network file systems, another process may create the file between these two calls.
        if os.path.lexists(target):
            raise _exists_error(label) from None
        os.replace(temporary, target)
    else:
        # The output is complete. A temporary name that remains is removed by ``remove_stale``.
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def sync_folder(folder: str) -> None:
    """Syncs the folder, so that the new name survives a power failure, if the file system supports that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED_ERRNOS:
            raise


def remove_stale(folder: str | os.PathLike[str], name: str) -> int:
    """Removes the temporary files of the target ``name`` in ``folder`` that killed processes left behind. Returns their
    number."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(os.fsdecode(folder)) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if is_stale(entry, name):
                    os.unlink(entry.path)
                    removed += 1
    return removed


def _describe_error(error: OSError) -> str:
    """The message of the operating system, for use within a sentence."""
    message = error.strerror or type(error).__name__
    return message[:1].lower() + message[1:]


def _errno_name(error: OSError) -> str:
    """The name of the error number as a reason for programs, such as "enospc"."""
    return errno.errorcode.get(error.errno or 0, "unwritable").lower()
