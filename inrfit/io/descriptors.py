"""Open files: reads the content of a file, a pipe or standard input, within limits; sets owner and permissions."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UnreadableFile
from .limits import Limits

READ_BYTES = 1 << 20
"""Number of bytes that are read at a time."""


@dataclass(frozen=True)
class Head:
    """How the first ``size`` bytes of a file are judged before the rest is read: ``expected_bytes(start, size)`` gets
    them, and the size of the file (None: unknown), and returns the size that it should have, or raises an error."""

    size: int
    expected_bytes: Callable[[bytes, int | None], int]


def require_regular(status: os.stat_result) -> None:
    """Raises ``UnreadableFile`` unless the file is a regular one or a FIFO."""
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableFile("is a directory", "directory")
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise UnreadableFile("is a device", "device")
    if stat.S_ISSOCK(status.st_mode):
        raise UnreadableFile("is a socket", "device")


def require_input() -> None:
    """Raises ``UnreadableFile`` if standard input is closed, or the null device, which ``main`` opens in its place."""
    status = os.fstat(0)
    if stat.S_ISCHR(status.st_mode) and os.path.samestat(status, os.stat(os.devnull)):
        raise UnreadableFile(f"there is nothing to read: standard input is closed, or {os.devnull}", "empty")


def read_all(descriptor: int, limits: Limits, head: Head | None) -> bytes:
    """The content of the open file up to its end."""
    status = os.fstat(descriptor)
    if not os.isatty(descriptor):
        require_regular(status)
    limits.check("max_bytes", status.st_size, "size in bytes")
    content = io.BytesIO()
    most = limits.max_bytes + 1
    if head is not None:
        most = min(most, _judge_head(descriptor, status, head, content) + 1)
    # A regular file is read in one call, so that a large one is not in memory twice. Its size may be wrong (/proc).
    count = max(status.st_size + 1, READ_BYTES)
    while (left := most - content.tell()) > 0 and (piece := os.read(descriptor, min(count, left))):
        if not content.tell() and len(piece) == status.st_size:
            return piece
        content.write(piece)
        limits.check("max_bytes", content.tell(), "bytes read so far")
        count = max(status.st_size + 1 - content.tell(), READ_BYTES)
    return content.getvalue()


def _judge_head(descriptor: int, status: os.stat_result, head: Head, content: io.BytesIO) -> int:
    """The expected size of the open file, by its first bytes, which go to ``content`` if they can be read only once."""
    size: int | None = None
    if stat.S_ISREG(status.st_mode) and status.st_size:
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        start, size = os.pread(descriptor, head.size, at), status.st_size - at
    else:
        while (missing := head.size - content.tell()) and (piece := os.read(descriptor, missing)):
            content.write(piece)
        start = content.getvalue()
        if missing:  # the file has ended
            size = len(start)
    return head.expected_bytes(start, size) if start else 0


def keep_owner_and_mode(temporary: str, made: os.stat_result, replaced: os.stat_result | None) -> None:
    """Gives the temporary file, if it still is the one that was ``made``, the owner, the group and the permissions of
    the file that is ``replaced``, as far as the system allows it. Raises ``OSError`` if it is another file."""
    if replaced is None:
        return
    descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not os.path.samestat(os.fstat(descriptor), made):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        mode = stat.S_IMODE(replaced.st_mode) & 0o777
        try:
            os.fchown(descriptor, replaced.st_uid, replaced.st_gid)
        except OSError:  # of another user: the permissions of its group are not those of this one
            mode &= ~0o070
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
