"""A file that is being written and can be compared with what was written to it, in whatever order that was."""

from __future__ import annotations

import errno
import io
import os
import zlib
from typing import Any, Protocol

BLOCK = 1 << 20
"""Bytes of a block, of which a checksum is kept."""

_SPOILED = -1
"""The checksum of a block that did not read back when a part of it was written again."""


class Output(Protocol):
    """What the writers of media files need of a file. Those of formats that are written from the beginning to the end
    need only ``write``."""

    def write(self, data: Any, /) -> int:
        """Writes all of ``data`` and returns its size in bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to a position within the file and returns it."""

    def tell(self) -> int:
        """The position."""

    def flush(self) -> None:
        """Hands on what is held back."""

    def close(self) -> None:
        """Closes it, which writers leave to whoever has opened it."""


class CheckedFile(io.RawIOBase):
    """A file at ``path``, empty, to write to. Parts may be written again, such as sizes in a header; a checksum of each
    block is kept. Unless ``new``, the file must be there; otherwise it must not, and gets the permissions ``mode``.
    All methods raise ``OSError``: after one was raised, the same, because libraries go on or forget it."""

    def __init__(self, path: str, mode: int = 0o666, new: bool = True) -> None:
        super().__init__()
        self.path, self.size, self.sums = path, 0, list[int]()
        self._at = 0
        self._failure: OSError | None = None
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | new * (os.O_CREAT | os.O_EXCL), mode)

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves to a position, which must not be beyond the end."""
        self._check()
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if not 0 <= at <= self.size:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = os.lseek(self._descriptor, at, os.SEEK_SET)
        return at

    def _check(self) -> None:
        """Raises what a write has raised."""
        if self._failure is not None:
            raise self._failure

    def write(self, data: Any, /) -> int:
        """Writes all of ``data``."""
        self._check()
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                part = rest[: BLOCK - self._at % BLOCK]
                written = self._append(part) if self._at == self.size else self._replace(part[: self.size - self._at])
                self._at += written
                self.size = max(self.size, self._at)
                rest = rest[written:]
        except OSError as error:
            self._failure = error
            raise
        return size

    def _append(self, part: memoryview) -> int:
        """Writes at the end, within a block; returns how many bytes the system took."""
        written = os.write(self._descriptor, part)
        if self._at % BLOCK == 0:
            self.sums.append(0)
        self.sums[-1] = zlib.crc32(part[:written], self.sums[-1])
        return written

    def _replace(self, part: memoryview) -> int:
        """Writes before the end, within a block; returns how many bytes the system took."""
        number, at = divmod(self._at, BLOCK)
        block = bytearray(os.pread(self._descriptor, BLOCK, number * BLOCK))
        intact = zlib.crc32(block) == self.sums[number]
        written = os.write(self._descriptor, part)
        block[at : at + written] = part[:written]
        self.sums[number] = zlib.crc32(block) if intact else _SPOILED
        return written

    def sync(self) -> os.stat_result:
        """Syncs the file to disk and returns its status."""
        self._check()
        os.fsync(self._descriptor)
        return os.fstat(self._descriptor)

    def close(self) -> None:
        """Closes the file. Some file systems report a failed write only here."""
        if not self.closed:
            super().close()
            os.close(self._descriptor)

    def reads_back(self) -> bool:
        """Whether the file has the content that was written, when it is opened and read once more."""
        size, sums = 0, list[int]()
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while piece := os.read(descriptor, BLOCK - size % BLOCK):
                if size % BLOCK == 0:
                    sums.append(0)
                sums[-1] = zlib.crc32(piece, sums[-1])
                size += len(piece)
        finally:
            os.close(descriptor)
        return (size, sums) == (self.size, self.sums)
