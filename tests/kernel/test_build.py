"""The package is built with its compiled kernel, or says that it is built without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from inrfit.kernel import build

ROOT = Path(__file__).resolve().parents[2]

has_compiler = pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler")


@pytest.fixture
def tree(tmp_path):
    """A copy of what the package is built from."""
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "built")
    shutil.copytree(ROOT / "inrfit", tree / "inrfit", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    return tree


def hooked(tree):
    """What the hook tells hatchling, and the user."""
    said, data = [], {"artifacts": [], "pure_python": True}
    app = SimpleNamespace(display_warning=said.append, display_info=said.append)
    hook = build.KernelBuildHook(str(tree), {}, None, None, str(tree), "wheel", app)
    hook.initialize("standard", data)
    return data, said


def fake_compiler(folder, script):
    path = folder / "g++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_compiler_it_is_built_without_and_says_so(tree, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    data, said = hooked(tree)
    assert data == {"artifacts": [], "pure_python": True}
    assert said == [
        "inrfit is built without its compiled kernel, and slower: there is no C++ compiler (g++, clang++, c++)"
    ]


@pytest.mark.parametrize(
    "script", ["echo 'error: it is ill' >&2; exit 1", "printf '\\377error: it is ill' >&2; exit 1"]
)
def test_a_compiler_that_fails_is_quoted(tree, tmp_path, monkeypatch, script):
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, script))
    data, said = hooked(tree)
    assert data["pure_python"]
    assert said[0].endswith("error: it is ill")


def test_a_processor_without_code_is_named(tree, monkeypatch):
    monkeypatch.setattr(build.platform, "machine", lambda: "riscv64")
    assert "riscv64" in hooked(tree)[1][0]


@pytest.mark.slow
@has_compiler
def test_what_a_compiler_does_not_know_is_left_out(tree, tmp_path, monkeypatch):
    sets = build.INSTRUCTION_SETS.get(os.uname().machine, {})
    if len(sets) < 2:
        pytest.skip("this processor has one instruction set")
    real = build.compiler_command()[0]
    script = f'case "$*" in *avx512*) echo "error: unknown option" >&2; exit 1;; esac; exec {real} "$@"'
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, script))
    assert build.compile_library(tree) == ["avx2"]
    code = "from inrfit.kernel import library; print(library.available())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tree, env=environment(tree))
    assert told.stdout in ("('avx2',)\n", "()\n")


def environment(tree):
    return {**os.environ, "PYTHONPATH": str(tree)}


FIT = """
import json, sys, numpy as np, inrfit
from inrfit.kernel import library
pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
fitted = inrfit.encode(pixels, width=32, depth=3, budget="60it", device="cpu", precision="fp32")
print(json.dumps([inrfit.__file__, library.available(), fitted.provenance["settings"]["engine"]]))
"""


@pytest.mark.slow
@has_compiler
def test_a_wheel_has_the_kernel_and_runs_it_where_there_is_no_compiler(tree, tmp_path):
    """Unpacked, as pip does, and found before the checkout."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as packed:
        assert not [name for name in packed.namelist() if "/src/" in name]
        packed.extractall(site)
    told = subprocess.run(
        [sys.executable, "-c", FIT], capture_output=True, text=True, cwd=tmp_path, env={**environment(site), "PATH": ""}
    )
    assert told.returncode == 0, told.stderr
    path, sets, engine = json.loads(told.stdout)
    assert path.startswith(str(site))
    assert sets
    assert engine.startswith("kernel (")


def test_a_compiler_command_that_cannot_be_read_is_quoted(tree, monkeypatch):
    monkeypatch.setenv("CXX", "g++ 'x")
    assert "No closing quotation" in hooked(tree)[1][0]
