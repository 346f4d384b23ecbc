"""Chooses the architecture for ``--arch auto`` and explains the choices that are made without torch.

Architectures are chosen by the rules of the modality (``Modality.architecture_rules``), which are data and name the
measurement behind them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..artifact.file_size import planned_bits
from ..errors import PluginError
from ..fields import FIELDS, FieldSpec
from ..fields.architecture import Traits
from ..fields.sizing import FEW_SAMPLES, default_width
from ..fit.budget import Budget
from ..io import options
from ..modalities import MODALITIES
from ..modalities.modality import ArchitectureRule, Modality
from ..signal import Signal
from .settings import Settings, parsed_count

_ABOUT_STEPS = ("sampler", "ratio", "width", "depth", "store", "batch", "lr", "precision", "engine", "regime")
"""Settings that a field in closed form has no use for."""


def rule_inputs(settings: Settings, signal: Signal, budget: Budget) -> dict[str, float]:
    """The numbers that rules test: samples, seconds of the budget, samples for each of these seconds, the approximate
    number of weights, infinite where there is no limit, and ``few_bytes``: 1 if few bytes are asked for and nothing
    about the steps of the fit, otherwise 0."""
    weights = math.inf
    if settings.params is not None:
        weights = parsed_count("params", settings.params)
    elif settings.bytes is not None:
        bits = planned_bits(settings.store, Traits.planned_bits)
        weights = 8 * parsed_count("bytes", settings.bytes) / bits
    seconds = math.inf if budget.seconds is None else budget.seconds
    pace = math.inf if budget.seconds is None else signal.n / max(budget.seconds, 1e-9)
    few_bytes = (settings.bytes is not None or settings.smallest) and not _asks_about_steps(settings, signal, budget)
    if signal.surface is not None:
        few_bytes = few_bytes and signal.plain_distances
    return {
        "samples": signal.n, "seconds": seconds, "samples_per_second": pace, "weights": weights,
        "few_bytes": float(few_bytes),
    }  # fmt: skip


def _asks_about_steps(settings: Settings, signal: Signal, budget: Budget) -> bool:
    """Whether something is asked for that a field in closed form does not have: steps, a sampler, layers, their
    arithmetic or their store."""
    usual, modality = Settings(), MODALITIES[signal.modality]
    chosen = any(getattr(settings, name) != getattr(usual, name) for name in _ABOUT_STEPS)
    return (
        chosen or budget.steps is not None or not settings.options.keys() <= options.declared(modality.options).keys()
    )


def matching_rule(modality: Modality, inputs: Mapping[str, float]) -> ArchitectureRule:
    """The first rule of the modality that applies to ``inputs``."""
    return next(
        rule
        for rule in modality.architecture_rules
        if all(low <= inputs[key] <= high for key, (low, high) in rule.within.items())
    )


def candidates(modality: Modality) -> list[str]:
    """Names of the architectures that ``auto`` may choose for a modality. Raises ``PluginError`` if one is unknown."""
    names = list(dict.fromkeys(rule.arch for rule in modality.architecture_rules))
    if missing := [name for name in names if name not in FIELDS]:
        raise PluginError(f"--arch auto: {missing[0]!r} in the rules for {modality.name} does not exist", "plugin")
    return names


def choose_architecture(settings: Settings, signal: Signal, budget: Budget) -> tuple[str, str]:
    """Name of the architecture, and the reason for it."""
    if settings.arch != "auto":
        return settings.arch, "set by --arch"
    rule = matching_rule(MODALITIES[signal.modality], rule_inputs(settings, signal, budget))
    return rule.arch, f"auto: {rule.why}"


def explain_choices(
    settings: Settings, spec: FieldSpec, arch_reason: str, signal: Signal
) -> tuple[tuple[str, str, str], ...]:
    """(name, value, reason) of each choice made without torch; ``arch_reason`` is that of the architecture."""
    modality = MODALITIES[signal.modality]
    if settings.params is not None or settings.bytes is not None:
        size_reason = f"the most that --{'params' if settings.bytes is None else 'bytes'} allows"
    else:
        flags = [f"--{name}" for name in ("width", "depth") if getattr(settings, name) is not None]
        size_reason = f"set by {' and '.join(flags)}" if flags else "default of the architecture"
        if not flags and modality.raster(signal.meta) and signal.n < FEW_SAMPLES and settings.regime != "paper":
            size_reason = f"usual for {signal.n:,} samples (docs/architectures.md, Default sizes)"
        elif spec.width != (settings.width or default_width(spec.formula.TRAITS, modality.signal_class)):
            size_reason += "; narrower, to leave weights for the rest of the field"
    if settings.store != "auto":
        store_reason = "set by --store"
    elif settings.bytes is not None:
        store_reason = "integers as fine as the bytes allow (docs/benchmarks.md)"
    else:
        label = modality.measures[modality.main_measure].label
        loss = f"{modality.rounding_loss:g} {modality.unit}".rstrip()
        store_reason = f"the smallest that loses at most {loss} of {label} (docs/benchmarks.md)"
    return (
        ("architecture", f"{spec.architecture} {spec.depth}x{spec.width}", arch_reason),
        ("parameters", f"{spec.parameters:,}", size_reason),
        ("store", settings.store, store_reason),
    )
