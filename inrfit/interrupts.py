"""Ctrl-C and other signals.

In a command (``leave_on_signals``) a signal ends the process at once where there is nothing to keep, and while an
output is written, after that; an output that takes long to make is removed. During a fit (``stop_on_signals``) the
first signal is noted and the work ends in order; the second one ends the process. If the work has not ended
GRACE_SECONDS after the first signal, because it is in the code of a library, a thread ends the process.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a command. One that is ignored stays ignored, as nohup expects."""

GRACE_SECONDS = 1.6
"""Time that the work has to end in order. Commands promise to end within two seconds."""

SPARE_DESCRIPTORS = 8
"""Files that a command must be able to open besides the pipe of its signals."""

_writes = 0  # number of outputs that are being written
_unfinished = set[str]()  # files and folders that are removed when a signal ends the process
_pending: int | None = None  # the signal that came meanwhile
_leaving = threading.Lock()  # taken by the thread that ends the process, for ever


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
        for imports, after which there is nothing to keep."""
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


@contextmanager
def finishing_output() -> Iterator[None]:
    """Within the context a signal does not end the process: an output is being written, which takes moments."""
    global _writes
    _writes += 1
    try:
        yield
    finally:
        _writes -= 1
        if not _writes and _pending is not None:
            _leave(_pending)


@contextmanager
def removing_on_exit(path: str) -> Iterator[None]:
    """Within the context a signal that ends the process removes ``path`` first, a file or a folder."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


def leave_on_signals() -> None:
    """From now on signals end this process. For the command line only."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_or_note)
    if (pipe := _spare_pipe()) is None:
        return
    reading, writing = pipe
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()


def _spare_pipe() -> tuple[int, int] | None:
    """A pipe; None if the process may open so few files that the rest of it needs them all."""
    opened: list[int] = []
    try:
        opened += os.pipe()
        opened += [os.dup(opened[0]) for _ in range(SPARE_DESCRIPTORS)]
    except OSError:
        return None
    else:
        return opened.pop(0), opened.pop(0)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _leave_or_note(number: int, frame: FrameType | None) -> None:
    """The handler outside of fits."""
    global _pending
    if _writes and _pending is None:
        _pending = number
    else:
        _leave(number)


def _leave(number: int) -> None:
    """Ends the process, with one line on stderr, whichever of its threads is first to call this."""
    if _leaving.acquire(timeout=1):
        for path in tuple(_unfinished):
            with suppress(OSError):
                _remove(path)
        show_cursor()
        with suppress(OSError):
            os.write(2, b"inrfit: error: interrupted\n")
    os._exit(128 + number)


def _remove(path: str) -> None:
    """Removes a file, or a folder with all that is in it."""
    if os.path.isdir(path):
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        os.unlink(path)


def _watch(signals: int) -> None:
    """Ends the process GRACE_SECONDS after the first signal, whose number is read from the descriptor ``signals``, or
    after the output that is being written then; at the second signal at once."""
    first = _next_signal(signals, None)
    deadline = time.monotonic() + GRACE_SECONDS
    while first and (_writes or time.monotonic() < deadline):
        if second := _next_signal(signals, 0.05):
            _leave(second)
    _leave(first)


def _next_signal(signals: int, seconds: float | None) -> int:
    """The number of the next one of SIGNALS; 0 if none comes within ``seconds``."""
    while select.select([signals], [], [], seconds)[0]:
        if (number := os.read(signals, 1)[0]) in SIGNALS:
            return number
    return 0


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
            _leave(number)
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
