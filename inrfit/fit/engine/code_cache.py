"""The folder for the code that torch.compile keeps on disk: TORCHINDUCTOR_CACHE_DIR.

``runtime.keep_compiled_code`` sets it for the command line. It is used only if it is private
(``runtime.private_folder``), because torch loads whatever code it finds there."""

from __future__ import annotations

import atexit
import contextlib
import getpass
import os
import re
import tempfile

from ...io.temporary import temporary_folder
from ...runtime import private_folder

FOLDER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that names torch's cache folder."""


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
