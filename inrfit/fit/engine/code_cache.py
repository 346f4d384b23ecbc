"""Compiled code that is kept on disk: who may have written it, and whether it is whole.

The folder is torch's own, TORCHINDUCTOR_CACHE_DIR (``runtime.keep_compiled_code`` sets it for the command line). It is
used only if it is private (``runtime.private_folder``). In it a library is loaded only if it and the file beside it,
which holds its length and SHA-256, are regular files of this user that nobody else may write to; if it has that length
and digest; and through the descriptor by which this was checked.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import getpass
import hashlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from ...runtime import private_folder

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that names torch's folder."""

SUMS = ".sha256"
"""Suffix of the file beside a library."""

_loaded: dict[bytes, ctypes.CDLL] = {}
"""The libraries of this process, by what stands beside them. Their descriptors stay open: the dynamic linker knows a
library by its name, which must not come to stand for another file."""


def folder(make: bool = False) -> str | None:
    """Where code is kept; None if nowhere. With ``make`` missing folders are made."""
    found = os.environ.get(FOLDER, "")
    return found if private_folder(found, make=make) else None


def keep_torch_private() -> None:
    """Before torch.compile: torch loads the code that it finds in its folder, whoever put it there. Where that is not
    private, it is given another for as long as this process runs."""
    try:
        user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
    except (KeyError, OSError):  # this user has no name
        user = str(os.geteuid())
    usual = os.path.join(tempfile.gettempdir(), f"torchinductor_{user}")  # torch's own choice
    found = os.environ.get(FOLDER) or usual
    if not private_folder(found, make=True):
        found = tempfile.mkdtemp(prefix="inrfit")
        atexit.register(shutil.rmtree, found, ignore_errors=True)
    os.environ[FOLDER] = found


def holds(name: str) -> bool:
    """Whether a library of this name is kept that ``load`` would load."""
    found = _checked(name)
    if found is not None:
        os.close(found[0])
    return found is not None


def load(name: str) -> ctypes.CDLL | None:
    """The library kept under ``name``; None if there is none, or none that may be loaded."""
    found = _checked(name)
    if found is None:
        return None
    descriptor, sums = found
    if sums in _loaded:
        os.close(descriptor)
        return _loaded[sums]
    try:
        return _loaded.setdefault(sums, ctypes.CDLL(f"/proc/self/fd/{descriptor}"))
    except OSError:
        os.close(descriptor)
        return None


def keep(name: str, made: str) -> None:
    """Copies the library at ``made`` to ``name`` in the folder, in place of what is there; does nothing where that
    cannot be done."""
    place = folder(make=True)
    if place is None:
        return
    with contextlib.suppress(OSError):
        data = Path(made).read_bytes()
        _replace(os.path.join(place, name), data)
        _replace(os.path.join(place, name + SUMS), _sums(data))


def _checked(name: str) -> tuple[int, bytes] | None:
    """An open descriptor of the library ``name`` and what stands beside it, if it may be loaded."""
    place = folder()
    if place is None:
        return None
    path = os.path.join(place, name)
    try:
        with open(_opened(path + SUMS), "rb") as file:
            sums = file.read()
        descriptor = _opened(path)
    except OSError:
        return None
    with contextlib.suppress(OSError), open(descriptor, "rb", closefd=False) as file:
        if _sums(file.read()) == sums:
            return descriptor, sums
    os.close(descriptor)
    return None


def _opened(path: str) -> int:
    """A descriptor of the regular file ``path``. Raises ``OSError`` for a link, and where others own it or may write to
    it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:
        return descriptor
    os.close(descriptor)
    raise PermissionError(path)


def _sums(data: bytes) -> bytes:
    """Length and SHA-256, as they are written beside a library."""
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}\n".encode()


def _replace(path: str, data: bytes) -> None:
    """Writes ``data`` to ``path``, whole or not at all. Raises ``OSError``."""
    handle, copy = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(copy, path)
    except OSError:
        os.unlink(copy)
        raise
