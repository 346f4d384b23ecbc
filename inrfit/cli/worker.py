"""A process of its own for the libraries that read and write media files, in commands that work on many files: if a
library crashes there, one file has failed.

The process is started for the first file and used for all. Calls and results travel through its pipes as pickles: both
ends are this program.
"""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, BinaryIO, ParamSpec, TypeVar

from ..config.plan import Plan, plan
from ..config.settings import Settings
from ..errors import InrfitError, InrfitWarning, NotEnoughMemory, UnreadableFile, UnwritableOutput, printable
from ..io.checked_file import CheckedFile
from ..io.registry import plugin_errors
from ..modalities import MODALITIES, Request
from ..modalities.sources import read_source
from ..modalities.streaming import ArrayStream
from ..runtime import python_command

P = ParamSpec("P")
R = TypeVar("R")

_SERVE = "from inrfit.cli.worker import serve; serve()"


OUT_OF_MEMORY = 5
"""Exit code of the process if a call does not fit into memory."""


class WorkerDied(Exception):
    """The process ended during a call. The text says how."""

    def __init__(self, returncode: int) -> None:
        names = {-known.value: known.name for known in signal.Signals}
        super().__init__(names.get(returncode, f"exit code {returncode}"))
        self.out_of_memory = returncode in (OUT_OF_MEMORY, -signal.SIGKILL)

    def failure(self, kind: type[InrfitError], text: str) -> InrfitError:
        """What is reported: ``text`` as an error of this ``kind``, or that there is not enough memory."""
        if self.out_of_memory:
            return NotEnoughMemory(f"out of memory while {text} ({self})", "memory")
        return kind(f"a library crashed while {text} ({self})", "crash")


class _Ended(Exception):
    """The process has closed its pipes."""


class Worker:
    """Runs functions in another process, until the context is left."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of the function, which is one of a module, or what it raises. Raises ``WorkerDied``."""
        result: R = self._call(function, None, args, kwargs)
        return result

    def call_with_items(self, function: Callable[..., R], items: Iterable[Any], *args: Any) -> R:
        """The result of ``function(items, *args)``. Each item is made when the function asks for it."""
        result: R = self._call(function, items, args, {})
        return result

    def _call(self, function: Any, items: Iterable[Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            process = self._process or self._start()
        except RuntimeError:  # no interpreter is known
            return function(*args, **kwargs) if items is None else function(iter(items), *args)
        try:
            _send(process, (function, items is not None, args, kwargs))
            rest = iter(() if items is None else items)
            while (answer := _receive(process)) is None:  # it asks for an item
                _send(process, tuple(itertools.islice(rest, 1)))
        except _Ended:
            self.close()
            raise WorkerDied(process.returncode) from None
        except BaseException:  # Ctrl-C: the answer of this call must not become that of the next one
            self.close()
            raise
        raised, result, messages = answer
        for message in messages:
            warnings.warn(message, InrfitWarning, stacklevel=3)
        if raised:
            raise result
        return result

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            python_command(_SERVE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the last words of a library that crashes
            start_new_session=True,  # Ctrl-C in a terminal goes to this process only
        )
        return self._process

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):  # one that has closed its pipe is about to end
                self._process.wait(0.2)
            self._process.kill()
            self._process.communicate()
            self._process = None


def _send(process: subprocess.Popen[bytes], value: Any) -> None:
    """Hands ``value`` to the process. Raises ``_Ended``."""
    assert process.stdin is not None
    try:
        pickle.dump(value, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
    except OSError:
        raise _Ended from None


def _receive(process: subprocess.Popen[bytes]) -> Any:
    """What the process says next. Raises ``_Ended``."""
    assert process.stdout is not None
    try:
        return pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise _Ended from None


def serve() -> None:
    """The other end: answers the calls that come through stdin, until it is closed."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # programs that a library starts must not read the calls
    os.dup2(2, 1)  # what a library prints is no answer
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    while True:
        try:
            function, with_items, args, kwargs = pickle.load(calls)
        except EOFError:
            return
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        if with_items:
            args = (_asked_for(calls, answers), *args)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InrfitWarning)
            try:
                with plugin_errors():
                    raised, result = False, function(*args, **kwargs)
            except Exception as error:
                raised, result = True, error
        messages = [str(warning.message) for warning in caught if issubclass(warning.category, InrfitWarning)]
        try:
            answer = pickle.dumps((raised, result, messages), pickle.HIGHEST_PROTOCOL)
            if raised:
                pickle.loads(answer)  # not every exception can be made again
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            bug = InrfitError(f"a bug in inrfit: {type(error).__name__}: {error}", "bug")
            answer = pickle.dumps((True, bug, messages))
        answers.write(answer)
        answers.flush()


def _asked_for(calls: BinaryIO, answers: BinaryIO) -> Iterator[Any]:
    """The items of a call, one after the other."""
    while True:
        pickle.dump(None, answers)
        answers.flush()
        if not (item := pickle.load(calls)):
            return
        yield item[0]


def _end_with_parent(parent: int) -> None:
    """Ends this process soon after its parent, whatever it does then."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def plan_file(worker: Worker | None, path: str, settings: Settings, started: float) -> Plan:
    """Reads the file ``path`` and plans it in ``worker`` (None: in this process). Raises ``UnreadableFile`` if a
    library crashes."""
    data, name = read_source(path, settings.limits), os.path.basename(path)
    if worker is None:
        return plan(data, name, settings, started)
    try:
        planned = worker.call(plan, data, name, settings, started)
    except WorkerDied as death:
        raise death.failure(UnreadableFile, "it read the file") from None
    return replace(planned, loaded_at=time.monotonic())


def media_bytes(
    worker: Worker | None,
    modality: str,
    decoded: Any,
    meta: Mapping[str, Any],
    suffix: str,
    request: Request,
    attachments: Mapping[str, bytes],
) -> bytes:
    """The bytes of a file of ``decoded`` samples, made in ``worker`` (None: in this process). Raises
    ``UnwritableOutput`` if a library crashes."""
    arguments = (modality, decoded, dict(meta), suffix, request, dict(attachments))
    if worker is None:
        return _media_bytes(*arguments)
    try:
        return worker.call(_media_bytes, *arguments)
    except WorkerDied as death:
        raise death.failure(UnwritableOutput, f"it wrote a {printable(suffix)}") from None


def _media_bytes(modality: str, *arguments: Any) -> bytes:
    return MODALITIES[modality].write(*arguments)


def write_media(
    worker: Worker,
    modality: str,
    decoded: ArrayStream,
    meta: Mapping[str, Any],
    suffix: str,
    request: Request,
    attachments: Mapping[str, bytes],
    out: CheckedFile,
) -> None:
    """Writes a file of samples that are decoded part by part to ``out``, in ``worker``. Raises ``UnwritableOutput`` if
    a library crashes."""
    arguments = (decoded.shape, decoded.dtype, out.path, modality, dict(meta), suffix, request, dict(attachments))
    try:
        out.size, out.sums = worker.call_with_items(_write_media, decoded, *arguments)
    except WorkerDied as death:
        raise death.failure(UnwritableOutput, f"it wrote a {printable(suffix)}") from None


def _write_media(
    items: Iterable[Any], shape: tuple[int, ...], dtype: Any, path: str, modality: str, meta: Mapping[str, Any],
    suffix: str, request: Request, attachments: Mapping[str, bytes],
) -> tuple[int, list[int]]:  # fmt: skip
    """Writes to the file at ``path``, which is empty; returns the size and the checksums of what was written."""
    streaming = MODALITIES[modality].streaming
    assert streaming is not None
    with CheckedFile(path, new=False) as out:
        streaming.write(ArrayStream(shape, dtype, items), meta, suffix, request, attachments, out)
        out.sync()
        return out.size, out.sums
