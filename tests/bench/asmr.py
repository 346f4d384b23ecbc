"""ASMR against SIREN of the same depth and width: seconds, quality at equal seconds, cost over depth.

python tests/bench/asmr.py                        decode, and a pass over the grid while fitting, of 768x512 pixels
python tests/bench/asmr.py --kodak FOLDER         PSNR of every picture (or --only a few) after --seconds each
python tests/bench/asmr.py --cameraman FILE       3 to 7 levels with the paper's factors, --seconds each
python tests/bench/asmr.py --clips 2 3 4          two clips with each number of hidden layers, --seconds each

The two alternate in one run. Pictures are fitted by the command as a user runs it, everything at its default but
--arch, --width, --depth and --budget.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import child, data, table
from torch import Tensor
from volumes import CASES

from inrfit.artifact.loading import load
from inrfit.fields import FieldSpec
from inrfit.fields.asmr.asmr import Asmr
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.batch_queue import points_of_blocks, shuffled_blocks
from inrfit.fit.budget import Budget
from inrfit.fit.engine.step import Engine
from inrfit.modalities import MODALITIES
from inrfit.modalities.image import image
from inrfit.modalities.image.picture import Picture
from inrfit.runtime import keep_freed_memory, sleep_idle_threads
from inrfit.samplers.learner import Learner
from inrfit.signal import Grid

WIDTH, DEPTH, GRID = 256, 3, Grid((512, 768))
NAMES = ("siren", "asmr")

RADICES = ("8,8,8", "4,4,4,8", "8,2,2,2,8", "4,2,2,2,2,8", "2,2,2,2,2,2,8")
"""The paper's factors of a side of 512, by levels: 3 to 7."""


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def made(name: str, compiled: bool) -> tuple[Field, Engine, Learner]:
    """A fresh field on a made picture, with the engine that a fit of a minute gets."""
    device = torch.device("cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (GRID.n, 3), dtype=np.uint8)
    signal = image.to_signal("PNG", Picture(pixels.reshape(*GRID.shape, 3), "RGB")).named("image")
    spec = FieldSpec(name, 2, 3, WIDTH, DEPTH, {})
    spec = spec.formula.sized(spec, GRID.shape, None)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    chosen = recipe.choose(
        spec, device, recipe.UserChoices(engine="auto" if compiled else "analytic"), budget=Budget(seconds=60)
    ).config
    engine = Engine(Field(spec, weights), signal.on(device), chosen, wait_for_compiler=True)
    learner = Learner(engine.field, engine.samples, torch.Generator().manual_seed(0), chosen.dtype)
    return engine.field, engine, learner


def batches(learner: Learner, size: int) -> Iterator[Tensor]:
    """Every point of the grid once, as the fit deals them."""
    if learner.block_shape is not None:
        return (points_of_blocks(learner, column) for column in shuffled_blocks(learner, size).unbind(1))
    return iter(learner.permutation(learner.n).split(size))


def speed(rounds: int, compiled: bool) -> list[dict[str, Any]]:
    """Medians over rounds in which the architectures take turns."""
    taken: dict[tuple[str, str], list[float]] = {}
    parts = {name: made(name, compiled) for name in NAMES}
    for turn in range(rounds + 1):
        for name, (field, engine, learner) in parts.items():

            def a_pass(engine: Engine = engine, learner: Learner = learner) -> None:
                for indices in batches(learner, engine.config.batch):
                    engine.step(indices, None, 0.1)

            found = {"decode": seconds(lambda field=field: field.on_grid(GRID, 0, GRID.n)), "pass": seconds(a_pass)}
            for what, value in found.items() if turn else ():  # the first turn warms up
                taken.setdefault((name, what), []).append(value)
    median = {key: statistics.median(values) for key, values in taken.items()}
    rows = []
    for name in NAMES:
        spec = parts[name][0].spec
        rows.append(
            {
                "arch": name,
                "parameters": spec.parameters,
                "MACs": spec.macs,
                "sines": spec.sines,
                "decode ms": 1e3 * median[name, "decode"],
                "times faster": median["siren", "decode"] / median[name, "decode"],
                "batch": parts[name][1].config.batch,
                "pass ms": 1e3 * median[name, "pass"],
                "times faster ": median["siren", "pass"] / median[name, "pass"],
                "engine": parts[name][1].backend.describe(),
            }
        )
    return rows


def fitted(picture: Path, folder: str, name: str, budget: float, *words: str) -> tuple[dict[str, Any], Path]:
    """What encode says of a fit, and the file it wrote."""
    target = Path(folder) / "model.safetensors"
    said, _, _ = child(
        "encode", str(picture), "-o", str(target), "--force", "--quiet", "--json",
        "--arch", name, "--width", str(WIDTH), "--budget", f"{budget:g}s", *words,
    )  # fmt: skip
    return json.loads(said), target


def kodak(pictures: list[Path], budget: float) -> list[dict[str, Any]]:
    """One row a picture; the architectures take turns in going first."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for turn, picture in enumerate(pictures):
            row: dict[str, Any] = {"picture": picture.stem, "seconds": budget}
            for name in NAMES if turn % 2 else NAMES[::-1]:
                record, _ = fitted(picture, folder, name, budget, "--depth", str(DEPTH))
                row |= {name: record["quality"]["psnr"], f"{name} steps": record["spent"]["steps"]}
            rows.append({**row, "difference": row["asmr"] - row["siren"]})
    won = sum(row["difference"] >= 0 for row in rows)
    print(f"asmr is at least as good on {won} of {len(rows)}")
    return rows


def measured(record: dict[str, Any], target: Path, decodes: int) -> dict[str, Any]:
    """Size, cost, median seconds of a decode and quality of a fit."""
    artifact = load(str(target))
    field, spec = artifact.field(), artifact.spec
    domain_of = MODALITIES[artifact.modality].domain
    assert domain_of is not None
    grid = Grid(domain_of(artifact.meta, artifact.attachments).shape)
    times = [seconds(lambda: field.on_grid(grid, 0, grid.n)) for _ in range(decodes)]
    return {
        "arch": spec.architecture,
        "depth": spec.depth,
        "factors": spec.options.get("factors", ""),
        "parameters": spec.parameters,
        "MACs": spec.macs,
        "paper's MACs": spec.formula.paper_macs(spec) if isinstance(spec.formula, Asmr) else spec.macs,
        "sines": spec.sines,
        "decode ms": 1e3 * statistics.median(times[1:] or times),
        "steps": record["spent"]["steps"],
        "PSNR": record["quality"]["psnr"],
    }


def cameraman(picture: Path, budget: float) -> list[dict[str, Any]]:
    """One row for each number of levels, between rows of SIREN with as many layers."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for radices in RADICES:
            sides = radices.split(",")
            factors = ",".join(f"{side}x{side}" for side in sides)
            for name, words in (("siren", ()), ("asmr", ("-O", f"factors={factors}"))):
                record, target = fitted(picture, folder, name, budget, "--depth", str(len(sides) - 1), *words)
                rows.append({"levels": len(sides), **measured(record, target, 6), "fit s": budget})
    return rows


def clips(depths: list[int], budget: float) -> list[dict[str, Any]]:
    """One row for each depth of SIREN and of ASMR on two clips, at equal seconds."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("bigbuckbunny", "carphone"):
            source, options = data(CASES[name].file)[0], [w for o in CASES[name].options for w in ("-O", o)]
            for depth in depths:
                for arch in NAMES:
                    record, target = fitted(source, folder, arch, budget, "--depth", str(depth), *options)
                    rows.append({"clip": name, **measured(record, target, 1), "fit s": budget})
                    print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="SIREN's steps compiled, as in fits")
    parser.add_argument("--kodak", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures, such as kodim03")
    parser.add_argument("--cameraman", type=Path, metavar="FILE")
    parser.add_argument("--clips", type=int, nargs="+", metavar="DEPTH", help="two clips with each depth")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    keep_freed_memory()  # both as the command does
    sleep_idle_threads()
    if given.kodak:
        found = sorted(path for path in given.kodak.glob("*.png") if not given.only or path.stem in given.only)
        table(kodak(found, given.seconds))
    elif given.cameraman:
        table(cameraman(given.cameraman, given.seconds))
    elif given.clips:
        table(clips(given.clips, given.seconds))
    else:
        table(speed(given.rounds, given.compiled))
