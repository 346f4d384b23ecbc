"""What chose the architectures' rates: PSNR after equal steps, per architecture and pair of rates of Adam and Muon (0:
Adam everywhere), over the central crops of images.

python tests/bench/rates.py --arch wire --rates 5e-3:0 --rates 2e-3:4e-3
python tests/bench/rates.py --width 128 --batch 1024 --crop 128 --arch gauss   (a first look, seconds a fit)

``--factors 1,2`` tries every pair at so many times its rates: twice must not collapse. Settings of the architecture are
given with -O, the arithmetic with --precision.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from common import data, table
from PIL import Image

from inrfit.config import plan
from inrfit.config.plan import Settings
from inrfit.errors import Diverged
from inrfit.execution import choose_recipe
from inrfit.fields import FIELDS
from inrfit.fit.budget import Budget
from inrfit.fit.fitting import fit
from inrfit.io.options import parse_pairs

FILES = ("images/div2k/train/01.png", "images/kodak/kodim03.png", "images/kodak/kodim05.png")


def cropped(path: Path, side: int) -> bytes:
    """The middle of a picture, as PNG; all of it for 0."""
    if not side:
        return path.read_bytes()
    with Image.open(path) as picture:
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        buffer = io.BytesIO()
        picture.crop((left, top, left + side, top + side)).save(buffer, "PNG")
    return buffer.getvalue()


def quality(source: bytes, name: str, settings: Settings, rates: tuple[float, float], given: Any) -> tuple[float, bool]:
    """Estimated quality, and whether the guard had to step in."""
    planned = plan.plan(source, name, settings)
    spec, how = choose_recipe(planned, torch.device("cpu"))
    how = dataclasses.replace(how, adam_rate=rates[0], muon_rate=rates[1], boosted=False)
    try:
        made = fit(
            planned.signal, spec, planned.sampler, how, Budget(steps=given.steps), torch.device("cpu"), given.seed
        )
    except Diverged:
        return 0.0, True
    return made.quality, any("diverged" in note for note in made.notes)


def pairs(given: Any, name: str) -> list[tuple[float, float]]:
    """(Adam's, Muon's) rates to be tried with architecture ``name``."""
    tuned = FIELDS[name].TRAITS.hyperparameters
    asked = [tuple(map(float, pair.split(":"))) for pair in given.rates or ()]
    return [(a * f, m * f) for a, m in asked or [(tuned.adam_rate, tuned.muon_rate)] for f in given.factors]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", action="append", choices=FIELDS)
    parser.add_argument("--rates", action="append", help="Adam's:Muon's; default: the architecture's own")
    parser.add_argument("--factors", type=lambda text: [float(f) for f in text.split(",")], default=[1.0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--width", type=int)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sampler", default="uniform")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("-O", dest="options", action="append", default=[])
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    rows = []
    for name in given.arch or FIELDS:
        settings = Settings(
            sampler=given.sampler, arch=name, width=given.width, depth=given.depth, batch=given.batch,
            precision=given.precision, options=parse_pairs(given.options), budget=f"{given.steps}it",
        )  # fmt: skip
        for rates in pairs(given, name):
            row: dict[str, Any] = {"arch": " ".join([name, *given.options]), "adam": rates[0], "muon": rates[1]}
            begun, astray = time.perf_counter(), 0
            for source in data(*given.files):
                row[source.stem], stepped_in = quality(cropped(source, given.crop), source.name, settings, rates, given)
                astray += stepped_in
            row["mean"] = statistics.mean(row[Path(source).stem] for source in given.files)
            row |= {"astray": astray, "seconds": time.perf_counter() - begun}
            rows.append(row)
            print({key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
    table(rows)
