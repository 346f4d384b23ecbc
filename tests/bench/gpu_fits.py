"""Measurements of ``gpu.py`` that are complete fits: time to a quality, batch sizes, Muon's rate, architectures,
samplers, memory, resumed fits."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_rows import BATCHES, Place, Row, field_spec, made_picture, missing, picture

from inrfit.codec import translated_errors
from inrfit.errors import Diverged, NotEnoughMemory
from inrfit.fields import FIELDS
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.checkpoint import Checkpointer, loads
from inrfit.fit.evaluation import SAMPLE_POINTS, estimate
from inrfit.fit.fitting import FitResult, fit
from inrfit.modalities import MODALITIES
from inrfit.runtime import current_device, matmul_precision
from inrfit.samplers import SAMPLERS
from inrfit.signal import Signal

BUDGETS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
TARGETS = (30.0, 35.0, 40.0)
KEPT = 3.0
"""The budget in seconds whose actual duration is reported."""

MUON = (0.7, 1.0, 1.25, 1.75)
"""Factors on Muon's rate, relative to the CPU's."""

QUICK = Budget(steps=12)
"""Budget in steps for ``--quick``, which only shows that the code runs."""


@dataclasses.dataclass(frozen=True)
class Ask:
    """The settings of a fit."""

    arch: str = "siren"
    sampler: str = "auto"
    budget: Budget = Budget()
    batch: int | str = "auto"
    precision: str = "auto"
    muon: float | None = None
    """Factors on Muon's rate, relative to the CPU's."""
    width: int | None = None


def one_fit(place: Place, signal: Signal, ask: Ask, **more: Any) -> FitResult:
    """Makes the fit ``ask`` on an initialised device; ``more`` are further arguments of ``fit``."""
    spec, traits = field_spec(place, signal, ask.arch, ask.width), FIELDS[ask.arch].TRAITS
    usual = traits.default_sampler or MODALITIES["image"].default_sampler
    sampler = SAMPLERS[usual if ask.sampler == "auto" else ask.sampler]()
    config = recipe.choose(spec, place.device, recipe.UserChoices(ask.batch, ask.precision), ask.budget).config
    if ask.muon is not None:
        config = dataclasses.replace(config, muon_rate=ask.muon * traits.hyperparameters.muon_rate)
    if "written" in more:
        more["checkpointer"] = Checkpointer({"source": "made"}, config.json(), 0.0, more.pop("written").append)
    with matmul_precision(config.matmul_precision), current_device(place.device):
        return fit(signal, spec, sampler, config, ask.budget, place.device, **more)


def psnr(place: Place, signal: Signal, ask: Ask) -> tuple[float, dict[str, Any]]:
    """PSNR (dB) of the picture (at most a million pixels), measured after the fit, and how the budget was spent. The
    PSNR of a fit that failed is -inf."""
    try:
        made = one_fit(place, signal, ask)
    except Diverged:
        return -math.inf, {}
    with matmul_precision("highest"):
        found = estimate(made.field, signal, min(signal.n, SAMPLE_POINTS), lambda share: None)
    return float(found["psnr"]), made.usage


def in_seconds(place: Place, seconds: float) -> Budget:
    """A budget in seconds, or a few steps with ``--quick``."""
    return QUICK if place.quick else Budget(seconds=seconds)


@functools.cache
def warmed(place: Place) -> None:
    """Makes a fit that is not measured, so that the measured ones need not load code."""
    psnr(place, made_picture(24, 32), Ask(budget=in_seconds(place, 1.0)))


def decibels(what: str, found: float) -> Row:
    """A row with a quality, or with a remark for a fit that failed."""
    return Row(what, found, "dB") if found > -math.inf else Row(what, "no better than a constant")


def quality(place: Place) -> Iterator[Row]:
    """The smallest budget that reaches each target, found by increasing the budget until all are reached."""
    warmed(place)
    signal, found = picture(place), dict[float, float]()
    for budget in (0.5, KEPT) if place.quick else BUDGETS:
        found[budget], spent = psnr(place, signal, Ask(budget=in_seconds(place, budget)))
        yield decibels(f"quality: PSNR after {budget:g} s", found[budget])
        if budget == KEPT and spent:
            yield Row(f"quality: a budget of {KEPT:g} s takes", spent["fit_seconds"], "s")
            yield Row("quality: share of it in selections", spent["sampler_seconds"] / spent["fit_seconds"])
            yield Row("quality: share of it in evaluations", spent["evaluate_seconds"] / spent["fit_seconds"])
            yield Row("quality: steps", spent["steps"] / spent["fit_seconds"], "steps/s")
        if found[budget] >= max(TARGETS):
            break
    for target in TARGETS:
        taken = min((budget for budget, reached in found.items() if reached >= target), default=None)
        yield Row(f"quality: {target:g} dB", f"not in {max(found):g} s" if taken is None else taken, "s of fit")


def batches(place: Place) -> Iterator[Row]:
    """Quality after 10 s by batch size."""
    warmed(place)
    signal = picture(place)
    for batch in (32, 64) if place.quick else BATCHES:
        found, spent = psnr(place, signal, Ask(batch=batch, budget=in_seconds(place, 10.0)))
        yield decibels(f"batch: {batch:,} points, PSNR after 10 s", found)
        if spent:
            yield Row(f"batch: {batch:,} points", spent["points"] / spent["fit_seconds"] / 1e6, "Mpoints/s")


def muon(place: Place) -> Iterator[Row]:
    """Quality by Muon's rate, relative to the CPU's."""
    warmed(place)
    signal = picture(place)
    for factor in MUON:
        found, _ = psnr(place, signal, Ask(muon=factor, budget=in_seconds(place, 5.0)))
        yield decibels(f"Muon's rate x {factor:g}: PSNR after 5 s", found)


def architectures(place: Place) -> Iterator[Row]:
    """Quality and speed of every architecture that takes steps, with its default settings."""
    warmed(place)
    signal = picture(place)
    for arch in (name for name, known in FIELDS.items() if known.TRAITS.closed_form is None):
        found, spent = psnr(place, signal, Ask(arch, budget=in_seconds(place, 5.0)))
        yield decibels(f"{arch}: PSNR after 5 s", found)
        if spent:
            yield Row(f"{arch}: steps", spent["steps"] / spent["fit_seconds"], "steps/s")


def strategies(place: Place) -> Iterator[Row]:
    """The share of a fit that each sampler takes. Selections wait for the device."""
    warmed(place)
    signal = picture(place)
    for sampler in SAMPLERS:
        found, spent = psnr(place, signal, Ask(sampler=sampler, budget=in_seconds(place, 2.0)))
        yield decibels(f"{sampler}: PSNR after 2 s", found)
        if spent:
            yield Row(f"{sampler}: share in selections", spent["sampler_seconds"] / spent["fit_seconds"])


@contextlib.contextmanager
def limited(place: Place, bytes_more: int) -> Iterator[None]:
    """Limits the memory of the device that torch may allocate beyond what it holds now, in bytes."""
    if not place.cuda:
        raise RuntimeError("no limit can be set to the CPU's memory")
    freed(place)
    whole = torch.cuda.get_device_properties(place.device).total_memory
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, (torch.cuda.memory_reserved(place.device) + bytes_more) / whole), place.device
    )
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, place.device)
        freed(place)


def freed(place: Place) -> None:
    """Returns unused memory to the device."""
    gc.collect()
    if place.cuda:
        torch.cuda.empty_cache()


def taken_by(place: Place, signal: Signal, ask: Ask) -> int:
    """Maximum number of bytes that a fit reserves on the device (0: unknown)."""
    freed(place)
    if not place.cuda:
        one_fit(place, signal, ask)
        return 0
    before = torch.cuda.memory_reserved(place.device)
    torch.cuda.reset_peak_memory_stats(place.device)
    one_fit(place, signal, ask)
    return torch.cuda.max_memory_reserved(place.device) - before


def memory(place: Place) -> Iterator[Row]:
    """A batch that does not fit into the memory is halved. If nothing fits, the fit ends with exit code 5."""
    signal = made_picture(24, 32) if place.quick else made_picture(512, 512)
    batch, budget = (256, 40) if place.quick else (131_072, 40)
    ask = Ask(sampler="full", batch=batch, precision="fp32", budget=Budget(steps=budget))
    needed = taken_by(place, signal, ask)
    yield Row(f"memory: steps of {batch:,} points, float32", needed / 1e6 if place.cuda else "not measured", "MB")
    with limited(place, needed // 2):
        made = one_fit(place, signal, ask)
    yield Row("memory: batch where half of that is left", float(made.final_settings["batch"]), f"of {batch:,} points")
    noted = sum("out of memory" in note for note in made.notes)
    yield Row("memory: notes about it", float(noted), "notes")
    code = 0
    try:
        with limited(place, 0), translated_errors():
            one_fit(place, signal, ask)
    except NotEnoughMemory as error:
        code = error.exit_code
    yield Row("memory: exit code where nothing is left", float(code))
    yield command_code(place)


def command_code(place: Place) -> Row:
    """The same for the command line."""
    what = "memory: exit code of the command"
    if not place.cuda:
        return Row(what, "not measured: needs a CUDA device")
    if lacking := missing("typer", "rich", "PIL", "safetensors"):
        return Row(what, f"not measured: {', '.join(lacking)} missing")
    from PIL import Image

    limit = f"torch.cuda.set_per_process_memory_fraction(1e-5, {place.device.index or 0})"
    run = f"import sys, torch; {limit}; from inrfit.__main__ import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "noise.png"
        Image.effect_noise((64, 64), 50).save(source)
        words = ["encode", str(source), "--budget", "5it", "--device", str(place.device), "--quiet"]
        done = subprocess.run([sys.executable, "-c", run, *words], cwd=folder, stdout=sys.stderr)
    return Row(what, float(done.returncode))


def resumed(place: Place) -> Iterator[Row]:
    """A resumed fit compared with an uninterrupted one."""
    if missing("safetensors"):
        raise RuntimeError("states are written by safetensors")
    signal, steps = (made_picture(24, 32), 20) if place.quick else (made_picture(64, 64), 60)
    for arch, sampler in (("siren", "stream"), ("siren", "evos"), ("finer", "nint"), ("tiles", "uniform")):
        ask = Ask(arch, sampler, Budget(steps=steps), 64 if place.quick else 512, "fp32", width=32)
        states: list[bytes] = []
        whole = one_fit(place, signal, ask, written=states).field.weights
        again = one_fit(place, signal, ask, saved_state=loads(states[len(states) // 2])).field.weights
        most = max(float((whole[name] - again[name]).detach().abs().max()) for name in whole)
        yield Row(f"resumed: {arch}, {sampler}: largest difference of a weight", most)
