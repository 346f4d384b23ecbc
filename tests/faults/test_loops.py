"""A short share of each loop. docs/reliability.md has the commands and the figures of the full ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def report_of(loop: str, *options: str) -> dict:
    """The report of a loop, which is a process of its own: what other tests import and start does not matter to it."""
    command = [sys.executable, str(HERE / f"{loop}.py"), *options]
    folder = next(path for path in ("/dev/shm", tempfile.gettempdir()) if os.access(path, os.W_OK))  # syncs are slow
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TMPDIR": folder})
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loop", "count"),
    [("kills", 12), ("errors", 12), ("readers", 75), ("models", 12), ("parts", 65), ("signals", 8), ("batch_kills", 8)],
)
def test_a_short_share_finds_nothing(loop, count):
    report = report_of(loop, "--count", str(count), *["--busy", "1"] * (loop == "signals"))
    assert report["finds"] == []
    assert report["cases"] == count
    assert loop != "kills" or report["exit -9"] >= 8
    assert loop != "batch_kills" or report["exit -9"] >= 6
