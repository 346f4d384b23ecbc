"""Kills this process, or lets a call of the system fail, at its N-th call that touches a folder.

Calls that open, create, rename, link or remove are seen by an audit hook, whoever makes them; ``os.write``,
``os.read``, ``os.fsync`` and ``os.close`` are wrapped. ``test_real_calls.py`` does the same with strace, without this
module.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

AUDITED = {
    "open": "open",
    "os.rename": "rename",
    "os.link": "link",
    "os.remove": "unlink",
    "os.mkdir": "mkdir",
    "os.truncate": "truncate",
}
"""Audit events by the call that they announce. ``os.replace`` is announced as ``os.rename``."""

WRAPPED = ("write", "read", "fsync", "close")

POSSIBLE = {
    errno.ENOSPC: {"open", "write", "fsync", "close", "rename", "link", "mkdir", "truncate"},
    errno.EDQUOT: {"open", "write", "fsync", "close", "rename", "link", "mkdir"},
    errno.EIO: {"open", "write", "read", "fsync", "close", "rename", "link", "unlink", "mkdir", "truncate"},
    errno.EMFILE: {"open"},
    errno.EACCES: {"open", "rename", "link", "unlink", "mkdir"},
    errno.EROFS: {"open", "rename", "link", "unlink", "mkdir"},
}
"""Errors by number, and the calls that they can come from (open(2), write(2), ...). EINTR never reaches Python code:
the interpreter repeats the call."""


@dataclass
class Calls:
    """Counts the calls that touch ``folder``, and acts at call number ``at`` (counted from 1; 0: only count).

    ``error`` is the number of the error that the call fails with, None to kill the process; ``lasting`` whether all
    later calls fail, too. Only the calls that can fail with ``error`` are counted then."""

    folder: str
    at: int = 0
    error: int | None = None
    lasting: bool = False
    count: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def install(self) -> None:
        """Watches the calls of this process from now on; there is no way back."""
        sys.addaudithook(self._audit)
        for name in WRAPPED:
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        name = AUDITED.get(event)
        if name is not None and arguments and self._concerns(arguments[0]):
            self._before(name)

    def _concerns(self, path: Any) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.path.abspath(os.fsdecode(path)).startswith(
            self.folder
        )

    def _wrapped(self, name: str, real: Any) -> Any:
        def call(descriptor: int, *rest: Any) -> Any:
            try:
                inside = self._concerns(os.readlink(f"/proc/self/fd/{descriptor}"))
            except OSError:
                inside = False
            if not inside:
                return real(descriptor, *rest)
            if self._is_next(name) and name == "write":
                real(descriptor, rest[0][: len(rest[0]) // 2])  # a torn write
            if self._is_next(name) and name == "close" and self.error is not None:
                real(descriptor)  # closed all the same
            self._before(name)
            return real(descriptor, *rest)

        return call

    def _counts(self, name: str) -> bool:
        return self.error is None or name in POSSIBLE[self.error]

    def _is_next(self, name: str) -> bool:
        return self._counts(name) and (self.count + 1 == self.at or (self.lasting and self.count + 1 > self.at > 0))

    def _before(self, name: str) -> None:
        acts = self._is_next(name)
        if self._counts(name):
            self.count += 1
            self.seen[name] += 1
        if acts and self.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if acts and self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
