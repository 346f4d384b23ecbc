"""The defaults: what is chosen for a signal, an architecture, a device and a budget, and why.

Constants say what chose them; the figures are in docs/benchmarks.md. Values that were set once and never varied:
WARM_UP, LONGEST_WARM_UP, LAST_FACTOR and SHORT_FIT_BOUNDS (engine/config.py), FLOAT32_FINISH_SHARE and
FLOAT32_FINISH_DB, and COMPILED_FROM, KNOWN_FROM and KERNEL_FROM, which follow from what compiling took on one machine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..errors import UsageError
from ..fields import Architecture, FieldSpec, Hyperparameters, OptionContext
from ..modalities import MODALITIES
from ..signal import Signal
from .budget import Budget
from .engine import cpp_kernel
from .engine import precision as arithmetics
from .engine.background_compile import compilation_key, cpp_compiler, is_compiled
from .engine.config import TrainingConfig

CUDA_BATCH = 16_896
"""132 tiles of 128 points: one for every multiprocessor of an H100. Not measured yet."""

CUDA_MUON = 1.25
"""Factor on Muon's rate for longer batches. Not measured yet, nor are SIREN's other rates on CUDA."""

PAPERS = "the papers'"
ASKED = "asked for"

PAPER_SECOND_BETA = 0.999
"""The papers use torch's own Adam."""

ADAPTED = "half or twice the threads are tried now and then: on a busy machine fewer are faster"

COMPILED_FROM, KNOWN_FROM = 45.0, 12.0
"""Minimum budgets (s) for which torch.compile pays off: when it compiles anew, and when it finds its code on disk."""

KERNEL_FROM = 4.0
"""Minimum budget (s) for which compiling ``cpp_kernel.cpp`` pays off. Once compiled it is used for any budget."""

KERNEL_BATCH, KERNEL_BATCH_FROM = 8192, 5.0
"""Points of a step of the kernel, for budgets of at least 5 s; shorter ones would have too few steps."""
KERNEL_BATCH_SOURCE = "best in seconds of 4,096 to 16,384 where steps are so fast (docs/benchmarks.md)"

NARROW = 48
"""Layers of fewer units gain nothing from bfloat16: at 32 the slower sines cost what the products gain
(docs/benchmarks.md)."""

COMPILED_POINTS = 8192
"""Most points of a step that is compiled, for architectures that take longer batches apart themselves."""

FLOAT32_FINISH_SHARE = 0.1
FLOAT32_FINISH_DB = 50.0
"""From this quality (dB) the last FLOAT32_FINISH_SHARE of the budget is fitted in float32: bfloat16 hidden layers end
near 60."""


@dataclass(frozen=True)
class Choice:
    """The value of one field of ``TrainingConfig``, and why. Without a reason it is not shown."""

    name: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Recipe:
    """What was chosen for a fit, value by value."""

    choices: tuple[Choice, ...]
    probe: str = ""
    """What was measured to choose the precision, in words."""

    @property
    def config(self) -> TrainingConfig:
        """The values alone."""
        return TrainingConfig(**{choice.name: choice.value for choice in self.choices}, probe=self.probe)

    def reason(self, name: str) -> str:
        """Why the field ``name`` of the configuration is what it is; empty if that is not shown."""
        return next((choice.reason for choice in self.choices if choice.name == name), "")


@dataclass(frozen=True)
class UserChoices:
    """What the user asks for: "auto" or None leaves a choice open. ``lr`` is a factor-free Adam rate, which Muon's
    follows in proportion; ``regime`` is "inrfit" (this project's recipe) or "paper"."""

    batch: str | int = "auto"
    precision: str = "auto"
    lr: float | None = None
    engine: str = "auto"
    threads: int | None = None
    regime: str = "inrfit"


def choose(
    spec: FieldSpec, device: torch.device, asked: UserChoices = UserChoices(), budget: Budget = Budget()
) -> Recipe:
    """The recipe for a fit of ``spec`` within ``budget``. Raises ``UsageError`` for an engine that cannot be had."""
    if device.type == "cuda" and asked.engine == "compiled":
        raise UsageError("--engine compiled: only on the CPU (on CUDA use cuda-graph)", "option")
    if asked.engine in ("compiled", "cuda-graph") and not spec.formula.TRAITS.same_shapes:
        raise UsageError(f"--engine {asked.engine}: {spec.architecture} sorts its points anew in every step", "option")
    tuned, paper = spec.formula.TRAITS.hyperparameters, asked.regime == "paper"
    precision, probe = choose_precision(spec, device, budget, asked)
    dtype = torch.bfloat16 if precision.value == "bf16" else torch.float32
    usual = None if paper else tuned.batch_size(spec.parameters)
    planned = usual if asked.batch == "auto" else _points(asked.batch)
    engine = given("engine", asked.engine) or choose_engine(spec, device, budget, dtype, planned)
    batch = choose_batch(spec, device, budget, asked, dtype, engine.value)
    adapt = Choice("adapt_threads", device.type != "cuda" and budget.seconds is not None, ADAPTED)
    if asked.threads is not None:
        adapt = Choice("adapt_threads", False, ASKED)
    rates = _rates_of_the_papers(tuned, asked.lr) if paper else _rates(tuned, asked.lr, device.type == "cuda")
    return Recipe((precision, engine, batch, adapt, *rates), probe)


def given(name: str, value: Any) -> Choice | None:
    """The user's own choice; None where it is left open."""
    return None if value in ("auto", None) else Choice(name, value, ASKED)


def _points(batch: str | int) -> int | None:
    """The points of one step that ``--batch`` asks for; None for one step per selection."""
    return None if batch == "selection" else int(batch) or None


def choose_batch(
    spec: FieldSpec, device: torch.device, budget: Budget, asked: UserChoices, dtype: torch.dtype, engine: str
) -> Choice:
    """Points of one step."""
    tuned = spec.formula.TRAITS.hyperparameters
    if asked.batch != "auto":
        return Choice("batch", _points(asked.batch), ASKED)
    if asked.regime == "paper":
        return Choice("batch", None, PAPERS)
    if device.type == "cuda" and not spec.formula.TRAITS.shares_blocks:
        return Choice("batch", CUDA_BATCH, "not measured yet")
    if engine == "compiled" and cpp_kernel.is_supported(spec, dtype) and (budget.seconds or 0.0) >= KERNEL_BATCH_FROM:
        return Choice("batch", KERNEL_BATCH, KERNEL_BATCH_SOURCE)
    return Choice("batch", tuned.batch_size(spec.parameters), tuned.batch_source)


def _rates(tuned: Hyperparameters, rate: float | None, cuda: bool) -> tuple[Choice, ...]:
    """What the optimiser is told; a ``rate`` that is asked for is not varied."""
    scale = 1.0 if rate is None else rate / tuned.adam_rate
    muon = scale * tuned.muon_rate * (CUDA_MUON if cuda else 1.0)
    source = "the CPU's: not measured yet" if cuda else tuned.source
    by_muon = "Muon on the hidden matrices, Adam on the rest (tests/bench/optimisers.py)"
    boosted = tuned.short_run_boost and not cuda
    follow = "rates follow the number of steps the budget has room for: short fits need larger ones"
    unboosted = "not measured yet" if cuda else "the rates were found without"
    unvaried = "a first choice that was not varied"
    default = TrainingConfig(None, "fp32", 0.0, 0.0)
    return (
        Choice("adam_rate", scale * tuned.adam_rate, ASKED if rate is not None else source),
        Choice(
            "muon_rate",
            muon,
            ASKED if rate is not None else by_muon if muon else "Adam everywhere: Muon was not worth its time here",
        ),
        Choice("momentum", tuned.muon_momentum, tuned.muon_momentum_source if muon else ""),
        Choice("boosted", rate is None and boosted, ASKED if rate is not None else follow if boosted else unboosted),
        Choice("warm_up", default.warm_up, unvaried),
        Choice("second_beta", default.second_beta, unvaried),
        Choice("epsilon", tuned.epsilon, tuned.epsilon_source),
        Choice("annealed", True, "a fit cut by its budget is a finished fit"),
    )


def _rates_of_the_papers(tuned: Hyperparameters, rate: float | None) -> tuple[Choice, ...]:
    """Adam as torch has it, but for the architecture's own epsilon, at a constant rate."""
    return (
        given("adam_rate", rate) or Choice("adam_rate", tuned.paper_rate, PAPERS),
        Choice("muon_rate", 0.0, PAPERS),
        Choice("warm_up", 0.0, PAPERS),
        Choice("boosted", False, PAPERS),
        Choice("annealed", False, PAPERS),
        Choice("second_beta", PAPER_SECOND_BETA, PAPERS),
        Choice("epsilon", tuned.epsilon, PAPERS),
    )


def choose_precision(spec: FieldSpec, device: torch.device, budget: Budget, asked: UserChoices) -> tuple[Choice, str]:
    """Arithmetic of the hidden layers, and what was measured to choose it."""
    if (own := given("precision", asked.precision)) is not None:
        return own, ""
    if asked.regime == "paper":
        return Choice("precision", "fp32", PAPERS), ""
    if spec.width < NARROW:
        return Choice("precision", "fp32", f"layers of fewer than {NARROW} units gain nothing from less"), ""
    capable = "bf16" if arithmetics.has_fast_bf16(device) and spec.width >= 64 else "fp32"
    if budget.seconds is None:
        why = "a budget in steps: by what the processor can, so that the same steps give the same field"
        return Choice("precision", capable, why), ""
    measured = arithmetics.probe(device, spec.width)
    told = ", ".join(f"{name} {m.gflops:.0f} GFLOP/s (error {m.error:.0e})" for name, m in measured.items())
    why = f"fastest of safe error: {told}" if len(measured) > 1 else "the machine is too busy to probe"
    return Choice("precision", arithmetics.fastest(measured, capable), why), told


def choose_engine(
    spec: FieldSpec, device: torch.device, budget: Budget, dtype: torch.dtype, batch: int | None
) -> Choice:
    """How steps are made."""
    name, why = _engine(spec, device, budget, dtype, batch)
    return Choice("engine", name, why)


def _engine(
    spec: FieldSpec, device: torch.device, budget: Budget, dtype: torch.dtype, batch: int | None
) -> tuple[str, str]:
    """How steps are made, and the reason."""
    if not spec.formula.TRAITS.own_gradients:
        return "autograd", "this architecture has no backward pass of its own"
    if not spec.formula.TRAITS.same_shapes:
        return (
            "analytic",
            "what belongs together is found anew in every step: neither compiled nor captured",
        )
    if device.type == "cuda":
        return "cuda-graph", "one launch a step"
    if budget.seconds is None:
        return "analytic", "a budget in steps: nothing is compiled unless asked for"
    if cpp_kernel.is_supported(spec, dtype):
        if budget.seconds >= KERNEL_FROM or cpp_kernel.is_cached():
            return "compiled", "one C++ function that stays within the cache; g++ takes a second for it the first time"
        return "analytic", f"compiling repays itself from {KERNEL_FROM:.0f} s of budget, and once done at once"
    if cpp_compiler() is None:
        return "analytic", "there is no C++ compiler to compile with"
    if budget.seconds < (KNOWN_FROM if is_compiled(compilation_key(spec, dtype, batch or 0)) else COMPILED_FROM):
        return "analytic", f"compiling repays itself from {COMPILED_FROM:.0f} s of budget, {KNOWN_FROM:.0f} once done"
    if spec.formula.TRAITS.gradient_chunk is not None and not 0 < (batch or 0) <= COMPILED_POINTS:
        return "analytic", f"more than {COMPILED_POINTS:,} points are taught in parts, each of which would be compiled"
    return "compiled", "1.3 times as fast once it is there, some seconds into the fit"


def architecture_options(signal: Signal, formula: Architecture, regime: str = "inrfit") -> dict[str, float]:
    """Options for the signal, in the architecture's units, where its own are not to stand; those of ``formula`` are
    fixed already."""
    modality = MODALITIES[signal.modality]
    stretch = modality.paper_omega / 30 if regime == "paper" else None  # INT's code stretches the coordinates
    first_omega = partial(modality.first_omega, signal)
    return formula.options_for(OptionContext(modality.signal_class, signal.n, first_omega, stretch))


def explain(
    recipe: Recipe,
    spec: FieldSpec,
    signal: Signal,
    regime: str = "inrfit",
    asked: Collection[str] = (),
    planned: Collection[str] = (),
) -> list[tuple[str, str, str]]:
    """(setting, value, reason) of all that was chosen for a fit; ``asked`` are the user's own options, ``planned``
    those that were there before the recipe: the user's, and what the field's size brought."""
    rows = [(choice.name, _shown(choice), choice.reason) for choice in recipe.choices if choice.reason]
    for option, value in spec.json()["options"].items():
        if option in asked:
            reason = "asked for"
        elif special := spec.formula.reason(option):
            reason = special
        elif option in planned:
            reason = "follows from the signal's size and the number of weights"
        else:
            reason = PAPERS if regime == "paper" else MODALITIES[signal.modality].omega_source
        rows.append((option, f"{value:g}" if isinstance(value, float) else str(value), reason))
    return rows


def _shown(choice: Choice) -> str:
    """The value for people."""
    if choice.name == "batch":
        return "the selection" if choice.value is None else f"{choice.value:,} points"
    return f"{choice.value:g}" if isinstance(choice.value, float) else str(choice.value)
