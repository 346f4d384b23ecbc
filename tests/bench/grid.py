"""Feature grids against SIREN 5x256 in one process, alternating: points per second of a step, seconds of a decode.

The grid has the size it gets by itself: as many bytes in half precision as the SIREN. Steps are explicit and in the
arithmetic that the recipe finds; batches are each architecture's own; no file is needed.

python tests/bench/grid.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from common import table

from inrfit.fields import FIELDS, FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine.step import Engine
from inrfit.runtime import keep_freed_memory
from inrfit.signal import IDENTITY, Grid, Signal

SIGNALS = {"picture": (512, 768), "sound": (264_600,), "volume": (64, 64, 64)}


def engine(architecture: str, shape: tuple[int, ...]) -> Engine:
    """Steps on a signal of noise, for which they take as long as for any other."""
    import torch

    generator = torch.Generator().manual_seed(0)
    grid = Grid(shape)
    values = torch.rand(grid.n, 3, generator=generator).numpy()
    signal = Signal("image", values, IDENTITY, {}, grid)
    known = FIELDS[architecture]
    spec = FieldSpec(architecture, len(shape), 3, known.TRAITS.width, known.TRAITS.depth, {})
    spec = spec.formula.sized(spec, shape, None)
    chosen = recipe.choose(
        spec, torch.device("cpu"), recipe.UserChoices(engine="analytic"), budget=Budget(seconds=10.0)
    ).config
    weights = spec.formula.initial(spec, generator, torch.zeros(3))
    return Engine(Field(spec, weights), signal.on(torch.device("cpu")), chosen)


def step(of: Engine) -> float:
    """Points per second of one step at random points."""
    import torch

    indices = torch.randint(of.samples.signal.n, (of.config.batch,))
    begun = time.perf_counter()
    of.step(indices, None, 1.0)
    return of.config.batch / (time.perf_counter() - begun)


def decode(of: Engine) -> float:
    """Seconds for the whole raster."""
    grid = of.samples.signal.grid
    assert grid is not None
    begun = time.perf_counter()
    of.field.on_grid(grid, 0, grid.n)
    return time.perf_counter() - begun


def rows(name: str, shape: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Both architectures on one signal."""
    engines = {architecture: engine(architecture, shape) for architecture in ("siren", "grid")}
    steps: dict[str, list[float]] = {architecture: [] for architecture in engines}
    decodes: dict[str, list[float]] = {architecture: [] for architecture in engines}
    for turn in range(rounds + 1):
        for architecture, of in engines.items():
            found = [step(of) for _ in range(8)]
            taken = decode(of) if turn % 3 == 0 else None
            if turn:  # the first turn warms up
                steps[architecture] += found
                decodes[architecture] += [] if taken is None else [taken]
    return [
        {
            "signal": f"{name} {'x'.join(map(str, shape))}",
            "architecture": architecture,
            "weights": of.field.spec.parameters,
            "precision": of.config.precision,
            "batch": of.config.batch,
            "kpoints/s": statistics.median(steps[architecture]) / 1e3,
            "decode s": statistics.median(decodes[architecture]),
        }
        for architecture, of in engines.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of 8 steps; every third also decodes")
    given = parser.parse_args()
    keep_freed_memory()
    table([row for name, shape in SIGNALS.items() for row in rows(name, shape, given.rounds)])
