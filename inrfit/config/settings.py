"""Everything that can be asked of an encode, checked as far as it can be without a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ..artifact.weight_dtypes import STORES
from ..errors import UsageError
from ..fields import FIELDS, MAX_DEPTH, MAX_WIDTH
from ..fit import budget as budgets
from ..fit.budget import Budget
from ..io.limits import Limits
from ..io.options import checked, refusing, setting
from ..io.registry import Registry
from ..io.renamed import OLD_VALUES
from ..modalities import Modality
from ..samplers import SAMPLERS

PRECISIONS = ("fp32", "fp32-fast", "bf16")
"""Arithmetic of the hidden layers during the fit (fit/engine/precision.py)."""

ENGINES = ("autograd", "analytic", "compiled", "cuda-graph")
"""How optimiser steps are computed (fit/engine/step.py)."""

REGIMES = ("inrfit", "paper")
"""inrfit's recipe, or that of the papers: Adam at a constant rate, float32, one step per selection (fit/recipe.py)."""


def _modalities() -> Registry[Modality]:
    """The registry of modalities, imported when a value is checked against it: it needs NumPy, which help does not."""
    from ..modalities import MODALITIES

    return MODALITIES


def parse_count(given: int | str, unit: str = "", examples: str = "50k or 1M") -> int:
    """50000, 50k or 1.5M as a whole number, behind which ``unit`` may stand. Raises ``ValueError``."""
    unit = f"(?:{unit})?" if unit else ""
    match = re.fullmatch(rf"([0-9]{{1,18}}(?:\.[0-9]{{1,9}})?) ?([kKMG]?){unit}", str(given))
    if match is None:
        raise ValueError(f"write a whole number, as in {examples}")
    value = round(float(match[1]) * {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}[match[2]])
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def parse_bytes(given: int | str) -> int:
    """500kB or 2MB (thousands) as a number of bytes. Raises ``ValueError``."""
    return parse_count(given, "B", "500kB or 2MB")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be asked of an encode; the command's options are these, word for word.

    Values are converted to their fields' types; counts stay as they were written (``count`` reads them). ``sampler``,
    ``arch`` and ``type`` may be given as a sampler, an architecture and a ``Modality``: name and options, those that
    differ from their defaults, take the place of the object."""

    sampler: str = setting(
        "auto",
        f"How training samples are chosen: auto (the best measured), {', '.join(SAMPLERS)}. See docs/samplers.md.",
        words=("auto",),
        among=SAMPLERS,
    )
    arch: str = setting(
        "siren",
        f"Network architecture: {', '.join(FIELDS)}, or auto (the best measured for the file, budget and size).",
        words=("auto",),
        among=FIELDS,
    )
    width: int | None = setting(
        None, "Units per hidden layer. Default: the architecture's own (siren: 256).", 1, MAX_WIDTH
    )
    depth: int | None = setting(
        None, "Number of hidden layers. Default: the architecture's own (siren: 5).", 1, MAX_DEPTH
    )
    params: int | str | None = setting(None, "Largest number of weights, such as 50000, 50k or 1M.", parse=parse_count)
    bytes: int | str | None = setting(
        None,
        "Largest size of the output file, such as 500kB or 2MB.",
        parse=parse_bytes,
    )
    store: str = setting(
        "auto",
        f"Number type of the stored weights: {', '.join(STORES)}, or auto (fp16 with --bytes, else fp32).",
        words=("auto",),
        among=STORES,
    )
    options: Mapping[str, Any] = setting(
        None,
        "Set an option of the sampler, architecture or file type (docs/cli.md lists them). Repeatable.",
        factory=dict,
    )
    budget: str | Budget | tuple[str, ...] = setting(
        (),
        "When to stop: a time (60s, 5m, 1h30m) or a number of steps (2000it); if given twice, the first one reached. "
        "Default: 60s, or 10m with --target alone.",
    )
    target: str | float | None = setting(
        None, "Stop at this quality: 35dB (PSNR of an image, SNR of a sound) or 0.98 (IoU of a shape)."
    )
    ratio: float | None = setting(
        None, "Share of the samples that the sampler selects at a time, 0 to 1. Default: its own.", 1e-6, 1.0
    )
    batch: int | Literal["auto", "selection"] = setting(
        "auto", "Samples per optimiser step: a number, auto, or selection (all that are selected).", 1, 1 << 24
    )
    lr: float | None = setting(
        None,
        "Largest learning rate of Adam (Muon's is scaled with it). Default: chosen; see encode --explain.",
        1e-8,
        10,
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda, or cuda:N for GPU number N.")
    precision: str = setting(
        "auto",
        f"Arithmetic of the hidden layers during the fit: auto, {', '.join(PRECISIONS)}. fp32-fast "
        "computes float32 products faster and less exactly.",
        words=("auto", *PRECISIONS),
        old_values=OLD_VALUES["precision"],
    )
    engine: str = setting(
        "auto",
        f"How optimiser steps are computed: auto, {', '.join(ENGINES)} (GPU). Results differ by rounding only.",
        words=("auto", *ENGINES),
        old_values=OLD_VALUES["engine"],
    )
    threads: int | None = setting(None, "Number of CPU threads. Default: chosen by PyTorch.", 1, 1024)
    regime: str = setting(
        "inrfit",
        "Training recipe: inrfit (this program's) or paper (that of the papers: Adam at a constant learning rate, "
        "float32, one step per selection, all points scored).",
        words=REGIMES,
        old_values=OLD_VALUES["regime"],
    )
    seed: int = setting(
        0,
        "Random seed. With a budget in steps, the same seed and number of threads give the same weights; with a time "
        "budget they differ.",
        0,
        2**63 - 2,
    )
    type: str | None = setting(
        None, "Read the source as image, audio or shape. Default: by its content and name.", among=_modalities
    )
    verify: str | None = setting(
        None,
        "Measure the quality on all samples (full) or on one million (sample). Default: full up to 16 million samples.",
        words=("full", "sample"),
    )
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        self._name_objects()
        for field in fields(self):
            value = checked(Settings, field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # frozen: once, before anybody has it
        sizes = [name for name in ("width", "params", "bytes") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise UsageError(f"--{sizes[0]} and --{sizes[1]} exclude each other: each says how large", "option")
        if self.ratio is not None and "ratio" in self.options:
            raise UsageError("--ratio and -O ratio exclude each other", "option")

    def _name_objects(self) -> None:
        """Puts name and options in the place of a sampler, architecture or modality that was given as an object."""
        named: list[tuple[str, Registry[Any]]] = [("sampler", SAMPLERS), ("arch", FIELDS)]
        for name, registry in named:
            if isinstance(given := getattr(self, name), str):
                continue
            object.__setattr__(self, name, registered_name(given, registry))
            own = changed_options(given)
            if twice := sorted(own.keys() & self.options.keys()):
                raise UsageError(f"{', '.join(twice)}: given in {given!r} and as an option", "option")
            object.__setattr__(self, "options", {**self.options, **own})
        kind: Any = self.type
        if isinstance(kind, Modality):
            object.__setattr__(self, "type", _modalities().add(kind.name, kind))

    def parsed_budget(self, unit: str = "dB") -> Budget:
        """Budget and target together; ``unit`` is that of the modality's quality."""
        target = None if self.target is None else budgets.parse_target(self.target, unit)
        if isinstance(self.budget, Budget):
            return self.budget if target is None else replace(self.budget, target=target)
        return budgets.parse([self.budget] if isinstance(self.budget, str) else self.budget, target)


def registered_name(instance: Any, registry: Registry[Any]) -> str:
    """The name of a sampler's or architecture's class in ``registry``, which it enters for the rest of the process, in
    lower case, if it is new. Raises ``UsageError``."""
    kind = type(instance)
    return next((name for name, entry in registry.items() if entry is kind), None) or registry.add(
        kind.__name__.lower(), kind
    )


def changed_options(instance: Any) -> dict[str, Any]:
    """The options of an instance that differ from its class's defaults."""
    return {name: value for name, value in vars(instance).items() if value != getattr(type(instance)(), name)}


def count(option: str, given: int | str) -> int:
    """What was written for ``params`` or ``bytes`` as a number. Raises ``UsageError``."""
    with refusing(f"--{option} {given}"):
        return parse_bytes(given) if option == "bytes" else parse_count(given)
