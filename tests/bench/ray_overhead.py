"""What Ray costs a part, against processes of this machine: the same plan is run by both in turn.

python tests/bench/ray_overhead.py --pairs 5

A plan has ``--parts`` parts of one field of about ten seconds, and two slots. Seconds a part are those from the first
claim to the last commit, times slots by parts; the start is what comes before. The parts of both must be equal byte for
byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import table
from PIL import Image

SLOTS = 2


def sources(folder: Path, count: int) -> None:
    """Pictures of 128x128."""
    folder.mkdir()
    y, x = np.mgrid[0:128, 0:128] / 128
    for k in range(count):
        planes = [120 + 80 * np.sin((9 + k) * x + c) * np.cos(7 * y) + 40 * (x > 0.5) for c in range(3)]
        Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)).save(folder / f"p{k}.png")


def run(folder: Path, pictures: Path, steps: int, *words: str) -> dict[str, Any]:
    """One batch: seconds until the first claim, a part, and of the parts themselves."""
    options = ["--budget", f"{steps}it", "--width", "64", "--depth", "3", "--sampler", "full", "--part-size", "1"]
    command = [sys.executable, "-m", "inrfit", "batch", "run", str(folder), str(pictures), *options]
    begun = time.time()
    subprocess.run([*command, "--workers", str(SLOTS), "-q", *words], check=True)
    wall = time.time() - begun
    lines = [json.loads(line) for path in (folder / "journal").iterdir() for line in path.read_text().splitlines()]
    claims = [line["time"] for line in lines if line["event"] == "claim"]
    commits = [line for line in lines if line["event"] == "commit"]
    span = max(line["time"] for line in commits) - min(claims)
    return {
        "wall s": wall,
        "start s": min(claims) - begun,
        "s a part": span * SLOTS / len(commits),
        "of it fitting": statistics.mean(line["seconds"] for line in commits),
    }


def hashes(folder: Path) -> list[str]:
    """The SHA-256 of each part."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("parts/*/*.safetensors"))]


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parts", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        sources(folder / "pics", given.parts)
        for pair in range(given.pairs):
            executors = {"processes": [], "ray": ["--cluster", "local"]}
            found = {}
            for name in list(executors) if pair % 2 == 0 else reversed(executors):
                found[name] = run(folder / f"{name}{pair}", folder / "pics", given.steps, *executors[name])
                rows.append({"pair": pair, "executor": name, **found[name]})
                print(rows[-1], file=sys.stderr, flush=True)
            assert hashes(folder / f"ray{pair}") == hashes(folder / f"processes{pair}")
            rows.append(
                {"pair": pair, "executor": "ray - processes"}
                | {key: found["ray"][key] - found["processes"][key] for key in found["ray"]}
            )
    for name in ("processes", "ray", "ray - processes"):
        of = [row for row in rows if row["executor"] == name]
        keys = ("wall s", "start s", "s a part", "of it fitting")
        rows.append(
            {"pair": "median", "executor": name} | {key: statistics.median(row[key] for row in of) for key in keys}
        )
    table(rows)


if __name__ == "__main__":
    main()
