"""How good fields of scattered samples are between them: made functions, known at other points too.

Each function is sampled at random points of its box, fitted, and compared with itself at 4,000 points inside it. ``at``
is the PSNR at the samples, ``between`` that at the other points, over the range of the values. Beside the fields stand
interpolation on Delaunay triangles (``linear``; between neighbours in one dimension) and by thin plates through the 50
nearest samples (``plates``; scipy; a cubic spline in one dimension).

``--processor`` counts seconds of the processor in one thread, for a machine that others use as well. ``--common``
gives all axes the scale of the longest one.

python tests/bench/scattered.py --budget 5s --archs siren,grid,pemlp,tiles
python tests/bench/scattered.py --processor --archs siren:width=256:first_omega=30:omega=30 franke fronts chirp
python tests/bench/scattered.py --processor --common --archs siren,grid waves depth
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

if "--processor" in sys.argv:
    time.monotonic = time.process_time  # before inrfit takes it for its clock

from common import machine, table
from scipy.interpolate import CubicSpline, LinearNDInterpolator, RBFInterpolator

import inrfit
from inrfit.errors import InrfitError

OTHERS, MARGIN = 4000, 0.03
"""Points at which the function itself is compared, and their distance from the border of the box."""

MOST_PLATES = 50_000
"""Most samples that are interpolated for comparison."""

Array = np.ndarray


def franke(p: Array) -> Array:
    """Franke's function: four smooth hills (the usual test of scattered interpolation)."""
    x, y = 9 * p.T
    hills = 0.75 * np.exp(-((x - 2) ** 2 + (y - 2) ** 2) / 4) + 0.75 * np.exp(-((x + 1) ** 2) / 49 - (y + 1) / 10)
    return hills + 0.5 * np.exp(-((x - 7) ** 2 + (y - 3) ** 2) / 4) - 0.2 * np.exp(-((x - 4) ** 2) - (y - 7) ** 2)


def fronts(p: Array) -> Array:
    """Waves that become shorter, and a front."""
    x, y = p.T
    return np.sin(40 * x * y + 9 * y) + 0.6 * np.tanh(30 * (y - 0.5 - 0.2 * np.sin(7 * x))) + 0.3 * np.cos(60 * x)


def layers(p: Array) -> Array:
    """Folded layers: one axis changes many times faster than the others."""
    x, y, z = p.T
    return np.sin(2 * np.pi * (12 * z + 0.6 * np.sin(3 * x) + 0.4 * np.cos(4 * y))) + 0.5 * x * y


def chirp(p: Array) -> Array:
    """A tone that rises and fades."""
    (t,) = p.T
    return np.sin(2 * np.pi * (3 * t + 9 * t * t)) * np.exp(-t)


def waves(p: Array) -> Array:
    """Plane waves of all directions."""
    chance, total = np.random.default_rng(1), np.zeros(len(p))
    for _ in range(12):
        direction = chance.normal(size=p.shape[1])
        direction *= 6 * chance.uniform(0.3, 1) / np.linalg.norm(direction)
        total += np.sin(p @ direction + chance.uniform(0, 2 * np.pi)) / 4
    return total


def depth(p: Array) -> Array:
    """Folded layers in a wide and shallow box."""
    x, y, z = p.T
    return np.sin(2 * np.pi * (4 * z + 0.5 * np.sin(0.4 * x) + 0.4 * np.cos(0.5 * y)))


@dataclass(frozen=True)
class Case:
    """A function on a ``box``, and the number of its samples; ``noise`` is relative to its range."""

    function: Callable[[Array], Array]
    samples: int
    box: tuple[float, ...] = (1, 1)
    noise: float = 0.0


CASES = {
    "franke 500": Case(franke, 500),
    "franke 5k": Case(franke, 5000),
    "noisy 5k": Case(franke, 5000, noise=0.05),
    "fronts 2k": Case(fronts, 2000),
    "fronts 20k": Case(fronts, 20_000),
    "fronts 60k": Case(fronts, 60_000),
    "chirp 300": Case(chirp, 300, (1,)),
    "waves 3k": Case(waves, 3000, (8, 1)),
    "depth 4k": Case(depth, 4000, (10, 10, 1)),
    "layers 20k": Case(layers, 20_000, (1, 1, 1)),
    "layers 200k": Case(layers, 200_000, (1, 1, 1)),
}


def decibels(found: Array, truth: Array) -> float:
    """PSNR over the range of ``truth``."""
    return float(10 * np.log10(np.ptp(truth) ** 2 / max(float(np.nanmean((found - truth) ** 2)), 1e-30)))


def interpolated(coords: Array, values: Array, places: Array) -> dict[str, Array]:
    """The values between samples by other means."""
    if coords.shape[1] == 1:
        order = np.argsort(coords[:, 0])
        known = coords[order, 0], values[order]
        return {"linear": np.interp(places[:, 0], *known), "plates": CubicSpline(*known)(places[:, 0])}
    if len(coords) > MOST_PLATES:
        return {}
    linear, plates = LinearNDInterpolator(coords, values), RBFInterpolator(coords, values, neighbors=50)
    return {"linear": linear(places), "plates": plates(places)}


def rows(name: str, archs: list[str], budget: str, seed: int, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """A fit for each architecture, and the other means."""
    case, chance = CASES[name], np.random.default_rng(seed)
    coords = case.box * chance.uniform(0, 1, (case.samples, len(case.box)))
    places = case.box * chance.uniform(MARGIN, 1 - MARGIN, (OTHERS, len(case.box)))
    truth, values = case.function(places), case.function(coords)
    values = values + case.noise * np.ptp(values) * chance.normal(size=len(values))
    lines = []
    for text in archs:
        arch, *pairs = text.split(":")
        options = dict(pair.split("=") for pair in pairs)
        own = {key: int(options.pop(key)) for key in ("width", "depth", "params") if key in options}
        try:
            field = inrfit.encode(
                coords=coords, values=values, arch=arch, options=options, budget=budget, seed=seed, **own, **settings
            )
        except InrfitError as error:
            print(f"{name}, {text}: {error}", flush=True)
            continue
        between = decibels(field.query(points=places)[:, 0], truth)
        lines.append(
            {"function": name, "method": text, "at": field.quality["psnr"], "between": between,
             "steps": field.provenance["spent"]["steps"], "parameters": field.spec.parameters}
        )  # fmt: skip
        print(lines[-1], file=sys.stderr, flush=True)
    for method, found in interpolated(coords, values, places).items():
        lines.append({"function": name, "method": method, "between": decibels(found, truth)})
    return lines


def scale_in_common() -> None:
    """Gives all axes the scale of the longest one."""
    from inrfit.modalities.points import domain, meta, points

    own = meta.centre_and_halves
    for module in (domain, points):
        module.centre_and_halves = lambda known: (own(known)[0], np.full_like(own(known)[1], own(known)[1].max()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="5s")
    parser.add_argument("--archs", default="siren,grid,pemlp,tiles")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processor", action="store_true", help="seconds of the processor, in one thread")
    parser.add_argument("--common", action="store_true", help="one scale for all axes")
    parser.add_argument("functions", nargs="*", help=f"beginnings of names; of {', '.join(CASES)}")
    given = parser.parse_args()
    print(machine(), flush=True)
    if given.common:
        scale_in_common()
    options: dict[str, Any] = {"threads": 1} if given.processor else {}
    every = []
    for one in CASES:
        if not given.functions or any(one.startswith(start) for start in given.functions):
            every += rows(one, given.archs.split(","), given.budget, given.seed, options)
    table(every)
