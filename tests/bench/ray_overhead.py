"""What Ray costs a part, against processes of this machine: the same plan is run by both in turn.

python tests/bench/ray_overhead.py --pairs 5

A plan has ``--parts`` parts of one field of about ten seconds, and ``--slots``. By the journals, *start* ends with the
first claim of a part, *fit* is from a claim to its commit (the mean), and *gap* from a commit to the next claim of the
same process (the longest): what the executor costs a part. The parts of both must be equal byte for byte.
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


def sources(folder: Path, count: int) -> None:
    """Pictures of 128x128."""
    folder.mkdir()
    y, x = np.mgrid[0:128, 0:128] / 128
    for k in range(count):
        planes = [120 + 80 * np.sin((9 + k) * x + c) * np.cos(7 * y) + 40 * (x > 0.5) for c in range(3)]
        Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)).save(folder / f"p{k}.png")


def run(folder: Path, pictures: Path, steps: int, slots: int, *words: str) -> dict[str, Any]:
    """One batch: its seconds, as above."""
    options = ["--budget", f"{steps}it", "--width", "64", "--depth", "3", "--sampler", "full", "--part-size", "1"]
    command = [sys.executable, "-m", "inrfit", "batch", "run", str(folder), str(pictures), *options]
    begun = time.time()
    subprocess.run([*command, "--workers", str(slots), "-q", *words], check=True)
    wall = time.time() - begun
    claims: list[float] = []
    fits: list[float] = []
    gaps: list[float] = []
    for path in (folder / "journal").iterdir():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        begins, ends = ([line["time"] for line in lines if line["event"] == event] for event in ("claim", "commit"))
        claims += begins
        fits += [end - begin for begin, end in zip(begins, ends, strict=True)]
        gaps += [begin - end for end, begin in zip(ends, begins[1:], strict=False)]
    return {"wall s": wall, "start s": min(claims) - begun, "fit s": statistics.mean(fits), "gap s": max(gaps)}


def hashes(folder: Path) -> list[str]:
    """The SHA-256 of each part."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("parts/*/*.safetensors"))]


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parts", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--slots", type=int, default=2)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        sources(folder / "pics", given.parts)
        for pair in range(given.pairs):
            executors = {"processes": [], "ray": ["--cluster", "local"]}
            found = {}
            for name in list(executors) if pair % 2 == 0 else reversed(executors):
                found[name] = run(folder / f"{name}{pair}", folder / "pics", given.steps, given.slots, *executors[name])
                rows.append({"pair": pair, "executor": name, **found[name]})
                print(rows[-1], file=sys.stderr, flush=True)
            assert hashes(folder / f"ray{pair}") == hashes(folder / f"processes{pair}")
            rows.append(
                {"pair": pair, "executor": "ray - processes"}
                | {key: found["ray"][key] - found["processes"][key] for key in found["ray"]}
            )
    for name in ("processes", "ray", "ray - processes"):
        of = [row for row in rows if row["executor"] == name]
        keys = ("wall s", "start s", "fit s", "gap s")
        rows.append(
            {"pair": "median", "executor": name} | {key: statistics.median(row[key] for row in of) for key in keys}
        )
    table(rows)


if __name__ == "__main__":
    main()
