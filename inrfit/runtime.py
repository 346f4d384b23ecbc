"""The process: switches in one scoped place that puts them back, what the machine is, and Ctrl-C as a flag."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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
    temporary one, which does not outlive the day. For the command line only.

    An absolute folder that the user has set stands; a relative one is dropped, as code would be loaded from wherever
    the command happens to run. Where the cache folder is relative (no home folder is known) or not private, nothing is
    kept (``fit/engine/code_cache.py``), and code is compiled anew every time.
    """
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if given is not None and not os.path.isabs(given):
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "inrfit", "compiled")
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ and private_folder(folder, ours=2, make=True):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder


def private_folder(path: str, ours: int = 1, make: bool = False) -> bool:
    """Whether nobody but this user (and root) can put a file into the folder ``path``, or another folder in its place.

    The path must be absolute. Its last ``ours`` folders must belong to this user, must not be symbolic links, and
    nobody else may write to them. What is above them must belong to this user or to root, links too, and nobody else
    may write to it, unless it is sticky as /tmp is: there nobody can remove or rename what is not theirs. A link above
    them must lead to a folder of which all this holds. With ``make`` missing folders are made, for this user alone."""
    folder = Path(path)
    own = [*reversed(folder.parents), folder][-ours:]
    try:
        if not folder.is_absolute() or not _guarded(own[0].parent, make):
            return False
        for each in own:
            if make and not os.path.lexists(each):
                each.mkdir(0o700)
            found = each.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                return False
    except OSError:
        return False
    return True


def _guarded(folder: Path, make: bool) -> bool:
    """Whether nobody but this user and root can put another folder in the place of ``folder`` or of one above it.
    Raises ``OSError`` where one is missing."""
    for each in [*reversed(folder.parents), folder]:
        if make and not os.path.lexists(each):
            each.mkdir(0o700)
        found = each.lstat()
        if found.st_uid not in (0, os.geteuid()):
            return False
        if stat.S_ISLNK(found.st_mode):
            each.stat()  # links in a circle raise OSError here
            if not _guarded(each.parent / each.readlink(), False):
                return False
        elif not stat.S_ISDIR(found.st_mode) or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            return False
    return True


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
