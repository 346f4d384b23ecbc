"""Everything that can be asked of an encode, checked as far as it can be without a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..artifact.weight_dtypes import STORES
from ..errors import UsageError
from ..fields import FIELDS, MAX_DEPTH, MAX_WIDTH
from ..fit import budget as budgets
from ..fit.budget import Budget
from ..io.limits import Limits
from ..modalities import MODALITIES
from ..samplers import SAMPLERS

PRECISIONS = ("fp32", "medium", "bf16")
"""Of the hidden layers while fitting (precision.py)."""

ENGINES = ("plain", "explicit", "compiled", "graph")
"""How steps are made (fit/engine/step.py)."""

REGIMES = ("engine", "paper")
"""The recipe of this project, or the papers': Adam at a constant rate, float32, one step a selection (recipe.py)."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be asked of an encode; the command's options are these, word for word."""

    sampler: str = "auto"
    arch: str = "siren"
    width: int | None = None
    depth: int | None = None
    params: int | str | None = None
    bytes: int | str | None = None
    store: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: str | Budget | tuple[str, ...] = ()
    target: str | float | None = None
    ratio: float | None = None
    batch: int | str = "auto"
    lr: float | None = None
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    threads: int | None = None
    regime: str = "engine"
    seed: int = 0
    type: str | None = None
    verify: str | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        _choose("sampler", self.sampler, ("auto", *SAMPLERS))
        _choose("arch", self.arch, ("auto", *FIELDS))
        _choose("store", self.store, ("auto", *STORES))
        _choose("precision", self.precision, ("auto", *PRECISIONS))
        _choose("engine", self.engine, ("auto", *ENGINES))
        _choose("regime", self.regime, REGIMES)
        if self.type is not None:
            _choose("type", self.type, MODALITIES)
        if self.verify is not None:
            _choose("verify", self.verify, ("full", "sample"))
        if self.width is not None:
            _within("width", self.width, 1, MAX_WIDTH)
        if self.depth is not None:
            _within("depth", self.depth, 1, MAX_DEPTH)
        sizes = [name for name in ("width", "params", "bytes") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise UsageError(f"--{sizes[0]} and --{sizes[1]} exclude each other: each says how large", "option")
        for name in ("params", "bytes"):
            if name in sizes:
                count(name, getattr(self, name))
        if self.batch not in ("auto", "selection"):
            _within("batch", _whole("batch", self.batch), 1, 1 << 24)
        if self.lr is not None:
            _within("lr", self.lr, 1e-8, 10)
        if self.threads is not None:
            _within("threads", self.threads, 1, 1024)
        _within("seed", self.seed, 0, 2**63 - 2)

    def parsed_budget(self, unit: str = "dB") -> Budget:
        """Budget and target together; ``unit`` is that of the modality's quality."""
        target = None if self.target is None else budgets.parse_target(self.target, unit)
        if isinstance(self.budget, Budget):
            return self.budget if target is None else replace(self.budget, target=target)
        return budgets.parse([self.budget] if isinstance(self.budget, str) else self.budget, target)


def count(option: str, given: int | str) -> int:
    """50000, 50k or 1.5M as a whole number; of bytes 500kB or 2MB as well (thousands). Raises ``UsageError``."""
    unit = "B?" if option == "bytes" else ""
    match = re.fullmatch(rf"([0-9]{{1,18}}(?:\.[0-9]{{1,9}})?) ?([kKMG]?){unit}", str(given))
    if match is None:
        examples = "500kB or 2MB" if option == "bytes" else "50k or 1M"
        raise UsageError(f"--{option} {given}: write a whole number, as in {examples}", "option")
    value = round(float(match[1]) * {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}[match[2]])
    if value < 1:
        raise UsageError(f"--{option} {given}: must be at least 1", "option")
    return value


def _choose(option: str, given: str, known: Any) -> None:
    if given not in known:
        raise UsageError(f"--{option} {given}: choose from {', '.join(known)}", "option")


def _whole(option: str, given: int | str) -> int:
    try:
        return int(given)
    except ValueError:
        raise UsageError(f"--{option} {given}: write a whole number, auto or selection", "option") from None


def _within(option: str, given: float, low: float, high: float) -> None:
    if not low <= given <= high:
        raise UsageError(f"--{option} {given}: must be from {low:g} to {high:g}", "option")
