"""The commands as a user types them: names, exit codes, one line on stderr, JSON on stdout."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import picture
from PIL import Image

from inrfit import codec
from inrfit.__main__ import run
from inrfit.errors import UnwritableOutput
from inrfit.io import files

QUICK = ["--budget", "40it", "--width", "24", "--depth", "2", "--device", "cpu"]


def encode(*words, quick=QUICK):
    return run(["encode", *map(str, words), *quick])


def spawn(*words, **more):
    command = [sys.executable, "-m", "inrfit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, **more)


def test_a_picture_there_and_back(png, capsys):
    assert encode(png) == 0
    assert run(["decode", f"{png}.safetensors"]) == 0
    with Image.open(png.parent / "photo.decoded.png") as decoded:
        assert decoded.size == (32, 24)
        assert decoded.mode == "RGB"
    out, err = capsys.readouterr()
    assert out == ""
    assert "PSNR" in err


def test_the_printed_quality_is_that_of_the_decoded_file(png, capsys):
    assert encode(png, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    run(["decode", told["output"]])
    with Image.open(png.parent / "photo.decoded.png") as picture_back:
        decoded = np.asarray(picture_back).astype(float)
    error = np.mean((decoded - picture()) ** 2)
    assert told["quality"]["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)


def test_json_says_everything_on_success(png, capsys):
    encode(png, "--json", "-q")
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert err == ""
    assert record["schema"] == 1
    assert record["ok"] is True
    assert record["spent"]["steps"] == 40
    assert "interrupted" not in record
    assert record["bytes"] == os.path.getsize(record["output"])
    assert {"scoring_passes", "sampler_seconds", "origin"} <= set(record["spent"])


def test_json_says_why_on_failure(tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    assert encode(bad, "--json") == 3
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["ok"] is False
    assert record["error"]["code"] == 3
    assert record["error"]["reason"]
    assert err.count("\n") == 1
    assert err.startswith("inrfit: error: ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["encode", "missing.png"], 3),
        (["encode", "PHOTO", "--sampler", "best"], 2),
        (["encode", "PHOTO", "-O", "nothing=1"], 2),
        (["encode", "PHOTO", "--budget", "soon"], 2),
        (["encode", "PHOTO", "--nonsense"], 2),
        (["encode", "PHOTO", "--width", "wide"], 2),
        (["encode", "PHOTO", "-o", "no/such/folder/x.safetensors"], 4),
        (["encode", "PHOTO", "PHOTO"], 2),
        (["encode", "PHOTO", "--max-pixels", "5"], 3),
        (["decode", "PHOTO"], 3),
        (["decode", "missing.safetensors"], 3),
        (["decode", "x", "--size", "12y"], 2),
        (["decode", "x", "--size", "12x12", "--scale", "2"], 2),
        (["info", "PHOTO"], 3),
        (["nonsense"], 2),
        (["encode"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_every_no_has_its_code_and_one_line(png, words, code, capsys):
    assert run([str(png) if word == "PHOTO" else word for word in words]) == code
    out, err = capsys.readouterr()
    if words != ["encode"]:
        assert err.count("\n") == 1, err
        assert err.startswith("inrfit: error: ")
        assert out == ""


def test_an_existing_output_stands_without_force(png, capsys):
    target = png.parent / "photo.png.safetensors"
    target.write_bytes(b"precious")
    assert encode(png) == 2
    assert target.read_bytes() == b"precious"
    assert encode(png, "--force") == 0
    assert target.read_bytes() != b"precious"


def test_a_failed_fit_leaves_the_old_output_whole(png, capsys):
    target = png.parent / "photo.png.safetensors"
    target.write_bytes(b"precious")
    assert encode(png, "--force", "--lr", "9", quick=["--budget", "30it", "--width", "24", "--device", "cpu"]) == 6
    assert target.read_bytes() == b"precious"


def test_two_sources_with_one_output_are_refused_before_any_fit(tmp_path, png, capsys):
    (tmp_path / "twin").mkdir()
    twin = tmp_path / "twin" / "photo.png"
    Image.fromarray(picture()).save(twin)
    (tmp_path / "out").mkdir()
    assert encode(png, twin, "-o", tmp_path / "out") == 2
    assert "same output" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_source_does_not_stop_the_others(tmp_path, png, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    assert encode(bad, png, "--json") == 7
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["ok"] for record in records] == [False, True]


def test_a_missing_source_is_reported_before_the_first_fit(tmp_path, png, capsys):
    assert encode(png, tmp_path / "missing.png", "--json") == 7
    out, err = capsys.readouterr()
    assert err.startswith(f"inrfit: error: {tmp_path / 'missing.png'}: no such file\n")
    assert [json.loads(line)["ok"] for line in out.splitlines()] == [False, True]


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_terminal_is_refused_as_an_output(command, png, monkeypatch, capsys):
    monkeypatch.chdir(png.parent)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run([command, str(png), "-o", "-"]) == 2
    assert "standard output is a terminal" in capsys.readouterr().err
    assert os.listdir(png.parent) == [png.name]


def test_a_folder_is_the_files_in_it(tmp_path, capsys):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        Image.fromarray(picture(8, 8)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not a signal")
    assert encode(tmp_path / "in") == 0
    assert (tmp_path / "in" / "a.png.safetensors").exists()
    assert (tmp_path / "in" / "deep" / "b.png.safetensors").exists()
    assert "1 of other kinds" in capsys.readouterr().err
    assert encode(tmp_path / "in", "--force") == 0


def test_a_dry_run_of_a_shape_whose_points_are_not_drawn_says_its_size(tmp_path, capsys):
    import trimesh

    mesh = tmp_path / "box.obj"
    trimesh.creation.box((2.0, 1.0, 1.5)).export(mesh)
    assert encode(mesh, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bits_per_sample"] is None
    assert told["parameters"] > 0
    assert encode(mesh, "--dry-run") == 0
    assert "bits per sample" not in capsys.readouterr().out


def test_dry_run_writes_nothing_and_says_what_is_kept(png, capsys):
    assert encode(png, "--dry-run", "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["parameters"] > 0
    assert told["sampler"] not in ("", "auto")
    assert err == ""
    assert encode(png, "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "32x24 RGB PNG" in out
    assert not (png.parent / "photo.png.safetensors").exists()


def test_info_prints_what_a_field_is(png, capsys):
    encode(png, "-q")
    assert run(["info", f"{png}.safetensors"]) == 0
    table = " ".join(capsys.readouterr().out.split())
    for word in (
        "siren 2x24",
        "parameters",
        "MACs per sample",
        "bits per sample",
        "PSNR",
        "stream",
        "photo.png",
    ):
        assert word in table
    assert run(["info", "--json", f"{png}.safetensors"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"fit_seconds", "startup_seconds", "origin"} <= set(record["provenance"]["spent"])
    assert not any(key in table for key in ("_seconds", "_rate", "settings_sha256", "exact_from_step"))
    assert record["parameters"] == 24 * 2 + 24 + 24 * 24 + 24 + 3 * 24 + 3
    assert record["macs_per_sample"] == 24 * 2 + 24 * 24 + 3 * 24


def test_decode_to_another_kind_and_size(png, capsys):
    encode(png, "-q")
    model = f"{png}.safetensors"
    capsys.readouterr()
    assert run(["decode", model, "-o", str(png.parent / "x.jpg"), "--size", "64x48"]) == 0
    assert "x.jpg: 64x48 RGB, " in capsys.readouterr().err
    with Image.open(png.parent / "x.jpg") as decoded:
        assert decoded.size == (64, 48)
    assert run(["decode", model, "-o", str(png.parent / "y.webp"), "--scale", "0.5"]) == 0
    with Image.open(png.parent / "y.webp") as decoded:
        assert decoded.size == (16, 12)
    assert run(["decode", model, "-o", str(png.parent / "z.xyz")]) == 2
    assert run(["decode", model, "--rate", "8000", "--force"]) == 2


def test_what_a_kind_of_file_cannot_hold_is_refused_before_anything_is_decoded(tmp_path, capsys, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(400) / 9) / 2, 8000)
    Image.fromarray(picture(channels=4)).save(tmp_path / "a.png")
    for name in ("a.wav", "a.png"):
        assert encode(tmp_path / name, "-q") == 0
    decoded = []
    monkeypatch.setattr(codec, "decode", lambda *given: decoded.append(given))
    for model, words, reason in [
        ("a.wav", ["x.ogg", "--rate", "200001"], "1 channels at 200001 Hz cannot be written as .ogg VORBIS"),
        ("a.wav", ["x.flac", "--rate", "700000"], "FLAC holds at most 8 channels and 655350 Hz"),
        ("a.png", ["x.jpg"], "JPEG cannot hold an alpha channel"),
        ("a.png", ["x.webp", "--size", "16384x1"], "WebP holds at most 16,383 pixels per side"),
    ]:
        capsys.readouterr()
        assert run(["decode", str(tmp_path / f"{model}.safetensors"), "-o", str(tmp_path / words[0]), *words[1:]]) == 2
        assert reason in capsys.readouterr().err
    assert not decoded
    monkeypatch.undo()
    assert run(["decode", str(tmp_path / "a.wav.safetensors"), "-o", str(tmp_path / "x.ogg"), "--rate", "200000"]) == 0


def test_names_with_control_characters_are_shown_escaped(tmp_path, capsys):
    bad = tmp_path / "a\x1b[31m\nb.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nno")
    assert encode(bad) == 3
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["-dash.png", "space d.png", "ünï.png", "dot."])
def test_odd_names_work(tmp_path, monkeypatch, name, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(8, 8)).save(tmp_path / name, "PNG")
    assert run(["encode", *QUICK, "-q", "--", name]) == 0
    assert run(["decode", "--", f"{name}.safetensors"]) == 0


def test_without_a_terminal_there_are_no_control_codes(png):
    found = spawn("encode", png, *QUICK)
    assert found.returncode == 0
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", found.stderr)
    assert found.stdout == ""


def test_a_pipe_is_a_source(tmp_path, png):
    words = ["encode", "-", "-o", tmp_path / "x.safetensors", *QUICK]
    found = subprocess.run(
        [sys.executable, "-m", "inrfit", *map(str, words)], input=png.read_bytes(), capture_output=True
    )
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "x.safetensors").exists()


def test_refusals_version_and_help_do_without_torch(tmp_path, png):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    encode(png, "-q")
    script = (
        "import sys; from inrfit.__main__ import run; code = run(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    cases = [
        (["--help"], 0),
        (["encode", "--help"], 0),
        (["encode", str(tmp_path / "bad.png")], 3),
        (["encode", str(png)], 2),
        (["encode", str(png), "--dry-run"], 0),
        (["info", f"{png}.safetensors"], 0),
        (["decode", str(png)], 3),
    ]
    for words, code in cases:
        found = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
        assert found.returncode == code, (words, found.stderr)


def test_windows_is_refused_before_anything_is_imported():
    script = (
        "import sys; sys.platform = 'win32'\nfrom inrfit.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print([name for name in sys.modules if name.startswith('inrfit.')])"
    )
    found = subprocess.run([sys.executable, "-c", script, "encode", "x.png"], capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == "inrfit: error: inrfit does not support Windows; use WSL\n"
    assert found.stdout == "['inrfit.__main__']\n"


def test_version_is_told():
    assert re.fullmatch(r"inrfit \d+\.\d+\.\d+\n", spawn("--version").stdout)


def test_stdout_closed_is_no_traceback(png):
    encode(png, "-q")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "inrfit", "info", f"{png}.safetensors"]
    found = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert found.returncode == 141
    assert found.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["info", "photo.png.safetensors"], ["--version"], ["--help"], ["encode", "--help"]])
def test_a_full_stdout_is_a_failure(png, words):
    encode(png, "-q")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "inrfit", *words]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=png.parent)
    assert found.returncode == 4
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("older", [False, True])
def test_an_interrupt_keeps_the_work(png, number, code, older):
    target = png.parent / "photo.png.safetensors"
    if older:
        target.write_bytes(b"precious")
    script = (
        "import os, signal, sys\nfrom inrfit.__main__ import main\nfrom inrfit.cli.console import FitProgress\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "def interrupt(self, report):\n"
        "    if report.step > 50 and not self.__dict__.setdefault('sent', False):\n"
        "        self.sent = True\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "FitProgress.__call__ = interrupt\n"
        "main()"
    )
    words = ["encode", png, "--budget", "600s", "--width", "24", "--depth", "2", "--device", "cpu", "--force"]
    found = subprocess.run([sys.executable, "-c", script, *map(str, words), "-q"], capture_output=True, text=True)
    assert found.returncode == code, found.stderr
    written = png.parent / "photo.png.interrupted.safetensors"
    assert found.stderr == f"inrfit: {png}: interrupted; the field so far is in {written}\n"
    assert target.read_bytes() == b"precious" if older else not target.exists()
    from inrfit import load

    found = load(written)
    assert found.provenance["ended"] == "interrupted"
    assert found.quality["estimate"] is True


def test_a_closed_stderr_does_not_cost_the_fit(png):
    command = f"{sys.executable} -m inrfit encode {png} {' '.join(QUICK)} 2>&-"
    found = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE)
    assert found.returncode == 0
    assert (png.parent / "photo.png.safetensors").exists()


def test_an_ignored_hangup_stays_ignored():
    from inrfit.interrupts import stop_on_signals

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals((signal.SIGINT, signal.SIGHUP)) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_the_reading_of_standard_input_at_once(tmp_path):
    words = [sys.executable, "-m", "inrfit", "encode", "-", "-o", str(tmp_path / "x.safetensors"), *QUICK]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "reading standard input" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=30)
    process.stdin.close()
    process.stderr.close()
    assert code == 130


def test_a_second_signal_leaves_at_once():
    script = (
        "import os, signal\nfrom inrfit.interrupts import stop_on_signals\n"
        "with stop_on_signals():\n    os.kill(os.getpid(), 2)\n    os.kill(os.getpid(), 2)\n    print('still here')"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 130
    assert found.stdout == ""


def test_a_finished_fit_that_cannot_be_written_is_rescued(png, monkeypatch, capsys):
    """The output's name is taken while the fit runs: the older file stands, the field is beside it, exit 2."""
    from inrfit import execution

    target = png.parent / "photo.png.safetensors"
    honest = execution.execute_plan

    def meanwhile(*args, **more):
        made = honest(*args, **more)
        target.write_bytes(b"somebody else's")
        return made

    monkeypatch.setattr(execution, "execute_plan", meanwhile)
    assert encode(png) == 2
    assert target.read_bytes() == b"somebody else's"
    assert run(["info", str(png.parent / "photo.png.rescued.safetensors")]) == 0


def full_folders(monkeypatch, *names):
    """Folders of these names are full from the end of the fit on."""
    from inrfit import execution

    honest, write = execution.execute_plan, files._write_new

    def full(path, *more):
        if os.path.basename(os.path.dirname(path)) in names:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *more)

    def meanwhile(*args, **more):
        made = honest(*args, **more)
        monkeypatch.setattr(files, "_write_new", full)
        return made

    monkeypatch.setattr(execution, "execute_plan", meanwhile)


@pytest.mark.parametrize("field_fails", [False, True])
def test_a_state_that_cannot_be_saved_is_told_during_the_fit_and_after_it(png, monkeypatch, capsys, field_fails):
    """Once when it happens first, and once in the end, also if the output cannot be written either."""
    from inrfit import execution

    write, honest = files.write, execution.execute_plan

    def no_states(path, *more, **how):
        if str(path).endswith(".state"):
            raise UnwritableOutput(f"{path}: no space left on device", "enospc")
        return write(path, *more, **how)

    def fitted(*args, **more):
        made = honest(*args, **more)
        assert capsys.readouterr().err.count("warning: the state of the fit could not be saved: ") == 1
        if field_fails:
            (png.parent / "photo.png.safetensors").write_bytes(b"somebody else's")
        return made

    monkeypatch.setattr(files, "write", no_states)
    monkeypatch.setattr(execution, "execute_plan", fitted)
    assert encode(png, "--checkpoint", "0.0001s") == (2 if field_fails else 0)
    assert capsys.readouterr().err.count(f"warning: {png}: the state of the fit could not be saved: ") == 1


@pytest.mark.parametrize("full", [1, 2, 3])
def test_a_full_disk_does_not_cost_the_field(png, monkeypatch, capsys, tmp_path, full):
    """It goes to --rescue, else to the state folder, else to the temporary folder; the line says where."""
    folders = ["rescue", "state", "temporary"]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *given, **more: str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    full_folders(monkeypatch, png.parent.name, *folders[: full - 1])
    assert encode(png, "--rescue", tmp_path / "rescue") == 4
    rescued = tmp_path / folders[full - 1] / "photo.png.rescued.safetensors"
    message = capsys.readouterr().err
    assert f"no space left on device; the finished field was written to {rescued}" in message
    assert run(["info", str(rescued)]) == 0


@pytest.mark.parametrize("saved", [False, True])
def test_a_field_that_can_be_saved_nowhere_is_said_to_be_lost(png, monkeypatch, capsys, tmp_path, saved):
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *given, **more: str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    full_folders(monkeypatch, png.parent.name, "state", "temporary")
    assert encode(png, *(["--checkpoint", "0.0001s"] if saved else [])) == 4
    message = capsys.readouterr().err
    assert "no space left on device; the finished field could not be saved elsewhere either" in message
    assert ("elsewhere either: the fit is lost" in message) != saved
    assert ("continue its fit with --resume" in message) == saved


def test_the_folder_of_a_rescue_is_not_made_before_there_is_something_in_it(png, tmp_path):
    rescue = tmp_path / "new" / "sub"
    assert encode(tmp_path / "missing.png", "--rescue", rescue) == 3
    assert encode(png, "--rescue", rescue) == 0
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    assert encode(png, "--force", "--rescue", tmp_path / "file" / "sub") == 4


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_standard_output_puts_nothing_into_the_current_folder(png, tmp_path):
    command = f"{sys.executable} -m inrfit encode {png} -o - {' '.join(QUICK)} > /dev/full"
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    cwd = tmp_path / "here"
    cwd.mkdir()
    how = {"stderr": subprocess.PIPE, "text": True, "cwd": cwd, "env": os.environ | state}
    found = subprocess.run(["bash", "-c", command], **how)
    assert found.returncode == 4
    assert not list(cwd.iterdir())
    assert re.search(r"the finished field was written to .*photo.png.rescued.safetensors", found.stderr)
    if sys.platform == "linux":
        assert (tmp_path / "state" / "inrfit" / "photo.png.rescued.safetensors").exists()


def test_a_field_with_the_longest_name_is_rescued_too(tmp_path, monkeypatch):
    source = tmp_path / ("n" * 239 + ".png")
    Image.fromarray(picture()).save(source)
    full_folders(monkeypatch, tmp_path.name)
    (tmp_path / "rescue").mkdir()
    assert encode(source, "--rescue", tmp_path / "rescue") == 4
    (rescued,) = (tmp_path / "rescue").iterdir()
    assert rescued.name.endswith(".rescued.safetensors")
    assert rescued.stat().st_mode & 0o777 == 0o600


def test_a_full_standard_output_does_not_cost_the_field(png, monkeypatch, tmp_path):
    command = f"{sys.executable} -m inrfit encode {png} -o - --rescue {tmp_path} {' '.join(QUICK)} > /dev/full"
    found = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True)
    assert found.returncode == 4
    assert f"the finished field was written to {tmp_path}" in found.stderr
    assert run(["info", str(tmp_path / "photo.png.rescued.safetensors")]) == 0


def test_two_batches_do_not_write_into_one_folder(png, tmp_path, capsys):
    from inrfit.io.locks import locked_folder

    twin = png.with_name("twin.png")
    twin.write_bytes(png.read_bytes())
    (tmp_path / "out").mkdir()
    with locked_folder(tmp_path / "out"):
        assert encode(png, twin, "-o", tmp_path / "out") == 2
    assert "another inrfit is writing into this folder" in capsys.readouterr().err
    assert encode(png, twin, "-o", tmp_path / "out") == 0


def test_a_source_is_never_replaced_by_its_field(png, capsys):
    before = png.read_bytes()
    assert encode(png, "-o", png, "--force") == 2
    assert png.read_bytes() == before


def test_two_models_with_one_output_are_refused(tmp_path, capsys):
    for folder in ("a", "b", "out"):
        (tmp_path / folder).mkdir()
    words = [str(tmp_path / folder / "x.png.safetensors") for folder in ("a", "b")]
    Image.fromarray(picture(8, 8)).save(tmp_path / "x.png")
    for word in words:
        assert encode(tmp_path / "x.png", "-o", word) == 0
    assert run(["decode", *words, "-o", str(tmp_path / "out")]) == 2
    assert "the same output" in capsys.readouterr().err


def test_source_is_the_path_on_success_and_on_failure(png, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    encode(png, tmp_path / "bad.png", "--json")
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["source"] for record in records] == [str(png), str(tmp_path / "bad.png")]
    assert records[0]["provenance"]["source"]["name"] == "photo.png"


@pytest.mark.slow
def test_a_target_stops_a_shape(tmp_path, capsys):
    import trimesh

    trimesh.creation.icosphere(2).export(tmp_path / "ball.ply")
    words = ["encode", str(tmp_path / "ball.ply"), "--target", "0.6", "--budget", "4000it", "--json", "-q"]
    assert run([*words, "--width", "32", "--depth", "3", "--device", "cpu", "-O", "points=20000"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["ended"] == "target"
    assert record["target_reached"] is True
    assert record["spent"]["steps"] < 4000
    assert record["quality"]["iou"] >= 0.6


def test_a_decibel_target_means_nothing_for_a_shape(tmp_path, capsys):
    import trimesh

    trimesh.creation.box().export(tmp_path / "box.ply")
    assert run(["encode", str(tmp_path / "box.ply"), "--target", "30dB", "-q"]) == 2


def test_info_reads_standard_input(png):
    encode(png, "-q")
    with open(f"{png}.safetensors", "rb") as model:
        found = subprocess.run(
            [sys.executable, "-m", "inrfit", "info", "-"], stdin=model, capture_output=True, text=True
        )
    assert found.returncode == 0
    assert "siren 2x24" in found.stdout


def test_a_map_and_a_video_come_with_the_field(png, capsys):
    chart, video = png.parent / "map.png", png.parent / "teaching.gif"
    words = ["--sampling-map", chart, "--sampling-video", video, "--json", "--budget", "6it"]
    assert encode(png, *words) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["sampling_map"], record["sampling_video"]) == (str(chart), str(video))
    assert "times trained, mean" in err
    with Image.open(chart) as drawn, Image.open(video) as shown:
        assert drawn.size == (32, 24)
        assert shown.n_frames == 6


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["PHOTO", "--sampling-map", "FOLDER/map.jpg"], 2),
        (["PHOTO", "--sampling-video", "FOLDER/x.webm"], 2),
        (["PHOTO", "--sampling-map", "PHOTO", "--force"], 2),
        (["PHOTO", "--sampling-map", "FOLDER/taken.png"], 2),
        (["PHOTO", "--sampling-map", "FOLDER/none/map.png"], 4),
        (["FOLDER/taken.png", "PHOTO", "--sampling-map", "FOLDER/map.png"], 2),
        (["PHOTO", "-o", "FOLDER/x.gif", "--sampling-video", "FOLDER/x.gif"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_map_that_cannot_be_is_refused_before_the_fit(png, words, code, monkeypatch, capsys):
    from inrfit import execution

    monkeypatch.setattr(execution, "execute_plan", None)
    Image.fromarray(picture(8, 8)).save(png.parent / "taken.png")
    before = sorted(os.listdir(png.parent))
    words = [word.replace("PHOTO", str(png)).replace("FOLDER", str(png.parent)) for word in words]
    assert encode(*words) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(os.listdir(png.parent)) == before


def test_a_map_that_fails_late_does_not_cost_the_field(png, monkeypatch, capsys):
    """The map's name is taken while the fit runs."""
    from inrfit import execution

    chart, honest = png.parent / "map.png", execution.execute_plan

    def meanwhile(*args, **more):
        made = honest(*args, **more)
        chart.write_bytes(b"somebody else's")
        return made

    monkeypatch.setattr(execution, "execute_plan", meanwhile)
    assert encode(png, "--sampling-map", chart, "--json") == 2
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is False
    assert record["error"]["reason"] == "exists"
    assert os.path.getsize(record["output"]) == record["bytes"]
    assert chart.read_bytes() == b"somebody else's"


def test_an_interrupted_fit_has_its_map_but_no_video(png, monkeypatch, capsys):
    from inrfit.cli.console import FitProgress

    def interrupt(self, report):
        if report.step > 50 and not self.__dict__.setdefault("sent", False):
            self.sent = True
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(FitProgress, "__call__", interrupt)
    chart, video = png.parent / "map.png", png.parent / "teaching.gif"
    words = ["--sampling-map", chart, "--sampling-video", video, "--json"]
    assert encode(png, *words, quick=["--budget", "600s", "--width", "24", "--depth", "2", "--device", "cpu"]) == 130
    out, err = capsys.readouterr()
    assert "teaching.gif was not written" in err
    assert json.loads(out)["interrupted"] is True
    assert chart.exists()
    assert not video.exists()
    assert (png.parent / "photo.png.interrupted.safetensors").exists()
