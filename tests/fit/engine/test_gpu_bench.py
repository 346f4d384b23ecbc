"""tests/bench/gpu.py without a device: all measurements run, tiny, on the CPU; what cannot be measured is in the table
with the reason."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import pytest
import torch

from inrfit.fit.engine.step import Engine

sys.path.append(str(Path(__file__).parents[2] / "bench"))
import gpu
import gpu_fits
import gpu_rows
from gpu_groups import GROUPS

CPU = gpu_rows.Place(torch.device("cpu"), quick=True)
ALONE = [name for name in GROUPS if name not in ("tests", "memory")]
"""Groups that need neither a process of their own nor a limit to memory."""


@pytest.mark.parametrize("name", ALONE)
def test_every_group_yields_what_it_promises(name):
    rows = list(GROUPS[name].run(CPU))
    assert len(rows) > 1
    assert GROUPS[name].promised.keys() <= {row.what for row in rows}


def test_plain_steps_equal_captured_ones_in_the_table():
    for row in gpu_rows.graphs(CPU):
        assert row.measured <= float(GROUPS["graphs"].promised[row.what].removeprefix("<= "))


def test_a_resumed_fit_differs_in_nothing():
    assert {row.measured for row in gpu_fits.resumed(CPU)} == {0.0}


def test_memory_rows_tell_of_halved_batches_and_the_exit_code(monkeypatch):
    """The limit that a device has is put in the way of steps."""
    honest, most = Engine.step, [1 << 30]

    def step(self, indices, *rest):
        if indices.shape[0] > most[0]:
            raise MemoryError
        return honest(self, indices, *rest)

    @contextlib.contextmanager
    def limited(place, bytes_more):
        most[0] = 0 if len(limits) else 100
        limits.append(bytes_more)
        yield

    limits = []
    monkeypatch.setattr(Engine, "step", step)
    monkeypatch.setattr(gpu_fits, "limited", limited)
    found = {row.what: row.measured for row in gpu_fits.memory(CPU)}
    assert found["memory: batch where half of that is left"] == 64
    assert found["memory: notes about it"] >= 1
    assert found["memory: exit code where nothing is left"] == 5
    assert "not measured" in found["memory: exit code of the command"]


def test_tests_are_counted_by_their_outcome_and_named_where_they_fail():
    told = "a/test_cuda.py::test_one[fp32 x] PASSED [ 50%]\na/test_cuda.py::test_two FAILED [100%]\n1 failed, 1 passed"
    found = {row.what: row.measured for row in gpu_rows.test_rows(told)}
    assert (found["CUDA tests: passed"], found["CUDA tests: failed"], found["CUDA tests: error"]) == (1, 1, 0)
    assert found["CUDA tests: test_two"] == "failed"
    with pytest.raises(RuntimeError, match="no module named conftest"):
        list(gpu_rows.test_rows("collected 0 items\nno module named conftest\n"))


class Told:
    """A worker that says what it is given."""

    def __init__(self, *messages):
        self.messages = messages

    def measure(self, name, seconds):
        return iter(self.messages)


def test_a_group_that_fails_costs_its_own_rows_and_says_why():
    row = {"what": "quality: 30 dB", "measured": 0.5, "unit": "s"}
    rows = gpu.rows_of(Told({"row": row}, {"failed": "RuntimeError: boom"}, {"end": "killed"}), "quality", 1.0)
    found = {row["what"]: row["measured"] for row in rows}
    assert found["quality: 30 dB"] == 0.5
    assert found["quality: 35 dB"] == "not measured: RuntimeError: boom"
    assert found["quality"] == "not complete: RuntimeError: boom"


@pytest.mark.parametrize(
    ("script", "why"), [("import time; time.sleep(60)", "stopped after 1 s"), ("raise SystemExit(3)", "with code 3")]
)
def test_a_process_that_hangs_or_dies_ends_and_says_so(tmp_path, monkeypatch, script, why):
    source = tmp_path / "worker.py"
    source.write_text(script)
    monkeypatch.setattr(gpu, "__file__", str(source))
    worker = gpu.Worker(["--device", "cpu"])
    last = list(worker.measure("start", 1.0 if "sleep" in script else 30.0))[-1]
    assert why in last["end"]
    assert not worker.alive


def test_what_no_time_is_left_for_is_left_out():
    rows = gpu.measured(["quality", "muon"], [], time.monotonic() + 1.0)
    assert {row["measured"] for row in rows} == {"not measured: no time was left"}
    assert {"quality: 35 dB", "muon"} <= {row["what"] for row in rows}


def test_without_a_device_the_table_says_which_rows_are_left_out(monkeypatch, capsys, tmp_path):
    output = tmp_path / "cuda.md"
    words = ["--only", "quality", "--only", "steps", "--output", str(output)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    gpu.main()
    told = capsys.readouterr().out
    assert "| quality: 35 dB | <= 1.5 | not measured: no CUDA device |" in told
    assert "| step: share of the bf16 matrix rate | >= 0.4 | not measured: no CUDA device |" in told
    assert output.read_text() == told


def test_the_command_measures_in_a_process_of_its_own(monkeypatch, capsys):
    words = ["--only", "rates", "--only", "memory", "--device", "cpu", "--quick"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    gpu.main()
    told = capsys.readouterr().out
    assert "rate: bf16 product" in told
    assert "not measured: RuntimeError: no limit can be set to the CPU's memory" in told
