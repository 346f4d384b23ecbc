"""A process of its own for the libraries that read and write media files, in commands that work on many files: if a
library crashes there, one file has failed.

The process is started for the first file and used for all. Calls and results travel through its pipes as pickles: both
ends are this program.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ..config.plan import Plan, plan
from ..config.settings import Settings
from ..errors import InrfitError, InrfitWarning, NotEnoughMemory, UnreadableFile, UnwritableOutput, printable
from ..io.registry import plugin_errors
from ..modalities import MODALITIES, Request
from ..modalities.sources import read_source
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
        try:
            process = self._process or self._start()
        except RuntimeError:  # no interpreter is known
            return function(*args, **kwargs)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((function, args, kwargs), process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            raised, result, messages = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
            raise WorkerDied(process.returncode) from None
        except BaseException:  # Ctrl-C: the answer of this call must not become that of the next one
            self.close()
            raise
        for message in messages:
            warnings.warn(message, InrfitWarning, stacklevel=2)
        if raised:
            raise result
        answer: R = result
        return answer

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


def serve() -> None:
    """The other end: answers the calls that come through stdin, until it is closed."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # programs that a library starts must not read the calls
    os.dup2(2, 1)  # what a library prints is no answer
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    while True:
        try:
            function, args, kwargs = pickle.load(calls)
        except EOFError:
            return
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
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
