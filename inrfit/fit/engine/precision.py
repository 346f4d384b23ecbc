"""Choice of the arithmetic of the hidden layers by a short measurement before the fit.

``fp32`` is float32. ``fp32-fast`` is the same with ``torch.set_float32_matmul_precision("medium")``, which lets torch
compute the products by oneDNN: faster at the same error on some processors (AVX512 of AMD), but rounded to bfloat16 on
processors with AMX. ``bf16`` is bfloat16.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...fields import FieldSpec, kernel_passes
from ...kernel import library
from ...runtime import limited_threads, matmul_precision

PROBE_SECONDS = 0.05
"""Maximum time for the measurement."""

PROBE_ROWS = {"cpu": 1024, "cuda": 65_536}
"""Rows of the measured products. Smaller ones take less time on a CUDA device than their launch."""

PROBE_POINTS = 512
"""Points of the measured steps of the kernel: two blocks."""

CHECKED_ROWS = 16
"""Rows of which the error is computed."""

REPEATS = 4
"""Maximum number of products per arithmetic. The fastest one counts."""

MAX_PROBE_MACS = {"cpu": 1 << 26, "cuda": 1 << 32}
"""Maximum multiply-accumulates per product. Wider fields are measured with fewer rows."""

MAX_ERROR_RATIO = 4.0
"""Maximum error of ``fp32-fast``, relative to that of ``fp32``."""

MAX_BF16_ERROR = 0.02
"""Maximum error of bfloat16 products, relative to the result. Rounding alone makes 0.003."""

MIN_SPEEDUP = 1.15
"""Minimum factor by which a less exact arithmetic must be faster."""


@dataclass(frozen=True)
class Measurement:
    """Speed of a product in GFLOP/s, and its root mean square error relative to the result."""

    gflops: float
    error: float


def probe(device: torch.device, width: int, seconds: float = PROBE_SECONDS) -> dict[str, Measurement]:
    """Speed and error of the arithmetics, by name, for products (rows, width) x (width, width). Those that do not fit
    into ``seconds`` are missing. The CPU is measured with one thread: threads that wait for each other on a busy
    machine would measure the other programs."""
    begun = time.perf_counter()
    with limited_threads(1):
        return _probe(device, width, begun + 0.7 * seconds)


def _probe(device: torch.device, width: int, deadline: float) -> dict[str, Measurement]:
    rows = max(CHECKED_ROWS, min(PROBE_ROWS[device.type], MAX_PROBE_MACS[device.type] // width**2))
    left, right = (
        (torch.arange(count * width, dtype=torch.float64, device=device) * factor % 1 - 0.5).view(count, width)
        for count, factor in ((rows, 0.6180339887), (width, 0.7548776662))
    )
    exact = left[:CHECKED_ROWS] @ right
    left, right = left.float(), right.float()
    measurements: dict[str, Measurement] = {}
    for name in ("fp32", "bf16", "fp32-fast"):
        if time.perf_counter() > deadline:
            break
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        a, b = left.to(dtype), right.to(dtype)
        with matmul_precision("medium" if name == "fp32-fast" else "highest"):
            difference = (a @ b)[:CHECKED_ROWS].double() - exact
            error = float(difference.square().mean().sqrt() / exact.square().mean().sqrt())
            duration = _time_product(a, b)
            for _ in range(REPEATS - 1):
                if time.perf_counter() < deadline:
                    duration = min(duration, _time_product(a, b))
        measurements[name] = Measurement(2e-9 * rows * width * width / duration, error)
    return measurements


def _time_product(a: torch.Tensor, b: torch.Tensor) -> float:
    """Seconds that one product takes."""
    begun = time.perf_counter()
    a @ b
    if a.device.type == "cuda":
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - begun


def fastest(measurements: Mapping[str, Measurement], default: str) -> str:
    """The fastest arithmetic of acceptable error: ``fp32``, ``fp32-fast`` or ``bf16``; ``default`` if the measurement
    is incomplete."""
    if not {"bf16", "fp32"} <= set(measurements):
        return default
    best = "fp32"
    limits = {"fp32-fast": MAX_ERROR_RATIO * measurements["fp32"].error, "bf16": MAX_BF16_ERROR}
    for name, limit in limits.items():
        measured = measurements.get(name)
        if measured and measured.error <= limit and measured.gflops >= MIN_SPEEDUP * measurements[best].gflops:
            best = name
    return best


def probe_kernel(spec: FieldSpec) -> dict[str, float]:
    """Points (thousands a second) that one thread of the kernel trains in ``fp32`` and ``bf16``, where it can."""
    generator = torch.Generator().manual_seed(0)
    weights = spec.formula.initial(spec, generator, torch.zeros(spec.outputs))
    coords, values = torch.zeros(PROBE_POINTS, spec.inputs), torch.zeros(PROBE_POINTS, spec.outputs)
    loss_weights, speeds = torch.full((PROBE_POINTS, 1), 1 / PROBE_POINTS), {}
    with limited_threads(1):
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            instructions = kernel_passes.instructions_of(spec, dtype)
            if instructions is None:
                continue
            seconds = []
            for _ in range(3):
                begun = time.perf_counter()
                kernel_passes.gradients(spec.formula, weights, coords, values, loss_weights, instructions)
                seconds.append(time.perf_counter() - begun)
            speeds[name] = PROBE_POINTS / min(seconds) / 1e3
    return speeds


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 products. Nothing is timed, so the answer is the same on every
    run. Where the kernel is restricted to a set without them, there are none."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if set(library.usable()) <= library.FLOAT32_SETS:
        return False
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
