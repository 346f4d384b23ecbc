"""Reading whole inputs, writing whole outputs: a target is the old file or the new one, never half of either.

Every output of inrfit goes through ``write``. Messages about an output begin with its name, escaped; those
about an input do not: whoever reports them knows it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable

from ..errors import NotEnoughMemory, OutputExists, UnreadableFile, UnwritableOutput, printable
from .limits import Limits
from .temporary import is_stale, temporary_name

PIECE = 1 << 20

_CANNOT = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems answer that have no hard links, or no fsync of a folder."""


def sha256(data: bytes) -> str:
    """Hexadecimal digest, 64 characters."""
    return hashlib.sha256(data).hexdigest()


def read(path: str | os.PathLike[str] | int, limits: Limits) -> bytes:
    """The whole content, read once; "-" is standard input, and a FIFO is read to its end.

    Raises ``UnreadableFile`` (reason: missing, directory, device, permission, empty, unreadable), or
    ``OverLimit`` before more than ``limits.max_bytes`` are held."""
    try:
        if path == "-" or isinstance(path, int):
            data = _read_all(0 if path == "-" else int(path), limits)
        else:
            # Looked at before it is opened: opening some devices acts on them.
            _refuse_kind(os.stat(path))
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = _read_all(descriptor, limits)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise _unreadable(error, path) from error
    except ValueError as error:  # a NUL in the name
        raise UnreadableFile(f"no such file ({error})", "missing") from error
    except MemoryError:
        raise NotEnoughMemory("the file does not fit into memory", "memory") from None
    if not data:
        raise UnreadableFile("is empty", "empty")
    return data


def _unreadable(error: OSError, path: str | os.PathLike[str] | int) -> UnreadableFile:
    """The refusal that ``error`` means for the input ``path``."""
    if error.errno == errno.ENOENT:
        dangling = not isinstance(path, int) and os.path.islink(path)
        return UnreadableFile("no such file" + " (a link to nothing)" * dangling, "missing")
    if error.errno in (errno.EACCES, errno.EPERM):
        return UnreadableFile("permission denied", "permission")
    return UnreadableFile(f"cannot be read: {_words(error)}", "unreadable")


def _refuse_kind(status: os.stat_result) -> None:
    """Raises ``UnreadableFile`` unless this is a regular file or a FIFO."""
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableFile("is a directory", "directory")
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise UnreadableFile("is a device", "device")
    if stat.S_ISSOCK(status.st_mode):
        raise UnreadableFile("is a socket", "device")


def _read_all(descriptor: int, limits: Limits) -> bytes:
    """Everything up to the end of the open file."""
    status = os.fstat(descriptor)
    if not os.isatty(descriptor):
        _refuse_kind(status)
    limits.require("max_bytes", status.st_size, "size in bytes")
    # One read for a regular file, so that a large one is not held twice; the size may lie (it grows, /proc).
    wanted, pieces, total = max(status.st_size + 1, PIECE), [], 0
    while piece := os.read(descriptor, min(wanted, limits.max_bytes + 1 - total)):
        pieces.append(piece)
        total += len(piece)
        limits.require("max_bytes", total, "bytes read so far")
        wanted = max(status.st_size + 1 - total, PIECE)
    return b"".join(pieces)


def check_target(path: str | os.PathLike[str], force: bool, size: int = 0) -> None:
    """Raises now what ``write`` would raise after an hour of work: ``OutputExists`` or ``UnwritableOutput``.

    ``size`` bytes must be free. A probe file is made beside the target and removed."""
    target, shown = _target(path, force)
    folder, name = os.path.split(target)
    probe = os.path.join(folder, temporary_name(name))
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(probe)
        space = os.statvfs(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(probe)
        raise UnwritableOutput(f"{shown}: {_words(error)}", _reason(error)) from error
    free = space.f_bavail * space.f_frsize
    if size > free:
        raise UnwritableOutput(f"{shown}: needs {size:,} bytes, {free:,} are free there", "enospc")


def _target(path: str | os.PathLike[str], force: bool) -> tuple[str, str]:
    """The file that ``path`` stands for, links followed, and the name to show; raises if it cannot be had."""
    given = os.fsdecode(path)
    shown = printable(given)
    if not os.path.basename(given):
        raise UnwritableOutput(f"{shown!r} names no file", "name")
    try:
        target = os.path.realpath(given)
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            what = "not a folder" if os.path.lexists(folder) else "no such folder"
            raise UnwritableOutput(f"{shown}: {what}: {printable(folder)}", "folder")
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return target, shown
    except OSError as error:
        raise UnwritableOutput(f"{shown}: {_words(error)}", _reason(error)) from error
    except ValueError as error:  # a NUL in the name
        raise UnwritableOutput(f"{shown}: {error}", "name") from error
    if stat.S_ISDIR(mode):
        raise UnwritableOutput(f"{shown}: is a directory", "directory")
    if not stat.S_ISREG(mode):
        # Renaming over /dev/null as root would replace the device for everybody.
        raise UnwritableOutput(f"{shown}: is not a regular file", "device")
    if not force:
        raise _exists(shown)
    return target, shown


def _exists(shown: str) -> OutputExists:
    return OutputExists(f"{shown}: exists already (overwrite it with --force)", "exists")


def write(
    path: str | os.PathLike[str],
    data: bytes,
    force: bool,
    check: Callable[[bytes], None] | None = None,
) -> None:
    """Puts ``data`` at ``path``, complete or not at all; ``check`` may refuse it once it is on the disk.

    A link is followed, the mode is what the umask gives. Raises ``OutputExists`` when the target is there (or
    appeared meanwhile) without ``force``, ``UnwritableOutput`` for what the system refuses, and whatever
    ``check`` raises; no temporary file is left behind, not even by Ctrl-C."""
    target, shown = _target(path, force)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, temporary_name(name))
    try:
        try:
            _fill(temporary, data)
            if not _holds(temporary, data):
                raise UnwritableOutput(f"{shown}: did not read back as written", "readback")
            if check is not None:
                check(data)
            if force:
                os.replace(temporary, target)
            else:
                _publish(temporary, target, shown)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(folder)
    except OSError as error:
        raise UnwritableOutput(f"{shown}: {_words(error)}", _reason(error)) from error


def _fill(path: str, data: bytes) -> None:
    """A new file with ``data``, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        # Not suppressed: some file systems report a failed write only here.
        os.close(descriptor)


def _holds(path: str, data: bytes) -> bool:
    """Whether the file holds exactly ``data``; read in pieces, so that it is not held twice."""
    rest = memoryview(data)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := os.read(descriptor, PIECE):
            if rest[: len(piece)] != piece:
                return False
            rest = rest[len(piece) :]
    finally:
        os.close(descriptor)
    return not rest


def _publish(temporary: str, target: str, shown: str) -> None:
    """Names the temporary file unless the name is taken: a hard link refuses what a rename would replace."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(shown) from None
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        # FAT, some network file systems: a short race remains here.
        if os.path.lexists(target):
            raise _exists(shown) from None
        os.replace(temporary, target)
    else:
        # The output is complete; a second name that stays is what ``sweep`` is for.
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _sync_folder(folder: str) -> None:
    """Makes the new name survive a power cut, where the file system can promise that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def sweep(folder: str | os.PathLike[str], name: str) -> int:
    """Removes what killed runs left of the target ``name`` in ``folder``, and says how many files that were."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(os.fsdecode(folder)) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if is_stale(entry, name):
                    os.unlink(entry.path)
                    removed += 1
    return removed


def _words(error: OSError) -> str:
    """The system's own words, as part of a sentence."""
    words = error.strerror or type(error).__name__
    return words[:1].lower() + words[1:]


def _reason(error: OSError) -> str:
    """The name of the error number, for programs: "enospc"."""
    return errno.errorcode.get(error.errno or 0, "unwritable").lower()
