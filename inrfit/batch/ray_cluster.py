"""What calls Ray: the driver, and what it runs on the machines of a cluster. This is the only file that imports it.

``cluster.py`` calls the functions from another process.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..config.settings import Settings
from ..errors import InrfitError, InrfitWarning, UsageError, machine_error, printable, warn
from ..io.worker_process import end_with_parent
from . import plan as plans
from .local import run_in_worker
from .machine import Machine, describe
from .part_job import Died, Job, Result

PROBE_SECONDS = 120.0
"""How long the machines of a cluster may take to say what they are. Importing torch from a shared file system takes
long."""

TABLE_SECONDS = 5.0
"""How often the driver asks for the size of the cluster."""

STORE_BYTES = 80 * 2**20
"""Size of the object store of a cluster that is started here: about the smallest. Parts go through the file system."""


class ClusterLost(InrfitError):
    """The cluster does not answer any more. The parts that are there are complete."""

    exit_code = 7


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, or the ``problem`` because of which it cannot work on the plan."""

    host: str
    machine: Machine | None
    problem: str = ""


def unreachable(target: str, how: str) -> UsageError:
    """The error for a cluster that cannot be joined."""
    texts = {
        "local": f"Ray could not be started on this machine ({how})",
        "auto": f"no Ray cluster was found ({how}). Start one with ray start, or name its address",
    }
    text = f"no Ray cluster can be joined there ({how})"
    if not target.startswith("ray://"):
        text += ". This machine must be one of the cluster; from others use ray://HOST:10001"
    return UsageError(f"--cluster {target}: {texts.get(target, text)}", "cluster")


def lost(how: str) -> ClusterLost:
    """The error for a cluster that has answered before."""
    return ClusterLost(f"the Ray cluster was lost ({how}); the same command goes on", "cluster")


@dataclass
class _Driver:
    """What the driver knows: the task, the processors that each takes, those that are not finished, and the size of the
    cluster."""

    task: Any
    cpus: int
    gpus: int
    pending: dict[Any, tuple[int, Job]] = field(default_factory=dict)
    looked: float = -math.inf
    slots: int = 0
    free: bool = False


_driver: _Driver


def connect(target: str, folder: str | None, workers: int, cpus: int, device: str) -> tuple[int, bool]:
    """Joins a cluster, or starts one in ``folder``. Returns the number of its slots, and whether some are free."""
    global _driver
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if folder is not None:
        os.environ.setdefault("RAY_worker_niceness", "0")  # as processes of inrfit; Ray's default is 15
        if "RAY_AUTH_MODE" not in os.environ:  # Ray would write a token into the home folder
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray

    options: dict[str, Any] = {} if "://" in target else {"log_to_driver": False}
    if folder is not None:
        options |= {"num_cpus": workers * cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        options |= {"_temp_dir": folder, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(target, **options)
    except Exception as error:  # of many kinds
        raise unreachable(target, _words(error)) from error
    gpus = int(device.startswith("cuda"))
    task = ray.remote(max_retries=0, num_cpus=cpus, num_gpus=gpus)(run_on_machine)
    _driver = _Driver(task, cpus, gpus)
    _look(_driver)
    return _driver.slots, _driver.free


def _look(driver: _Driver) -> None:
    """Notes how large the cluster is, if that is long ago."""
    import ray

    if time.monotonic() - driver.looked < TABLE_SECONDS:
        return
    driver.looked = time.monotonic()
    driver.slots = sum(_slots(node, driver) for node in ray.nodes() if node["Alive"])
    driver.free = bool(_slots({"Resources": ray.available_resources()}, driver))


def _slots(node: Mapping[str, Any], driver: _Driver) -> int:
    """The tasks that a machine can run at once."""
    resources = node["Resources"]
    slots = int(resources.get("CPU", 0)) // driver.cpus
    return min(slots, int(resources.get("GPU", 0)) // driver.gpus) if driver.gpus else slots


def probe(*needed: Any) -> list[Node]:
    """The machines that can run tasks; ``needed`` are the arguments of ``look_at_machine``."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look, hosts = ray.remote(max_retries=0, num_cpus=0)(look_at_machine), {}
    for node in ray.nodes():
        if node["Alive"] and _slots(node, _driver):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            hosts[look.options(scheduling_strategy=there).remote(*needed)] = node["NodeManagerHostname"]
    found: list[Node] = []
    ready, silent = ray.wait(list(hosts), num_returns=len(hosts), timeout=PROBE_SECONDS) if hosts else ([], [])
    for ref in ready:
        try:
            found.append(Node(hosts[ref], *ray.get(ref)))
        except ray.exceptions.RayTaskError as error:
            found.append(Node(hosts[ref], None, _words(error)))
        except ray.exceptions.RayError:
            silent.append(ref)
    if silent:
        warn(f"{len(silent):,} machines of the cluster do not answer ({hosts[silent[0]]} is one)")
    return found


def exchange(
    new: Sequence[tuple[int, Job]], given_up: Sequence[int], seconds: float
) -> tuple[list[tuple[int, Result | InrfitError]], int, bool]:
    """Hands ``new`` jobs to Ray, cancels those that are ``given_up``, and returns the results that come within
    ``seconds``, with the number of slots and whether some are free. Raises ``ClusterLost``."""
    import ray

    driver = _driver
    try:
        for ref in [ref for ref, (number, _) in driver.pending.items() if number in given_up]:
            del driver.pending[ref]
            ray.cancel(ref, force=True)
        for number, job in new:
            driver.pending[driver.task.remote(job)] = number, job
        _look(driver)
        refs = list(driver.pending)
        if refs and ray.wait(refs, num_returns=1, timeout=seconds)[0]:
            refs = ray.wait(refs, num_returns=len(refs), timeout=0)[0]
            results = [(driver.pending[ref][0], _outcome(driver.pending.pop(ref)[1], ref)) for ref in refs]
        else:
            results = []
    except Exception as error:
        raise lost(_words(error)) from error
    return results, driver.slots, driver.free


def _outcome(job: Job, ref: Any) -> Result | InrfitError:
    """The result of a task."""
    from ray import exceptions, get

    result: Result | InrfitError
    try:
        result, messages = get(ref)
    except exceptions.OutOfMemoryError:
        return Died(job, "its machine has too little memory")
    except exceptions.NodeDiedError:
        return Died(job, "its machine was lost")
    except exceptions.LocalRayletDiedError:
        return lost("Ray has ended on this machine")
    except (exceptions.WorkerCrashedError, exceptions.ObjectLostError, exceptions.TaskCancelledError):
        return Died(job, "it was killed, or crashed")
    except exceptions.RayError as error:
        return UsageError(f"the cluster cannot run inrfit: {_words(error)}", "cluster")
    for message in messages:
        warn(message)
    return result


def leave() -> None:
    """Leaves the cluster in order."""
    import ray

    ray.shutdown()


def _words(error: BaseException) -> str:
    """The last line of a message of Ray, which is what happened; those before it are a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1] if lines else type(error).__name__)[:300]


def look_at_machine(
    folder: str, digest: str, settings: Settings, source: str | None = None
) -> tuple[Machine | None, str]:
    """What the machine is on which this runs, or why it cannot work on the plan in ``folder``, of which another machine
    has ``source``."""
    try:
        if plans.read(folder).digest != digest:
            return None, "another plan is there"
        if source is not None and not os.path.exists(source):
            return None, f"{source} is not there"
        return describe(settings), ""
    except InrfitError as error:
        return None, str(error)


def run_on_machine(job: Job) -> tuple[Result | InrfitError, list[str]]:
    """The result of a job, or why the run must end, and the warnings."""
    _end_with_raylet()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InrfitWarning)
        try:
            result: Result | InrfitError = run_in_worker(job)
        except InrfitError as error:
            result = error
        except Exception as error:
            result = machine_error(error) or InrfitError(f"a bug in inrfit: {type(error).__name__}: {error}", "bug")
    return result, [str(each.message) for each in caught if issubclass(each.category, InrfitWarning)]


@cache
def _end_with_raylet() -> None:
    """Lets this process end soon after the process of Ray that started it: without it, nobody takes its result."""
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
