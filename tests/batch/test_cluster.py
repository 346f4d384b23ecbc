"""The executor for clusters, with a driver that is made up, so that Ray need not be installed. test_ray.py has Ray."""

from __future__ import annotations

import pytest
from made_batches import InThisProcess, pictures, planned

from inrfit.__main__ import run as command
from inrfit.batch import cluster, deadline, machine, ray_cluster
from inrfit.batch.cluster import ClusterExecutor, parse_address
from inrfit.batch.deadline import Deadline
from inrfit.batch.part_job import Died, Done, Job, run_job
from inrfit.batch.ray_cluster import ClusterLost, Node
from inrfit.batch.run import run
from inrfit.errors import InrfitWarning, UnwritableOutput, UsageError
from inrfit.io.worker_process import WorkerDied


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """All packages seem to be there."""
    monkeypatch.setattr(cluster, "find_spec", lambda name: name)


@pytest.fixture
def made(tmp_path):
    return planned(tmp_path / "ds", [pictures(tmp_path / "pics")], part_size=1)


class Driver:
    """Takes the place of the process of the driver. ``answers`` are called with each job; None: it never comes back."""

    def __init__(self, executor, answer, slots=2, free=True):
        self.answer, self.state = answer, (slots, free)
        self.largest, self.given_up = 0, []
        executor._worker.call = self.call
        executor._slots = slots

    def call(self, function, *arguments):
        assert function is ray_cluster.exchange
        new, given_up, _ = arguments
        self.largest = max(self.largest, len(new))
        self.given_up += given_up
        return [(number, found) for number, job in new if (found := self.answer(job)) is not None], *self.state


@pytest.mark.parametrize("address", ["local", "auto", "head:6379", "ray://10.0.0.1:10001", "[::1]:6379"])
def test_addresses(address):
    assert parse_address(address) == address


@pytest.mark.parametrize("address", ["head", "http://head:1", "head:port", ":1", "ray://"])
def test_what_is_no_address_is_refused(address, made, capsys):
    assert command(["batch", "run", made.folder, "--cluster", address]) == 2
    assert "must be local, auto, HOST:PORT or ray://HOST:PORT" in capsys.readouterr().err


def test_without_ray_the_command_that_installs_it_is_named(made, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert command(["batch", "run", made.folder, "--cluster", "auto"]) == 2
    assert "pip install 'inrfit[cluster]'" in capsys.readouterr().err


def test_where_nothing_listens_there_is_no_cluster(made, capsys):
    assert command(["batch", "run", made.folder, "--cluster", "127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert "--cluster 127.0.0.1:1: no Ray cluster can be joined there (Connection refused). This machine" in err


def test_all_parts_are_fitted_with_a_window_of_two_for_each_slot(made):
    executor = ClusterExecutor(made, "auto", None)
    driver = Driver(executor, run_job, slots=2)
    assert run(made, executor).fields == 5
    assert driver.largest == 4


def test_workers_are_the_parts_at_once(made):
    executor = ClusterExecutor(made, "auto", 3)
    driver = Driver(executor, run_job, slots=8)
    assert executor.slots == 3
    assert run(made, executor).fields == 5
    assert driver.largest == 3


def test_a_part_that_does_not_come_back_is_fitted_again_once_there_is_a_slot(made, monkeypatch):
    for name in ("FIRST_SECONDS", "LEAST_SECONDS", "TIMES_LONGEST"):
        monkeypatch.setattr(deadline, name, 0.0)
    executor, silent = ClusterExecutor(made, "auto", None), {2}

    def answer(job):
        if job.part in silent:
            silent.discard(job.part)
            return None
        return run_job(job)

    driver = Driver(executor, answer)
    assert run(made, executor).fields == 5
    assert driver.given_up == [2]


def test_without_a_slot_a_part_is_waited_for(made, monkeypatch):
    monkeypatch.setattr(deadline, "FIRST_SECONDS", 0.0)
    executor, asked = ClusterExecutor(made, "auto", None), []
    executor._should_stop = lambda: len(asked) > 3
    Driver(executor, lambda job: None, free=False)
    call = executor._worker.call
    executor._worker.call = lambda *arguments: (asked.append(1), call(*arguments))[1]
    with pytest.raises(KeyboardInterrupt):
        list(executor.map([Job(made.folder, made.digest, 0)]))


def test_the_deadline_follows_the_longest_part_and_the_budget(made, tmp_path):
    found = Deadline(made)
    assert found.seconds() == 3600
    found.add(5)
    assert found.seconds() == 900
    found.add(200)
    found.add(1)
    assert found.seconds() == 2000
    long = planned(tmp_path / "long", [tmp_path / "pics"], part_size=2, budget="1000s")
    assert Deadline(long).seconds() == 6000


def test_what_must_end_the_run_ends_it(made):
    executor = ClusterExecutor(made, "auto", None)
    Driver(executor, lambda job: UnwritableOutput("no space left on device", "enospc"))
    with pytest.raises(UnwritableOutput):
        run(made, executor)


def test_a_driver_that_ends_is_a_cluster_that_was_lost(made):
    executor = ClusterExecutor(made, "auto", None)

    def dies(*arguments):
        raise WorkerDied(1)

    executor._worker.call = dies
    executor._slots = 1
    with pytest.raises(ClusterLost, match="the same command goes on"):
        run(made, executor)
    with pytest.raises(UsageError, match="no Ray cluster was found"):
        executor.connect()


def test_a_run_that_leaves_parts_undone_has_code_7(made, monkeypatch, capsys):
    def connect(executor):
        Driver(executor, lambda job: Died(job, "its machine was lost"))
        return []

    monkeypatch.setattr(ClusterExecutor, "connect", connect)
    monkeypatch.setattr(ClusterExecutor, "close", lambda executor: None)
    assert command(["batch", "run", made.folder, "--cluster", "auto"]) == 7
    assert "0 of 5 rows done" in capsys.readouterr().err


def test_a_job_that_dies_is_the_job_that_was_given(made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    executor, job = ClusterExecutor(made, "auto", None), Job("ds", made.digest, 0)
    Driver(executor, lambda job: Died(job, "it was killed, or crashed"))
    assert list(executor.map([job])) == [Died(job, "it was killed, or crashed")]
    Driver(executor, run_job)
    (done,) = executor.map([job])
    assert isinstance(done, Done)
    assert done.job == job


def test_jobs_run_here_as_they_would_there(made):
    done, messages = ray_cluster.run_on_machine(Job(made.folder, made.digest, 0))
    assert (done.summary["fields"], messages) == (1, [])
    error, _ = ray_cluster.run_on_machine(Job(made.folder, "0" * 64, 0))
    assert "replaced" in str(error)
    found, problem = ray_cluster.look_at_machine(made.folder, made.digest, made.settings)
    assert (found["threads"], problem) == (1, "")
    lacking = ray_cluster.look_at_machine(made.folder, made.digest, made.settings, "/none.png")
    assert lacking == (None, "/none.png is not there")
    assert ray_cluster.look_at_machine(made.folder, "0" * 64, made.settings) == (None, "another plan is there")
    assert "no plan here" in ray_cluster.look_at_machine(made.folder + "x", "0" * 64, made.settings)[1]


def test_unlike_machines_are_told_and_refused_if_asked(made, monkeypatch, capsys):
    alike = machine.describe(made.settings)
    nodes = [Node("a", alike), Node("b", {**alike, "torch": "1.0"}), Node("c", alike)]

    def connect(executor):
        Driver(executor, run_job)
        return nodes

    monkeypatch.setattr(ClusterExecutor, "connect", connect)
    monkeypatch.setattr(ClusterExecutor, "close", lambda executor: None)
    words = ["batch", "run", made.folder, "--cluster", "auto"]
    assert command([*words, "--require-same"]) == 2
    assert "--require-same, but the machines of the cluster differ in torch " in capsys.readouterr().err
    assert command(words) == 0
    err = capsys.readouterr().err
    assert "Ray, 3 machines, 2 parts at once" in err
    assert f"warning: the machines of the cluster differ in torch {alike['torch']} (a, c) and 1.0 (b): their" in err
    del nodes[1]
    assert command([*words, "--require-same"]) == 0


def test_ray_is_asked_a_second_time_at_an_address_for_clients(made):
    executor, asked = ClusterExecutor(made, "ray://head:10001", None), []

    def silent(seconds, function, *arguments):
        asked.append(function)
        if function is ray_cluster.connect:
            raise ray_cluster.unreachable("ray://head:10001", "no answer")

    executor._call = silent
    with pytest.raises(UsageError, match="can be joined there"):
        executor.connect()
    assert asked.count(ray_cluster.connect) == 2


def test_machines_that_cannot_work_on_the_plan_are_named(made):
    executor, nodes = ClusterExecutor(made, "auto", None), [Node("a", {}), Node("b", None, "no plan here")]
    answers = {ray_cluster.connect: (2, True), ray_cluster.probe: nodes}
    executor._call = lambda seconds, function, *arguments: answers[function]
    with pytest.raises(UsageError, match=r"1 of 2 machines of the cluster .* b: no plan here"):
        executor.connect()
    nodes.clear()
    with pytest.warns(InrfitWarning, match="waiting for one"):
        executor.connect()


def test_folders_that_ended_processes_left_are_removed(tmp_path, monkeypatch):
    from inrfit.io.temporary import host_id

    monkeypatch.setattr(cluster, "MAX_SOCKET_FOLDER", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone, foreign = tmp_path / f"ray-{host_id()}-{2**22 + 1}-abcd", tmp_path / f"ray-{'0' * 8}-1-abcd"
    gone.mkdir()
    foreign.mkdir()
    made = cluster._session_folder()
    assert not gone.exists()
    assert foreign.exists()
    cluster._remove(made)
    assert [path.name for path in tmp_path.iterdir()] == [foreign.name]


def test_local_results_are_those_of_a_cluster(made, tmp_path):
    from made_batches import hashes

    other = planned(tmp_path / "other", [tmp_path / "pics"], part_size=1)
    executor = ClusterExecutor(made, "auto", None)
    Driver(executor, run_job)
    run(made, executor)
    run(other, InThisProcess())
    assert hashes(made.folder) == hashes(other.folder)
