"""What chose the constants of recipe.py: quality after equal taught points, per choice, over images and seeds.

python tests/bench/recipe.py --points 4096000 --seeds 2
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from typing import Any

import torch
from common import data, table

from inrfit import plan, recipe
from inrfit.budget import Budget
from inrfit.fit import fit
from inrfit.settings import Settings

FILES = ("images/div2k/train/01.png", "images/kodak/kodim03.png", "images/kodak/kodim05.png")

CHOICES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "Adam alone": {"muon_rate": 0.0},
    "batch 2048": {"batch": 2048},
    "batch 4096": {"batch": 4096},
    "batch 8192": {"batch": 8192},
    "Muon 1e-3": {"muon_rate": 1e-3},
    "Muon 1.5e-3": {"muon_rate": 1.5e-3},
    "Muon 3e-3": {"muon_rate": 3e-3},
    "Adam part 2e-3": {"adam_rate": 2e-3},
}


def quality(path: Any, changes: dict[str, Any], points: int, seed: int, sampler: str) -> float:
    """Estimated quality after ``points`` taught points."""
    planned = plan.plan(path.read_bytes(), path.name, Settings(sampler=sampler))
    device = torch.device("cpu")
    spec = dataclasses.replace(planned.spec, options=recipe.architecture_options(planned.signal, "siren"))
    chosen = dataclasses.replace(recipe.choose(spec, device), **changes)
    steps = Budget(steps=points // chosen.batch)
    return fit(planned.signal, spec, planned.sampler, chosen, steps, device, seed).quality


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=4_096_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sampler", default="nint")
    parser.add_argument("--choice", action="append", choices=CHOICES)
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    rows = []
    for name in given.choice or CHOICES:
        row: dict[str, Any] = {"choice": name}
        for source in data(*given.files):
            found = [quality(source, CHOICES[name], given.points, seed, given.sampler) for seed in range(given.seeds)]
            row[source.name] = statistics.median(found)
        rows.append(row)
        print(row, flush=True)
    table(rows)
