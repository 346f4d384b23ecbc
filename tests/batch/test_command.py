"""``inrfit batch`` with processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from made_batches import OPTIONS, InThisProcess, hashes, pictures, planned

from inrfit.__main__ import run as command
from inrfit.batch.local import LocalExecutor
from inrfit.batch.part_job import Died, Job
from inrfit.batch.run import run
from inrfit.cli import run_command


@pytest.fixture
def folder(tmp_path):
    return pictures(tmp_path / "pics", 4)


def test_a_batch_is_planned_and_run_and_a_second_run_has_nothing_to_do(folder, tmp_path, capsys):
    ds = str(tmp_path / "ds")
    words = ["batch", "run", ds, str(folder), *OPTIONS, "--part-size", "2", "--workers", "2", "--json"]
    assert command(words) == 0
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert [event.get("event") for event in events] == [None, "plan", "part", "part", "end"]
    assert (events[-1]["done"], events[-1]["failed"], events[-1]["rows"]) == (4, 0, 4)
    assert events[2]["rows_per_second"] > 0
    assert "4 of 4 rows done, mean" in captured.err
    in_process = planned(tmp_path / "other", [folder])
    run(in_process, InThisProcess())
    assert hashes(ds) == hashes(in_process.folder)
    assert (tmp_path / "ds" / "index.jsonl").read_text().count("\n") == 5
    assert command([*words[:-1], "-q"]) == 0


def test_other_settings_are_refused_by_their_names(folder, tmp_path, capsys):
    ds = str(tmp_path / "ds")
    assert command(["batch", "plan", str(folder), "-o", ds, *OPTIONS, "-q"]) == 0
    assert command(["batch", "run", ds, "--width", "24"]) == 2
    assert "--width 24 (the plan has 16)" in capsys.readouterr().err
    assert command(["batch", "run", ds, str(folder / "p0.png")]) == 2
    assert "1 sources (the plan has 4)" in capsys.readouterr().err
    assert command(["batch", "plan", str(folder), "-o", ds]) == 2
    assert command(["batch", "run", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "ds" / "parts").exists()


def test_rows_that_fail_give_code_7_and_can_be_tried_again(folder, tmp_path, capsys):
    ds, late = str(tmp_path / "ds"), tmp_path / "late.png"
    words = ["batch", "run", ds, str(folder / "p0.png"), str(late), *OPTIONS, "--workers", "1"]
    assert command(words) == 7
    assert "late (late.png): no such file" in capsys.readouterr().err
    assert command(words) == 7
    late.write_bytes((folder / "p1.png").read_bytes())
    assert command(["batch", "retry", ds, "--workers", "1", "-q"]) == 0
    assert command(["batch", "retry", ds]) == 0
    assert "no row" in capsys.readouterr().err


def test_ctrl_c_keeps_the_parts_that_are_there(folder, tmp_path):
    made = planned(tmp_path / "ds", [folder], part_size=1, budget="1000000000it")
    script = (
        f"import sys; from inrfit.__main__ import main; sys.argv = ['inrfit', 'batch', 'run', {made.folder!r}]; main()"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "ds" / "journal"
    until = time.monotonic() + 120
    while not (journal.exists() and any(journal.iterdir())) and time.monotonic() < until:
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "interrupted; the same command goes on" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "4/4"], "the first is 0/4, the last one 3/4"),
        (["--max-failures", "101%"], "--max-failures"),
        (["--max-failures", "-1"], "--max-failures"),
    ],
)
def test_wrong_values_are_refused(folder, tmp_path, capsys, words, message):
    made = planned(tmp_path / "ds", [folder])
    run(made, InThisProcess())
    assert command(["batch", "run", made.folder, *words]) == 2
    assert message in capsys.readouterr().err


def dies(job):
    """A job that ends its process."""
    os._exit(3)


def test_a_job_that_ends_its_process_is_reported_and_the_next_has_a_new_one(folder, tmp_path, monkeypatch):
    from inrfit.batch import local

    made = planned(tmp_path / "ds", [folder])
    executor = LocalExecutor(1)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(local, "run_in_worker", dies)
            (died,) = executor.map([Job(made.folder, made.digest, 0)])
        assert isinstance(died, Died)
        assert run(made, executor).failed == 0
    finally:
        executor.close()


def test_the_group_has_a_page_and_its_commands_have_theirs(capsys):
    assert run_command(["batch"]) == 2
    out = capsys.readouterr().out
    assert all(name in out for name in ("plan", "run", "status", "retry", "check", "export"))
    assert command(["batch", "export", "--help"]) == 0
    assert "inrfit batch export" in capsys.readouterr().out
    assert command(["batch", "rub"]) == 2
    assert "see inrfit batch --help" in capsys.readouterr().err
