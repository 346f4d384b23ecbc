"""From the command to the first optimiser step, which must take at most 3 s; and the commands that answer at once.

Until the first step is bounded from above by what the record says of reading, starting torch, preparing, evaluating and
selecting, plus the seconds of the process that the record does not count: the interpreter's start and its end.

python tests/bench/startup.py
python tests/bench/startup.py --budget 60s shapes/bunny_oded_hr.obj
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import child, data, table

FILES = ("images/div2k/train/01.png", "audio/libri121/05.flac", "shapes/bunny_oded_hr.obj")
ROUNDS = 3


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
    for words in (["--version"], ["--help"], ["info", str(model)]):
        walls = [child(*words)[1] for _ in range(ROUNDS)]
        made.append({"command": words[0], **empty, "process s": statistics.median(walls)})
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    # In seconds: then the precision is probed, as in most fits.
    parser.add_argument("--budget", default="5s")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        table(rows(Path(place), given.budget, data(*given.files)))
