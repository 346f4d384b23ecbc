"""What kills.py and errors.py do inside of the process, done by the kernel to whole command lines: with strace."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys

import pytest
from made_files import picture

OLD = b"what was here before"
CALLS = {"fsync": "fsync", "rename": "rename,renameat,renameat2", "link": "link,linkat"}


def strace_works() -> bool:
    """Whether strace is there and may trace a process."""
    if shutil.which("strace") is None:
        return False
    tried = ["strace", "-qq", "-o", os.devnull, "-e", "inject=getppid:error=EPERM", "true"]
    return subprocess.run(tried, capture_output=True).returncode == 0


needs_strace = pytest.mark.skipif(not strace_works(), reason="strace is not installed, or may not trace processes")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with a picture and its field."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "photo.png").write_bytes(picture(".png"))
    words = ["encode", "photo.png", "-o", "kept.safetensors", "--width", "16", "--depth", "2", "--budget", "60it"]
    subprocess.run([sys.executable, "-m", "inrfit", *words, "--batch", "256", "-q"], cwd=folder, check=True)
    return folder


@pytest.fixture
def folder(sources, tmp_path):
    """A fresh copy of the sources."""
    return shutil.copytree(sources, tmp_path / "work")


def decode(folder, force, *before, **more):
    """``inrfit decode`` to new.png as a command line of its own, under the command ``before``."""
    words = [sys.executable, "-m", "inrfit", "decode", "kept.safetensors", "-o", "new.png", *["--force"] * force]
    return subprocess.run([*before, *words], cwd=folder, capture_output=True, text=True, **more)


def injected(call, what):
    """The command line of strace."""
    return ["strace", "-f", "-qq", "--seccomp-bpf", "-o", os.devnull, "-e", f"inject={CALLS[call]}:{what}"]


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(("call", "force"), [("fsync", True), ("link", False)])
def test_a_kill_at_a_call_leaves_old_or_new(folder, call, force):
    if force:
        (folder / "new.png").write_bytes(OLD)
    killed = decode(folder, force, *injected(call, "signal=KILL:when=1"))
    assert killed.returncode in (-9, 137)
    found = (folder / "new.png").read_bytes() if (folder / "new.png").exists() else None
    again = decode(folder, True)
    assert again.returncode == 0, again.stderr
    assert found in (OLD if force else None, (folder / "new.png").read_bytes())
    assert sorted(path.name for path in folder.iterdir()) == ["kept.safetensors", "new.png", "photo.png"]


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(("call", "error"), [("fsync", "EIO"), ("rename", "EDQUOT")])
def test_an_error_of_a_call_leaves_the_old_file_and_says_so(folder, call, error):
    (folder / "new.png").write_bytes(OLD)
    failed = decode(folder, True, *injected(call, f"error={error}:when=1"))
    assert failed.returncode == 4
    (line,) = (line for line in failed.stderr.splitlines() if "error" in line)
    assert line.startswith("inrfit: error: kept.safetensors: new.png: ")
    assert (folder / "new.png").read_bytes() == OLD
    assert sorted(path.name for path in folder.iterdir()) == ["kept.safetensors", "new.png", "photo.png"]


@needs_strace
@pytest.mark.slow
def test_an_interrupted_call_is_made_again(folder):
    assert decode(folder, False, *injected("fsync", "error=EINTR:when=1")).returncode == 0


@pytest.mark.slow
def test_a_file_larger_than_the_process_may_write_leaves_the_old_one(folder):
    (folder / "new.png").write_bytes(OLD)
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # noqa: E731
    failed = decode(folder, True, preexec_fn=small)
    assert failed.returncode == 4
    last = failed.stderr.splitlines()[-1]  # a slow machine tells its progress before
    assert last == "inrfit: error: kept.safetensors: new.png: file too large"
    assert (folder / "new.png").read_bytes() == OLD
