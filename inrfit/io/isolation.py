"""Calls in a process of their own, of libraries that may crash, or never end, where a file is damaged.

The process has limits on its time and memory, which ``allow`` raises as soon as more is known about the file. Arguments
and results travel through its pipes as pickles, the content of large ones beside them: both ends are this program."""

from __future__ import annotations

import math
import os
import pickle
import resource
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, ParamSpec, TypeVar

from ..errors import InrfitError, NotEnoughMemory, UnreadableFile, machine_error
from ..runtime import available_memory, python_command

P = ParamSpec("P")
R = TypeVar("R")

_SERVE = "from inrfit.io.isolation import serve; serve()"

SECONDS, BYTES_A_SECOND = 3, 5_000_000
"""Seconds of CPU that a call has, and bytes for each of which it has a further one."""

MEMORY, MEMORY_FACTOR = 700_000_000, 4
"""Bytes of memory that a call has, and times the bytes that it works on."""

ENOUGH_MEMORY = 1 << 28
"""Bytes that a machine has available if lack of memory is the fault of the file."""

OUT_OF_MEMORY = 5
"""Exit code of the process if a call does not fit into memory."""

_isolated = False  # whether this process was started by ``isolated``
_inherited: dict[int, int] = {}  # limits that it was started with


def isolated(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of a function of a module, or what it raises. Raises ``UnreadableFile`` if it crashes, or takes more
    time or memory than the size of its arguments explains."""
    try:
        command = python_command(_SERVE)
    except RuntimeError:  # no interpreter is known
        return function(*args, **kwargs)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the last words of a library that crashes
            start_new_session=True,  # Ctrl-C in a terminal goes to this process only
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},  # address space that threads would take
        )
    except OSError as error:
        raise machine_error(error) or NotEnoughMemory(f"no process can be started ({error})", "process") from error
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(BrokenPipeError):
            _send(process.stdin, (function, tuple(map(_outside, args)), kwargs))
            process.stdin.close()
        raised, result = _receive(process.stdout, writable=True)
    except (EOFError, pickle.UnpicklingError):
        raise _failure(process.wait()) from None
    finally:
        process.kill()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
    if raised:
        raise result
    answer: R = result
    return answer


def _failure(code: int) -> InrfitError:
    """The error for a process that ended without an answer."""
    if code == -signal.SIGXCPU:
        return UnreadableFile("damaged: the library that reads it does not come to an end", "slow")
    if code == -signal.SIGKILL or (code == OUT_OF_MEMORY and available_memory() < ENOUGH_MEMORY):
        return NotEnoughMemory("out of memory", "memory")
    if code == OUT_OF_MEMORY:
        return UnreadableFile("damaged: the library that reads it takes more memory than its size explains", "memory")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return UnreadableFile(f"damaged: the library that reads it crashed ({name})", "crash")


def _outside(value: Any) -> Any:
    """``value``, or if it is a long content of a file, a wrapper that keeps it out of the pickle."""
    return pickle.PickleBuffer(value) if isinstance(value, bytes) and len(value) > 1 << 16 else value


def _send(stream: IO[bytes], value: Any) -> None:
    """Writes a value: the number and the sizes of its parts, its pickle, and large contents as they are."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, 5, buffer_callback=buffers.append)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    stream.write(struct.pack(f"<Q{len(parts)}Q", len(parts), *(part.nbytes for part in parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes], writable: bool) -> Any:
    """Reads a value, whose large contents are ``writable`` or bytes. Raises ``EOFError``."""
    (count,) = struct.unpack("<Q", _read(stream, 8))
    sizes = struct.unpack(f"<{count}Q", _read(stream, 8 * count))
    pickled = _read(stream, sizes[0])
    return pickle.loads(pickled, buffers=[(_filled if writable else _read)(stream, size) for size in sizes[1:]])


def _read(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _filled(stream: IO[bytes], size: int) -> bytearray:
    content = bytearray(size)
    if stream.readinto(content) < size:  # type: ignore[attr-defined]
        raise EOFError
    return content


def serve() -> None:
    """The other end: answers one call that comes through stdin."""
    global _isolated
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a library prints is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        function, args, kwargs = _receive(calls, writable=False)
        _isolated = True
        allow(sum(len(value) for value in args if isinstance(value, bytes)))
        try:
            answer = (False, function(*args, **kwargs))
        except MemoryError:
            raise
        except Exception as error:
            answer = (True, error)
        _send(answers, answer)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BrokenPipeError:  # the parent has ended
        os._exit(1)
    os._exit(0)  # without the ends of libraries


def allow(size: int) -> None:
    """Lets this process, if it was started by ``isolated``, take as much more time and memory as work on ``size`` bytes
    may need."""
    if not _isolated:
        return
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + SECONDS + size / BYTES_A_SECOND))
    with suppress(OSError), open("/proc/self/statm") as pages:  # Linux
        used = int(pages.read().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, used + MEMORY + MEMORY_FACTOR * size)


def _limit(kind: int, limit: int) -> None:
    """Sets a limit of this process; it is at most the one that the process was started with."""
    soft, hard = resource.getrlimit(kind)
    inherited = _inherited.setdefault(kind, soft)
    resource.setrlimit(kind, (limit if inherited == resource.RLIM_INFINITY else min(limit, inherited), hard))
