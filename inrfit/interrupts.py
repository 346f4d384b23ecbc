"""Ctrl-C and SIGTERM as a flag that the work looks at, so that what was fitted can still be written."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Stop:
    """Calling it says whether to stop; ``code`` is the exit code that goes with the signal (130, 143, 129)."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.raising = False

    def __call__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises ``KeyboardInterrupt`` where it falls: for reading, which may wait for ever and where
        there is nothing to keep."""
        self.raising = True
        try:
            if self.signal is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self.raising = False

    @property
    def code(self) -> int:
        """128 + signal number."""
        return 128 + (self.signal or 0)


def show_cursor() -> None:
    """Gives a terminal its cursor back, which a progress bar had hidden."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h")


@contextmanager
def catching(signals: Iterable[int] = (signal.SIGINT,)) -> Iterator[Stop]:
    """While inside, the first of ``signals`` sets the flag and the second ends the process at once; the handlers that
    were there come back. Outside the main thread, where no handler can be set, the flag just stays down."""
    stop = Stop()

    def handler(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            show_cursor()
            os._exit(128 + number)
        stop.signal = number
        if stop.raising:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    # A signal that is ignored stays ignored: nohup means it.
    heeded = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old if old is not None else signal.SIG_DFL)
