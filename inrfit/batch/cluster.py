"""An executor of jobs on a cluster, by Ray: a job is a task.

What calls Ray (``ray_cluster.py``) runs in a process of its own. Ray takes over the signals and the output of its
driver and may end it; so the driver is not the process of the command, which only exchanges jobs and results with it.
What becomes of a part whose process or machine is lost is decided by ``run.py``: Ray retries nothing.
"""

from __future__ import annotations

import itertools
import os
import queue
import re
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from ..errors import InrfitError, UsageError, printable, warn
from ..io.temporary import host_id, is_alive
from ..io.worker_process import Worker, WorkerDied
from . import ray_cluster
from .deadline import Deadline
from .local import POLL_SECONDS
from .part_job import Died, Done, Job, Result
from .plan import BatchPlan
from .ray_cluster import Node, lost, unreachable

REACH_SECONDS, CONNECT_SECONDS, START_SECONDS = 8.0, 20.0, 180.0
"""How long the port of a cluster may take to answer, joining the cluster, and starting one on this machine."""

CLIENT_ATTEMPTS = 2
"""Attempts to join at a ray:// address. Now and then Ray does not succeed in starting the process for a new client."""

EXCHANGE_SECONDS, LOST_SECONDS, LEAVE_SECONDS = 0.5, 60.0, 10.0
"""How long the driver waits for results before it answers without, the longest that it may take to answer, and that it
may take to leave the cluster."""

WINDOW = 2
"""Tasks at Ray for each one that can run, so that no slot waits for the driver and 10^5 parts do not flood Ray."""

MAX_SOCKET_FOLDER = 30
"""Longest path of the folder for temporary files below which Ray's sockets have names that are short enough."""


class ClusterExecutor:
    """Runs jobs on the cluster at ``address``: ``auto``, HOST:PORT, ray://HOST:PORT, or ``local`` for one that is
    started on this machine with ``workers`` slots. Elsewhere ``workers`` limits the parts that are fitted at once.

    Raises ``UsageError`` for another address, and if Ray is not installed. ``should_stop`` is polled while jobs run."""

    def __init__(
        self, plan: BatchPlan, address: str, workers: int | None, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.target = parse_address(address)
        self._plan = plan
        self._workers = workers
        self._should_stop = should_stop
        self._worker = Worker()
        self._deadline = Deadline(plan)
        self._slots = 0
        self._free = False
        self._numbers = itertools.count()
        self._given_up: list[int] = []
        self._folder: str | None = None
        self._connected = False

    def connect(self) -> Sequence[Node]:
        """Joins or starts the cluster, and returns its machines that have enough processors.

        Raises ``UsageError`` if it cannot be reached, or if machines cannot work on the plan."""
        if self.target == "local":
            self._folder = _session_folder()
        elif self.target != "auto":
            self._call(REACH_SECONDS + 4, _reach, self.target)
        self._join(CLIENT_ATTEMPTS if self.target.startswith("ray://") else 1)
        folder = os.path.abspath(self._plan.folder)
        source = next((row.source for _, row in self._plan.rows_of(0) if os.path.exists(row.source)), None)
        needed = folder, self._plan.digest, self._plan.settings, source
        nodes: Sequence[Node] = self._call(ray_cluster.PROBE_SECONDS + 30, ray_cluster.probe, *needed)
        if unable := [node for node in nodes if node.machine is None]:
            raise UsageError(
                f"{len(unable):,} of {len(nodes):,} machines of the cluster cannot work on {printable(folder)}, "
                f"{unable[0].host}: {unable[0].problem}. All need inrfit, and the folder and the sources under the "
                "same paths; without a shared file system use --shard",
                "cluster",
            )
        if not nodes:
            warn(f"no machine of the cluster has the processors for --threads {self._threads}; waiting for one")
        return nodes

    @property
    def _threads(self) -> int:
        return self._plan.settings.threads or 1

    def _join(self, attempts: int) -> None:
        """Joins or starts the cluster."""
        seconds = START_SECONDS if self._folder else CONNECT_SECONDS
        where = self.target, self._folder, self._workers, self._threads, self._plan.settings.device
        try:
            self._slots, self._free = self._call(seconds, ray_cluster.connect, *where)
        except UsageError:
            if attempts == 1:
                raise
            self._worker.kill()
            self._worker = Worker()
            self._join(attempts - 1)
        self._connected = True

    @property
    def slots(self) -> int:
        """Parts that are fitted at once."""
        return min(self._slots, self._workers or self._slots)

    def map(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """``executor.Executor.map``. A job that has not come back by its deadline counts as died, once there is a slot
        for another try."""
        waiting, under_way = iter(jobs), dict[int, tuple[Job, float]]()
        while True:
            new: list[tuple[int, Job]] = []
            while len(under_way) < self._window and (job := next(waiting, None)) is not None:
                number = next(self._numbers)
                under_way[number] = job, time.monotonic()
                new.append((number, replace(job, folder=os.path.abspath(job.folder))))
            if not under_way:
                return
            results, self._slots, self._free = self._call(
                LOST_SECONDS, ray_cluster.exchange, new, self._given_up, EXCHANGE_SECONDS
            )
            for number, result in results:
                yield self._result(under_way.pop(number)[0], result)
            self._given_up = self._overdue(under_way)
            for number in self._given_up:
                yield Died(under_way.pop(number)[0], f"no answer within {self._deadline.seconds():,.0f} s")

    @property
    def _window(self) -> int:
        """The number of tasks at Ray, finished ones excepted."""
        return self._workers if self._workers and self.target != "local" else max(2, WINDOW * self._slots)

    def _result(self, job: Job, result: Result | InrfitError) -> Result:
        """What ``map`` gives for a job: the result of the task, with this ``job``."""
        if isinstance(result, InrfitError):
            raise result
        if isinstance(result, Done):
            self._deadline.add(result.seconds)
        return replace(result, job=job)

    def _overdue(self, under_way: Mapping[int, tuple[Job, float]]) -> list[int]:
        """The jobs that have not come back by their deadline, while there are free slots."""
        if not self._free:
            return []
        latest = time.monotonic() - self._deadline.seconds()
        return [number for number, (_, submitted) in under_way.items() if submitted < latest]

    def _call(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a function in the process of the driver, or what it raises. Raises ``KeyboardInterrupt`` when
        the work should stop, and ``ClusterLost`` or ``UsageError`` if there is no answer within ``seconds``."""
        answers = queue.SimpleQueue[Any]()

        def ask() -> None:
            try:
                answers.put((self._worker.call(function, *arguments), None))
            except BaseException as error:
                answers.put((None, error))

        threading.Thread(target=ask, daemon=True).start()
        until = time.monotonic() + seconds
        while not self._should_stop():
            try:
                value, error = answers.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if time.monotonic() < until:
                    continue
                value, error = None, self._silence(function, f"no answer within {seconds:.0f} s")
            if error is not None:
                raise self._silence(function, f"its driver ended: {error}") if isinstance(error, WorkerDied) else error
            return value
        raise KeyboardInterrupt

    def _silence(self, function: Callable[..., Any], how: str) -> InrfitError:
        """The error if the driver does not answer to a call of ``function``."""
        self._connected = False
        return lost(how) if function is ray_cluster.exchange else unreachable(self.target, how)

    def close(self) -> None:
        """Leaves the cluster. What is being fitted is lost; a cluster that was started here ends."""
        if self._connected and not self._should_stop():
            self._connected = False
            with suppress(InrfitError, KeyboardInterrupt):
                self._call(LEAVE_SECONDS, ray_cluster.leave)
        self._worker.kill()
        self._worker.close()
        if self._folder is not None:
            _remove(self._folder)
            self._folder = None


def parse_address(text: str) -> str:
    """The address of a cluster, checked. Raises ``UsageError``, also if a package is missing that it needs."""
    if text not in ("local", "auto") and not re.fullmatch(r"(ray://)?([^\s/:\[\]]+|\[[0-9a-fA-F:]+\]):\d{1,5}", text):
        raise UsageError(f"--cluster {text}: must be local, auto, HOST:PORT or ray://HOST:PORT", "option")
    for package in ("ray", *(["grpc"] if text.startswith("ray://") else [])):
        if find_spec(package) is None:
            raise UsageError(f"--cluster needs the package {package}: pip install 'inrfit[cluster]'", "extra")
    return text


def _reach(target: str) -> None:
    """Raises ``UsageError`` unless something answers at an address."""
    host, _, port = target.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise unreachable(target, getattr(error, "strerror", None) or str(error)) from None


def _session_folder() -> str:
    """A new folder for what Ray writes, with a name that is short enough for its sockets. Those that processes of this
    machine and user have left are removed."""
    parent = tempfile.gettempdir()
    parent = parent if len(parent) <= MAX_SOCKET_FOLDER else "/tmp"
    with os.scandir(parent) as entries:
        for entry in entries:
            found = re.fullmatch(r"ray-([0-9a-f]{8})-(\d+)-[0-9a-f]{4}", entry.name)
            with suppress(OSError):
                if (
                    found
                    and found[1] == host_id()
                    and not is_alive(int(found[2]))
                    and entry.stat().st_uid == os.geteuid()
                ):
                    shutil.rmtree(entry.path, ignore_errors=True)
    folder = os.path.join(parent, f"ray-{host_id()}-{os.getpid()}-{secrets.token_hex(2)}")
    os.mkdir(folder, 0o700)
    return folder


def _remove(folder: str) -> None:
    """Removes the folder of a cluster whose processes are about to end."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.05)
