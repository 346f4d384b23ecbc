"""``inrfit batch run --cluster`` with a real cluster: a head and two machines, all on this one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from made_batches import InThisProcess, hashes, pictures, planned

from inrfit.artifact import data_set
from inrfit.batch import checking, journal
from inrfit.batch.run import run
from inrfit.kernel import library

pytest.importorskip("ray", reason="Ray is not installed (pip install 'inrfit[cluster]')")
pytestmark = pytest.mark.slow

CLUSTER = """
import json, os, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for line in sys.stdin:
    os.environ |= json.loads(line)
    node = cluster.add_node(num_cpus=1)
    print(json.dumps([cluster.address, node.all_processes["raylet"][0].process.pid]), flush=True)
"""
"""Adds a machine for each line, which has further environment variables, and prints the address and its process."""


class MadeCluster:
    """A cluster on this machine. Its processes end with ``process``."""

    def __init__(self, folder: str) -> None:
        environment = os.environ | {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.raylets: list[int] = []

    def add(self, **environment: str) -> None:
        """Adds a machine with one processor."""
        self.process.stdin.write(json.dumps(environment) + "\n")
        self.process.stdin.flush()
        self.address, raylet = json.loads(self.process.stdout.readline())
        self.raylets.append(raylet)

    def close(self) -> None:
        """Ends all processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(scope="module")
def cluster():
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # the names of sockets must be short
    made = MadeCluster(folder)
    try:
        made.add()
        made.add()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("sources") / "pics", 6)


def started(folder: Path | str, cluster, *words: str) -> subprocess.Popen[str]:
    """``inrfit batch run`` on the cluster."""
    command = [sys.executable, "-m", "inrfit", "batch", "run", str(folder), "--cluster", cluster.address, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(found):
    """What ``found()`` returns, as soon as that is something."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if result := found():
            return result
        time.sleep(0.02)
    raise AssertionError("did not happen")


def at_work(folder: str, after: int = 0) -> list[int]:
    """The processes that fit parts which are not there, if more than ``after`` are there."""
    present = data_set.present_parts(folder)
    claims = [line for lines in journal.by_worker(folder) for line in lines[-1:] if line["event"] == "claim"]
    return [line["pid"] for line in claims if line["part"] not in present] if len(present) >= after else []


def parent_of(process: int) -> int:
    """The number of the process that started ``process``."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_parts_are_those_of_one_process_and_only_inrfit_says_something(cluster, sources, tmp_path):
    undisturbed, made = planned(tmp_path / "here", [sources]), planned(tmp_path / "ds", [sources])
    run(undisturbed, InThisProcess())
    process = started(made.folder, cluster, "--json", "--require-same")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["part", "part", "part", "end"]
    assert err.startswith(f"inrfit: {made.folder}: Ray, 2 machines, 2 parts at once\n")
    assert {line.removeprefix("inrfit: ").split(":")[0] for line in err.splitlines()} == {made.folder}
    assert hashes(made.folder) == hashes(undisturbed.folder)


def test_after_kills_of_a_worker_a_machine_and_the_driver_every_part_is_there_once(cluster, sources, tmp_path):
    undisturbed = planned(tmp_path / "here", [sources], part_size=1, budget="500it")
    made = planned(tmp_path / "ds", [sources], part_size=1, budget="500it")
    run(undisturbed, InThisProcess())

    first = started(made.folder, cluster)
    os.kill(wait_for(lambda: at_work(made.folder))[0], signal.SIGKILL)
    worker = wait_for(lambda: at_work(made.folder, after=1))[0]
    raylet = parent_of(worker)
    assert raylet in cluster.raylets
    os.kill(raylet, signal.SIGKILL)
    wait_for(lambda: len(data_set.present_parts(made.folder)) >= 3)
    first.kill()
    first.communicate()

    second = started(made.folder, cluster)
    _, err = second.communicate(timeout=180)
    assert second.returncode == 0, err
    assert "6 of 6 rows done" in err
    assert hashes(made.folder) == hashes(undisturbed.folder)
    assert list(checking.check(made)) == []
    cluster.add()


def test_ctrl_c_leaves_the_cluster_and_keeps_the_parts(cluster, sources, tmp_path):
    made = planned(tmp_path / "ds", [sources], part_size=1, budget="1000000000it")
    process = started(made.folder, cluster)
    workers = wait_for(lambda: at_work(made.folder))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command goes on" in err
    wait_for(lambda: not any(alive(worker) for worker in workers))


def alive(process: int) -> bool:
    """Whether a process runs."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_cluster_that_is_started_here_gives_the_same_and_leaves_nothing(sources, tmp_path):
    undisturbed, made = planned(tmp_path / "here", [sources]), planned(tmp_path / "ds", [sources])
    run(undisturbed, InThisProcess())
    command = [sys.executable, "-m", "inrfit", "batch", "run", made.folder, "--cluster", "local", "--workers", "1"]
    short = tempfile.mkdtemp(dir="/tmp")
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"TMPDIR": short, "HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Ray, 1 machine, 1 parts at once" in done.stderr
    assert hashes(made.folder) == hashes(undisturbed.folder)
    assert os.listdir(short) == []
    assert os.listdir(home) == []
    os.rmdir(short)


def test_another_plan_on_the_machines_is_told(cluster, sources, tmp_path):
    from inrfit.batch.cluster import ClusterExecutor
    from inrfit.errors import UsageError

    made = planned(tmp_path / "ds", [sources])
    executor = ClusterExecutor(made, cluster.address, None)
    os.unlink(tmp_path / "ds" / "plan.json")
    planned(tmp_path / "ds", [sources], budget="21it")
    try:
        with pytest.raises(UsageError, match=r"machines of the cluster cannot work on .*: another plan is there"):
            executor.connect()
    finally:
        executor.close()


def test_unlike_machines_are_refused_if_asked(cluster, sources, tmp_path):
    """The last test: the cluster is unlike afterwards."""
    if not library.usable():
        pytest.skip("there is no kernel that a machine could lack")
    cluster.add(INRFIT_KERNEL="none")
    made = planned(tmp_path / "ds", [sources], part_size=1)
    refused = started(made.folder, cluster, "--require-same")
    _, err = refused.communicate(timeout=120)
    assert refused.returncode == 2
    assert "--require-same, but the machines of the cluster differ in the instructions of the kernel" in err
    assert not data_set.present_parts(made.folder)
