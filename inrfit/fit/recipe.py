"""The recipe of a fit: the values chosen for a signal, an architecture, a device and a budget, each with its reason.

Constants name the benchmark that chose them; the figures are in docs/benchmarks.md. Some values were set once and never
varied: WARM_UP, LONGEST_WARM_UP, LAST_FACTOR and SHORT_FIT_BOUNDS (engine/config.py), FLOAT32_FINISH_SHARE and
FLOAT32_FINISH_DB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..errors import UsageError
from ..fields import Architecture, FieldSpec, Hyperparameters, OptionContext, kernel_passes
from ..modalities import MODALITIES
from ..runtime import slowdown
from ..signal import Signal
from .budget import Budget
from .engine import precision as precisions
from .engine.config import TrainingConfig
from .engine_choice import choose_engine

CUDA_BATCH = 16_896
"""Points per step on CUDA: 132 tiles of 128 points, one tile per multiprocessor of an H100. Not measured yet."""

CUDA_MUON_FACTOR = 1.25
"""Factor on Muon's learning rate for the longer batches on CUDA. Not measured yet, nor are SIREN's other rates
there."""

PAPER_REASON = "as in the papers"
USER_REASON = "set by the user"
ADAPT_THREADS_REASON = "half or twice the threads are tried now and then: on a busy machine fewer are faster"

BUSY_SLOWDOWN = 2.0
"""Slowdown of a thread (``runtime.slowdown``) from which the first steps use one thread: threads that share their cores
with other programs wait for each other."""

PAPER_SECOND_BETA = 0.999
"""Adam's second beta with ``--regime paper``: torch's default, which the papers use."""

NARROW_POWER = 0.7
"""Rates of steps on a whole signal are in inverse proportion to this power of the width (docs/benchmarks.md, "Fields of
few samples")."""

WHOLE_SIGNAL_REASON = (
    "every step is on all samples, without the noise of drawn batches: larger rates for narrow networks"
)

FIRST_RATE_LIMIT = 400.0
"""Largest factor on the learning rate of the first layer, which for a SIREN is the layer's frequency."""

FIRST_RATE_LIMIT_REASON = "else steps would move the phases of a sound's first layer by a radian (docs/benchmarks.md)"

KERNEL_BATCH, KERNEL_BATCH_MIN_SECONDS = 8192, 5.0
"""Points per step of the kernel in bfloat16, and the minimum budget (s) for it: shorter fits would have too few
steps."""

KERNEL_BATCH_ARCHITECTURES = ("siren", "finer")
"""The architectures for which it was measured."""

KERNEL_BATCH_REASON = "best of 4,096 to 16,384 points for steps of the kernel (docs/benchmarks.md)"

BF16_MIN_WIDTH = 48
"""Minimum width for which bfloat16 products pay off: in narrower layers, the slower sines cost what the products gain
(docs/benchmarks.md)."""

FLOAT32_FINISH_SHARE, FLOAT32_FINISH_DB = 0.1, 50.0
"""The last FLOAT32_FINISH_SHARE of the budget is computed in float32 if the quality is above FLOAT32_FINISH_DB (dB):
bfloat16 hidden layers would limit it to about 60 dB."""


@dataclass(frozen=True)
class Choice:
    """The value chosen for one field of ``TrainingConfig``, and the reason. Without a reason it is not shown."""

    name: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Recipe:
    """All choices for a fit."""

    choices: tuple[Choice, ...]
    probe: str = ""
    """The measurement that chose the precision, as text."""

    @property
    def config(self) -> TrainingConfig:
        """The values without the reasons."""
        return TrainingConfig(**{choice.name: choice.value for choice in self.choices}, probe=self.probe)

    def reason(self, name: str) -> str:
        """The reason for the field ``name`` of the configuration; empty if it is not shown."""
        return next((choice.reason for choice in self.choices if choice.name == name), "")


@dataclass(frozen=True)
class UserChoices:
    """The values set by the user; "auto" or None leaves a value to the recipe. ``lr`` is Adam's peak learning rate;
    Muon's is scaled with it. ``regime`` is "inrfit" (the recipe of this project) or "paper"; with the ``clock`` "fit",
    compiling does not count."""

    batch: str | int = "auto"
    precision: str = "auto"
    lr: float | None = None
    engine: str = "auto"
    threads: int | None = None
    regime: str = "inrfit"
    clock: str = "load"


def choose(
    spec: FieldSpec,
    device: torch.device,
    user: UserChoices = UserChoices(),
    budget: Budget = Budget(),
    samples: int | None = None,
) -> Recipe:
    """The recipe for a fit of ``spec`` within ``budget`` to a signal of so many ``samples`` (None: many).

    With a budget in seconds, choosing the precision may run a probe of 50 ms. Raises ``UsageError`` for an engine that
    the device or the architecture does not support."""
    traits, paper = spec.formula.TRAITS, user.regime == "paper"
    if device.type == "cuda" and user.engine == "compiled":
        raise UsageError("--engine compiled: only on the CPU (on CUDA use cuda-graph)", "option")
    if user.engine in ("compiled", "cuda-graph") and not traits.same_shapes:
        raise UsageError(f"--engine {user.engine}: {spec.architecture} sorts its points in every step", "option")
    if user.engine in ("analytic", "compiled", "cuda-graph") and not traits.own_gradients:
        raise UsageError(
            f"--engine {user.engine}: {spec.architecture} has no analytic backward pass (use autograd)", "option"
        )
    timed_cpu = device.type != "cuda" and budget.seconds is not None
    slower = slowdown() if timed_cpu else 1.0
    precision, probe = choose_precision(spec, device, budget, user)
    dtype = torch.bfloat16 if precision.value == "bf16" else torch.float32
    if user.engine == "kernel" and (device.type == "cuda" or kernel_passes.instructions_of(spec, dtype) is None):
        raise UsageError(
            f"--engine kernel: it does not compute {spec.architecture} of this size in {precision.value} here", "option"
        )
    default_batch = None if paper else traits.hyperparameters.batch_size(spec.parameters)
    planned_batch = default_batch if user.batch == "auto" else _batch_size(user.batch)
    engine = _user_choice("engine", user.engine) or Choice(
        "engine", *choose_engine(spec, device, budget, dtype, planned_batch)
    )
    batch = choose_batch(spec, device, budget, user, dtype, engine.value)
    adapt_batch = (
        timed_cpu and user.batch == "auto" and not (paper or engine.value == "compiled" or traits.shares_blocks)
    )
    measured_width = traits.hyperparameters.measured_width
    whole_signal = (
        not paper and measured_width is not None and device.type != "cuda" and 0 < (samples or 0) <= (batch.value or 0)
    )
    narrow = max(1.0, (measured_width or 0) / spec.width) ** NARROW_POWER if whole_signal else 1.0
    rates = _paper_rates if paper else partial(_rates, cuda=device.type == "cuda", narrow=narrow)
    choices = (
        precision,
        engine,
        batch,
        Choice("adapt_batch", adapt_batch, "the first steps are small; fewer points where the time is short"),
        *_thread_choices(timed_cpu, user.threads, slower),
        Choice("whole_signal", whole_signal, WHOLE_SIGNAL_REASON if whole_signal else "batches are drawn"),
        *rates(traits.hyperparameters, user.lr),
    )
    return Recipe(choices, probe)


def _thread_choices(timed_cpu: bool, user_threads: int | None, slower: float) -> tuple[Choice, ...]:
    """Whether the number of threads is tuned, and the first one, given the ``slowdown`` of one thread."""
    if user_threads is not None:
        return (Choice("adapt_threads", False, USER_REASON),)
    busy = slower >= BUSY_SLOWDOWN
    reason = f"the machine is busy: a thread gets {1 / slower:.0%} of a core" if busy else ""
    return Choice("adapt_threads", timed_cpu, ADAPT_THREADS_REASON), Choice("first_threads", int(busy), reason)


def _user_choice(name: str, value: Any) -> Choice | None:
    """The choice of the user; None for "auto" or None."""
    return None if value in ("auto", None) else Choice(name, value, USER_REASON)


def _batch_size(batch: str | int) -> int | None:
    """The value of ``--batch`` as points per step; None for one step per selection."""
    return None if batch == "selection" else int(batch) or None


def choose_batch(
    spec: FieldSpec, device: torch.device, budget: Budget, user: UserChoices, dtype: torch.dtype, engine: str
) -> Choice:
    """The number of points per step."""
    tuned = spec.formula.TRAITS.hyperparameters
    if user.batch != "auto":
        return Choice("batch", _batch_size(user.batch), USER_REASON)
    if user.regime == "paper":
        return Choice("batch", None, PAPER_REASON)
    if device.type == "cuda" and not spec.formula.TRAITS.shares_blocks:
        return Choice("batch", CUDA_BATCH, "not measured yet")
    measured = spec.architecture in KERNEL_BATCH_ARCHITECTURES and dtype == torch.bfloat16
    if engine == "kernel" and measured and (budget.seconds or 0.0) >= KERNEL_BATCH_MIN_SECONDS:
        return Choice("batch", KERNEL_BATCH, KERNEL_BATCH_REASON)
    return Choice("batch", tuned.batch_size(spec.parameters), tuned.batch_source)


def _rates(tuned: Hyperparameters, lr: float | None, cuda: bool, narrow: float) -> tuple[Choice, ...]:
    """The settings of the optimiser, with rates times ``narrow``. Rates set by the user do not depend on the number of
    steps."""
    scale = narrow if lr is None else lr / tuned.adam_rate
    muon_rate = scale * tuned.muon_rate * (CUDA_MUON_FACTOR if cuda else 1.0)
    adam_reason = "as on the CPU: not measured yet" if cuda else tuned.source
    muon_reason = "Adam for all tensors: Muon was not worth its time for this architecture"
    if muon_rate:
        muon_reason = "Muon for the hidden matrices, Adam for the rest (tests/bench/optimisers.py)"
    boosted = tuned.short_run_boost and not cuda
    boost_reason = "not measured yet" if cuda else "the rates were measured without it"
    if boosted:
        boost_reason = "rates depend on the number of steps that the budget allows: short fits need larger rates"
    if lr is not None:
        adam_reason = muon_reason = boost_reason = USER_REASON
    not_varied = "a first choice that was not varied"
    default = TrainingConfig(None, "fp32", 0.0, 0.0)
    return (
        Choice("adam_rate", scale * tuned.adam_rate, adam_reason),
        Choice("muon_rate", muon_rate, muon_reason),
        Choice("momentum", tuned.muon_momentum, tuned.muon_momentum_source if muon_rate else ""),
        Choice("boosted", lr is None and boosted, boost_reason),
        Choice("warm_up", default.warm_up, not_varied),
        Choice("second_beta", default.second_beta, not_varied),
        Choice("epsilon", tuned.epsilon, tuned.epsilon_source),
        Choice("first_rate_limit", FIRST_RATE_LIMIT, FIRST_RATE_LIMIT_REASON),
        Choice("annealed", True, "the rates reach their end whenever the budget does"),
    )


def _paper_rates(tuned: Hyperparameters, lr: float | None) -> tuple[Choice, ...]:
    """The settings of the optimiser in the papers: torch's Adam at a constant rate, with the epsilon of the
    architecture."""
    return (
        _user_choice("adam_rate", lr) or Choice("adam_rate", tuned.paper_rate, PAPER_REASON),
        Choice("muon_rate", 0.0, PAPER_REASON),
        Choice("warm_up", 0.0, PAPER_REASON),
        Choice("boosted", False, PAPER_REASON),
        Choice("annealed", False, PAPER_REASON),
        Choice("second_beta", PAPER_SECOND_BETA, PAPER_REASON),
        Choice("epsilon", tuned.epsilon, PAPER_REASON),
    )


def choose_precision(spec: FieldSpec, device: torch.device, budget: Budget, user: UserChoices) -> tuple[Choice, str]:
    """The arithmetic of the hidden layers, and the measurement that chose it as text, if there was one."""
    if (own := _user_choice("precision", user.precision)) is not None:
        return own, ""
    if user.regime == "paper":
        return Choice("precision", "fp32", PAPER_REASON), ""
    if spec.width < BF16_MIN_WIDTH:
        return Choice("precision", "fp32", f"bf16 is not faster for fewer than {BF16_MIN_WIDTH} units per layer"), ""
    default = "bf16" if precisions.has_fast_bf16(device) and spec.width >= 64 else "fp32"
    if budget.seconds is None:
        reason = "budget in steps: chosen by the processor type, so that the same steps give the same field"
        return Choice("precision", default, reason), ""
    if device.type == "cpu" and (trained := precisions.probe_kernel(spec)):
        return _faster_kernel(trained)
    measured = precisions.probe(device, spec.width)
    speeds = ", ".join(f"{name} {m.gflops:.0f} GFLOP/s (error {m.error:.0e})" for name, m in measured.items())
    reason = f"the fastest with a safe error: {speeds}" if len(measured) > 1 else "the machine is too busy to probe"
    return Choice("precision", precisions.fastest(measured, default), reason), speeds


def _faster_kernel(speeds: Mapping[str, float]) -> tuple[Choice, str]:
    """The arithmetic in which the kernel trains more points, given ``speeds`` (thousands a second and thread), and the
    measurement as text."""
    faster = "bf16" if speeds.get("bf16", 0.0) >= precisions.MIN_SPEEDUP * speeds.get("fp32", 0.0) else "fp32"
    text = ", ".join(f"{name} {speed:,.0f}" for name, speed in speeds.items())
    if len(speeds) == 1:
        return Choice("precision", faster, "the only one that the kernel has on this processor"), text
    return Choice("precision", faster, f"the faster in the kernel: {text} thousand points a second and thread"), text


def architecture_options(
    signal: Signal, formula: Architecture, regime: str = "inrfit", asked: Collection[str] = ()
) -> dict[str, float | str]:
    """The architecture options that depend on the signal, such as the first frequency, by name and in the units of the
    architecture. Options set in ``formula`` are taken into account; ``asked`` names those that the user set."""
    modality = MODALITIES[signal.modality]
    stretch = modality.paper_omega / 30 if regime == "paper" else None  # INT's code stretches the coordinates
    first_omega = partial(modality.first_omega, signal)
    return formula.options_for(OptionContext(modality.signal_class, signal.n, first_omega, stretch, asked))
