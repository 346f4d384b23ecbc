"""The groups of ``gpu.py`` in the order of measurement, with their rows and the required values.

The most important groups come first, because groups for which no time is left are omitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import gpu_fits
import gpu_rows
from gpu_rows import TOLERANCE, Place, Row

from inrfit.fields import FIELDS


@dataclass(frozen=True)
class Group:
    """Rows that are measured together, in at most ``seconds``."""

    run: Callable[[Place], Iterator[Row]]
    about: str
    seconds: float
    promised: Mapping[str, str] = field(default_factory=dict)
    """Required values by row. The table has these rows even if they could not be measured."""
    device_only: bool = True
    """Whether the group needs a CUDA device."""


LOOSER = {("wire", "bf16"): 0.2}
"""Larger bounds where analytic and autograd steps differ by more on the CPU already (0.12)."""


def _of_graphs() -> dict[str, str]:
    kinds = {
        arch: "cuda-graph" if known.TRAITS.same_shapes else "analytic"
        for arch, known in FIELDS.items()
        if known.TRAITS.closed_form is None
    }
    return {
        f"{kind} - autograd, {arch}, {precision}: largest residual": f"<= {LOOSER.get((arch, precision), most):g}"
        for arch, kind in kinds.items()
        for precision, most in TOLERANCE.items()
    }


GROUPS: dict[str, Group] = {
    "start": Group(
        gpu_rows.start,
        "what a process pays once",
        60,
        {
            "start: context of the device": "",
            "start: first step, with its capture": "",
            "start: first step in float32, captured again": "",
        },
    ),
    "tests": Group(
        gpu_rows.tests,
        "tests/fit/engine/test_cuda.py",
        120,
        {"CUDA tests: passed": "all", "CUDA tests: failed": "0", "CUDA tests: error": "0", "CUDA tests: skipped": "0"},
        device_only=False,
    ),
    "graphs": Group(gpu_rows.graphs, "20 steps beside autograd's", 60, _of_graphs()),
    "memory": Group(
        gpu_fits.memory,
        "batches that do not fit",
        60,
        {
            "memory: batch where half of that is left": "fewer points",
            "memory: notes about it": ">= 1",
            "memory: exit code where nothing is left": "5",
            "memory: exit code of the command": "5",
        },
    ),
    "resumed": Group(
        gpu_fits.resumed,
        "fits that go on from a saved state",
        30,
        {
            f"resumed: {what}: largest difference of a weight": "0"
            for what in ("siren, stream", "siren, evos", "finer, nint", "tiles, uniform")
        },
    ),
    "steps": Group(
        gpu_rows.steps,
        "steps of every engine and batch",
        45,
        {
            "step: autograd / cuda-graph, bf16": ">= 3",
            "step: share of the bf16 matrix rate": ">= 0.4",
            "step: host in front of the device": "<= 0.15",
        },
    ),
    "quality": Group(
        gpu_fits.quality,
        "seconds to a quality",
        70,
        {
            "quality: 30 dB": "",
            "quality: 35 dB": "<= 1.5",
            "quality: 40 dB": "<= 5",
            "quality: a budget of 3 s takes": "<= 3.5",
        },
    ),
    "architectures": Group(gpu_fits.architectures, "5 s of every architecture", 90),
    "batches": Group(gpu_fits.batches, "10 s with shorter and longer steps", 90),
    "muon": Group(gpu_fits.muon, "5 s at other rates", 40),
    "decoding": Group(gpu_rows.decoding, "whole pictures", 40),
    "rates": Group(gpu_rows.rates, "arithmetic of the device", 30),
    "strategies": Group(gpu_fits.strategies, "2 s of every strategy", 45),
}
