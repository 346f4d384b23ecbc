"""Which optimiser teaches a SIREN best at equal taught points, and what its own work costs per step.

python tests/bench/optimisers.py --steps 300 --seeds 1 --candidate "soap rate=5e-4 every=10" --candidate muon

A candidate is a rule for the hidden matrices and any fields of ``Candidate``; Adam teaches the rest. Mini-batches of
4,096 points from a shuffle, hidden layers in bfloat16, warm-up of 2 %, then half a cosine to zero. PSNR (dB, range 2)
at 65,536 fixed points in float32 after the last step.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from common import data, table
from torch import Tensor

from inrfit.config import plan
from inrfit.config.settings import Settings
from inrfit.fields import FieldSpec
from inrfit.fit import recipe
from inrfit.fit.evaluation import stratified
from inrfit.signal import Signal

FILES = ("images/div2k/train/01.png", "images/kodak/kodim05.png", "audio/libri121/05.flac")
BATCH, JUDGED, CHUNK, WARM_UP = 4096, 65_536, 16_384, 0.02
REST = (0.9, 0.99, 1e-8)
"""Betas and epsilon of the Adam of biases, first and last layer."""

JORDAN = ((3.4445, -4.7750, 2.0315),) * 5
POLAR = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""Five steps of the Polar Express (Amsel et al. 2025, arXiv:2505.16932), with a safety factor of 1.02."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A rule of ``RULES`` with its settings; ``rate`` and ``rest`` are peak rates in the paper's parametrisation."""

    rule: str
    rate: float = 1.2e-3
    rest: float = 5e-4
    first: float = 0.95
    """Decay of the momentum."""
    second: float = 0.95
    """Decay of second moments."""
    shampoo: float = 0.0
    """Decay of Shampoo's factors; 0: ``second``."""
    every: int = 10
    """Steps between two refreshes of the eigenbasis."""
    basis: str = "qr"
    """How it is refreshed: qr (one power iteration), cholesky (the same, by Cholesky-QR) or eigh."""
    rough: bool = False
    """Products of the rule in bfloat16."""
    reach: str = "hidden"
    """What the rule teaches: hidden matrices; biased, with their biases as a column; or all layers so."""
    nesterov: bool = True
    polar: bool = False
    epsilon: float = 1e-8
    norm: bool = False
    """Updates scaled to the norm of an orthogonal matrix, as Muon's are."""
    scale: float = 1.0
    """Factor on the initial hidden matrices."""
    average: float = 0.0
    """Share of the steps, at the end, whose weights are averaged."""
    floor: float = 0.0
    """Last factor of the schedule."""


def candidate(text: str) -> Candidate:
    """``rule key=value ...`` as a ``Candidate``."""
    rule, *settings = text.split()
    kinds = {f.name: type(f.default) for f in dataclasses.fields(Candidate)}
    pairs = dict(setting.split("=") for setting in settings)
    made = {key: bool(int(value)) if kinds[key] is bool else kinds[key](value) for key, value in pairs.items()}
    return Candidate(rule, **made)


class Adam:
    """Kingma and Ba 2015."""

    def __init__(self, chosen: Candidate) -> None:
        self.betas, self.epsilon = (chosen.first, chosen.second), chosen.epsilon
        self.mean = self.square = torch.zeros(())
        self.steps = 0

    def update(self, gradient: Tensor) -> Tensor:
        """The direction, to be subtracted."""
        self.steps += 1
        self.mean = self.mean + (gradient - self.mean) * (1 - self.betas[0])
        self.square = self.square + (gradient.square() - self.square) * (1 - self.betas[1])
        spread = (self.square / (1 - self.betas[1] ** self.steps)).sqrt_().add_(self.epsilon)
        return self.mean / (1 - self.betas[0] ** self.steps) / spread


class Muon:
    """Jordan et al. 2024, as in inrfit.fit.engine.optimizer."""

    def __init__(self, chosen: Candidate) -> None:
        self.chosen = chosen
        self.momentum = torch.zeros(())

    def update(self, gradient: Tensor) -> Tensor:
        """The direction, to be subtracted."""
        decay = self.chosen.first
        self.momentum = self.momentum * decay + gradient * (1 - decay)
        ahead = gradient.lerp(self.momentum, decay) if self.chosen.nesterov else self.momentum
        return orthogonal(ahead, POLAR if self.chosen.polar else JORDAN)


class NorMuon(Muon):
    """Muon, each row divided by the root of its second moment (Li et al. 2025, arXiv:2510.05491); Muon's norm."""

    AXES: tuple[int, ...] = (-1,)

    def __init__(self, chosen: Candidate) -> None:
        super().__init__(chosen)
        self.square, self.steps = torch.zeros(()), 0

    def update(self, gradient: Tensor) -> Tensor:
        """The direction, to be subtracted."""
        self.steps += 1
        plain = super().update(gradient)
        square = plain.square().mean(self.AXES, keepdim=True) if self.AXES else plain.square()
        self.square = self.square + (square - self.square) * (1 - self.chosen.second)
        even = plain / (self.square / (1 - self.chosen.second**self.steps)).sqrt_().add_(1e-8)
        return even * (plain.norm(dim=(-2, -1), keepdim=True) / even.norm(dim=(-2, -1), keepdim=True))


class AdaMuon(NorMuon):
    """The same with a second moment per element (Si et al. 2025, arXiv:2507.11005)."""

    AXES = ()


class Soap:
    """Vyas et al. 2024 (arXiv:2409.11321): Adam in the eigenbasis of Shampoo's factors. The mean is kept in the basis,
    and turned when that is refreshed. As in the paper the first gradient only makes the basis."""

    def __init__(self, chosen: Candidate) -> None:
        self.chosen = chosen
        self.steps = 0
        self.factors: list[Tensor] = []
        self.bases: list[Tensor] = []
        self.rough: list[Tensor] = []

    def update(self, gradient: Tensor) -> Tensor:
        """The direction, to be subtracted."""
        chosen = self.chosen
        if not self.factors:
            self.factors = self._factors(gradient)
            self._set([torch.linalg.eigh(factor)[1].flip(-1) for factor in self.factors])
            self.mean, self.square = torch.zeros_like(gradient), torch.zeros_like(gradient)
            return torch.zeros_like(gradient)
        self.steps += 1
        for factor, new in zip(self.factors, self._factors(gradient), strict=True):
            factor.lerp_(new, 1 - (chosen.shampoo or chosen.second))
        turned = self._turn(gradient)
        self.mean.lerp_(turned, 1 - chosen.first)
        self.square.mul_(chosen.second).addcmul_(turned, turned, value=1 - chosen.second)
        update = self._back(self._adam())
        if self.steps % chosen.every == 0:
            self._refresh()
        return update

    def _adam(self) -> Tensor:
        spread = (self.square / (1 - self.chosen.second**self.steps)).sqrt_().add_(self.chosen.epsilon)
        return self.mean / (1 - self.chosen.first**self.steps) / spread

    def _factors(self, gradient: Tensor) -> list[Tensor]:
        g = gradient.bfloat16() if self.chosen.rough else gradient
        return [(g @ g.mT).float(), (g.mT @ g).float()]

    def _set(self, bases: list[Tensor]) -> None:
        self.bases = bases
        self.rough = [basis.bfloat16() for basis in bases] if self.chosen.rough else bases

    def _turn(self, x: Tensor) -> Tensor:
        left, right = self.rough
        return (left.mT @ x.to(left.dtype) @ right).float()

    def _back(self, x: Tensor) -> Tensor:
        left, right = self.rough
        return (left @ x.to(left.dtype) @ right.mT).float()

    def _refresh(self) -> None:
        mean = self.bases[0] @ self.mean @ self.bases[1].mT
        bases = []
        for axis, (factor, basis) in enumerate(zip(self.factors, self.bases, strict=True)):
            if self.chosen.basis == "eigh":
                new = torch.linalg.eigh(factor)[1].flip(-1)
                mix = (new.mT @ basis).square()
                self.square = mix @ self.square if axis == 0 else self.square @ mix.mT
            else:
                image = factor @ basis
                order = (basis * image).sum(-2).argsort(dim=-1, descending=True)
                image = image.gather(-1, order[:, None].expand_as(image))
                across = order[:, :, None] if axis == 0 else order[:, None]
                self.square = self.square.gather(axis - 2, across.expand_as(self.square))
                new = cholesky_qr(image) if self.chosen.basis == "cholesky" else torch.linalg.qr(image)[0]
            bases.append(new)
        self._set(bases)
        self.mean = bases[0].mT @ mean @ bases[1]


class Splus(Soap):
    """The sign in Shampoo's eigenbasis (Frans et al. 2025, arXiv:2506.07254), without its averaging; Muon's norm."""

    def _adam(self) -> Tensor:
        return self.mean.sign() * self.mean.shape[-1] ** -0.5


RULES: dict[str, Callable[[Candidate], Any]] = {
    "adam": Adam,
    "muon": Muon,
    "normuon": NorMuon,
    "adamuon": AdaMuon,
    "soap": Soap,
    "splus": Splus,
}

CANDIDATES = (
    *(f"adam rate={rate} first=0.9 second=0.99" for rate in ("3e-4", "5e-4", "1e-3")),
    *(f"muon rate={rate}" for rate in ("8e-4", "1.2e-3", "2e-3")),
    *(f"muon first={first}" for first in ("0.9", "0.98")),
    "muon nesterov=0",
    "muon polar=1",
    "muon average=0.15 floor=0.1",
    "muon scale=1.4",
    "muon scale=1.4 average=0.15 floor=0.1",
    "normuon",
    "adamuon",
    *(f"soap rate={rate}" for rate in ("1e-4", "2e-4", "4e-4", "8e-4")),
    *(f"soap rate={rate} first=0.9 second=0.99" for rate in ("2e-4", "4e-4", "8e-4")),
    *(f"soap rate={rate} every=1" for rate in ("2e-4", "4e-4", "8e-4")),
    "soap norm=1 rate=1.2e-3",
    "adam norm=1 rate=1.2e-3 first=0.9 second=0.99",
    "splus",
)


def orthogonal(x: Tensor, coefficients: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Roughly the nearest orthogonal matrices, by Newton-Schulz steps in bfloat16."""
    x = x.bfloat16()
    safety = 1.02 if coefficients is POLAR else 1.0
    x = x / (safety * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for a, b, c in coefficients:
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.float()


def cholesky_qr(x: Tensor) -> Tensor:
    """The Q of x = Q R for nearly orthogonal columns of any length, twice over."""
    for _ in range(2):
        x = x / x.norm(dim=-2, keepdim=True).clamp_min(1e-30)
        lower, wrong = torch.linalg.cholesky_ex(x.mT @ x)
        if wrong.any():
            return torch.linalg.qr(x)[0]
        x = torch.linalg.solve_triangular(lower.mT, x, upper=True, left=False)
    return x


class Teacher:
    """A candidate at work on one set of weights: its rule on what it reaches, Adam on the rest. All gradients and
    updates of the rule are in the paper's parametrisation, where no frequency is folded into the weights."""

    def __init__(self, weights: Mapping[str, Tensor], rates: Mapping[str, float], chosen: Candidate) -> None:
        self.weights, self.rates, self.chosen = weights, rates, chosen
        layers = ("first", "hidden", "last") if chosen.reach == "all" else ("hidden",)
        parts = ("weight",) if chosen.reach == "hidden" else ("weight", "bias")
        self.groups = {layer: tuple(f"{layer}.{part}" for part in parts) for layer in layers}
        self.rules = {layer: RULES[chosen.rule](chosen) for layer in layers}
        taught = {name for names in self.groups.values() for name in names}
        rest = dataclasses.replace(chosen, first=REST[0], second=REST[1], epsilon=REST[2])
        self.rest = {name: Adam(rest) for name in weights if name not in taught}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float) -> None:
        """One update, in place."""
        for name, rule in self.rest.items():
            self.weights[name].sub_(rule.update(gradients[name]), alpha=self.rates[name] * self.chosen.rest * factor)
        for layer, names in self.groups.items():
            columns = [gradients[name] * self.rates[name] for name in names]
            joined = torch.cat([columns[0], *(c[..., None] for c in columns[1:])], -1) if columns[1:] else columns[0]
            update = self.rules[layer].update(joined if layer == "hidden" else joined[None])
            if self.chosen.norm:
                size = update.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
                update = update * (min(update.shape[-2:]) ** 0.5 / size)
            update = update if layer == "hidden" else update[0]
            width = columns[0].shape[-1]
            for name, part in zip(names, (update[..., :width], update[..., -1]), strict=False):
                self.weights[name].sub_(part, alpha=self.rates[name] * self.chosen.rate * factor)


def load(path: Path) -> tuple[Signal, FieldSpec]:
    """A file's signal and the field it gets by default."""
    planned = plan.plan(path.read_bytes(), path.name, Settings())
    options = recipe.architecture_options(planned.signal, planned.spec.formula)
    return planned.signal, dataclasses.replace(planned.spec, options=options)


def schedule(progress: float, floor: float) -> float:
    """Share of the peak rates."""
    if progress < WARM_UP:
        return (progress + 1e-3) / (WARM_UP + 1e-3)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def batches(n: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices dealt from one shuffle after another."""
    dealt = torch.empty(0, dtype=torch.int64)
    while True:
        while len(dealt) < BATCH:
            dealt = torch.cat([dealt, torch.randperm(n, generator=generator)])
        yield dealt[:BATCH]
        dealt = dealt[BATCH:]


def gradients_of(
    spec: FieldSpec, weights: Mapping[str, Tensor], coords: Tensor, values: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients."""
    loss = (spec.formula.forward(weights, coords, torch.bfloat16) - values).square().mean()
    found = torch.autograd.grad(loss, list(weights.values()))
    return loss.detach(), dict(zip(weights, found, strict=True))


def start(spec: FieldSpec, mean: Tensor, chosen: Candidate, generator: torch.Generator) -> dict[str, Tensor]:
    """Initial weights, to be taught."""
    weights = spec.formula.initial(spec, generator, mean)
    weights["hidden.weight"] *= chosen.scale
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def taught(signal: Signal, spec: FieldSpec, chosen: Candidate, steps: int, seed: int) -> tuple[float, bool]:
    """PSNR after ``steps``, and whether it collapsed: not finite, or less than 3 dB above a constant."""
    generator = torch.Generator().manual_seed(seed)
    samples = signal.on(torch.device("cpu"))
    judged, truth = samples.take(stratified(signal.n, JUDGED))
    weights = start(spec, truth.mean(0), chosen, generator)
    teacher = Teacher(weights, spec.formula.rates(), chosen)
    total: dict[str, Tensor] = {}
    averaged = round(chosen.average * steps)
    dealt = batches(signal.n, generator)
    for done in range(steps):
        _, gradients = gradients_of(spec, weights, *samples.take(next(dealt)))
        teacher.step(gradients, schedule(done / steps, chosen.floor))
        if averaged and done >= steps - averaged:
            total = {name: w.detach() / averaged + total.get(name, 0) for name, w in weights.items()}
    with torch.no_grad():
        final = total or weights
        shown = [spec.formula.forward(final, part, torch.float32) for part in judged.split(CHUNK)]
    error = float((torch.cat(shown) - truth).square().mean())
    constant = float((truth - truth.mean(0)).square().mean())
    return 10 * math.log10(4 / error) if error > 0 else math.nan, not error < constant / 2


def cost(signal: Signal, spec: FieldSpec, chosen: Candidate | None, blocks: int = 3) -> float:
    """Milliseconds of an optimiser's own step (None: of forward and backward): the median over blocks of its period."""
    generator = torch.Generator().manual_seed(0)
    mine = chosen or Candidate("adam")
    coords, values = signal.on(torch.device("cpu")).take(next(batches(signal.n, generator)))
    weights = start(spec, values.mean(0), mine, generator)
    teacher = Teacher(weights, spec.formula.rates(), mine)
    gradients = gradients_of(spec, weights, coords, values)[1]
    size = max(mine.every, 10) if chosen else 10
    found = []
    for _ in range(blocks + 1):
        begun = time.perf_counter()
        for _ in range(size):
            if chosen:
                teacher.step(gradients, 0.0)
            else:
                gradients_of(spec, weights, coords, values)
        found.append((time.perf_counter() - begun) / size * 1000)
    return statistics.median(found[1:])


def work(chosen: Candidate) -> Candidate:
    """The candidate less the settings that cost nothing: what is timed once."""
    same = Candidate(chosen.rule)
    free = ("rate", "rest", "first", "second", "shampoo", "epsilon", "scale", "average", "floor")
    return dataclasses.replace(chosen, **{name: getattr(same, name) for name in free})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--candidate", action="append", help="a rule and its settings, in one word or quoted")
    parser.add_argument("--no-timing", action="store_true")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    names = given.candidate or CANDIDATES
    chosen = {name: candidate(name) for name in names}
    loaded = {path.name: load(path) for path in data(*given.files)}
    rows: list[dict[str, Any]] = []
    for name in names:
        row: dict[str, Any] = {"candidate": name}
        collapsed = 0
        for file, (signal, spec) in loaded.items():
            seeds = range(given.first_seed, given.first_seed + given.seeds)
            results = [taught(signal, spec, chosen[name], given.steps, seed) for seed in seeds]
            row[file] = round(statistics.mean(quality for quality, _ in results), 2)
            collapsed += sum(bad for _, bad in results)
        row["collapsed"] = collapsed
        rows.append(row)
        print(row, flush=True)
    if not given.no_timing:
        torch.set_num_threads(2)
        signal, spec = next(iter(loaded.values()))
        times = {kind: cost(signal, spec, kind) for kind in {work(c) for c in chosen.values()}}
        for row in rows:
            row["own ms"] = round(times[work(chosen[row["candidate"]])], 2)
        print(f"forward and backward: {cost(signal, spec, None):.1f} ms")
    print(f"{given.steps} steps, {given.seeds} seed(s)")
    table(rows)
