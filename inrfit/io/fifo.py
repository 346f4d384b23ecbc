"""A notice that a FIFO has no writer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from ..errors import printable, warn

NOTICE_SECONDS = 0.5
"""Seconds after which a warning says that a FIFO has no writer."""


@contextlib.contextmanager
def notice_of_waiting(path: str | bytes | os.PathLike[Any]) -> Iterator[None]:
    """Context for opening a FIFO, which blocks until another program opens it for writing. A warning says so if that
    takes longer than NOTICE_SECONDS."""
    text = f"{printable(os.fsdecode(path))}: waiting for a program that writes into this pipe"
    notice = threading.Timer(NOTICE_SECONDS, warn, (text,))
    notice.daemon = True
    with contextlib.suppress(RuntimeError):  # no more threads may be started
        notice.start()
    try:
        yield
    finally:
        notice.cancel()
