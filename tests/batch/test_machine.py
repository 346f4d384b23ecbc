"""Parts say what made them, and ``--require-same`` admits one kind of machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_batches import OPTIONS, InThisProcess, hashes, pictures, planned

from inrfit.__main__ import run as command
from inrfit.artifact import data_set
from inrfit.artifact.part_reading import read_summary
from inrfit.batch import machine, part_job
from inrfit.batch.run import Shard, run, state
from inrfit.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    return pictures(tmp_path / "pics", 4)


@pytest.fixture
def other(monkeypatch):
    """A function after which this machine has another kernel, or what it is given."""

    def become(**values):
        part_job._machine.cache_clear()
        real = machine.describe
        monkeypatch.setattr(part_job, "describe", lambda settings: {**real(settings), "kernel": "0" * 16, **values})

    yield become
    part_job._machine.cache_clear()


def machines(made, part):
    return read_summary(data_set.part_path(made.folder, part))["machines"]


def test_a_part_says_what_made_it_in_few_bytes(folder, tmp_path):
    made = planned(tmp_path / "ds", [folder])
    run(made, InThisProcess())
    (found,) = machines(made, 0)
    assert found == machine.describe(made.settings)
    assert set(found) == set(machine.NAMES)
    assert len(json.dumps(found)) < 250
    line = next((tmp_path / "ds" / "journal").iterdir()).read_text().splitlines()[0]
    assert {"host", "pid", "part"} <= json.loads(line).keys()


def test_a_part_of_two_machines_names_both(folder, tmp_path, other):
    late = tmp_path / "late.png"
    made = planned(tmp_path / "ds", [folder / "p0.png", late])
    run(made, InThisProcess())
    late.write_bytes((folder / "p1.png").read_bytes())
    other()
    run(made, InThisProcess(), again=[0])
    assert [each["kernel"] == "0" * 16 for each in machines(made, 0)].count(True) == 1
    assert len(machines(made, 0)) == 2


def test_unlike_shards_are_refused_whoever_comes_first(folder, tmp_path, other):
    made = planned(tmp_path / "ds", [folder], part_size=1)
    run(made, InThisProcess(), Shard(0, 2), require_same=True)
    other()
    with pytest.raises(UsageError, match=r"the machines differ in the kernel .*this one"):
        run(made, InThisProcess(), Shard(1, 2), require_same=True)
    assert list(hashes(made.folder)) == [0, 2]
    run(made, InThisProcess(), Shard(1, 2))
    assert len(state(made).machines) == 2


def test_parts_that_are_there_are_looked_at(folder, tmp_path, other, capsys):
    words = ["batch", "run", str(tmp_path / "ds"), str(folder), *OPTIONS, "--part-size", "2", "--workers", "1", "-q"]
    assert command(words) == 0
    made = planned(tmp_path / "in", [folder])
    other(torch="1.0")
    run(made, InThisProcess(), Shard(0, 2))
    Path(data_set.part_path(made.folder, 0)).rename(data_set.part_path(str(tmp_path / "ds"), 0))
    assert command([*words, "--require-same"]) == 2
    err = capsys.readouterr().err
    assert "--require-same, but the machines differ in torch 1.0" in err
    assert command(["batch", "status", str(tmp_path / "ds")]) == 0
    out = capsys.readouterr().out
    assert "made by unlike machines: torch 1.0 (1 part) and" in out
    assert command(["batch", "status", str(tmp_path / "ds"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["machines"]
    assert [each["parts"] for each in found] == [1, 1]


def test_the_parts_that_are_there_decide_what_is_the_same(folder, tmp_path, other):
    made = planned(tmp_path / "ds", [folder])
    run(made, InThisProcess(), Shard(0, 2))
    machine.refuse_unlike(made.folder, machines(made, 0))
    other()
    with pytest.raises(UsageError, match="--require-same"):
        run(made, InThisProcess(), require_same=True)


def test_differences_name_a_few_places():
    found = [(f"m{k}", {"torch": "2.6" if k < 5 else "2.7", "threads": 1}) for k in range(6)]
    assert machine.differences(found) == ["torch 2.6 (m0, m1, m2 and 2 more) and 2.7 (m5)"]
    assert machine.differences(found[:5]) == []
