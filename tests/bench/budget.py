"""How exactly a budget is kept: fits of 5, 10 and 30 s, on the machine as it is and beside other work.

The budget's clock runs from the moment the raw data are in memory until the last weights are there, evaluations and
compilation included; asked is max(0.5 s, 2 %). ``--load N`` adds a round beside N processes that multiply matrices, one
core each; where they leave no time for a single step, the row says so (``encode`` ends with exit code 6 then).

python tests/bench/budget.py --load 2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import child, data, table

FILES = ("images/div2k/train/01.png", "audio/libri121/05.flac", "shapes/bunny_oded_hr.obj")
BUDGETS = (5, 10, 30)
BURNER = "import torch\ntorch.set_num_threads(1)\na = torch.rand(1024, 1024)\nwhile True: a = torch.tanh(a @ a)"


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Other work while the block runs."""
    burners = [subprocess.Popen([sys.executable, "-c", BURNER]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()


def row(source: Path, seconds: int, processes: int, model: str) -> dict[str, Any]:
    """One fit."""
    found: dict[str, Any] = {"file": source.name, "other processes": processes, "budget s": seconds}
    try:
        with load(processes):
            said, wall, _ = child("encode", str(source), "--budget", f"{seconds}s", "-o", model, "-f", "--json", "-q")
    except SystemExit as failed:
        return found | {"kept": f"nothing learned (exit code {str(failed).rpartition(' ')[2]})"}
    spent = json.loads(said)["spent"]
    over = spent["fit_seconds"] - seconds
    return found | {
        "fit s": spent["fit_seconds"],
        "over s": over,
        "allowed s": max(0.5, 0.02 * seconds),
        "kept": "yes" if over <= max(0.5, 0.02 * seconds) else "NO",
        "steps": spent["steps"],
        "whole command s": wall,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=int, default=2, help="processes in the busy round")
    given = parser.parse_args()
    rounds = (0, given.load) if given.load else (0,)
    with tempfile.TemporaryDirectory() as place:
        model = str(Path(place) / "model.safetensors")
        rows = [row(path, seconds, busy, model) for busy in rounds for path in data(*FILES) for seconds in BUDGETS]
        everything = dict.fromkeys(rows[0], "")
        table([everything | found for found in rows])
