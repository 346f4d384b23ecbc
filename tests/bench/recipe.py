"""What chose the hyperparameters of a SIREN: quality after equal steps (of 4,096 points), per choice, over
pictures, sounds and meshes.

python tests/bench/recipe.py --steps 190
python tests/bench/recipe.py --steps 700 --choice "as shipped" --choice "momentum 0.95" --seeds 2

A choice changes the recipe; rates are then multiplied, as always, by what the number of steps asks for
(``Recipe.boost``).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from typing import Any

import torch
from common import data, table

from inrfit.config import plan
from inrfit.config.settings import Settings
from inrfit.errors import Diverged
from inrfit.execution import choose_recipe
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.fitting import fit

FILES = (
    "images/div2k/train/01.png",
    "images/kodak/kodim05.png",
    "audio/libri121/05.flac",
    "audio/gt_bach.wav",
    "audio/trumpet_solo.ogg",
    "audio/guit_em9.flac",
    "shapes/armadillo.obj",
)

CHOICES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "before": {"adam_rate": 5e-4, "muon_rate": 1.2e-3, "momentum": 0.95},
    "momentum 0.95": {"momentum": 0.95},
    "Adam 5e-4": {"adam_rate": 5e-4},
    "Adam 7.5e-5": {"adam_rate": 7.5e-5},
    "Muon 1.2e-3": {"muon_rate": 1.2e-3},
    "Muon 2.7e-3": {"muon_rate": 2.7e-3},
    "Adam alone": {"muon_rate": 0.0, "adam_rate": 5e-4},
    "batch 2048": {"batch": 2048},
    "batch 8192": {"batch": 8192},
}


def quality(path: Any, changes: dict[str, Any], steps: int, seed: int, sampler: str) -> float:
    """Estimated quality after as many points as ``steps`` of the shipped batch; nan if it is worse than a constant."""
    settings = Settings(sampler=sampler, budget=f"{steps}it", precision="bf16")
    planned = plan.plan(path.read_bytes(), path.name, settings)
    device = torch.device("cpu")
    spec, shipped = choose_recipe(planned, device)
    chosen: recipe.Recipe = dataclasses.replace(shipped, **changes)
    budget = Budget(steps=steps * shipped.batch // chosen.batch)
    try:
        return fit(planned.signal, spec, planned.sampler, chosen, budget, device, seed).quality
    except Diverged:
        return float("nan")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=190)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("--choice", action="append", choices=CHOICES)
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    rows = []
    for name in given.choice or CHOICES:
        row: dict[str, Any] = {"choice": name}
        for source in data(*given.files):
            found = [quality(source, CHOICES[name], given.steps, seed, given.sampler) for seed in range(given.seeds)]
            row[source.name] = statistics.median(found)
        rows.append(row)
        print(row, flush=True)
    table(rows)
