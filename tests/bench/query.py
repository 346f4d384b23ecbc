"""Parts of large fields: seconds and memory of a slice of a volume of 512^3 samples, and of a crop of 256x256 pixels of
a picture of 58 megapixels.

Whole commands are timed, less what the same command takes for a single sample: start-up, torch and reading the field.
The fields were hardly fitted and are described as larger than they are, for the time does not depend on the values.

python tests/bench/query.py
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import child, machine, table

import inrfit
from inrfit.artifact.artifact import Artifact

ROUNDS = 5


def volume(arch: str) -> Artifact:
    """A field that is described as one of 512^3 samples."""
    ramp = (100 + 100 * np.sin(np.indices((32, 32, 32)).sum(0) / 5)).astype(np.uint8)
    made = inrfit.encode(ramp, axes="zyx", arch=arch, params="264k", budget="20it")
    return replace(made, meta={**made.meta, "shape": [512] * 3})


def picture(arch: str) -> Artifact:
    """A field that is described as one of 10800x5400 pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    made = inrfit.encode(noise, arch=arch, params="264k", budget="20it")
    return replace(made, meta={**made.meta, "width": 10_800, "height": 5400})


def row(what: str, arch: str, artifact: Artifact, region: str, sample: str, folder: Path) -> dict[str, Any]:
    """Medians of a few commands for the region, beyond those for one sample, in turns."""
    artifact.save(folder / "field.safetensors", force=True)
    asked: dict[str, list[tuple[float, float]]] = {region: [], sample: []}
    for _ in range(ROUNDS):
        for part, found in asked.items():
            words = ("--region", part, "-o", str(folder / "part.npy"), "-f", "-q")
            found.append(child("query", str(folder / "field.safetensors"), *words)[1:])
    seconds, peak = (median(a[k] for a in asked[region]) - median(b[k] for b in asked[sample]) for k in (0, 1))
    return {"what": what, "architecture": arch, "s": seconds, "MB": peak}


if __name__ == "__main__":
    print(machine(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("grid", "siren", "tiles"):
            rows.append(row("slice", name, volume(name), "z=40", "z=40,y=0,x=0", Path(temporary)))
            crop = "x=5000:5256,y=2000:2256"
            rows.append(row("crop", name, picture(name), crop, "x=5000,y=2000", Path(temporary)))
    table(rows)
