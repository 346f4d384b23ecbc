"""What rounding the stored weights costs: one fit a file (SIREN 5x256), its weights stored as fp32, fp16 and bf16.

Every row reads the file back and measures it whole, as encode does.

python tests/bench/stores.py --budget 60s
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import data, table

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.artifact.weight_dtypes import STORES
from inrfit.config.plan import plan
from inrfit.config.settings import Settings
from inrfit.fit.evaluation import measure
from inrfit.fit.point_pool import draw_all_points

FILES = (
    "images/kodak/kodim05.png",
    "images/kodak/kodim03.png",
    "images/cameraman/camera_cc0_512.png",
    "audio/libri121/05.flac",
)


def stored(path: Path, budget: str, sampler: str) -> list[dict[str, Any]]:
    """One row a store."""
    fitted = inrfit.encode(path, budget=budget, sampler=sampler)
    planned = plan(path.read_bytes(), path.name, Settings())
    signal = planned.signal
    signal = draw_all_points(signal, torch.Generator().manual_seed(0))
    rows = []
    for store in STORES:
        written = replace(fitted, store=store).to_bytes()
        field = Artifact.from_bytes(written).field()
        found = measure(field, signal, None, False, lambda: False, lambda share: None)
        rows.append(
            {
                "file": path.name,
                "steps": fitted.provenance["spent"]["steps"],
                "store": store,
                "bytes": len(written),
                **{name: found[name] for name in ("psnr", "ssim", "snr", "iou") if name in found},
            }
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    for source in data(*given.files):
        table(stored(source, given.budget, given.sampler))
