"""Another process that runs functions of this one. If a library crashes there, one call has failed.

The process is started for the first call and used for all. Calls and results travel through its pipes as pickles: both
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, BinaryIO, ParamSpec, TypeVar

from ..errors import InrfitError, InrfitWarning, NotEnoughMemory
from ..runtime import python_command
from .registry import plugin_errors

P = ParamSpec("P")
R = TypeVar("R")

_SERVE = "from inrfit.io.worker_process import serve; serve()"

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
            raise WorkerDied(process.wait()) from None
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
        process, self._process = self._process, None
        if process is not None:
            with suppress(subprocess.TimeoutExpired):  # one that has closed its pipe is about to end
                process.wait(0.2)
            process.kill()
            process.communicate()

    def kill(self) -> None:
        """Ends the process at once, and those that it has started, while another thread waits for the answer to a
        call, which raises ``WorkerDied``."""
        if (process := self._process) is not None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)


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
    threading.Thread(target=end_with_parent, args=(os.getppid(), True), daemon=True).start()
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


def end_with_parent(parent: int, with_group: bool = False) -> None:
    """Ends this process soon after its parent, whatever it does then; ``with_group`` those of its group as well."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if with_group:
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
