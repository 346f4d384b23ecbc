"""READ FIRST: encode(source) -> Artifact, decode(artifact) -> file. Everything else serves these two.

encode: read the bytes -> load them as a Signal -> plan (architecture, sampler, recipe) -> fit within the budget ->
serialise -> load those bytes through the public reader, decode, measure -> the quality goes into the header.
Nothing here imports torch before the input has been accepted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import budget as budgets
from . import files, options
from .artifact import Artifact
from .budget import Budget
from .errors import InrfitError, NotEnoughMemory, UnsupportedInput, UsageError
from .fields import FIELDS, MAX_DEPTH, MAX_WIDTH, FieldSpec
from .interrupts import catching
from .limits import Limits
from .machine import limited_threads, physical_memory
from .modalities import MODALITIES, Modality, Request, audio, image
from .samplers import SAMPLERS, Sampler
from .signal import Signal

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from .fit import Fit, Report

FULL_CHECK = 16_000_000
"""Up to this many samples the decoded signal is measured whole; above, by SAMPLED stratified ones."""

SAMPLED = 1_000_000
ESTIMATED = 65_536
"""Samples that judge an interrupted fit, which must be written within two seconds."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be asked of an encode; the command's options are these, word for word."""

    sampler: str = "nint"
    arch: str = "siren"
    width: int = 256
    depth: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: str | Budget | tuple[str, ...] = ()
    target: str | float | None = None
    ratio: float | None = None
    batch: int | str = "auto"
    lr: float | None = None
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    seed: int = 0
    type: str | None = None
    verify: str | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        _choose("sampler", self.sampler, SAMPLERS)
        _choose("arch", self.arch, FIELDS)
        _choose("precision", self.precision, ("auto", "fp32", "bf16"))
        if self.type is not None:
            _choose("type", self.type, MODALITIES)
        if self.verify is not None:
            _choose("verify", self.verify, ("full", "sample"))
        _within("width", self.width, 1, MAX_WIDTH)
        _within("depth", self.depth, 1, MAX_DEPTH)
        if self.batch not in ("auto", "selection"):
            _within("batch", _whole("batch", self.batch), 1, 1 << 24)
        if self.lr is not None:
            _within("lr", self.lr, 1e-8, 10)
        if self.threads is not None:
            _within("threads", self.threads, 1, 1024)
        _within("seed", self.seed, 0, 2**63 - 2)

    def parsed_budget(self) -> Budget:
        """Budget and target together."""
        target = budgets.parse_target(self.target) if isinstance(self.target, str) else self.target
        if isinstance(self.budget, Budget):
            return self.budget if target is None else replace(self.budget, target=target)
        return budgets.parse([self.budget] if isinstance(self.budget, str) else self.budget, target)


@dataclass(frozen=True)
class Plan:
    """What will be done with one source, before anything costly is done."""

    name: str
    bytes: int
    sha256: str
    signal: Signal
    spec: FieldSpec
    sampler: Sampler
    settings: Settings
    budget: Budget
    read_seconds: float

    @property
    def modality(self) -> Modality:
        """The module that loaded the signal."""
        return MODALITIES[self.signal.modality]


def identify(data: bytes, name: str, type: str | None = None) -> Modality:
    """The modality of ``data``: as told, else by content, else by the name's suffix. Raises ``UnsupportedInput``."""
    if type is not None:
        return MODALITIES[type]
    for modality in MODALITIES.values():
        if modality.sniff(data):
            return modality
    suffix = os.path.splitext(name)[1].lower()
    for modality in MODALITIES.values():
        if suffix in modality.SUFFIXES:
            return modality
    known = "; ".join(f"{m.NAME}: {', '.join(m.FORMATS)}" for m in MODALITIES.values())
    raise UnsupportedInput(f"not a kind of file inrfit reads ({known})", "format")


def plan(data: bytes, name: str, settings: Settings, begun: float | None = None) -> Plan:
    """Loads ``data`` and decides how to fit it. No torch: a refusal is instant."""
    begun = time.monotonic() if begun is None else begun
    modality = identify(data, name, settings.type)
    classes = {
        f"sampler {settings.sampler}": SAMPLERS[settings.sampler],
        f"arch {settings.arch}": FIELDS[settings.arch],
        modality.NAME: modality.Options,
    }
    given = dict(settings.options)
    if settings.ratio is not None:
        if settings.sampler == "full":
            raise UsageError("--ratio has no meaning with --sampler full", "option")
        given["ratio"] = settings.ratio
    sampler, architecture, modal = options.build(classes, given).values()
    chosen = {f for f in given if hasattr(architecture, f)}
    signal = modality.load(data, name, modal, settings.limits)
    spec = FieldSpec(
        settings.arch,
        signal.dimensions,
        signal.channels,
        settings.width,
        settings.depth,
        {key: getattr(architecture, key) for key in sorted(chosen)},
    )
    return Plan(
        name,
        len(data),
        files.sha256(data),
        signal,
        spec,
        sampler,
        settings,
        settings.parsed_budget(),
        time.monotonic() - begun,
    )


def encode(
    source: str | os.PathLike[str] | npt.NDArray[Any],
    *,
    rate: int | None = None,
    progress: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Artifact:
    """Fits a field to a file, or to a NumPy array, and returns it, measured and ready to be saved.

    ``source``: a path; or uint8 (h, w) or (h, w, c) for an image; or, with ``rate`` (Hz), int16 or float (n,) or (n, c)
    for a sound. ``settings`` are the fields of ``Settings``. ``progress`` is called about ten times a second with a
    ``Report``. Ctrl-C ends the fit and returns what there is (``provenance["ended"] == "interrupted"``).
    Raises an ``InrfitError``."""
    made = Settings(**settings)
    begun = time.monotonic()
    if isinstance(source, str | os.PathLike):
        data, name = files.read(source, made.limits), os.path.basename(os.fspath(source))
    else:
        data = image.from_array(source) if rate is None else audio.from_array(source, rate)
        name = "array"
    planned = plan(data, name, made, begun)
    del data
    if stop is not None:
        return carry_out(planned, progress, stop)
    with catching() as caught:
        return carry_out(planned, progress, caught)


def carry_out(
    planned: Plan, progress: Callable[[Report], None] | None = None, stop: Callable[[], bool] = lambda: False
) -> Artifact:
    """Fits and measures what was planned. Raises ``KeyboardInterrupt`` when stopped before
    anything was learned."""
    settings = planned.settings
    check_memory(planned)
    begun = time.monotonic()
    import torch

    from . import engine, recipe
    from .fit import fit
    from .learner import warm_up

    warm_up()
    device = engine.choose_device(settings.device)
    startup = time.monotonic() - begun
    with limited_threads(settings.threads):
        started = time.monotonic()
        frequencies = recipe.architecture_options(planned.signal, settings.arch)
        spec = replace(planned.spec, options={**frequencies, **planned.spec.options})
        chosen = recipe.choose(spec, device, settings.batch, settings.precision, settings.lr)
        try:
            result = fit(
                planned.signal,
                spec,
                planned.sampler,
                chosen,
                planned.budget,
                device,
                settings.seed,
                progress,
                stop,
                started=started,
            )
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise NotEnoughMemory(
                f"the fit does not fit into memory (try a smaller --batch): {error}", "memory"
            ) from None
        spent = result.spent | {"read_seconds": planned.read_seconds, "startup_seconds": startup}
        return finish(planned, replace(result, spent=spent), chosen, device, stop)


def finish(planned: Plan, result: Fit, chosen: Any, device: torch.device, stop: Callable[[], bool]) -> Artifact:
    """The artifact of a fit: serialised, read back, decoded in float32 and measured."""
    from .provenance import describe

    weights = {name: w.detach().cpu().numpy().copy() for name, w in result.field.weights.items()}
    provenance = describe(planned, result, chosen, device)
    bare = Artifact(result.field.spec, weights, planned.signal.modality, dict(planned.signal.meta), provenance, {})
    begun = time.monotonic()
    read_back = Artifact.from_bytes(bare.to_bytes())
    quality = measure(read_back, result.signal, planned, device, result.ended == "interrupted", stop)
    value = quality.get(planned.modality.QUALITY)
    if stop():
        provenance["ended"] = "interrupted"
    if planned.budget.target is not None:
        provenance["target_reached"] = value is not None and value >= planned.budget.target
    provenance["spent"]["check_seconds"] = time.monotonic() - begun
    return replace(bare, provenance=provenance).with_quality(quality)


def measure(
    artifact: Artifact,
    signal: Signal,
    planned: Plan,
    device: torch.device,
    hurried: bool,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Quality of what ``artifact`` decodes to: of the whole signal, or of a sample, marked so."""
    modality = planned.modality
    whole = planned.settings.verify == "full" or (planned.settings.verify is None and signal.n <= FULL_CHECK)
    field = artifact.field(device)

    class _Hurry(Exception):
        pass

    def tick(share: float) -> None:
        if stop():
            raise _Hurry

    if whole and not hurried:
        try:
            return modality.measure(field, signal, tick) | {"samples": signal.n, "estimate": False}
        except _Hurry:
            pass
    count = ESTIMATED if hurried or stop() else SAMPLED
    return sampled_quality(field, signal, modality, count)


def sampled_quality(field: Any, signal: Signal, modality: Modality, count: int) -> dict[str, Any]:
    """The modality's quality over ``count`` stratified samples."""
    import torch

    from .fit import stratified

    samples = signal.on(field.device)
    indices = stratified(signal.n, count).to(field.device)
    predicted, values = [], []
    with torch.no_grad():
        for piece in indices.split(8192):
            coords, value = samples.take(piece)
            predicted.append(field(coords))
            values.append(value)
    quality = modality.estimate(torch.cat(predicted), torch.cat(values), signal.scale)
    return {modality.QUALITY: quality, "samples": int(indices.shape[0]), "estimate": True}


def decode(
    artifact: Artifact,
    request: Request = Request(),
    device: str = "cpu",
    limits: Limits = Limits(),
    tick: Callable[[float], None] = lambda share: None,
) -> Any:
    """The samples, in the source's sample type: image uint8 (h, w, c); audio (n, c); shape a ``Mesh`` in its own units.
    Arithmetic is float32 on every device."""
    from .engine import choose_device

    return artifact.decode(request, choose_device(device), limits, tick)


def check_memory(planned: Plan) -> int:
    """Bytes the fit is estimated to need at most; raises ``NotEnoughMemory`` if the machine has less in all.

    Raw samples (twice: the file's bytes and the array), float32 points and error map, and the activations of the
    largest piece differentiated at a time; 600 MB for torch itself."""
    signal, spec = planned.signal, planned.spec
    piece = 32_768
    activations = piece * spec.width * (spec.depth * 4 + 4) * 4
    estimate = 600_000_000 + planned.bytes + 2 * signal.samples.nbytes + 24 * signal.n + activations
    estimate += 12 * spec.parameters * 4
    total = physical_memory()
    if estimate > total:
        raise NotEnoughMemory(
            f"the fit needs about {estimate / 1e9:.1f} GB, this machine has {total / 1e9:.1f} GB", "memory"
        )
    return estimate


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


__all__ = ["InrfitError", "Plan", "Settings", "carry_out", "decode", "encode", "identify", "plan"]
