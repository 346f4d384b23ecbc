"""Seconds from the command to the first optimiser step (at most 3 s), and of the commands that answer at once.

The time until the first step is bounded from above by the record's seconds of reading, starting torch, preparing,
evaluating and selecting, plus the seconds of the process that the record does not count: start and end of the
interpreter.

Commands that answer at once are run in turn with ``python -c pass``, with cached bytecode; the medians of their
differences must be at most 0.03 s for --version and 0.2 s for --help.

python tests/bench/startup.py
python tests/bench/startup.py --budget 60s shapes/bunny_oded_hr.obj
python tests/bench/startup.py --help-only
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, child, data, table

FILES = ("images/div2k/train/01.png", "audio/libri121/05.flac", "shapes/bunny_oded_hr.obj")
ROUNDS = 3
ANSWERS = {  # words: seconds beyond those of ``python -c pass``
    "--version": 0.03,
    "--help": 0.2,
    "encode --help": 0.2,
    "decode --help": 0.2,
    "info --help": 0.2,
    "compare --help": 0.2,
}
ANSWER_ROUNDS = 21


def first_step(source: Path, model: Path, budget: str) -> dict[str, float]:
    """Seconds of one ``encode`` until its first step, by part."""
    said, wall, _ = child("encode", str(source), "--budget", budget, "-o", str(model), "--force", "--json", "--quiet")
    record = json.loads(said)
    spent = record["spent"]
    outside = wall - record["seconds"]
    prepare, first = spent["prepare_seconds"], spent["first_step_seconds"]  # all from the same moment
    return {
        "to the first step s": outside + spent["read_seconds"] + first,
        "interpreter s": outside,
        "read s": spent["read_seconds"],
        "torch s": spent["startup_seconds"],
        "prepare s": prepare - spent["startup_seconds"],
        "evaluate, select s": first - prepare,
        "process s": wall,
    }


def row(name: str, rounds: list[dict[str, float]]) -> dict[str, Any]:
    """The median round, by its first column."""
    return {"command": name, **sorted(rounds, key=lambda found: next(iter(found.values())))[len(rounds) // 2]}


def rows(folder: Path, budget: str, sources: list[Path]) -> list[dict[str, Any]]:
    """All commands."""
    model = folder / "model.safetensors"
    made = [row(f"encode {s.name}", [first_step(s, model, budget) for _ in range(ROUNDS)]) for s in sources]
    empty = dict.fromkeys(list(made[0])[1:], "")
    walls = [child("info", str(model))[1] for _ in range(ROUNDS)]
    return [*made, {"command": "info", **empty, "process s": statistics.median(walls)}]


def answers(folder: Path) -> list[dict[str, Any]]:
    """Seconds of the commands that answer at once, beyond those of an empty interpreter in the same round."""
    places = {"PYTHONPYCACHEPREFIX": str(folder), "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
    environment = {**os.environ, **places, "PYTHONDONTWRITEBYTECODE": ""}

    def seconds(words: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    commands = {words: ["-m", "inrfit", *words.split()] for words in ANSWERS}
    for words in commands.values():
        seconds(words)  # writes the bytecode
    rounds = []
    for _ in range(ANSWER_ROUNDS):
        empty = seconds(["-c", "pass"])
        rounds.append({words: seconds(command) - empty for words, command in commands.items()})
    medians = {words: statistics.median(found[words] for found in rounds) for words in ANSWERS}
    least = {words: min(found[words] for found in rounds) for words in ANSWERS}
    return [
        {"command": words, "more s": medians[words], "least s": least[words], "at most s": most}
        for words, most in ANSWERS.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    # In seconds: then the precision is probed, as in most fits.
    parser.add_argument("--budget", default="5s")
    parser.add_argument("--help-only", action="store_true", help="only the commands that answer at once")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        table(answers(Path(place) / "bytecode"))
        if not given.help_only:
            table(rows(Path(place), given.budget, data(*given.files)))
