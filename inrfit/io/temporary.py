"""Names of temporary files: which target each belongs to, and whether the process that made it has ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
import time

SUFFIX = ".inrfit-tmp"
NAME_LIMIT = 143
"""Longest temporary name, in bytes: what eCryptfs leaves of the usual 255."""

ORPHAN_SECONDS = 3600
"""Age from which a temporary file is stale whoever wrote it: no fit happens in a write, it takes seconds."""

_ENDING = re.compile(rf"([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{16}}{re.escape(SUFFIX)}")


def temporary_name(name: str) -> str:
    """A new name beside ``name``: ``.<name>.<host>-<pid>-<random>.inrfit-tmp``, hashed when too long."""
    return f"{_stem(name)}{host()}-{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"


def is_stale(entry: os.DirEntry[str], name: str) -> bool:
    """Whether ``entry`` is a temporary file of the target ``name`` whose process on this machine has ended, or one that
    is older than an hour. Raises ``OSError`` if the entry cannot be examined."""
    stem = _stem(name)
    parts = _ENDING.fullmatch(entry.name[len(stem) :]) if entry.name.startswith(stem) else None
    if not parts:
        return False
    age = time.time() - entry.stat(follow_symlinks=False).st_mtime
    return age > ORPHAN_SECONDS or (parts[1] == host() and not _is_alive(int(parts[2])))


def host() -> str:
    """Eight hexadecimal digits for the machine and, since containers number their processes anew, the numbering."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _stem(name: str) -> str:
    """How every temporary name of the target ``name`` begins."""
    encoded = os.fsencode(name)
    longest = NAME_LIMIT - len(f"..{'0' * 8}-{2**32}-{'0' * 16}{SUFFIX}")
    return f".{name if len(encoded) <= longest else hashlib.sha256(encoded).hexdigest()[:32]}."


def _is_alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        pass
    return True
