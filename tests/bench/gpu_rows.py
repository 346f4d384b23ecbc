"""Measurements of ``gpu.py`` that need no complete fit (start, arithmetic, steps, decoding), and shared functions.

Each is a function of a place (a device, and whether sizes are tiny) that yields rows; on the CPU the same code runs.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, SHARED

from inrfit.fields import FIELDS, FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.engine.step import Engine
from inrfit.modalities.image import image
from inrfit.modalities.image.picture import Picture
from inrfit.runtime import matmul_precision
from inrfit.signal import Signal

BATCHES = (4_224, 8_448, 16_896, 33_792, 67_584, 135_168)
TOLERANCE = {"fp32": 1e-3, "bf16": 0.03}
"""Maximum difference of the residuals after 20 steps, as in tests/fit/engine."""

FACTOR = 0.1
"""Learning rates of these steps, as a share of the peak rates. At peak rates some architectures magnify rounding errors
within 20 steps, on the CPU too."""

PICTURE = SHARED / "data" / "images" / "div2k" / "train" / "01.png"
TEST_SECONDS = 110
"""Maximum time for all CUDA tests. Those that have ended by then are counted."""

CUDA_TESTS = ROOT / "tests" / "fit" / "engine" / "test_cuda.py"


@dataclass(frozen=True)
class Row:
    """One row of the table. ``measured`` is a number or a remark."""

    what: str
    measured: float | str
    unit: str = ""


@dataclass(frozen=True)
class Place:
    """Device and data of the measurements. ``quick`` selects small sizes, which only show that the code runs."""

    device: torch.device
    quick: bool = False
    source: Path = PICTURE

    @property
    def cuda(self) -> bool:
        """Whether the device works asynchronously."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Waits until all queued work is done."""
        if self.cuda:
            torch.cuda.synchronize(self.device)


def missing(*modules: str) -> list[str]:
    """The names in ``modules`` that cannot be imported."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def made_picture(height: int, width: int) -> Signal:
    """A generated picture of waves of several lengths, an edge and noise."""
    y, x = np.mgrid[0:height, 0:width] / height
    noise = np.random.default_rng(0).standard_normal((height, width, 3))
    waves = [np.sin(k * (3 * x + 2 * y)) + np.cos(k * (x - 4 * y)) for k in (1, 5, 17)]
    plane = 128 + 25 * waves[0] + 15 * waves[1] + 8 * waves[2] + 40 * (x > 0.5)
    samples = np.clip(plane[..., None] + 3 * noise, 0, 255).astype(np.uint8)
    return image.to_signal("PNG", Picture(samples, "RGB")).named("image")


def picture_name(place: Place) -> str:
    """Name of the picture for complete fits."""
    if place.quick:
        return "generated, 32x24"
    if place.source.exists() and not missing("PIL"):
        return place.source.name
    return f"generated, 512x512 ({place.source.name} or pillow is missing)"


def picture(place: Place) -> Signal:
    """The signal that ``picture_name`` names."""
    if place.quick:
        return made_picture(24, 32)
    if picture_name(place) != place.source.name:
        return made_picture(512, 512)
    from inrfit.io.limits import Limits

    return image.load(place.source.read_bytes(), place.source.name, image.Options(), Limits()).named("image")


def field_spec(
    place: Place, signal: Signal, arch: str, width: int | None = None, depth: int | None = None
) -> FieldSpec:
    """The default field of ``arch`` for ``signal``, with another ``width`` and ``depth`` if given."""
    traits = FIELDS[arch].TRAITS
    width, depth = (16, 2) if place.quick else (width or traits.width, depth or traits.depth)
    spec = FieldSpec(arch, signal.dimensions, signal.channels, width, depth, {})
    assert signal.grid is not None
    spec = spec.formula.sized(spec, signal.grid.shape, None)
    return dataclasses.replace(spec, options={**recipe.architecture_options(signal, spec.formula), **spec.options})


def new_engine(place: Place, signal: Signal, spec: FieldSpec, kind: str, precision: str, batch: int) -> Engine:
    """A new engine."""
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(spec.outputs))
    asked = recipe.UserChoices(batch=batch, precision=precision, engine=kind)
    chosen = recipe.choose(spec, place.device, asked).config
    return Engine(Field(spec, weights).to(place.device), signal.on(place.device), chosen, wait_for_compiler=True)


def seconds(place: Place, work: Callable[[], Any], repeats: int = 20) -> float:
    """Median seconds of one call by the clock of the device. Calls are queued, so that the host may run ahead."""
    repeats = 2 if place.quick else repeats
    for _ in range(2 if place.quick else 5):
        work()
    if not place.cuda:
        return statistics.median(timed(place, work) for _ in range(repeats))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    place.wait()
    return statistics.median(a.elapsed_time(b) for a, b in itertools.pairwise(marks)) / 1e3


def timed(place: Place, work: Callable[[], Any]) -> float:
    """Seconds of one call by the clock of the host, including the work of the device."""
    place.wait()
    begun = time.perf_counter()
    work()
    place.wait()
    return time.perf_counter() - begun


def start(place: Place) -> Iterator[Row]:
    """One-time costs of a process. This is the first group, so that the device has not been used before."""
    begun = time.perf_counter()
    square = torch.zeros(256, 256, device=place.device)
    place.wait()
    yield Row("start: context of the device", time.perf_counter() - begun, "s")
    yield Row("start: first product", timed(place, lambda: square @ square), "s")
    signal = made_picture(24, 32) if place.quick else made_picture(512, 512)
    spec, batch = field_spec(place, signal, "siren"), 64 if place.quick else recipe.CUDA_BATCH
    of = new_engine(place, signal, spec, "cuda-graph", "bf16", batch)
    indices = torch.randperm(signal.n, device=place.device)[:batch]
    for what in ("first step, with its capture", "second step"):
        yield Row(f"start: {what}", timed(place, lambda: of.step(indices, None, 1e-3)), "s")
    of.set_precision(torch.float32)
    yield Row("start: first step in float32, captured again", timed(place, lambda: of.step(indices, None, 1e-3)), "s")


def tests(place: Place) -> Iterator[Row]:
    """All CUDA tests, in a separate process. Without a device they are skipped."""
    if lacking := missing("pytest", "beartype"):
        raise RuntimeError(f"the tests need {' and '.join(lacking)}")
    command = [sys.executable, "-m", "pytest", "-vv", "--tb=line", str(CUDA_TESTS)]
    quiet = {**os.environ, "COLUMNS": "200"}
    late = ""
    try:
        output = subprocess.run(command, cwd=ROOT, capture_output=True, env=quiet, timeout=TEST_SECONDS).stdout
    except subprocess.TimeoutExpired as error:
        output, late = error.stdout or b"", f"stopped after {TEST_SECONDS} s"
    yield from test_rows(output.decode("utf-8", "replace"))
    if late:
        raise RuntimeError(late)


def test_rows(output: str) -> Iterator[Row]:
    """Numbers of tests by result and names of failed ones, from the output of ``pytest -vv``."""
    ended = re.findall(r"::(\S+(?: \S+)*?) (PASSED|FAILED|ERROR|SKIPPED)", output)
    if not ended:
        raise RuntimeError(f"pytest: {(output.strip().splitlines() or ['no output'])[-1]}")
    for word in ("PASSED", "FAILED", "ERROR", "SKIPPED"):
        yield Row(f"CUDA tests: {word.lower()}", float(sum(found == word for _, found in ended)), "tests")
    for name, word in ended:
        if word in ("FAILED", "ERROR"):
            yield Row(f"CUDA tests: {name}", word.lower())


def graphs(place: Place) -> Iterator[Row]:
    """Residuals after 20 steps compared with autograd's; steps are captured if the architecture allows it. A field in
    closed form takes no steps."""
    signal, batch = (made_picture(24, 32), 64) if place.quick else (made_picture(64, 64), 512)
    for arch, known in FIELDS.items():
        if known.TRAITS.closed_form is not None:
            continue
        spec = field_spec(place, signal, arch, 64, 4)
        kind = "cuda-graph" if known.TRAITS.same_shapes else "analytic"
        for precision in TOLERANCE:
            found, expected = (
                residuals_after_steps(place, signal, spec, each, precision, batch) for each in (kind, "autograd")
            )
            difference = float((found - expected).abs().max())
            yield Row(f"{kind} - autograd, {arch}, {precision}: largest residual", difference, "of -1 to 1")


def residuals_after_steps(
    place: Place, signal: Signal, spec: FieldSpec, kind: str, precision: str, batch: int
) -> torch.Tensor:
    """Residuals of the last of 20 steps."""
    of = new_engine(place, signal, spec, kind, precision, batch)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3 if place.quick else 20):
        found = of.step(torch.randperm(signal.n, generator=generator)[:batch].to(place.device), None, FACTOR)
    of.close()
    return found


def rates(place: Place) -> Iterator[Row]:
    """Speed of products, sines and stacks of small networks."""
    side, rows = (64, 256) if place.quick else (8192, 262_144)
    for name in ("fp32", "tf32", "bf16"):
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        square = torch.randn(side, side, device=place.device).to(dtype)
        tall, weight = (torch.randn(size, 256, device=place.device).to(dtype) for size in (rows, 256))
        with matmul_precision("high" if name == "tf32" else "highest"):
            for what, a, b in ((f"{side}^3", square, square), (f"{rows}x256x256", tall, weight)):
                flop = 2 * a.shape[0] * a.shape[1] * b.shape[1]
                taken = seconds(place, lambda a=a, b=b: a @ b)
                yield Row(f"rate: {name} product {what}", flop / taken / 1e12, "TFLOP/s")
        if name != "tf32":
            yield Row(f"rate: {name} sine", 2 * tall.nbytes / seconds(place, tall.sin) / 1e9, "GB/s")
    for nets in (16, 64):
        x, w, b = (
            torch.randn(nets, size, 64, device=place.device).bfloat16() for size in (max(1, rows // nets), 64, 1)
        )
        taken = seconds(place, lambda x=x, w=w, b=b: torch.baddbmm(b, x, w))
        yield Row(f"rate: baddbmm of {nets} nets 64 wide", 2 * x.shape[1] * nets * 64**2 / taken / 1e12, "TFLOP/s")


def steps(place: Place) -> Iterator[Row]:
    """Steps by engine and batch size, and their share of the device's matrix rate."""
    signal = made_picture(24, 32) if place.quick else made_picture(512, 512)
    spec, usual = field_spec(place, signal, "siren"), 64 if place.quick else recipe.CUDA_BATCH
    kinds = [(kind, precision, usual) for kind in ("autograd", "analytic", "cuda-graph") for precision in TOLERANCE]
    kinds += [("cuda-graph", "bf16", batch) for batch in ((32,) if place.quick else BATCHES) if batch != usual]
    found = {}
    for kind, precision, batch in kinds:
        of = new_engine(place, signal, spec, kind, precision, batch)
        indices = torch.randperm(signal.n, device=place.device)[:batch]
        found[kind, precision, batch] = seconds(place, lambda: of.step(indices, None, 1e-3), 100)  # noqa: B023
        yield Row(f"step: {kind}, {precision}, {batch:,} points", 1e3 * found[kind, precision, batch], "ms")
        if (kind, precision, batch) == ("cuda-graph", "bf16", usual):
            yield ahead(of, indices)
        of.close()
    for precision in TOLERANCE:
        gain = found["autograd", precision, usual] / found["cuda-graph", precision, usual]
        yield Row(f"step: autograd / cuda-graph, {precision}", gain, "times")
    fastest = max(row.measured for row in rates(place) if row.what.startswith("rate: bf16 product"))
    flop = 6 * spec.macs * usual / found["cuda-graph", "bf16", usual]
    yield Row("step: share of the bf16 matrix rate", flop / (float(fastest) * 1e12))


def ahead(of: Engine, indices: torch.Tensor) -> Row:
    """Queued work in seconds, once the throttle has measured the duration of a step."""
    what = "step: host in front of the device"
    if of.throttle is None:
        return Row(what, "not measured: the CPU has no queue")
    for _ in range(2000):
        of.step(indices, None, 1e-3)
    queued = list(of.throttle.queued)
    torch.cuda.synchronize()
    return Row(what, queued[0].elapsed_time(queued[-1]) / 1e3, "s")


def decoding(place: Place) -> Iterator[Row]:
    """Decoding of complete pictures, and their difference from those of the CPU."""
    from decode import artifact

    for width, height in ((24, 16), (32, 32)) if place.quick else ((768, 512), (4096, 4096)):
        model = artifact(width, height)
        taken = min(timed(place, lambda m=model: m.decode(device=place.device)) for _ in range(3))
        yield Row(f"decode: {width}x{height}", width * height / taken / 1e6, "Mpixels/s")
        if width * height < 1 << 20:
            there, here = (model.decode(device=device).astype(int) for device in (place.device, "cpu"))
            yield Row("decode: largest difference from the CPU's", float(np.abs(there - here).max()), "of 255")
