"""Names of temporary files, from which their target and the process that created them can be read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator

SUFFIX = ".inrfit-tmp"
MAX_NAME_BYTES = 143
"""Maximum length of a temporary name: the limit of eCryptfs (most file systems have 255)."""

STALE_SECONDS = 3600
"""Seconds since it was last written to from which a temporary file is stale, whichever process wrote it. Most files are
written within seconds, a clip frame after frame."""

FOLDER = "inrfit"
"""What temporary folders are named after, as files are after their targets."""

_NAME_ENDING = re.compile(rf"([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{16}}{re.escape(SUFFIX)}")


def temporary_name(name: str) -> str:
    """A new temporary name for the target ``name``: ``.<name>.<host>-<pid>-<random>.inrfit-tmp``. A long ``name`` is
    replaced by its hash."""
    return f"{_name_prefix(name)}{host_id()}-{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"


def is_stale(entry: os.DirEntry[str], name: str, by_age: bool = True) -> bool:
    """Whether ``entry`` is a temporary file of the target ``name`` that no process needs any more: its process was on
    this machine and has ended, or, if ``by_age``, it is older than STALE_SECONDS. Raises ``OSError`` if the entry
    cannot be read."""
    prefix = _name_prefix(name)
    parts = _NAME_ENDING.fullmatch(entry.name[len(prefix) :]) if entry.name.startswith(prefix) else None
    if not parts:
        return False
    age = time.time() - entry.stat(follow_symlinks=False).st_mtime
    return (by_age and age > STALE_SECONDS) or (parts[1] == host_id() and not is_alive(int(parts[2])))


def is_abandoned(entry: os.DirEntry[str], oldest: float) -> bool:
    """Whether ``entry`` is a temporary file of any target whose process was on this machine and has ended, or that is
    older than the time ``oldest``. Raises ``OSError`` if it cannot be read."""
    ending = ".".join(entry.name.rsplit(".", 2)[1:])
    parts = _NAME_ENDING.fullmatch(ending) if entry.name.startswith(".") else None
    if not parts:
        return False
    ended = parts[1] == host_id() and not is_alive(int(parts[2]))
    return ended or entry.stat(follow_symlinks=False).st_mtime < oldest


@contextlib.contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[str]:
    """A folder in ``parent`` (None: the folder for temporary files) that is removed in the end, and now those that
    killed processes of this user have left. Raises ``OSError``."""
    parent = tempfile.gettempdir() if parent is None else parent
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if is_stale(entry, FOLDER, by_age=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    shutil.rmtree(entry.path, ignore_errors=True)
    folder = os.path.join(parent, temporary_name(FOLDER))
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def host_id() -> str:
    """Eight hexadecimal digits that identify the machine and the namespace of process numbers (of a container)."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _name_prefix(name: str) -> str:
    """The beginning of all temporary names of the target ``name``."""
    encoded = os.fsencode(name)
    max_bytes = MAX_NAME_BYTES - len(f"..{'0' * 8}-{2**32}-{'0' * 16}{SUFFIX}")
    return f".{name if len(encoded) <= max_bytes else hashlib.sha256(encoded).hexdigest()[:32]}."


def is_alive(process: int) -> bool:
    """Whether a process with this number is running on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        pass
    return True
