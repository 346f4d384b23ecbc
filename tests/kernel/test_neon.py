"""The NEON code, compiled for another processor and run by an emulator (untimed)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from inrfit.kernel.build import FLAGS, SOURCES

ROOT = Path(__file__).resolve().parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None,
    reason="no cross-compiler and emulator (Debian: g++-aarch64-linux-gnu, qemu-user)",
)
def test_neon_equals_the_formulas(tmp_path):
    sources = [ROOT / SOURCES / name for name in ("neon.cpp", "kernel.cpp")]
    sources.append(Path(__file__).with_name("neon_check.cpp"))
    program = tmp_path / "check"
    flags = [*FLAGS, "-DINRFIT_NEON", f"-I{ROOT / SOURCES}", "-static", "-pthread"]
    made = subprocess.run([COMPILER, *flags, *map(str, sources), "-o", str(program)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([EMULATOR, str(program)], capture_output=True, text=True)
    assert done.stdout.startswith("neon\nlargest relative error")
    assert done.returncode == 0, done.stdout
