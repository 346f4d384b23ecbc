"""Parts of large fields: seconds and memory of a slice of a volume of 512^3 samples, and of a crop of 256x256 pixels of
a picture of 58 megapixels, after start-up.

The fields were hardly fitted and are described as larger than they are, for the time does not depend on the values.

python tests/bench/query.py
"""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import machine, table

import inrfit
from inrfit.artifact.artifact import Artifact

ROUNDS = 3


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


def row(what: str, arch: str, artifact: Artifact, region: str) -> dict[str, Any]:
    """The fastest of a few queries, and by how much they raised the peak of memory."""
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        artifact.query(region)
        seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"what": what, "architecture": arch, "s": min(seconds), "first s": seconds[0], "MB": (peak - before) / 1024}


if __name__ == "__main__":
    print(machine(), torch.get_num_threads(), flush=True)
    rows = []
    for name in ("grid", "siren", "tiles"):
        rows.append(row("slice", name, volume(name), "z=40"))
        rows.append(row("crop", name, picture(name), "x=5000:5256,y=2000:2256"))
    table(rows)
