"""Full and closed streams, pipes without a writer, and what a machine lacks: one line, and the documented code."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from inrfit.__main__ import run
from inrfit.cli import COMMANDS
from inrfit.io import files

ENCODE = ["encode", "photo.png", "-q", "--budget", "30it", "--width", "16", "--depth", "1", "--device", "cpu"]

WORDS = [
    ["--version"],
    ["--help"],
    [],
    *([command, "--help"] for command in COMMANDS),
    ["info", "photo.png.safetensors"],
    ["info", "--json", "photo.png.safetensors"],
    ["measure", "photo.png.safetensors", "photo.png", "--json"],
    ["encode", "photo.png", "--dry-run"],
]
"""Command lines that print on stdout."""


@pytest.fixture
def field(png, monkeypatch):
    """A picture and its field in the current folder."""
    monkeypatch.chdir(png.parent)
    assert run(ENCODE) == 0
    return png.parent


def spawn(words: list[str], redirection: str = "", **how) -> subprocess.CompletedProcess:
    """Runs a command in a shell, which closes or redirects its streams."""
    script = f'exec "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "inrfit", *words],
        capture_output=True,
        text=True,
        timeout=60,
        **how,
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("redirection", [">/dev/full", ">/dev/full 2>&-", ">/dev/full 2>/dev/full"])
def test_a_full_stdout_is_4(field, redirection):
    for words in WORDS:
        found = spawn(words, redirection)
        assert found.returncode == 4, (words, found.stderr)
        assert found.stderr.count("\n") == ("2>" not in redirection), found.stderr


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-"])
def test_a_closed_stdout_is_141(field, redirection):
    for words in WORDS:
        found = spawn(words, redirection)
        assert found.returncode == 141, (words, found.stderr)
        assert found.stderr.count("\n") == 0 or words[0] == "measure", found.stderr


def test_a_pipe_that_is_closed_is_141(field):
    for words in WORDS:
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "inrfit", *words]
        found = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert found.returncode == 141, (words, found.stderr)
        assert "Traceback" not in found.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&-", "<&- 2>&-"])
def test_without_stderr_or_stdin_the_result_is_the_same(field, redirection):
    assert spawn([*ENCODE, "-f"], redirection).returncode == 0
    whole = (field / "photo.png.safetensors").read_bytes()
    assert spawn(["decode", "photo.png.safetensors"], redirection).returncode == 0
    assert Image.open(field / "photo.decoded.png").size == (32, 24)
    assert spawn(["encode", "missing.png"], redirection).returncode == 3
    assert (field / "photo.png.safetensors").read_bytes() == whole


def test_a_full_stdout_ends_a_batch_with_4(field):
    Path("two.png").write_bytes(Path("photo.png").read_bytes())
    found = spawn(["info", "photo.png.safetensors", "photo.png.safetensors", "--json"], ">/dev/full")
    assert found.returncode == 4
    assert found.stderr.count("\n") == 1
    assert spawn(["encode", "photo.png", "two.png", "--dry-run", "-o", "out/"], ">/dev/full").returncode == 4


def test_a_pipe_without_a_writer_is_told(field):
    os.mkfifo("pipe")
    command = [sys.executable, "-m", "inrfit", "info", "pipe"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        Path("pipe").write_bytes(Path("photo.png.safetensors").read_bytes())
        out, err = process.communicate(timeout=60)
    assert line == "inrfit: warning: pipe: waiting for a program that writes into this pipe\n"
    assert (process.returncode, err) == (0, "")
    assert "image: 32x24" in out


@pytest.mark.parametrize("words", [["encode", "photo.png", "--dry-run"], ["info", "photo.png.safetensors"]])
def test_too_few_open_files_are_named(field, words):
    """Wherever the limit is met, there is one line, which is about the limit."""
    for limit in range(5, 9):
        found = spawn(words, preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        assert found.returncode in (0, 4, 5), found.stderr
        assert (found.stderr.count("\n"), "ulimit -n" in found.stderr) == (
            (1, True) if found.returncode else (0, False)
        )


def test_no_temporary_folder_is_no_damage(field):
    """Pictures and sounds that are read by C libraries are read without temporary files."""
    Image.open("photo.png").save("photo.tif", compression="tiff_lzw")
    import soundfile

    soundfile.write("tone.mp3", np.sin(np.arange(4000) / 9), 8000)
    script = (
        "import sys, tempfile\ntempfile._candidate_tempdir_list = lambda: ['/no/such/folder']\n"
        "from inrfit.__main__ import main\nmain()"
    )
    for words in (
        ["encode", "photo.tif", "tone.mp3", "--dry-run"],
        [*ENCODE, "-f"],
        ["decode", "photo.png.safetensors"],
    ):
        found = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        assert "inrfit: error" not in found.stderr


@pytest.mark.parametrize("suffix", ["glb", "ply", "stl", "obj"])
def test_libraries_do_not_warn(suffix, tmp_path, capfd):
    """Vertices that are not finite make NumPy warn in trimesh."""
    box = trimesh.creation.box((1, 1, 1))
    vertices = np.array(box.vertices, np.float32)
    vertices[3], vertices[5] = np.inf, -np.inf
    trimesh.Trimesh(vertices, box.faces, process=False).export(path := tmp_path / f"infinite.{suffix}")
    capfd.readouterr()
    assert run(["encode", str(path), "--dry-run"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("inrfit: error: ")


def test_a_warning_of_a_library_is_shown_with_debug_only(png, monkeypatch, capsys):
    import warnings

    from inrfit.modalities.image import formats

    original = formats.read

    def warning(*args):
        warnings.warn("something about a library", RuntimeWarning, stacklevel=1)
        return original(*args)

    monkeypatch.setattr(formats, "read", warning)
    assert run(["encode", str(png), "--dry-run"]) == 0
    assert capsys.readouterr().err == ""
    with pytest.warns(RuntimeWarning, match="something about a library"):
        assert run(["encode", str(png), "--dry-run", "--debug"]) == 0


@pytest.mark.parametrize("error", [RuntimeError("surprise"), MemoryError(), OSError(24, "Too many open files")])
@pytest.mark.parametrize("command", ["info", "decode", "encode"])
def test_any_failure_of_one_file_leaves_the_others(command, error, field, monkeypatch, capsys):
    names = ["photo.png", "second.png"] if command == "encode" else ["photo.png.safetensors", "second.safetensors"]
    Path(names[1]).write_bytes(Path(names[0]).read_bytes())
    original = files.read

    def read(path, limits, *more):
        if path == names[0]:
            raise error
        return original(path, limits, *more)

    monkeypatch.setattr(files, "read", read)
    more = ["--dry-run"] if command == "encode" else ["-o", "out/"] if command == "decode" else []
    capsys.readouterr()
    assert run([command, *names, *more]) == 7
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("inrfit: error: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"inrfit: error: {names[0]}: ")
    assert ("a bug in inrfit" in lines[0]) == isinstance(error, RuntimeError)
    assert names[1] in out + err


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null"])
def test_a_closed_standard_input_is_named_as_such(tmp_path, redirection):
    for words in (["info", "-"], ["encode", "-", "-q", "-o", "x.safetensors"], ["measure", "-", "photo.png"]):
        found = spawn(words, redirection, cwd=tmp_path)
        assert found.returncode == 3
        assert found.stderr.endswith(": there is nothing to read: standard input is closed, or /dev/null\n")
        assert found.stderr.count("\n") == 1
