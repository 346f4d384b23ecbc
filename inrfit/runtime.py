"""The process: switches in one scoped place that puts them back, what the machine is, and Ctrl-C as a flag."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """torch with ``count`` threads inside (None: as it is)."""
    import torch

    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """float32 products as torch calls ``name`` inside (``highest``, ``high``, ``medium``)."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def current(device: torch.device) -> Iterator[None]:
    """Inside, ``device`` is CUDA's current one: its streams, graphs and events belong to that."""
    import torch

    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        yield


def keep_freed_memory() -> None:
    """Tells glibc to reuse large blocks instead of giving them back to the system at every step (a third of the time
    of a large batch goes into page faults otherwise). For the command line only; without glibc nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        return


def collect_rarely() -> None:
    """Lets Python look for unreachable objects a hundred times less often: importing torch makes a million that stay,
    and going through them again and again takes a tenth of the import. For the command line only."""
    gc.set_threshold(100_000, 50, 50)


def leave_the_rest() -> None:
    """Spares the interpreter, as it ends, a search through all that was imported (a third of a second with torch).
    For the command line only, as its last act."""
    if "igl" not in sys.modules:  # it complains on stderr of every object that is still there
        gc.freeze()


def wait_politely() -> None:
    """Lets idle OpenMP threads sleep sooner: where another program wants the cores, threads that spin for each other
    cost more than they compute (steps 1.4 times as fast on two cores with one busy, 3 % slower on quiet ones).
    Must come before torch is imported; what the user has set stands. For the command line only."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "20000"


def physical_memory() -> int:
    """Bytes of memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def keep_compiled_code() -> None:
    """Lets torch keep what it compiles, and ``cpp_kernel.py`` likewise, in the user's cache folder rather than in the
    temporary one, which does not outlive the day. What the user has set stands. For the command line only."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(cache, "inrfit", "compiled"))


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that, whoever ran out: Python, CUDA, or torch's CPU allocator, which raises a plain
    RuntimeError."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("allocate memory", "out of memory", "alloc_failed")
    )


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
