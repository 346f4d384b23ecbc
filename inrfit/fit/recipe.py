"""The defaults: what is chosen for a signal, an architecture, a device and a budget, and why.

Constants say what chose them; the figures are in docs/benchmarks.md. First choices that were not varied: WARM_UP and
its longest, LAST_FACTOR, EXACT_TAIL and EXACT_FROM, the bounds of BOOST, and COMPILED_FROM, KNOWN_FROM and KERNEL_FROM,
which follow from what compiling took on one machine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from ..errors import UsageError
from ..fields import Architecture, Circumstances, FieldSpec, Hyperparameters
from ..fields.hyperparameters import MOMENTUM
from ..modalities import MODALITIES
from ..signal import Signal
from .budget import Budget
from .engine import cpp_kernel
from .engine import precision as arithmetics
from .engine.background_compile import compiler, key, known
from .engine.optimizer import BETAS, EPSILON

CUDA_BATCH = 16_896
"""132 tiles of 128 points: one for every multiprocessor of an H100. Not measured yet."""

CUDA_MUON = 1.25
"""Factor on Muon's rate for longer batches. Not measured yet, nor are SIREN's other rates on CUDA."""

PAPERS = "the papers'"

PAPER_SECOND_BETA = 0.999
"""Their Adam is torch's own."""

WARM_UP, LONGEST_WARM_UP = 0.02, 100
"""The rates rise for this share of the steps, or of an annealing cycle; in the beginning for so many steps at most."""

LAST_FACTOR = 0.0

ADAPTED = "half or twice the threads are tried now and then: on a busy machine fewer are faster"

BOOST_NEUTRAL, BOOST_POWER, BOOST = 1100.0, 0.5, (0.8, 1.6)
"""Rates times (1100 / steps)^0.5, within bounds. First figures: at 360 steps twice the rate gains 0.8 dB on two images,
at 1,100 it loses 4 dB on a hard one and ruins a sound (docs/benchmarks.md)."""

COMPILED_FROM, KNOWN_FROM = 45.0, 12.0
"""Seconds of budget from which torch.compile repays itself, and from which loading what it compiled before does."""

KERNEL_FROM = 4.0
"""Seconds of budget from which compiling ``kernel.cpp`` does; once that is done any budget."""

KERNEL_BATCH, KERNEL_BATCH_FROM = 8192, 5.0
KERNEL_BATCH_SOURCE = "best in seconds of 4,096 to 16,384 where steps are so fast (docs/benchmarks.md)"
"""Points of the kernel's steps, in budgets from so many seconds on; in shorter ones there would be too few steps."""

NARROW = 48
"""Units of a layer from which bfloat16 pays: at 32 the slower sines eat what the products gain (first figures, AMX)."""
COMPILED_POINTS = 8192
"""Most points of a step to be compiled where the architecture takes longer batches apart (``gradient_chunk``)."""

EXACT_TAIL = 0.1
EXACT_FROM = 50.0
"""From this quality (dB) the last EXACT_TAIL of the budget is fitted in float32: bfloat16 hidden layers end near 60."""


@dataclass(frozen=True)
class Recipe:
    """How the fit is made. ``batch`` 0 stands for one step per selection; rates are peak rates in the paper's
    parametrisation; ``warm_up`` is the share of the budget in which they rise. ``reasons`` say why, by field name."""

    batch: int
    precision: str
    adam_rate: float
    muon_rate: float
    warm_up: float = WARM_UP
    engine: str = "explicit"
    adapt_threads: bool = False
    boosted: bool = True
    annealed: bool = True
    momentum: float = MOMENTUM
    second_beta: float = BETAS[1]
    epsilon: float = EPSILON
    probe: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the hidden layers while fitting."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def matmul_precision(self) -> str:
        """torch's own word for how float32 products are made while fitting."""
        return "medium" if self.precision == "medium" else "highest"

    def factor(self, progress: float, risen: float) -> float:
        """Share of the peak rates at ``progress``: a half cosine down to LAST_FACTOR, times ``risen``, the share of the
        rise that is over."""
        return min(risen, 1.0) * (LAST_FACTOR + (1 - LAST_FACTOR) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))

    def boost(self, steps: float) -> float:
        """Factor on the rates for a fit of about ``steps`` optimiser steps: short fits stand, and need, larger ones."""
        low, high = BOOST
        return min(max((BOOST_NEUTRAL / max(steps, 1.0)) ** BOOST_POWER, low), high) if self.boosted else 1.0

    def json(self) -> dict[str, Any]:
        """What was chosen, without the reasons."""
        return {key: value for key, value in asdict(self).items() if key != "reasons"}


def pick(why: dict[str, str], name: str, given: Any, found: Any, reason: str) -> Any:
    """``found`` for the reason, unless the user says otherwise; which of the two goes into ``why``."""
    asked = given not in ("auto", None)
    why[name] = "asked for" if asked else reason
    return given if asked else found


def choose(
    spec: FieldSpec,
    device: torch.device,
    batch: str | int = "auto",
    precision: str = "auto",
    rate: float | None = None,
    engine: str = "auto",
    threads: int | None = None,
    budget: Budget = Budget(),
    regime: str = "engine",
) -> Recipe:
    """The recipe for ``budget``, or the papers' (``regime`` "paper"); ``batch``, ``precision``, ``rate`` (a factor-free
    Adam rate; Muon's follows in proportion), ``engine`` and ``threads`` override it."""
    tuned, paper, cuda = spec.formula.TRAITS.hyperparameters, regime == "paper", device.type == "cuda"
    if cuda and engine == "compiled":
        raise UsageError("--engine compiled: only on the CPU (on CUDA use graph)", "option")
    if engine in ("compiled", "graph") and not spec.formula.TRAITS.same_shapes:
        raise UsageError(f"--engine {engine}: {spec.architecture} sorts its points anew in every step", "option")
    why: dict[str, str] = {}
    if paper and precision == "auto":
        arithmetic, told = pick(why, "precision", None, "fp32", PAPERS), ""
    else:
        found, told, reason = choose_precision(spec, device, budget) if precision == "auto" else ("", "", "")
        arithmetic = pick(why, "precision", precision, found, reason)
    dtype = torch.bfloat16 if arithmetic == "bf16" else torch.float32
    usual, source = tuned.points(spec.parameters), tuned.batch_source
    planned = 0 if batch == "selection" or (paper and batch == "auto") else usual if batch == "auto" else int(batch)
    steps = pick(why, "engine", engine, *choose_engine(spec, device, budget, dtype, planned))
    if cuda and not spec.formula.TRAITS.shares_blocks:
        usual, source = CUDA_BATCH, "not measured yet"
    elif steps == "compiled" and cpp_kernel.suits(spec, dtype) and (budget.seconds or 0.0) >= KERNEL_BATCH_FROM:
        usual, source = KERNEL_BATCH, KERNEL_BATCH_SOURCE
    points = pick(why, "batch", batch, "selection" if paper else usual, PAPERS if paper else source)
    points = 0 if points == "selection" else int(points)
    adapt = not cuda and budget.seconds is not None
    adapt = pick(why, "adapt_threads", None if threads is None else False, adapt, ADAPTED)
    rates = _rates_of_the_papers(tuned, rate, why) if paper else _rates(tuned, rate, cuda, why)
    return Recipe(points, arithmetic, engine=steps, adapt_threads=adapt, probe=told, reasons=why, **rates)


def _rates(tuned: Hyperparameters, rate: float | None, cuda: bool, why: dict[str, str]) -> dict[str, Any]:
    """What the optimiser is told, by field name of ``Recipe``; a ``rate`` that is asked for is not varied."""
    scale = 1.0 if rate is None else rate / tuned.adam_rate
    muon = scale * tuned.muon_rate * (CUDA_MUON if cuda else 1.0)
    unmeasured = "the CPU's: not measured yet"
    by_muon = "Muon on the hidden matrices, Adam on the rest (tests/bench/optimisers.py)"
    unboosted = "not measured yet" if cuda else "the rates were found without"
    follow = "rates follow the number of steps the budget has room for: short fits need larger ones"
    pick(why, "adam_rate", rate, None, unmeasured if cuda else tuned.source)
    pick(why, "muon_rate", rate, None, by_muon if muon else "Adam everywhere: Muon was not worth its time here")
    if muon:
        why["momentum"] = tuned.momentum_source
    pick(why, "boosted", rate, None, unboosted if cuda or not tuned.boosted else follow)
    why |= dict.fromkeys(("warm_up", "second_beta"), "a first choice that was not varied")
    why["epsilon"] = tuned.epsilon_source
    why["annealed"] = "a fit cut by its budget is a finished fit"
    return {
        "adam_rate": scale * tuned.adam_rate,
        "muon_rate": muon,
        "momentum": tuned.momentum,
        "boosted": rate is None and not cuda and tuned.boosted,
        "epsilon": tuned.epsilon,
    }


def _rates_of_the_papers(tuned: Hyperparameters, rate: float | None, why: dict[str, str]) -> dict[str, Any]:
    """Adam as torch has it, but for the architecture's own epsilon, at a constant rate."""
    pick(why, "adam_rate", rate, None, PAPERS)
    why |= dict.fromkeys(("muon_rate", "warm_up", "boosted", "annealed", "second_beta", "epsilon"), PAPERS)
    return {
        "adam_rate": rate or tuned.paper_rate,
        "muon_rate": 0.0,
        "warm_up": 0.0,
        "boosted": False,
        "annealed": False,
        "second_beta": PAPER_SECOND_BETA,
        "epsilon": tuned.epsilon,
    }


def choose_precision(spec: FieldSpec, device: torch.device, budget: Budget) -> tuple[str, str, str]:
    """Arithmetic of the hidden layers, what was measured to find it, and the reason."""
    if spec.width < NARROW:
        return "fp32", "", f"layers of fewer than {NARROW} units gain nothing from less"
    capable = "bf16" if arithmetics.capable_of_bf16(device) and spec.width >= 64 else "fp32"
    if budget.seconds is None:
        return capable, "", "a budget in steps: by what the processor can, so that the same steps give the same field"
    measured = arithmetics.probe(device, spec.width)
    found = arithmetics.fastest(measured, capable)
    told = ", ".join(f"{name} {m.gflops:.0f} GFLOP/s (error {m.error:.0e})" for name, m in measured.items())
    return found, told, f"fastest of safe error: {told}" if len(measured) > 1 else "the machine is too busy to probe"


def choose_engine(
    spec: FieldSpec, device: torch.device, budget: Budget, dtype: torch.dtype, batch: int
) -> tuple[str, str]:
    """How steps are made, and the reason."""
    traits = spec.formula.TRAITS
    if not traits.own_gradients:
        return "plain", "this architecture has no backward pass of its own"
    if not traits.same_shapes:
        return (
            "explicit",
            "what belongs together is found anew in every step: neither compiled nor captured",
        )
    if device.type == "cuda":
        return "graph", "one launch a step"
    if budget.seconds is None:
        return "explicit", "a budget in steps: nothing is compiled unless asked for"
    if cpp_kernel.suits(spec, dtype):
        if budget.seconds >= KERNEL_FROM or cpp_kernel.kept():
            return "compiled", "one C++ function that stays within the cache; g++ takes a second for it the first time"
        return "explicit", f"compiling repays itself from {KERNEL_FROM:.0f} s of budget, and once done at once"
    if compiler() is None:
        return "explicit", "there is no C++ compiler to compile with"
    if budget.seconds < (KNOWN_FROM if known(key(spec, dtype, batch)) else COMPILED_FROM):
        return "explicit", f"compiling repays itself from {COMPILED_FROM:.0f} s of budget, {KNOWN_FROM:.0f} once done"
    if traits.gradient_chunk is not None and not 0 < batch <= COMPILED_POINTS:
        return "explicit", f"more than {COMPILED_POINTS:,} points are taught in parts, each of which would be compiled"
    return "compiled", "1.3 times as fast once it is there, some seconds into the fit"


PAPER_OMEGAS = {"audio": 150.0, "shape": 15.0}
"""First-layer frequencies of INT's code on axes from -1 to 1: 30 on sounds from -5 to 5 and shapes from -0.5 to 0.5.
It stretches the coordinates, whatever the architecture."""


def signal_class(signal: Signal) -> str:
    """Kind of function that ``signal`` is, as ``fields.Traits`` names it."""
    return signal.modality


def architecture_options(signal: Signal, formula: Architecture, regime: str = "engine") -> dict[str, float]:
    """Options for the signal, in the architecture's units, where its own are not to stand; those of ``formula`` are
    fixed already."""
    stretch = PAPER_OMEGAS.get(signal_class(signal), 30.0) / 30 if regime == "paper" else None
    first_omega = partial(MODALITIES[signal.modality].first_omega, signal)
    return formula.options_for(Circumstances(signal_class(signal), signal.n, first_omega, stretch))


def explain(
    recipe: Recipe,
    spec: FieldSpec,
    signal: Signal,
    regime: str = "engine",
    asked: Collection[str] = (),
    planned: Collection[str] = (),
) -> list[tuple[str, str, str]]:
    """(setting, value, reason) of all that was chosen for a fit; ``asked`` are the user's own options, ``planned``
    those that were there before the recipe: the user's, and what the field's size brought."""
    rows = [(name, _shown(name, getattr(recipe, name)), why) for name, why in recipe.reasons.items()]
    for option, value in spec.json()["options"].items():
        if option in asked:
            reason = "asked for"
        elif special := spec.formula.reason(option):
            reason = special
        elif option in planned:
            reason = "follows from the signal's size and the number of weights"
        else:
            reason = PAPERS if regime == "paper" else MODALITIES[signal.modality].OMEGA_SOURCE
        rows.append((option, f"{value:g}" if isinstance(value, float) else str(value), reason))
    return rows


def _shown(key: str, value: Any) -> str:
    if key == "batch":
        return f"{value:,} points" if value else "the selection"
    return f"{value:g}" if isinstance(value, float) else str(value)
