"""How fast each architecture is trained and decoded, by torch and by the compiled kernel, under each instruction set.

A row is one architecture of its default size on one signal of noise, for which a step takes as long as for any other:
thousand points per second of whole optimiser steps, explicit by torch and as the recipe chooses, and of the network's
matrix products alone (three times its multiply-accumulates, as square products of its width by torch); the seconds of a
decode; and the milliseconds a batch that the default sampler takes to choose its points. All of a signal take turns in
one process; instruction sets have processes of their own.

python tests/bench/architecture_speed.py --instructions amx,avx512,avx2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from common import table
from throughput import ENVIRONMENTS

from inrfit.fields import FIELDS, FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.batch_queue import points_of_blocks, shuffled_blocks
from inrfit.fit.budget import Budget
from inrfit.fit.engine.step import Engine
from inrfit.kernel.library import VARIABLE
from inrfit.runtime import keep_freed_memory
from inrfit.samplers import Stream
from inrfit.samplers.learner import Learner
from inrfit.signal import IDENTITY, Grid, Signal

SIGNALS = {"picture": (512, 768), "sound": (264_600,), "volume": (64, 64, 64)}
STEPS, PRODUCTS, BUDGET = 8, 20, Budget(seconds=10.0)


@dataclass
class Measured:
    """The engines of one architecture on one signal, and the seconds of each thing measured."""

    engines: dict[str, Engine]
    batches: Iterator[torch.Tensor]
    learner: Learner
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, what: str, work: Callable[[], object]) -> None:
        """Adds the seconds of one call."""
        begun = time.perf_counter()
        work()
        self.seconds.setdefault(what, []).append(time.perf_counter() - begun)

    def median(self, what: str) -> float:
        """Median seconds of all calls but the first, which warms up."""
        return statistics.median(self.seconds[what][1:])


def engine(architecture: str, shape: tuple[int, ...], kind: str) -> Engine:
    """Steps on a signal of noise."""
    generator = torch.Generator().manual_seed(0)
    grid, known = Grid(shape), FIELDS[architecture]
    signal = Signal("image", torch.rand(grid.n, 3, generator=generator).numpy(), IDENTITY, {}, grid)
    spec = FieldSpec(architecture, len(shape), 3, known.TRAITS.width, known.TRAITS.depth, {})
    spec = spec.formula.sized(spec, shape, None)
    device = torch.device("cpu")
    chosen = recipe.choose(spec, device, recipe.UserChoices(engine=kind), budget=BUDGET).config
    return Engine(Field(spec, spec.formula.initial(spec, generator, torch.zeros(3))), signal.on(device), chosen)


def batches(learner: Learner, size: int) -> Iterator[torch.Tensor]:
    """Batches of points as a fit has them, without end."""
    while True:
        if learner.block_shape is not None:
            yield from (points_of_blocks(learner, column) for column in shuffled_blocks(learner, size).unbind(1))
        else:
            yield from (part for part in learner.permutation(learner.n).split(size) if part.shape[0] == size)


def made(architecture: str, shape: tuple[int, ...]) -> Measured:
    """Both engines of one architecture."""
    engines = {"torch": engine(architecture, shape, "analytic"), "chosen": engine(architecture, shape, "auto")}
    chosen = engines["chosen"]
    generator = torch.Generator().manual_seed(0)
    learner = Learner(chosen.field, chosen.samples, generator, chosen.config.dtype, batch=chosen.config.batch)
    return Measured(engines, batches(learner, chosen.config.batch), learner)


def products(of: Engine) -> Callable[[], object]:
    """The product of one hidden layer."""
    width, points = of.field.spec.width, of.config.batch
    x, w, out = (torch.randn(rows, width).to(of.config.dtype) for rows in (points, width, points))
    return lambda: torch.mm(x, w, out=out)


def turn(of: Measured) -> None:
    """One turn of one architecture."""
    chosen = of.engines["chosen"]
    for name, engine in of.engines.items():
        points = [next(of.batches) for _ in range(STEPS)]
        of.measure(name, lambda: [engine.step(indices, None, 1.0) for indices in points])  # noqa: B023
    product = products(chosen)
    of.measure("product", lambda: [product() for _ in range(PRODUCTS)])
    grid = chosen.samples.signal.grid
    assert grid is not None
    of.measure("decode", lambda: chosen.field.on_grid(grid, 0, grid.n))


def selections(of: Measured, rounds: int) -> tuple[float, int]:
    """Median seconds of a selection of the default sampler, and its batches. The first two make its map."""
    sampler, previous, learner = Stream(), None, of.learner
    for _ in range(rounds + 2):
        begun = time.perf_counter()
        previous = sampler.select(learner, previous)
        of.seconds.setdefault("selection", []).append(time.perf_counter() - begun)
        assert previous.indices is not None
        trained = previous.indices[: learner.batch]
        learner = dataclasses.replace(
            learner, trained_batches=[(trained, of.engines["chosen"].step(trained, None, 1.0))]
        )
    assert previous is not None
    assert previous.indices is not None
    return statistics.median(of.seconds["selection"][2:]), previous.indices.shape[0] // (learner.batch or 1)


def rows(signal: str, archs: list[str], rounds: int) -> list[dict[str, Any]]:
    """All architectures on one signal, in turns."""
    shape = SIGNALS[signal]
    all_measured = {architecture: made(architecture, shape) for architecture in archs}
    for _ in range(rounds + 1):
        for measured in all_measured.values():
            turn(measured)
    found = []
    for architecture, of in all_measured.items():
        chosen = of.engines["chosen"]
        spec, batch = chosen.field.spec, chosen.config.batch
        needed = of.median("product") / PRODUCTS * 3 * spec.macs / spec.width**2
        taken, batches = selections(of, rounds)
        found.append(
            {
                "signal": f"{signal} {'x'.join(map(str, shape))}",
                "architecture": architecture,
                "weights": spec.parameters,
                "engine": chosen.backend.describe(),
                "batch": batch,
                "torch kpoints/s": batch * STEPS / of.median("torch") / 1e3,
                "kpoints/s": batch * STEPS / of.median("chosen") / 1e3,
                "times torch": of.median("torch") / of.median("chosen"),
                "of the products": needed * STEPS / of.median("chosen"),
                "decode s": of.median("decode"),
                "sampler ms a batch": 1e3 * taken / batches,
            }
        )
    return found


def by_instructions(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of each instruction set, from processes of their own."""
    found: list[dict[str, Any]] = []
    for name in given.instructions.split(","):
        words = ["--archs", given.archs, "--signals", given.signals, "--rounds", str(given.rounds)]
        environment = os.environ | ENVIRONMENTS[name] | {VARIABLE: name}
        command = [sys.executable, __file__, *words]
        told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        found += [{"instructions": name} | row for row in json.loads(told.splitlines()[-1])["rows"]]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", default="siren,finer,asmr,grid,tiles")
    parser.add_argument("--signals", default=",".join(SIGNALS))
    parser.add_argument("--instructions", help="of the kernel, such as amx,avx2: rows for each")
    parser.add_argument("--rounds", type=int, default=9, help="turns of 8 steps and a decode")
    given = parser.parse_args()
    keep_freed_memory()
    if given.instructions:
        table(by_instructions(given))
    else:
        table([row for name in given.signals.split(",") for row in rows(name, given.archs.split(","), given.rounds)])
