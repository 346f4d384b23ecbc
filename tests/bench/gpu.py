"""Everything about one CUDA device, in one command: seconds to 35 and 40 dB, the share of its matrix rate, graph
against plain steps, and what an engine for it should know first (engines by batch, arithmetic rates). Without a device
the rows read "not measured".

python tests/bench/gpu.py
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import data, table
from throughput import made_engine

from inrfit.codec import carry_out
from inrfit.config import plan
from inrfit.config.settings import Settings
from inrfit.errors import InrfitError
from inrfit.fields import FieldSpec
from inrfit.fit.recipe import CUDA_BATCH

BUDGETS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
BATCHES = (8448, 16_896, 33_792, 67_584)
ASKED = {
    "35 dB on 01.png, s of fit": "<= 1.5",
    "40 dB on 01.png, s of fit": "<= 5",
    "bf16 matrix rate in the step": ">= 0.4",
    "graph / plain at 16,896 points": ">= 3",
}


def seconds(work: Callable[[], Any], repeats: int = 20) -> float:
    """Median seconds of one call, with the device's own clock."""
    for _ in range(5):
        work()
    taken = []
    for _ in range(repeats):
        begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begun.record()
        work()
        ended.record()
        ended.synchronize()
        taken.append(begun.elapsed_time(ended) / 1e3)
    return statistics.median(taken)


def quality(source: Any, budget: float) -> float:
    """PSNR of a finished fit of ``budget`` seconds, torch and the device already started."""
    planned = plan.plan(source.read_bytes(), source.name, Settings(budget=f"{budget}s", device="cuda"))
    planned = dataclasses.replace(planned, loaded_at=time.monotonic())
    try:
        return float(carry_out(planned).quality["psnr"] or float("inf"))
    except InrfitError:  # nothing learned in so short a time
        return -float("inf")


def rates() -> list[dict[str, Any]]:
    """Arithmetic of the device: products, sines, memory."""
    rows = []
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        square = torch.randn(8192, 8192, device="cuda").to(dtype)
        tall, weight = (
            torch.randn(262_144, 256, device="cuda").to(dtype),
            torch.randn(256, 256, device="cuda").to(dtype),
        )
        for what, work, flop in (
            (f"{name} product 8192^3", lambda a=square: a @ a, 2 * 8192**3),
            (f"{name} product 262144x256x256", lambda a=tall, b=weight: a @ b, 2 * 262_144 * 256**2),
        ):
            rows.append({"what": what, "value": flop / seconds(work) / 1e12, "unit": "TFLOP/s"})
        rows.append({"what": f"{name} sine", "value": tall.nbytes * 2 / seconds(tall.sin) / 1e9, "unit": "GB/s"})
    stacks = {"16 nets 64x4": (16, 64), "64 nets 64x4": (64, 64)}
    for name, (nets, width) in stacks.items():
        x = torch.randn(nets, 262_144 // nets, width, device="cuda").bfloat16()
        w, b = (
            torch.randn(nets, width, width, device="cuda").bfloat16(),
            torch.randn(nets, 1, width, device="cuda").bfloat16(),
        )
        flop = 2 * 262_144 * width**2
        rows.append(
            {
                "what": f"baddbmm {name}",
                "value": flop / seconds(lambda p=(b, x, w): torch.baddbmm(*p)) / 1e12,
                "unit": "TFLOP/s",
            }
        )
    return rows


def steps() -> tuple[list[dict[str, Any]], dict[tuple[str, int], float]]:
    """Points per second of every engine and batch."""
    spec = FieldSpec("siren", 2, 3, 256, 5, {})
    device = torch.device("cuda")
    rows, found = [], {}
    for batch in BATCHES:
        for kind in ("plain", "explicit", "graph"):
            for precision in ("fp32", "bf16"):
                engine = made_engine(spec, kind, batch, precision, device)
                indices = torch.randperm(512 * 512, device=device)[:batch]
                taken = seconds(lambda: engine.step(indices, None, 1e-3), 50)  # noqa: B023
                if precision == "bf16":
                    found[kind, batch] = taken
                rows.append(
                    {
                        "engine": kind,
                        "precision": precision,
                        "batch": batch,
                        "ms": 1e3 * taken,
                        "Mpoints/s": batch / taken / 1e6,
                    }
                )
    return rows, found


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    if not torch.cuda.is_available():
        table([{"what": what, "asked": asked, "reached": "not measured"} for what, asked in ASKED.items()])
        return
    source = data("images/div2k/train/01.png")[0]
    quality(source, 1.0)
    fits = {budget: quality(source, budget) for budget in BUDGETS}
    arithmetic, (engines, taken) = rates(), steps()
    peak = max(row["value"] for row in arithmetic if row["what"].startswith("bf16 product")) * 1e12
    flop = 6 * FieldSpec("siren", 2, 3, 256, 5, {}).macs
    share = CUDA_BATCH / taken["graph", CUDA_BATCH] * flop / peak
    reached = {
        "35 dB on 01.png, s of fit": min((b for b, q in fits.items() if q >= 35), default="not reached"),
        "40 dB on 01.png, s of fit": min((b for b, q in fits.items() if q >= 40), default="not reached"),
        "bf16 matrix rate in the step": share,
        "graph / plain at 16,896 points": taken["plain", 16_896] / taken["graph", 16_896],
    }
    table([{"what": what, "asked": asked, "reached": reached[what]} for what, asked in ASKED.items()])
    table([{"budget s": budget, "PSNR dB": found} for budget, found in fits.items()])
    table(engines)
    table(arithmetic)


if __name__ == "__main__":
    main()
