"""Decoding against its arithmetic: a 768x512 RGB picture from a SIREN 5x256 of random weights.

The floor is what the products and the sines alone would take at the rates that this process reaches on them, measured
in turn with the decoding; the aim is at most 1.5 times that. The command is measured as a child, with the memory it
needs on top of a 16x16 picture's.

python tests/bench/decode.py [--large]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import child, table

from inrfit import codec
from inrfit.artifact.artifact import Artifact
from inrfit.fields import FieldSpec
from inrfit.modalities.image import image
from inrfit.modalities.image.picture import Picture
from inrfit.runtime import keep_freed_memory, sleep_idle_threads

ROUNDS = 7
SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768)
"""Rows of the matrices that the rates are measured on: the fastest counts."""

PER_RATE = 32_768
"""Points behind every measurement of a rate."""


def artifact(width: int, height: int) -> Artifact:
    """A fresh, untaught field for a picture of this size."""
    import torch

    spec = FieldSpec("siren", 2, 3, 256, 5, {"omega": 30.0, "first_omega": 30.0})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    meta = image.to_signal("PNG", Picture(np.eye(3, dtype=np.uint8)[None] * np.uint8(255), "RGB")).meta
    meta = {**meta, "width": width, "height": height}
    provenance = {
        **dict.fromkeys(("inrfit", "torch", "numpy", "python", "platform", "device"), "benchmark"),
        "threads": torch.get_num_threads(),
        "created": "2030-01-31T12:00:00+00:00",
        "source": {"name": "random weights", "bytes": 0, "sha256": "0" * 64},
        "samples": width * height,
        "sampler": {"name": "none", "options": {}},
        "settings": {},
        "budget": {"seconds": None, "steps": 0, "target": None},
        "spent": {"fit_seconds": 0.0, "steps": 0, "points": 0, "origin": {}},
        "ended": "steps",
        "target_reached": None,
        "notes": [],
    }
    return Artifact(spec, {k: w.numpy() for k, w in weights.items()}, "image", meta, provenance, {})


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def arithmetic(width: int) -> dict[str, dict[int, Callable[[], None]]]:
    """Products and sines over PER_RATE points, ``width`` wide, by the rows that are done at a time."""
    import torch

    made: dict[str, dict[int, Callable[[], None]]] = {"products": {}, "sines": {}}
    matrix = torch.rand(width, width) - 0.5
    for rows in SIZES:
        left, out = torch.rand(rows, width) * 8 - 4, torch.empty(rows, width)

        def products(left: Any = left, out: Any = out) -> None:
            for _ in range(PER_RATE // left.shape[0]):
                torch.mm(left, matrix, out=out)

        def sines(left: Any = left, out: Any = out) -> None:
            for _ in range(PER_RATE // left.shape[0]):
                torch.sin(left, out=out)

        made["products"][rows], made["sines"][rows] = products, sines
    return made


def against_the_floor(model: Artifact) -> dict[str, Any]:
    """codec.decode in this process, and the rates, in turn."""
    spec = model.spec
    work = arithmetic(spec.width)
    taken: dict[Any, list[float]] = {}
    for turn in range(ROUNDS + 1):
        found: dict[Any, float] = {"decode": seconds(lambda: codec.decode(model))}
        found |= {(kind, rows): seconds(do) for kind, by_rows in work.items() for rows, do in by_rows.items()}
        for key, value in found.items() if turn else ():  # the first turn warms up
            taken.setdefault(key, []).append(value)
    median = {key: statistics.median(values) for key, values in taken.items()}
    fastest = {kind: min(median[kind, rows] for rows in SIZES) for kind in work}
    flops = 2 * spec.width**2 * PER_RATE / fastest["products"]
    sines = spec.width * PER_RATE / fastest["sines"]
    points = model.meta["width"] * model.meta["height"]
    floor = points * (2 * spec.macs / flops + spec.width * spec.depth / sines)
    return {
        "decode s": median["decode"],
        "floor s": floor,
        "ratio": median["decode"] / floor,
        "GFLOP/s": flops / 1e9,
        "Gsin/s": sines / 1e9,
    }


def command(model: Artifact, folder: Path) -> tuple[float, float]:
    """Seconds and peak MB of ``inrfit decode``."""
    source, target = folder / "model.safetensors", folder / "decoded.png"
    model.save(source, force=True)
    _, wall, peak = child("decode", str(source), "-o", str(target), "--force", "--quiet")
    return wall, peak


def row(width: int, height: int, folder: Path) -> dict[str, Any]:
    """One size of picture."""
    model = artifact(width, height)
    found = against_the_floor(model) if width * height < 1_000_000 else {}
    blank = dict.fromkeys(("decode s", "floor s", "ratio", "GFLOP/s", "Gsin/s"), "")
    runs = [command(model, folder) for _ in range(3 if found else 1)]
    small = command(artifact(16, 16), folder)
    return {
        "picture": f"{width}x{height}",
        **blank,
        **found,
        "command s": statistics.median(wall for wall, _ in runs),
        "16x16 command s": small[0],
        "MB above 16x16": max(peak for _, peak in runs) - small[1],
        "raw MB": width * height * 3 / 1e6,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also 10800x5400, which takes minutes")
    given = parser.parse_args()
    keep_freed_memory()  # both as the command does
    sleep_idle_threads()
    with tempfile.TemporaryDirectory() as place:
        table([row(*size, Path(place)) for size in [(768, 512)] + [(10800, 5400)] * given.large])
