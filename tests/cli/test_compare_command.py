"""``inrfit compare`` as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import picture
from PIL import Image

from inrfit.__main__ import run
from inrfit.kernel import library

QUICK = ["--samplers", "uniform,nint", "--budget", "20it", "--width", "16", "--depth", "2", "--device", "cpu"]


FAST = ["--samplers", "uniform", "--budget", "20it", "--device", "cpu"]


def compare(*words, quick=QUICK):
    return run(["compare", *map(str, words), *quick])


@pytest.fixture
def small(tmp_path):
    """A picture of 20 by 24 pixels."""
    path = tmp_path / "photo.png"
    Image.fromarray(picture(20, 24)).save(path)
    return path


@pytest.mark.slow
def test_a_table_without_codes_in_a_pipe(small, capsys):
    assert compare(small, "--seeds", "2", "--to", "5dB,90dB") == 0
    out, err = capsys.readouterr()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err)
    lines = out.splitlines()
    assert lines[0] == "photo.png: PSNR in dB"
    assert re.split(r"  +", lines[1])[:7] == [
        "sampler", "25 %", "50 %", "100 %", "vs uniform", "to 5.00 dB", "to 90.00 dB"
    ]  # fmt: skip
    assert re.split(r"  +", lines[2])[0] == "uniform"
    cells = re.split(r"  +", lines[3])
    assert cells[0] == "nint"
    assert cells[6] == "-"
    assert re.fullmatch(r"[+-]\d\.\d\d ± \d+\.\d\d", cells[4])
    assert "run 4 of 4: photo.png nint seed 1: PSNR" in err
    assert os.listdir(small.parent) == ["photo.png"]


def test_json_on_stdout_and_in_the_folder_say_the_same(small, tmp_path, capsys):
    assert compare(small, "--seeds", "1", "--json", "-q", "-o", tmp_path / "out") == 0
    out, err = capsys.readouterr()
    told, kept = json.loads(out), json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert err == "" or "matplotlib" in err
    assert told["ok"] is True
    assert told["schema"] == kept["schema"] == 1
    assert set(kept) == {
        "schema", "inrfit", "key", "plan", "machine", "recipes", "unfinished", "standings", "results"
    }  # fmt: skip
    assert kept == {key: told[key] for key in kept}
    result = kept["results"][0]
    assert set(result) == {
        "ok", "source", "arch", "sampler", "seed", "quality", "spent", "settings", "size", "ended", "notes", "trace"
    }  # fmt: skip
    assert set(result["trace"][0]) == {"seconds", "share", "step", "points", "quality"}
    engine = "kernel" if library.available() else "analytic"
    assert kept["recipes"] == {"photo.png": {"siren": {"precision": "fp32", "engine": engine}}}
    assert {"torch", "device", "threads", "platform", "processor"} <= set(kept["machine"])


def test_sizes_of_one_architecture_stand_side_by_side(small, capsys):
    words = ("--seeds", "1", "--archs", "siren:width=8:depth=2,siren:width=16:first_omega=20")
    assert compare(small, *words, quick=FAST) == 0
    shown = capsys.readouterr().out
    (table, _) = shown.split("Mean ±")
    heading, first, second = table.splitlines()[1:4]
    assert heading.split()[-2:] == ["parameters", "bytes"]
    assert first.startswith("siren:width=8:depth=2 uniform ")
    assert first.split()[-2] == "123"
    assert second.startswith("siren:width=16:first_omega=20 uniform ")
    assert compare(small, *words, "--json", quick=FAST) == 0
    record = json.loads(capsys.readouterr().out)
    size, _ = [result["size"] for result in record["results"]]
    assert (size["parameters"], size["store"]) == (123, "int")
    assert abs(size["bytes"] - int(first.split()[-1])) < 64  # two fits: their times compress differently
    assert record["standings"]["tables"][0]["rows"][0]["parameters"]["mean"] == 123
    assert set(record["recipes"]["photo.png"]) == {"siren:width=8:depth=2", "siren:width=16:first_omega=20"}


def test_architectures_are_compared_at_equal_bytes(small, capsys):
    words = ("--seeds", "1", "--archs", "siren:depth=1,siren:depth=3", "--bytes", "20kB")
    assert compare(small, *words, "--json", quick=FAST) == 0
    sizes = [result["size"] for result in json.loads(capsys.readouterr().out)["results"]]
    assert all(size["store"] == "int" and 16_000 < size["bytes"] <= 20_000 for size in sizes)


def test_the_same_command_goes_on_and_another_is_refused(small, tmp_path, capsys):
    words = (small, "--seeds", "1", "-o", tmp_path / "out")
    assert compare(*words) == 0
    before = capsys.readouterr()
    assert compare(*words) == 0
    after = capsys.readouterr()
    assert after.out == before.out
    assert "2 of 2 runs are already finished" in after.err
    assert "run 1" not in after.err
    assert compare(*words, "--lr", "0.001") == 2
    assert "differs in settings" in capsys.readouterr().err
    assert compare(*words, "--lr", "0.001", "--force") == 0


def test_the_picture_is_written_where_matplotlib_is(small, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert compare(small, "--seeds", "1", "-q", "-o", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "comparison.png") as drawn:
        assert drawn.format == "PNG"


def test_without_matplotlib_there_is_a_hint_and_no_failure(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert compare(small, "--seeds", "1", "-o", tmp_path / "out") == 0
    lines = capsys.readouterr().err.splitlines()
    assert "pip install 'inrfit[plot]'" in lines[0]  # before the first run
    assert "inrfit[plot]" not in "".join(lines[1:])
    assert os.listdir(tmp_path / "out") == ["comparison.json"]


def test_a_failed_run_is_recorded_and_ends_with_7(small, tmp_path, monkeypatch, capsys):
    from inrfit import execution
    from inrfit.errors import Diverged

    honest = execution.execute_plan

    def failing(planned, *rest, **more):
        if planned.settings.sampler == "nint":
            raise Diverged("worse than a constant", "diverged")
        return honest(planned, *rest, **more)

    monkeypatch.setattr(execution, "execute_plan", failing)
    assert compare(small, "--seeds", "1", "-o", tmp_path / "out") == 7
    out, err = capsys.readouterr()
    assert "inrfit: error: run 2 of 2: photo.png nint seed 0: worse than a constant" in err
    assert "0 of 1" in out
    results = json.loads((tmp_path / "out" / "comparison.json").read_text())["results"]
    assert [result["ok"] for result in results] == [True, False]
    assert results[1]["error"]["reason"] == "diverged"


@pytest.mark.slow
def test_an_interrupt_keeps_the_finished_runs(small, tmp_path):
    script = (
        "import os, sys\nfrom inrfit.__main__ import run\nfrom inrfit.cli.compare import ComparisonProgress\n"
        "def interrupt(self, report):\n"
        "    if self.progress.done == 1 and not self.__dict__.setdefault('sent', False):\n"
        "        self.sent = True\n"
        f"        os.kill(os.getpid(), {int(signal.SIGINT)})\n"
        "ComparisonProgress.on_fit_progress = interrupt\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    given = ["--seeds", "1", "--threads", "1", "-o", str(tmp_path / "out")]  # threads are part of what must be the same
    words = [sys.executable, "-c", script, "compare", str(small), *given, *QUICK]
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 130, found.stderr
    assert "interrupted: 1 of 2 runs are left; continue with the same command" in found.stderr
    assert "uniform" in found.stdout
    results = json.loads((tmp_path / "out" / "comparison.json").read_text())["results"]
    assert [result["sampler"] for result in results] == ["uniform"]
    assert compare(small, *given) == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["missing.png"], 3),
        (["PHOTO", "PHOTO"], 2),
        (["-"], 2),
        (["PHOTO", "--seeds", "0"], 2),
        (["PHOTO", "--samplers", "best"], 2),
        (["PHOTO", "--archs", "best"], 2),
        (["PHOTO", "--archs", "auto"], 2),
        (["PHOTO", "--archs", "siren:width=wide"], 2),
        (["PHOTO", "--archs", "siren:xi=0.5"], 2),
        (["PHOTO", "--archs", "siren:width=8", "--params", "5k"], 2),
        (["PHOTO", "--bytes", "500"], 2),
        (["PHOTO", "--regime", "ours"], 2),
        (["PHOTO", "--to", "good"], 2),
        (["PHOTO", "-O", "nothing=1"], 2),
        (["PHOTO", "--batch", "many"], 2),
        (["PHOTO", "-o", "no/such/folder"], 4),
        (["PHOTO", "-o", "PHOTO"], 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_every_no_has_its_code_and_one_line(small, words, code, capsys):
    assert compare(*[str(small) if word == "PHOTO" else word for word in words], quick=[]) == code
    out, err = capsys.readouterr()
    assert err.count("\n") == 1, err
    assert err.startswith("inrfit: error: ")
    assert out == ""


def test_json_says_why_nothing_ran(small, capsys):
    assert compare(small, "--json", "--seeds", "0") == 2
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is False
    assert record["error"]["code"] == 2


@pytest.mark.parametrize("at", ["warm_up", "keep"])
def test_json_says_why_it_broke_off(small, tmp_path, monkeypatch, capsys, at):
    from inrfit.comparison import runs as module
    from inrfit.errors import NotEnoughMemory, UnwritableOutput

    def full(*given):
        raise UnwritableOutput("comparison.json: no space left on device", "enospc")

    def starved(*given):
        raise NotEnoughMemory("not enough memory", "memory")

    monkeypatch.setattr(module, *{"warm_up": ("warm_up", starved), "keep": ("save", full)}[at])
    code = {"warm_up": 5, "keep": 4}[at]
    assert compare(small, "--seeds", "1", "--json", "-o", tmp_path / "out") == code
    record = json.loads(capsys.readouterr().out)
    assert (record["ok"], record["error"]["code"]) == (False, code)


def test_an_unwritable_picture_costs_neither_the_table_nor_the_json(small, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    from inrfit.errors import UnwritableOutput
    from inrfit.io import files

    honest = files.write

    def full(path, *rest, **more):
        if str(path).endswith(".png"):
            raise UnwritableOutput("comparison.png: no space left on device", "enospc")
        return honest(path, *rest, **more)

    monkeypatch.setattr(files, "write", full)
    assert compare(small, "--seeds", "1", "-q", "-o", tmp_path / "out") == 4
    out, err = capsys.readouterr()
    assert "photo.png: PSNR in dB" in out
    assert err == "inrfit: error: comparison.png: no space left on device\n"
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["unfinished"] == 0
    assert compare(small, "--seeds", "1", "--json", "-o", tmp_path / "out") == 4
    record = json.loads(capsys.readouterr().out)
    assert (record["ok"], record["plot"], record["error"]["reason"]) == (False, None, "enospc")
    assert len(record["results"]) == 2


def test_an_interrupt_after_the_last_run_changes_nothing(small, monkeypatch, capsys):
    from inrfit.comparison import runs as module

    honest = module.run_comparison

    def late(*given):
        honest(*given)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "run_comparison", late)
    assert compare(small, "--seeds", "1") == 0
    out, err = capsys.readouterr()
    assert "photo.png: PSNR in dB" in out
    assert "are left" not in err


def test_json_says_that_it_was_interrupted_before_anything_ran(small, monkeypatch, capsys):
    from inrfit.comparison import runs as module

    monkeypatch.setattr(module, "open_comparison", lambda *given: os.kill(os.getpid(), signal.SIGINT))
    assert compare(small, "--json") == 130
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "interrupted"


def test_a_bad_source_does_not_end_the_comparison_of_the_others(small, tmp_path, capsys):
    (bad := tmp_path / "bad.png").write_bytes(b"no picture")
    words = ["compare", str(small), str(bad), str(tmp_path / "missing.png"), *FAST, "--seeds", "1"]
    assert run([*words, "--json"]) == 7
    out, err = capsys.readouterr()
    first, second, record = map(json.loads, out.splitlines())
    assert [first["source"], second["source"]] == [str(bad), str(tmp_path / "missing.png")]
    assert not record["ok"]
    assert [source["name"] for source in record["plan"]["sources"]] == [small.name]
    assert all(result["ok"] for result in record["results"])
    assert sum(line.startswith("inrfit: error: ") for line in err.splitlines()) == 2
    assert run(["compare", str(bad), str(tmp_path / "missing.png")]) == 7
    assert run(["compare", str(bad)]) == 3


def test_a_damaged_record_is_refused_with_one_line(small, tmp_path, capsys):
    words = ["compare", str(small), *FAST, "--seeds", "1", "-o", str(tmp_path / "out"), "-q"]
    assert run(words) == 0
    (tmp_path / "out" / "comparison.json").write_text('{"schema": 1}')
    capsys.readouterr()
    assert run(words) == 3
    assert capsys.readouterr().err.count("\n") == 1
