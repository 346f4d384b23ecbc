"""--checkpoint, --resume and --from, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import picture
from PIL import Image

import inrfit
from inrfit.__main__ import run
from inrfit.errors import InrfitWarning, OutputExists, UsageError
from inrfit.viz.recorder import Recorder

SMALL = ["--width", "12", "--depth", "2", "--batch", "64", "--threads", "1", "--seed", "3", "--device", "cpu"]
STEPS = ["--budget", "60it"]


def encode(*words):
    return run(["encode", *map(str, words), *SMALL])


def weights(path):
    return {name: weight.tobytes() for name, weight in inrfit.load(path).weights.items()}


def field(png):
    return Path(f"{png}.safetensors")


def state(png):
    return Path(f"{png}.safetensors.state")


def begun(png):
    """A fit under way that has learned something: its state has been saved after more than 200 steps."""
    words = [sys.executable, "-m", "inrfit", "encode", png, *SMALL, "--budget", "100000it", "--checkpoint", "0.02s"]
    process = subprocess.Popen([*map(str, words)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (state(png).exists() and steps_of(png) > 200) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    return process


LONG = ["--budget", "400it"]
"""The budget of a fit that is killed on the way."""

KILLED = """
import os, signal, sys
from inrfit.__main__ import run
from inrfit.fit.progress import BudgetTracker

honest = BudgetTracker.count_step

def count_step(self, seconds):
    honest(self, seconds)
    if self.step == 200:
        os.kill(os.getpid(), signal.SIGKILL)

BudgetTracker.count_step = count_step
run(sys.argv[1:])
"""
"""A command whose fit is killed in its 200th step, some steps after its state was last saved."""


def kill(*words):
    """Runs the command until it is killed."""
    command = [sys.executable, "-c", KILLED, *map(str, words), "--checkpoint", "0.005s"]
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL


def killed(png, *more):
    """A fit of the budget LONG, killed."""
    kill("encode", png, *SMALL, *LONG, *more)
    assert not field(png).exists()


def steps_of(png):
    """Steps of the saved state."""
    return json.loads(header(state(png)))["state"]["tracker"]["step"]


@pytest.fixture(scope="module")
def saved_state(tmp_path_factory):
    """What a killed fit of the picture with the budget LONG has saved."""
    source = tmp_path_factory.mktemp("killed") / "photo.png"
    Image.fromarray(picture()).save(source)
    killed(source)
    return state(source).read_bytes()


@pytest.fixture
def killed_fit(png, saved_state):
    """Beside the picture lies what its killed fit has saved."""
    state(png).write_bytes(saved_state)


@pytest.mark.slow
@pytest.mark.usefixtures("killed_fit")
def test_a_killed_fit_goes_on_and_gives_the_weights_of_the_undisturbed_one(png, capsys):
    steps, saved = steps_of(png), state(png).read_bytes()
    assert encode(png, *LONG, "--resume", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert 0 < record["provenance"]["settings"]["resumed_at_step"] == steps < 400
    assert not state(png).exists()
    state(png).write_bytes(saved)  # as if killed after the field was written
    assert encode(png, *LONG, "--resume") == 0
    assert not state(png).exists()
    whole = png.parent / "whole.safetensors"
    assert encode(png, *LONG, "-o", whole) == 0
    assert weights(whole) == weights(field(png))


@pytest.mark.usefixtures("killed_fit")
def test_a_larger_budget_goes_on_from_where_the_fit_was(png, capsys):
    steps = steps_of(png)
    assert encode(png, "--budget", f"{400 + steps}it", "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["spent"]["steps"] == 400 + steps


def header(path):
    """The numbers of a state, as text."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]["inrfit.state"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_fit_leaves_its_state_and_a_field_of_another_name(png, number, code):
    process = begun(png)
    saved = state(png).stat().st_mtime_ns
    process.send_signal(number)
    assert process.wait() == code
    assert state(png).stat().st_mtime_ns >= saved
    assert not field(png).exists()
    interrupted = png.parent / "photo.png.interrupted.safetensors"
    assert inrfit.load(interrupted).provenance["ended"] == "interrupted"


def test_a_complete_field_is_left_as_it_is_and_another_refused(png, capsys):
    assert encode(png, *STEPS) == 0
    before = field(png).read_bytes()
    assert encode(png, *STEPS, "--resume", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["complete"] is True
    assert "is already complete" in err
    assert encode(png, "--budget", "61it", "--resume") == 2
    assert "is a field made with another budget or other settings (replace it with --force)" in capsys.readouterr().err
    Image.fromarray(picture(20, 20, seed=4)).save(png)
    assert encode(png, *STEPS, "--resume") == 2
    assert "is the field of another source" in capsys.readouterr().err
    assert field(png).read_bytes() == before
    field(png).write_bytes(b"something else")
    assert encode(png, *STEPS, "--resume") == 2
    assert "exists and is not a field" in capsys.readouterr().err


def test_over_a_folder_what_is_complete_stays_and_what_is_not_is_finished(tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(picture(16, 18, seed=k)).save(folder / f"{k}.png")
    assert encode(folder / "0.png", *STEPS) == 0
    killed(folder / "1.png")
    steps = steps_of(folder / "1.png") + 70  # more than those of 0.png
    capsys.readouterr()
    assert encode(folder, "--budget", f"{steps}it", "--resume") == 7  # 0 is of another budget
    err = capsys.readouterr().err
    assert "other settings" in err
    assert "of other kinds" not in err
    assert encode(folder, "--budget", f"{steps}it", "--resume", "--json") == 7
    folder_record, *records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert folder_record["files"] == 3
    assert [record.get("complete", False) for record in records] == [False, True, True]
    field(folder / "0.png").unlink()
    assert encode(folder, "--budget", f"{steps}it", "--resume") == 0
    assert sorted(path.suffix for path in folder.iterdir()) == [".png"] * 3 + [".safetensors"] * 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--width", "13"], "the saved state is of another architecture"),
        (["--sampler", "int"], "the saved state is of another sampler"),
        (["--lr", "0.001"], "the saved state is of other settings: lr None, now 0.001"),
        (["--seed", "4"], "the saved state is of other settings: seed 3, now 4"),
    ],
)
@pytest.mark.usefixtures("killed_fit")
def test_the_state_of_another_fit_is_refused_and_named(png, capsys, more, words):
    saved = state(png).read_bytes()
    capsys.readouterr()
    assert run(["encode", str(png), *SMALL, *STEPS, "--resume", *more]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "(to start over, remove it, or leave out --resume and give --force)" in err
    assert state(png).read_bytes() == saved
    Image.fromarray(picture(24, 32, seed=9)).save(png)
    assert encode(png, *STEPS, "--resume") == 2
    assert "the saved state is of another source" in capsys.readouterr().err


def test_a_damaged_state_is_refused(png, capsys):
    state(png).write_bytes(b"12345678" * 9)
    assert encode(png, *STEPS, "--resume") == 3
    assert "photo.png.safetensors.state: is cut short, or not a file of this kind" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"precious", b"12345678" * 9, b""])
def test_what_is_no_state_is_replaced_with_force_only(png, capsys, content):
    state(png).write_bytes(content)
    assert encode(png, *STEPS, "--checkpoint", "1s") == 2
    advice = "exists and is not the state of a fit (replace it with --force, or remove it)"
    assert f"photo.png.safetensors.state: {advice}" in capsys.readouterr().err
    assert encode(png, *STEPS, "--resume", "--force") == 3
    assert "(to start over, remove it, or leave out --resume and give --force)" in capsys.readouterr().err
    assert state(png).read_bytes() == content
    assert encode(png, *STEPS, "--checkpoint", "1h", "--force") == 0
    assert not state(png).exists()


def test_sources_links_and_pipes_are_never_replaced_by_a_state(png, tmp_path, capsys):
    source = tmp_path / "a.state"
    source.write_bytes(png.read_bytes())
    for more in ([], ["--force"]):
        assert encode(source, *STEPS, "--checkpoint", "1s", "-o", tmp_path / "a", *more) == 2
    with pytest.raises(OutputExists, match="give another output"):
        inrfit.encode(source, output=tmp_path / "a", checkpoint=1.0, force=True, budget="60it")
    assert encode(source, *STEPS, "--resume", "-o", tmp_path / "a") == 2
    assert source.read_bytes() == png.read_bytes()
    state(png).write_text("precious")
    (tmp_path / "linked.state").symlink_to(state(png))
    os.mkfifo(tmp_path / "pipe.state")
    for name in ("linked", "pipe"):
        for more in ([], ["--force"]):
            assert encode(png, *STEPS, "--checkpoint", "1s", "-o", tmp_path / name, *more) == 2
            assert "is not the state of a fit (remove it)" in capsys.readouterr().err
    assert encode(png, *STEPS, "--resume", "-o", tmp_path / "pipe") == 2
    assert state(png).read_text() == "precious"


@pytest.mark.usefixtures("killed_fit")
def test_the_state_of_an_interrupted_fit_is_not_lost_by_leaving_out_resume(png, capsys):
    saved = state(png).read_bytes()
    assert encode(png, *STEPS, "--checkpoint", "1s") == 2
    assert (
        "the state of an interrupted fit (continue it with --resume, or replace it with --force)"
        in capsys.readouterr().err
    )
    assert state(png).read_bytes() == saved
    assert encode(png, "--budget", "1it", "--resume") == 2
    assert "steps were made, the budget is 1" in capsys.readouterr().err
    assert encode(png, *STEPS, "-o", field(png)) == 0
    assert encode(png, *STEPS, "--resume") == 0  # complete; the state is of a longer fit
    assert state(png).read_bytes() == saved
    assert encode(png, *STEPS, "--checkpoint", "1s", "--force") == 0
    assert not state(png).exists()


@pytest.mark.usefixtures("killed_fit")
def test_only_what_surely_cannot_be_written_is_refused_before_the_fit(png, tmp_path, monkeypatch, capsys):
    free = SimpleNamespace(f_bavail=1, f_frsize=100)
    steps = ["--budget", f"{steps_of(png) + 1}it"]
    monkeypatch.setattr(os, "statvfs", lambda folder: free)
    assert encode(png, *STEPS, "--store", "fp32", "-o", tmp_path / "a") == 4
    assert "needs 924 bytes, but only 100 are free" in capsys.readouterr().err  # 231 weights
    assert encode(png, *STEPS, "--store", "fp32", "-o", tmp_path / "a", "--rescue", tmp_path / "other") == 0
    assert encode(png, *steps, "--store", "fp32", "--resume") == 0
    assert encode(png, *STEPS, "--store", "int8", "-o", tmp_path / "b") == 4  # the first layer is stored in float32
    free.f_bavail = 2
    assert encode(png, *STEPS, "--store", "int8", "-o", tmp_path / "b") == 0


@pytest.mark.usefixtures("killed_fit")
def test_a_state_whose_content_changed_is_refused(png, capsys):
    whole = state(png).read_bytes()
    for place in (len(whole) - 1, len(whole) // 2, len(whole) - 2000):
        state(png).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert encode(png, "--budget", "100000it", "--resume") == 3
        assert "photo.png.safetensors.state: is damaged" in capsys.readouterr().err
    assert run(["info", str(state(png))]) == 3
    assert "the saved state of a fit, not a field" in capsys.readouterr().err


@pytest.mark.usefixtures("killed_fit")
def test_the_field_to_start_from_is_part_of_what_is_gone_on_with(png, tmp_path, capsys):
    first = tmp_path / "first.safetensors"
    assert encode(png, *STEPS, "-o", first) == 0
    assert encode(png, "--budget", "100000it", "--resume", "--from", first) == 2
    assert "of other first weights: drawn by the seed, now the field of photo.png" in capsys.readouterr().err
    state(png).unlink()
    assert encode(png, *STEPS) == 0
    assert encode(png, *STEPS, "--resume", "--from", first) == 2
    assert "is a field that started from other weights" in capsys.readouterr().err


@pytest.mark.slow
def test_a_map_goes_on_with_its_fit(png, saved_state, tmp_path, capsys):
    seen = tmp_path / "map.png"
    seen.write_bytes(b"of the interrupted part")
    killed(png, "--sampling-map", tmp_path / "map2.png")
    assert encode(png, *LONG, "--resume", "--sampling-video", tmp_path / "x.gif") == 2
    assert "started without a video" in capsys.readouterr().err
    assert encode(png, *LONG, "--resume", "--sampling-map", seen) == 0
    assert seen.read_bytes()[:4] == b"\x89PNG"
    state(png).write_bytes(saved_state)
    assert encode(png, *LONG, "--resume", "--force", "--sampling-map", seen) == 2
    assert "has no sampling map or video" in capsys.readouterr().err


def test_a_fit_starts_from_the_weights_of_another_field(png, tmp_path, capsys):
    first = tmp_path / "first.safetensors"
    assert encode(png, *STEPS, "-o", first) == 0
    fresh, warm = tmp_path / "fresh.safetensors", tmp_path / "warm.safetensors"
    assert encode(png, "--budget", "20it", "-o", fresh) == 0
    assert encode(png, "--budget", "20it", "--from", first, "-o", warm) == 0
    assert inrfit.load(warm).quality["psnr"] > inrfit.load(fresh).quality["psnr"] + 0.2
    made = inrfit.load(warm).provenance["settings"]["started_from"]
    assert made.startswith("the field of photo.png, SHA-256 ")
    capsys.readouterr()
    for more, words in (
        (
            ["--width", "14"],
            "depth 2, width 12, 2 inputs, 3 outputs; this fit needs depth 2, width 14, 2 inputs, 3 outputs",
        ),
        (["--arch", "finer"], "the field is a siren, this fit needs a finer"),
    ):
        assert run(["encode", str(png), *SMALL, *STEPS, "--from", str(first), *more]) == 2
        assert words in capsys.readouterr().err
    assert encode(png, *STEPS, "--from", png) == 3
    assert "--from " in capsys.readouterr().err


def test_a_checkpoint_wants_a_time(png, capsys):
    for text in ("soon", "10it", "0s"):
        assert encode(png, *STEPS, "--checkpoint", text) == 2
        assert f"--checkpoint {text}: " in capsys.readouterr().err


QUICK = {"width": 12, "depth": 2, "batch": 64, "seed": 3, "device": "cpu", "threads": 1}


def test_from_python_a_fit_is_interrupted_and_goes_on(tmp_path):
    output = tmp_path / "field.safetensors"
    stops = iter(range(10**9))
    made = inrfit.encode(
        picture(), output=output, checkpoint=1000.0, should_stop=lambda: next(stops) > 40, budget="60it", **QUICK
    )
    assert made.provenance["ended"] == "interrupted"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "field.interrupted.safetensors",
        "field.safetensors.state",
    ]
    again = inrfit.encode(picture(), output=output, resume=True, budget="60it", **QUICK)
    whole = inrfit.encode(picture(), budget="60it", **QUICK)
    assert all(np.array_equal(again.weights[name], whole.weights[name]) for name in whole.weights)
    assert inrfit.load(output).weights.keys() == whole.weights.keys()
    kept = inrfit.encode(picture(), output=output, resume=True, budget="60it", **QUICK)
    assert kept.provenance == inrfit.load(output).provenance
    with pytest.raises(OutputExists):
        inrfit.encode(picture(), output=output, resume=True, budget="70it", **QUICK)
    with pytest.raises(UsageError, match="need an output"):
        inrfit.encode(picture(), resume=True, budget="60it", **QUICK)
    warm = inrfit.encode(picture(), initial_field=whole, budget="20it", **QUICK)
    assert warm.quality["psnr"] > 15


def interrupted(output, calls, **more):
    """A fit that is stopped after ``calls`` polls; the name that its field has got."""
    stops = iter(range(10**9))
    with pytest.warns(InrfitWarning, match=r"the field so far is in .*interrupted\d?.safetensors") as caught:
        inrfit.encode(
            picture(), output=output, should_stop=lambda: next(stops) > calls, budget="600it", **QUICK, **more
        )
    return Path(str(caught[0].message).rpartition(" ")[2]).name


def test_a_second_interrupted_field_does_not_replace_the_first(tmp_path):
    output = tmp_path / "field.safetensors"
    assert interrupted(output, 60) == "field.interrupted.safetensors"
    first = (tmp_path / "field.interrupted.safetensors").read_bytes()
    assert interrupted(output, 40, checkpoint="1h") == "field.interrupted2.safetensors"
    assert (tmp_path / "field.interrupted.safetensors").read_bytes() == first
    steps = inrfit.load(tmp_path / "field.interrupted2.safetensors").provenance["spent"]["steps"]
    assert interrupted(output, 40, resume=True) == "field.interrupted2.safetensors"  # a later state of the same fit
    assert inrfit.load(tmp_path / "field.interrupted2.safetensors").provenance["spent"]["steps"] > steps


def test_from_python_a_recorder_goes_on_with_its_fit(tmp_path):
    output = tmp_path / "field.safetensors"
    whole, part, rest = Recorder(), Recorder(), Recorder()
    inrfit.encode(picture(), on_step=whole, budget="60it", **QUICK)
    stops = iter(range(10**9))
    inrfit.encode(
        picture(),
        on_step=part,
        output=output,
        checkpoint="1h",
        should_stop=lambda: next(stops) > 40,
        budget="60it",
        **QUICK,
    )
    assert 0 < int(part.counts.sum()) < int(whole.counts.sum())
    inrfit.encode(picture(), on_step=rest, output=output, resume=True, budget="60it", **QUICK)
    assert (rest.counts == whole.counts).all()


def test_an_interrupted_field_under_the_final_name_is_not_taken_for_complete(tmp_path):
    output, stops = tmp_path / "field.safetensors", iter(range(10**9))
    inrfit.encode(picture(), should_stop=lambda: next(stops) > 40, budget="60it", **QUICK).save(output)
    with pytest.raises(OutputExists, match="of an interrupted fit"):
        inrfit.encode(picture(), output=output, resume=True, budget="60it", **QUICK)


@pytest.mark.parametrize(
    "wrong",
    [{"checkpoint": True}, {"checkpoint": b"3s"}, {"output": 5}, {"initial_field": 0}, {"initial_field": np.zeros(3)}],
)
def test_from_python_wrong_types_are_refused(wrong, tmp_path):
    with pytest.raises(UsageError, match="must be"):
        inrfit.encode(picture(), **{"output": tmp_path / "field", "budget": "60it"} | wrong, **QUICK)


@pytest.mark.slow
def test_a_compared_run_under_way_is_saved_and_gone_on_with(png, tmp_path):
    """Weights are not in the record: the trace on the way and the result must be those of undisturbed runs."""
    words = [
        "compare",
        str(png),
        "--samplers",
        "uniform,int",
        "--seeds",
        "1",
        *SMALL[:8],
        "--device",
        "cpu",
        "-q",
        *LONG,
    ]
    assert run([*words, "-o", str(tmp_path / "whole")]) == 0
    broken = tmp_path / "broken"
    kill(*words, "-o", broken)
    assert (broken / "run.state").exists()
    assert run([*words, "-o", str(broken), "--checkpoint", "10s"]) == 0
    results = []
    for folder in (tmp_path / "whole", broken):
        found = json.loads((folder / "comparison.json").read_text())["results"]
        results.append(
            [
                (one["sampler"], one["quality"], [(p["step"], p["points"], p["quality"]) for p in one["trace"]])
                for one in found
            ]
        )
    assert results[0] == results[1]
    assert not (broken / "run.state").exists()


@pytest.mark.slow
def test_a_map_counts_what_was_taught_before_the_fit_was_killed(png):
    maps = [png.parent / "map.png", png.parent / "whole.png"]
    killed(png, "--sampling-map", str(maps[0]))
    assert encode(png, *LONG, "--resume", "--sampling-map", maps[0]) == 0
    whole = ["-o", png.parent / "whole.safetensors", "--sampling-map", maps[1]]
    assert encode(png, *LONG, *whole) == 0
    assert maps[0].read_bytes() == maps[1].read_bytes()
