"""Which arithmetic is fastest on this machine, by trying: at most a twentieth of a second, before the fit.

float32 products; the same with ``torch.set_float32_matmul_precision("medium")``, which sends them to oneDNN: 1.9 times
as fast on AVX512 processors of AMD at the same error, but rounded to bfloat16 on processors with AMX; and bfloat16.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...runtime import limited_threads, matmul_precision

PROBE_SECONDS = 0.05
ROWS, CHECKED = {"cpu": 1024, "cuda": 65_536}, 16
"""Rows of the product. A CUDA device makes one of 1,024 in less time than it takes to ask for it."""

REPEATS = 4
MOST_MACS = {"cpu": 1 << 26, "cuda": 1 << 32}
"""Per product: wider fields are tried with fewer rows."""

SAFE_ERROR = 4.0
"""``medium`` is admitted as float32 if its error is at most this many times that of float32."""

BF16_ERROR = 0.02
"""Largest error of bfloat16 products, relative to the result: rounding alone gives 0.003."""

WORTH = 1.15
"""A less exact arithmetic must be this much faster."""


@dataclass(frozen=True)
class Measured:
    """One arithmetic: speed of a product in GFLOP/s, and root mean square error relative to the result."""

    gflops: float
    error: float


def probe(device: torch.device, width: int, seconds: float = PROBE_SECONDS) -> dict[str, Measured]:
    """Speed and error of every arithmetic for (rows, width) x (width, width) products, as far as ``seconds`` last. On
    the CPU by one thread: two that wait for each other on a busy machine would measure the other programs."""
    begun = time.perf_counter()
    with limited_threads(1):
        return _probe(device, width, begun + 0.7 * seconds)


def _probe(device: torch.device, width: int, until: float) -> dict[str, Measured]:
    rows = max(CHECKED, min(ROWS[device.type], MOST_MACS[device.type] // width**2))
    left, right = (
        (torch.arange(count * width, dtype=torch.float64, device=device) * factor % 1 - 0.5).view(count, width)
        for count, factor in ((rows, 0.6180339887), (width, 0.7548776662))
    )
    exact = left[:CHECKED] @ right
    left, right = left.float(), right.float()
    measured: dict[str, Measured] = {}
    for name in ("fp32", "bf16", "fp32-fast"):
        if time.perf_counter() > until:
            break
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        a, b = left.to(dtype), right.to(dtype)
        with matmul_precision("medium" if name == "fp32-fast" else "highest"):
            error = float(((a @ b)[:CHECKED].double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())
            taken = _timed(a, b)
            for _ in range(REPEATS - 1):
                if time.perf_counter() < until:
                    taken = min(taken, _timed(a, b))
        measured[name] = Measured(2e-9 * rows * width * width / taken, error)
    return measured


def _timed(a: torch.Tensor, b: torch.Tensor) -> float:
    """Seconds of one product."""
    begun = time.perf_counter()
    a @ b
    if a.device.type == "cuda":
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - begun


def fastest(measured: Mapping[str, Measured], otherwise: str) -> str:
    """The arithmetic to fit with: ``fp32``, ``medium`` or ``bf16``; ``otherwise`` if there was no time to find out."""
    if not {"bf16", "fp32"} <= set(measured):
        return otherwise
    best = "fp32"
    allowed = {"fp32-fast": SAFE_ERROR * measured["fp32"].error, "bf16": BF16_ERROR}
    for name, limit in allowed.items():
        found = measured.get(name)
        if found and found.error <= limit and found.gflops >= WORTH * measured[best].gflops:
            best = name
    return best


def capable_of_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are fast by what the processor says it can: no timing, the same on every run."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
