"""Compiled code on disk, loaded only if nobody else can have written it and if it is complete.

The folder is torch's own, TORCHINDUCTOR_CACHE_DIR (``runtime.keep_compiled_code`` sets it for the command line). It is
used only if it is private (``runtime.private_folder``). A library has a file with its length and SHA-256 beside it.
Both must be regular files of this user to which nobody else may write, and length and digest must match. The library
is then loaded through the file descriptor that was checked.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import getpass
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from ...io.temporary import temporary_folder
from ...runtime import private_folder

FOLDER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that names torch's cache folder."""

CHECKSUM_SUFFIX = ".sha256"
"""Suffix of the file with the length and SHA-256 of a library."""

_loaded: dict[bytes, ctypes.CDLL] = {}
"""The libraries of this process by checksum. Their descriptors stay open: the dynamic linker identifies a library by
its name, /proc/self/fd/N, which must not come to mean another file."""


def cache_folder(create: bool = False) -> str | None:
    """The folder for compiled code; None if there is no private one. ``create`` makes missing folders."""
    path = os.environ.get(FOLDER_VARIABLE, "")
    return path if private_folder(path, create=create) else None


def ensure_private_torch_cache() -> None:
    """Gives torch.compile a private cache folder: torch loads whatever code it finds there. If the present folder is
    not private, a temporary one is used for the rest of the process."""
    try:
        user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
    except (KeyError, OSError):  # this user has no name
        user = str(os.geteuid())
    default = os.path.join(tempfile.gettempdir(), f"torchinductor_{user}")  # torch's own choice
    path = os.environ.get(FOLDER_VARIABLE) or default
    if not private_folder(path, create=True):
        folder = contextlib.ExitStack()
        path = folder.enter_context(temporary_folder())
        atexit.register(folder.close)
    os.environ[FOLDER_VARIABLE] = path


def contains(name: str) -> bool:
    """Whether ``load(name)`` would find a library."""
    verified = _open_verified(name)
    if verified is not None:
        os.close(verified[0])
    return verified is not None


def load(name: str) -> ctypes.CDLL | None:
    """The library stored as ``name``; None if there is none, or none that may be loaded."""
    verified = _open_verified(name)
    if verified is None:
        return None
    descriptor, checksum = verified
    if checksum in _loaded:
        os.close(descriptor)
        return _loaded[checksum]
    try:
        return _loaded.setdefault(checksum, ctypes.CDLL(f"/proc/self/fd/{descriptor}"))
    except OSError:
        os.close(descriptor)
        return None


def store(name: str, library: str) -> None:
    """Copies the file ``library`` into the folder as ``name``, replacing what is there. Does nothing if that is not
    possible."""
    folder = cache_folder(create=True)
    if folder is None:
        return
    with contextlib.suppress(OSError):
        data = Path(library).read_bytes()
        _write_atomically(os.path.join(folder, name), data)
        _write_atomically(os.path.join(folder, name + CHECKSUM_SUFFIX), _checksum(data))


def _open_verified(name: str) -> tuple[int, bytes] | None:
    """An open descriptor of the library ``name`` and its checksum, if it may be loaded."""
    folder = cache_folder()
    if folder is None:
        return None
    path = os.path.join(folder, name)
    try:
        with open(_open_private(path + CHECKSUM_SUFFIX), "rb") as file:
            checksum = file.read()
        descriptor = _open_private(path)
    except OSError:
        return None
    with contextlib.suppress(OSError), open(descriptor, "rb", closefd=False) as file:
        if _checksum(file.read()) == checksum:
            return descriptor, checksum
    os.close(descriptor)
    return None


def _open_private(path: str) -> int:
    """A descriptor of the regular file ``path``. Raises ``OSError`` for a link and for a file that somebody else owns
    or may write to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022:
        return descriptor
    os.close(descriptor)
    raise PermissionError(path)


def _checksum(data: bytes) -> bytes:
    """Length and SHA-256 of ``data`` as a line of text."""
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}\n".encode()


def _write_atomically(path: str, data: bytes) -> None:
    """Writes ``data`` to ``path`` completely or not at all. Raises ``OSError``."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
