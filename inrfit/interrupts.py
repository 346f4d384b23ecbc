"""Ctrl-C and other signals: the first one is noted and the work ends in order, the second one ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class StopRequest:
    """Whether a signal has asked the work to stop: calling it returns True from then on."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.interrupting = False

    def __call__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def interrupting_reads(self) -> Iterator[None]:
        """Within the context a signal raises ``KeyboardInterrupt`` at once: for reading, which may block for ever, and
        after which there is nothing to keep."""
        self.interrupting = True
        try:
            if self.signal is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self.interrupting = False

    @property
    def exit_code(self) -> int:
        """128 + signal number: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.signal or 0)


def show_cursor() -> None:
    """Shows the cursor of the terminal again, which a progress bar hides."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h")


@contextmanager
def stop_on_signals(signals: Iterable[int] = (signal.SIGINT,)) -> Iterator[StopRequest]:
    """Within the context the first of ``signals`` sets the ``StopRequest``, and the second ends the process at once.
    Afterwards the previous handlers are restored. Outside the main thread, where Python allows no handlers, the request
    is never set."""
    stop = StopRequest()

    def handler(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            show_cursor()
            os._exit(128 + number)
        stop.signal = number
        if stop.interrupting:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    # A signal that is ignored stays ignored, as nohup expects.
    handled = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in handled}
    try:
        yield stop
    finally:
        for number, old_handler in previous.items():
            signal.signal(number, old_handler if old_handler is not None else signal.SIG_DFL)
