"""The defaults: what is chosen for a signal, an architecture, a device and a budget, and why.

Constants say what chose them: tests/bench/recipe.py, figures in docs/benchmarks.md. WARM_UP, LAST_FACTOR and ADAM_RATE
are first choices that were not varied, but for four times the Adam rate, which was worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .fields import FieldSpec
from .modalities import audio, shape
from .signal import Signal

BATCH = 4096
"""Best in seconds of 2,048, 4,096 and 8,192 (docs/benchmarks.md)."""

ADAM_RATE = 5e-4
MUON_RATE = 1.2e-3
"""Between 1e-3 (better in long fits of hard pictures) and 1.5e-3 (better in short ones); 3e-3 loses 2 dB on kodim05."""

WARM_UP = 0.02
LAST_FACTOR = 0.0


@dataclass(frozen=True)
class Recipe:
    """How the fit is made. ``batch`` 0 stands for one step per selection; rates are peak rates in the paper's
    parametrisation; ``warm_up`` is the share of the budget in which they rise."""

    batch: int
    precision: str
    adam_rate: float
    muon_rate: float
    warm_up: float = WARM_UP

    def factor(self, progress: float) -> float:
        """Share of the peak rates at ``progress``: a linear rise, then a half cosine down to LAST_FACTOR."""
        if progress < self.warm_up:
            return (progress + 1e-3) / (self.warm_up + 1e-3)
        rest = (progress - self.warm_up) / (1 - self.warm_up)
        return LAST_FACTOR + (1 - LAST_FACTOR) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones: by what the processor can, never by timing, so that the
    choice is the same on every run."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def choose(
    spec: FieldSpec,
    device: torch.device,
    batch: str | int = "auto",
    precision: str = "auto",
    rate: float | None = None,
) -> Recipe:
    """The recipe; ``batch``, ``precision`` and ``rate`` (a factor-free Adam rate; Muon's follows in proportion)
    override it."""
    if precision == "auto":
        precision = "bf16" if fast_bf16(device) and spec.width >= 64 else "fp32"
    points = 0 if batch == "selection" else BATCH if batch == "auto" else int(batch)
    scale = 1.0 if rate is None else rate / ADAM_RATE
    return Recipe(points, precision, ADAM_RATE * scale, MUON_RATE * scale)


def architecture_options(signal: Signal, architecture: str) -> dict[str, float]:
    """Frequencies for the signal: 30 for images (the SIREN paper), from the spectrum for sounds."""
    if architecture == "siren" and signal.modality == "audio":
        return {"first_omega": audio.first_omega(signal)}
    if architecture == "siren" and signal.modality == "shape":
        return {"first_omega": shape.first_omega(signal)}
    return {}
