"""Process-wide settings that are restored afterwards, and facts about the machine."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Within the context torch uses ``count`` threads (None: the number is not changed)."""
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
    """Within the context float32 products have torch's precision ``name`` ("highest", "high" or "medium")."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def current_device(device: torch.device) -> Iterator[None]:
    """Within the context ``device`` is the current CUDA device, to which new streams, graphs and events belong. Nothing
    happens for other devices."""
    import torch

    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        yield


@contextmanager
def captured_output(*descriptors: int) -> Iterator[list[bytes]]:
    """Within the context nothing is written to ``descriptors`` (1: stdout, 2: stderr); afterwards the list has the
    lines that libraries printed there, up to what a pipe holds (64 KiB). What other threads print meanwhile is among
    them.

    Only redirecting the descriptors catches messages of libraries in C. No temporary file is needed."""
    lines: list[bytes] = []
    with ExitStack() as restored:
        reader, writer = os.pipe()
        pipe = restored.enter_context(os.fdopen(reader, "rb"))
        restored.callback(lambda: lines.extend(_waiting_lines(pipe)))
        os.set_blocking(writer, False)  # a library must not wait for a reader
        restored.callback(os.close, writer)
        for descriptor in descriptors:
            _redirect(descriptor, writer, restored)
        try:
            yield lines
        finally:
            if 1 in descriptors:
                ctypes.CDLL(None).fflush(None)  # C buffers what it prints on stdout


def _redirect(descriptor: int, writer: int, restored: ExitStack) -> None:
    """Lets a descriptor be a copy of ``writer`` until ``restored`` is closed; a closed one stays closed."""
    try:
        kept = os.dup(descriptor)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return
    restored.callback(os.close, kept)
    restored.callback(os.dup2, kept, descriptor)
    if descriptor == 1 and sys.stdout is not None:
        sys.stdout.flush()
    os.dup2(writer, descriptor)


def _waiting_lines(pipe: IO[bytes]) -> list[bytes]:
    """What has been written to a pipe."""
    os.set_blocking(pipe.fileno(), False)  # a child process may still have the other end
    return (pipe.read() or b"").splitlines(keepends=True)


def silence_libraries() -> None:
    """Keeps what libraries log off stderr: Python prints warnings that no handler takes. For the command line only."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())


def keep_freed_memory() -> None:
    """Makes glibc reuse large blocks of memory instead of returning them to the system.

    Otherwise every step pays for page faults. For the command line only: the setting holds for the whole process.
    Without glibc nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        return


def collect_garbage_rarely() -> None:
    """Makes Python's garbage collector run a hundred times less often.

    Importing torch creates a million objects that stay, and collecting over them takes much of the import. For the
    command line only."""
    gc.set_threshold(100_000, 50, 50)


def skip_final_collection() -> None:
    """Skips the interpreter's final garbage collection, which takes long once torch is imported. For the command line
    only, as its last call."""
    if "igl" not in sys.modules:  # igl reports on stderr every object that is not collected
        gc.freeze()


def sleep_idle_threads() -> None:
    """Makes idle OpenMP threads sleep sooner instead of spinning.

    If another program uses the cores, threads that spin while they wait for each other slow down every step. Must be
    called before torch is imported; has no effect if the user has set GOMP_SPINCOUNT or OMP_WAIT_POLICY. For the
    command line only."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "20000"


def slowdown(cpu_seconds: float = 0.02) -> float:
    """How many times longer than alone one thread takes at present, because other programs use the cores. It is
    measured by computing for ``cpu_seconds``."""
    started_at, cpu_started_at = time.perf_counter(), time.thread_time()
    while time.thread_time() - cpu_started_at < cpu_seconds:
        pass
    return max(1.0, (time.perf_counter() - started_at) / cpu_seconds)


def python_command(script: str) -> list[str]:
    """The command that runs ``script`` in another Python with the modules of this one, and none of the current folder.
    Raises ``RuntimeError`` where the interpreter is unknown, as in programs that embed Python."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise RuntimeError("the Python interpreter is unknown")
    paths = [path for path in sys.path if path]
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {paths!r}; {script}"]


def physical_memory() -> int:
    """Bytes of physical memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory() -> int:
    """Bytes of memory that this process can still take: what the system has available, within the limits of its control
    group and of its address space."""
    bounds = [physical_memory()]
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            bounds.append(1024 * int(line.split()[1]))
    for most, now in _CONTROL_GROUPS:
        limit, taken = _text(most).strip(), _text(now).strip()
        if limit.isdigit() and taken.isdigit():
            cache = re.search(r"^(?:total_)?inactive_file (\d+)$", _text(os.path.dirname(now) + "/memory.stat"), re.M)
            bounds.append(int(limit) - int(taken) + (int(cache[1]) if cache else 0))
    pages = _text("/proc/self/statm").split()
    if pages:  # Linux
        import resource

        for kind, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
            soft = resource.getrlimit(kind)[0]
            if soft != resource.RLIM_INFINITY:
                bounds.append(soft - os.sysconf("SC_PAGE_SIZE") * int(used))
    return max(0, min(bounds))


_CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""The files with the limit of a control group and with what it uses, in both versions of Linux."""


def _text(path: str) -> str:
    """The text of a file of the system; "" where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def keep_compiled_code() -> None:
    """Keeps the code that torch.compile makes in the user's cache folder, not in the temporary folder,
    which may be emptied any day. For the command line only.

    TORCHINDUCTOR_CACHE_DIR has priority if it is absolute; a relative one is ignored, because code would then be loaded
    from the current folder. If the cache folder is relative (the home folder is unknown) or not private, no code is
    kept (``fit/engine/code_cache.py``), and it is compiled every time."""
    import platformdirs

    user_folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if user_folder is not None and not os.path.isabs(user_folder):
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
    try:
        folder = os.path.join(platformdirs.user_cache_dir("inrfit", appauthor=False), "compiled")
    except RuntimeError:  # there is no home folder
        return
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ and private_folder(folder, own_levels=2, create=True):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder


def private_folder(path: str, own_levels: int = 1, create: bool = False) -> bool:
    """Whether only this user and root can put a file into the folder ``path``, or replace it by another folder.

    The path must be absolute. Its last ``own_levels`` folders must belong to this user, must not be symbolic links and
    must not be writable for others. All folders and links above them must belong to this user or root and must not be
    writable for others, unless they are sticky as /tmp is, where nobody can rename or delete the files of others. The
    same must hold for the targets of links. With ``create``, missing folders are created, for this user only."""
    folder = Path(path)
    own = [*reversed(folder.parents), folder][-own_levels:]
    try:
        if not folder.is_absolute() or not _protected(own[0].parent, create):
            return False
        for level in own:
            if create and not os.path.lexists(level):
                level.mkdir(0o700)
            status = level.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return False
    except OSError:
        return False
    return True


def _protected(folder: Path, create: bool) -> bool:
    """Whether only this user and root can replace ``folder`` or a folder above it. Raises ``OSError`` if one is
    missing."""
    for level in [*reversed(folder.parents), folder]:
        if create and not os.path.lexists(level):
            level.mkdir(0o700)
        status = level.lstat()
        if status.st_uid not in (0, os.geteuid()):
            return False
        if stat.S_ISLNK(status.st_mode):
            level.stat()  # a cycle of links raises OSError here
            if not _protected(level.parent / level.readlink(), False):
                return False
        elif not stat.S_ISDIR(status.st_mode) or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX):
            return False
    return True


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is an out-of-memory error: of Python, of CUDA, or of torch's CPU allocator, which raises a
    plain RuntimeError."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(
        phrase in message for phrase in ("allocate memory", "out of memory", "alloc_failed")
    )
