"""Short budgets on a machine with other work: the quality that ``encode`` reaches beside busy processes.

The rows alternate over the rounds, and each is a whole command. With 6 busy processes on two cores, ``5s --clock fit``
must reach 24 dB on the 512x512 photograph, and ``15s`` 28 dB.

python tests/bench/busy.py
python tests/bench/busy.py --processes 0 --batch 4096
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import data, machine, table

FILE = "images/other/astronaut.png"
BUDGETS = ("2s", "3s", "5s", "5s --clock fit", "8s", "15s")


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Within the context so many other processes compute."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def quality(source: Path, folder: Path, words: list[str]) -> tuple[float, int, float]:
    """Quality, steps, and seconds until torch was started; the quality is NaN if there is no field."""
    command = [sys.executable, "-m", "inrfit", "encode", str(source), "-o", str(folder / "field.safetensors"), "-f"]
    made = subprocess.run([*command, *words, "--json", "-q"], stdout=subprocess.PIPE, text=True)
    record = json.loads(made.stdout)
    if not record["ok"]:
        return float("nan"), 0, float("nan")
    return record["quality"]["psnr"], record["spent"]["steps"], record["spent"]["startup_seconds"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", default="auto")
    parser.add_argument("--arch", default="siren")
    parser.add_argument("--budgets", default=",".join(BUDGETS))
    given = parser.parse_args()
    (source,) = data(FILE)
    print(machine() | {"busy processes": given.processes}, flush=True)
    found: dict[str, list[tuple[float, int, float]]] = {budget: [] for budget in given.budgets.split(",")}
    with tempfile.TemporaryDirectory() as folder, busy(given.processes):
        for _ in range(given.rounds):
            for budget, results in found.items():
                words = ["--budget", *budget.split(), "--batch", given.batch, "--arch", given.arch]
                results.append(quality(source, Path(folder), words))
                print(budget, results[-1], file=sys.stderr, flush=True)
    rows: list[dict[str, Any]] = [
        {
            "budget": budget,
            "dB, median": statistics.median(psnr for psnr, _, _ in results),
            "least dB": min(psnr for psnr, _, _ in results),
            "steps": statistics.median(steps for _, steps, _ in results),
            "starting torch, s": statistics.median(seconds for _, _, seconds in results),
        }
        for budget, results in found.items()
    ]
    table(rows)
