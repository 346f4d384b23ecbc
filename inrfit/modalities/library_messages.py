"""Keeps libraries from printing."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def silenced(active: bool = True) -> Iterator[None]:
    """Context in which a library prints neither on stderr nor, through Python, on stdout, if ``active``.

    Only redirecting the descriptor of stderr stops a library in C, so what other threads print meanwhile is lost."""
    try:
        stderr = os.dup(2) if active else None
    except OSError:  # stderr is closed
        stderr = None
    if stderr is None:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
