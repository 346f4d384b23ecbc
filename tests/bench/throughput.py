"""Trained points per second of every engine against the floor of its arithmetic and instruction set, measured beside
it.

The floor of a step is what it cannot do without: the matrix products of the hidden layers (forward, to the activations,
to the weights), one sine and one cosine per unit, and the products of Muon's iteration, in the step's own shapes and
precision, with a buffer for every result. Everything else (gathering, casts, multiplications, sums, Adam) is overhead.
It is given twice: each operation alone, over and over on the same operands, which then sit in the cache; and all of
them once, in the step's order, on as many buffers as a step has. Floors and engines alternate. ``--instructions`` lets
torch and the kernel use one instruction set at a time, each in a process of its own, and the processes take turns.

python tests/bench/throughput.py --instructions amx,avx512,avx2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import table
from torch import Tensor

from inrfit import runtime
from inrfit.fields import FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine.precision import has_fast_bf16
from inrfit.fit.engine.step import Engine, choose_device
from inrfit.kernel.library import BFLOAT16_SETS, VARIABLE
from inrfit.modalities.image import image
from inrfit.modalities.image.picture import Picture

ENGINES = {"cpu": ["autograd", "analytic", "kernel"], "cuda": ["autograd", "analytic", "cuda-graph"]}

ENVIRONMENTS = {
    "amx": {},
    "avx512_bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "avx512": {"MKL_ENABLE_INSTRUCTIONS": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "avx2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "neon": {},
}
"""Variables by which torch's libraries use no more than an instruction set."""


def made_engine(spec: FieldSpec, kind: str, batch: int, precision: str, device: torch.device) -> Engine:
    """An engine on a made 512x512 picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (512 * 512, spec.outputs), dtype=np.uint8)
    signal = image.to_signal("PNG", Picture(pixels.reshape(512, 512, -1), "bands")).named("image")
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(spec.outputs))
    chosen = recipe.choose(
        spec, device, recipe.UserChoices(batch=batch, precision=precision, engine=kind), budget=Budget(seconds=60)
    ).config
    config = dataclasses.replace(chosen, engine=kind)
    return Engine(Field(spec, weights).to(device), signal.on(device), config, wait_for_compiler=True)


def floor_parts(spec: FieldSpec, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Name -> (how often a step needs it, ways to do it)."""
    width, layers = spec.width, spec.depth - 1

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(dtype)

    x, g, w, out, square = (
        made(batch, width),
        made(batch, width),
        made(width, width),
        made(batch, width),
        made(width, width),
    )
    parts = torch.empty(4, width, width, dtype=dtype, device=device)
    first, first_out = torch.randn(2, batch, width, device=device)
    stack = torch.randn(layers, width, width, device=device)
    stack = stack.bfloat16() if has_fast_bf16(device) else stack
    stack_out = torch.empty_like(stack)
    return {
        "forward product": (layers, [lambda: torch.mm(x, w.mT, out=out), lambda: torch.nn.functional.linear(x, w)]),
        "product to the activations": (layers, [lambda: torch.mm(g, w, out=out)]),
        "product to the weights": (
            layers,
            [
                lambda: torch.mm(g.mT, x, out=square),
                lambda: torch.bmm(g.view(4, -1, width).mT, x.view(4, -1, width), out=parts),
            ],
        ),
        "sine or cosine": (2 * layers, [lambda: torch.sin(x, out=out)]),
        "sine or cosine, float32": (2, [lambda: torch.sin(first, out=first_out)]),
        "Muon's product": (15, [lambda: torch.bmm(stack, stack, out=stack_out)]),
    }


def bare_step(spec: FieldSpec, batch: int, dtype: torch.dtype, device: torch.device) -> Callable[[], None]:
    """The floor's operations once, in the order of a step and on its own buffers; the results mean nothing."""
    width, layers = spec.width, spec.depth - 1
    units, phases, grads = torch.randn(3, layers + 1, batch, width, device=device).to(dtype)
    weights, parts = torch.randn(2, max(layers, 4), width, width, device=device).to(dtype) / 16
    first, first_out = torch.randn(2, batch, width, device=device)
    stack, stack_out = torch.randn(2, layers, width, width, device=device)
    if has_fast_bf16(device):
        stack, stack_out = stack.bfloat16(), stack_out.bfloat16()

    def work() -> None:
        torch.sin(first, out=first_out)
        for i in range(layers):
            torch.mm(units[i], weights[i].mT, out=phases[i])
            torch.sin(phases[i], out=units[i + 1])
        for i in reversed(range(layers)):
            torch.cos(phases[i], out=phases[i])
            torch.bmm(grads[0].view(4, -1, width).mT, units[i].view(4, -1, width), out=parts[:4])
            torch.mm(grads[0], weights[i], out=grads[1])
        torch.cos(first, out=first_out)
        for _ in range(15):
            torch.bmm(stack, stack, out=stack_out)

    return work


def seconds(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Mean seconds of one call."""
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / repeats


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row an engine, and the floor's parts."""
    device = choose_device(given.device)
    spec = FieldSpec(given.arch, 2, 3, given.width, given.depth, {})
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    kinds = given.engines.split(",") if given.engines else ENGINES[device.type]
    engines = {kind: made_engine(spec, kind, given.batch, given.precision, device) for kind in kinds}
    parts = floor_parts(spec, given.batch, dtype, device)
    indices = torch.randperm(512 * 512, device=device)[: given.batch]
    floors: dict[str, list[list[float]]] = {name: [[] for _ in ways] for name, (_, ways) in parts.items()}
    bare = bare_step(spec, given.batch, dtype, device)
    steps: dict[str, list[float]] = {kind: [] for kind in ("bare step", *kinds)}
    for kind in kinds:
        seconds(lambda: engines[kind].step(indices, None, 1e-3), 10, device)  # noqa: B023
        print(f"{kind}: {engines[kind].backend.describe()}")
    for _ in range(given.rounds):
        for name, (_, ways) in parts.items():
            for way, found in zip(ways, floors[name], strict=True):
                seconds(way, 1, device)
                found.append(seconds(way, 5, device))
        steps["bare step"].append(seconds(bare, 5, device))
        for kind in kinds:
            steps[kind].append(seconds(lambda: engines[kind].step(indices, None, 1e-3), 5, device))  # noqa: B023
    each = {name: min(statistics.median(found) for found in ways) for name, ways in floors.items()}
    floor = sum(parts[name][0] * taken for name, taken in each.items())
    whole = statistics.median(steps["bare step"])
    rows: list[dict[str, Any]] = [
        {"what": f"{parts[n][0]} x {n}", "ms": 1e3 * parts[n][0] * t} for n, t in each.items()
    ]
    for what, taken in {"floor, each alone": floor, **{k: statistics.median(t) for k, t in steps.items()}}.items():
        rows.append({"what": what, "ms": 1e3 * taken, "kpoints/s": given.batch / taken / 1e3})
        rows[-1] |= {"of the floor, each alone": floor / taken, "of the bare step": whole / taken}
    for row in rows:
        row |= {key: row.get(key, "") for key in rows[-1]}
    return rows


def measure_each(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row an instruction set, from processes of their own that take turns."""
    found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in given.instructions.split(",")}
    for _ in range(given.turns):
        for name, results in found.items():
            options = {"batch": given.batch, "width": given.width, "depth": given.depth, "arch": given.arch}
            options |= {"precision": "bf16" if name in BFLOAT16_SETS else "fp32", "rounds": given.rounds}
            words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
            environment = os.environ | ENVIRONMENTS[name] | {VARIABLE: name}
            command = [sys.executable, __file__, "--engines", "analytic,kernel", *words]
            told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
            results.append(json.loads(told.splitlines()[-1])["rows"])
            print(f"{name}: {told.splitlines()[1]}", flush=True)
    return [instruction_row(name, results) for name, results in found.items()]


def instruction_row(name: str, results: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The medians over the turns of one instruction set."""
    by_turn = [{row["what"]: row["ms"] for row in rows} for rows in results]
    kernel, explicit, floor, bare = (
        statistics.median(turn[what] for turn in by_turn)
        for what in ("kernel", "analytic", "floor, each alone", "bare step")
    )
    return {
        "instructions": name, "floor ms": floor, "bare step ms": bare, "analytic ms": explicit, "kernel ms": kernel,
        "of the floor": floor / kernel, "of the bare step": bare / kernel, "times analytic": explicit / kernel,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--arch", default="siren")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engines", help="default: all")
    parser.add_argument("--instructions", help="of the kernel, such as amx,avx2: one row for each")
    parser.add_argument("--turns", type=int, default=3, help="of each instruction set")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    runtime.keep_freed_memory()
    table(measure_each(given) if given.instructions else measure(given))
