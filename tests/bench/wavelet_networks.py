"""Trains the networks that wavelet fields are coded with (inrfit/artifact/latents/network-N.npz).

The pictures are those of wavelet_pictures.tsv, 183 megapixels that their packages state to be CC0: put the files of
these packages into one folder. Crops of 256x256 of the pictures, reduced by the given factor so that their own
compression does not show, and some reduced again, are transformed and rounded with steps from 3 to 74 levels: in the
first round to the nearest integer; in the second for the least of error and bits, by the networks of the first.

python tests/bench/wavelet_networks.py FOLDER first.npz --minutes 15
python tests/bench/wavelet_networks.py FOLDER second.npz --minutes 30 --by first.npz
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pillow_jxl  # noqa: F401  # some of the pictures are JPEG XL files (the extra "jxl")
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from inrfit.artifact.latents import network as networks
from inrfit.artifact.latents import rate_distortion, restoration
from inrfit.artifact.latents.contexts import AROUND, PHASES, places
from inrfit.artifact.latents.laplace import PARTS
from inrfit.artifact.latents.latent_code import Coefficients, Place, walk
from inrfit.artifact.latents.network import CHANNELS, LEVELS, Network, part_of
from inrfit.artifact.latents.stencil import Places, _take
from inrfit.fields.wavelet import colours, transform
from inrfit.fields.wavelet.bands import bands, level_count

UNITS, RESTORATION_UNITS = 32, 24
CROPS, SIDE = 800, 256
KEPT = 0.3
"""Share of the coefficients of the two finest levels that are kept; of the others all are."""

VALIDATION = 20_000
KINDS, BIASES = 6, CHANNELS * LEVELS

Columns = list[Tensor]
"""Contexts (n, numbers), what is predicted (n,), the number of the bias (n,), and the class of the step (n,)."""


class Distributions(nn.Module):
    """The mean and the log of the scale, in steps, from contexts: ``Network.distributions`` in floating point."""

    def __init__(self) -> None:
        super().__init__()
        parts = [(kind, phase) for kind in range(KINDS) for phase in range(len(PHASES))]
        sizes = {part: len(places(part[1])) for part in parts}
        self.first = nn.ParameterDict(
            {_key(p): nn.Parameter(torch.randn(UNITS, n) * 0.7 / n**0.5) for p, n in sizes.items()}
        )
        self.first_bias = nn.ParameterDict({_key(p): nn.Parameter(torch.zeros(UNITS, BIASES)) for p in parts})
        self.first_step = nn.ParameterDict({_key(p): nn.Parameter(torch.zeros(UNITS, 1)) for p in parts})
        self.second = nn.Parameter(torch.randn(KINDS, UNITS, UNITS) * 1.4 / UNITS**0.5)
        self.second_bias = nn.Parameter(torch.zeros(KINDS, UNITS, 1))
        self.last = nn.Parameter(torch.randn(KINDS, 2, UNITS) * 0.1)
        self.last_bias = nn.Parameter(torch.zeros(KINDS, 2, BIASES))

    def bits(self, kind: int, phase: int, columns: Columns) -> Tensor:
        """The bits (n,) that the integers take."""
        contexts, integers, bias, step = columns
        key, chosen = _key((kind, phase)), functional.one_hot(bias.long(), BIASES).T.float()
        units = self.first[key] @ (contexts.float().T / 32)
        units = functional.relu(units + self.first_bias[key] @ chosen + self.first_step[key] * step.float() / 8)
        units = functional.relu(self.second[kind] @ units + self.second_bias[kind])
        mean, log_scale = self.last[kind] @ units + self.last_bias[kind] @ chosen
        scale, distance = torch.exp(log_scale.clamp(-3.5, 8)), integers.float() - mean
        share = _below((distance + 0.5) / scale) - _below((distance - 0.5) / scale)
        far = ((distance.abs() - 0.5) / scale - 11).clamp_min(0) / math.log(2)
        return -torch.log2(share.clamp_min(1e-5)) + far

    def arrays(self) -> dict[str, np.ndarray]:
        """Whole numbers, as ``Network`` has them. The scale 1 is the number 20, and four of them are an octave."""
        found = {}
        context, weight, unit, last = (2.0**bits for bits in _BITS)
        for key in self.first:
            part = key.replace("_", ".")
            found[f"first.weight.{part}"] = _whole(self.first[key] * weight, np.int16)
            found[f"first.bias.{part}"] = _whole(self.first_bias[key] * context * weight, np.int32)
            found[f"first.step.{part}"] = _whole(self.first_step[key][:, 0] / 8 * context * weight, np.int32)
        found["second.weight"] = _whole(self.second * weight, np.int16)
        found["second.bias"] = _whole(self.second_bias[:, :, 0] * unit * weight, np.int32)
        gain, offset = torch.tensor([PARTS, 4 / math.log(2)])[:, None], torch.tensor([0.0, 20.0])[:, None]
        found["last.weight"] = _whole(self.last * gain * last, np.int16)
        found["last.bias"] = _whole((self.last_bias * gain + offset) * unit * last, np.int32)
        return found


class Offsets(nn.Module):
    """What a coefficient was before it was rounded, less the integer: ``Network.offsets``."""

    def __init__(self) -> None:
        super().__init__()
        units, numbers = RESTORATION_UNITS, len(AROUND)
        self.first = nn.Parameter(torch.randn(KINDS, units, numbers) * 0.7 / numbers**0.5)
        self.first_bias = nn.Parameter(torch.zeros(KINDS, units, BIASES))
        self.second = nn.Parameter(torch.randn(KINDS, units, units) * 1.4 / units**0.5)
        self.second_bias = nn.Parameter(torch.zeros(KINDS, units, 1))
        self.last = nn.Parameter(torch.zeros(KINDS, units))
        self.sign = nn.Parameter(torch.zeros(KINDS, BIASES))

    def errors(self, kind: int, columns: Columns) -> Tensor:
        """The squared errors (n,)."""
        around, offsets, bias, _ = columns
        numbers, chosen = around.float().T / 32, functional.one_hot(bias.long(), BIASES).T.float()
        units = functional.relu(self.first[kind] @ numbers + self.first_bias[kind] @ chosen)
        units = functional.relu(self.second[kind] @ units + self.second_bias[kind])
        centre = torch.sign(numbers[AROUND.index((0, 2, 2))])
        return (self.last[kind] @ units + centre * (self.sign[kind] @ chosen) - offsets.float()).square()

    def arrays(self) -> dict[str, np.ndarray]:
        """Half-precision numbers, as ``Network`` has them."""
        named = {
            "first.weight": self.first,
            "first.bias": self.first_bias,
            "second.weight": self.second,
            "second.bias": self.second_bias[:, :, 0],
            "last.weight": self.last,
            "sign": self.sign,
        }
        return {f"restoration.{name}": tensor.detach().numpy().astype(np.float16) for name, tensor in named.items()}


_BITS = (networks.CONTEXT_BITS, networks.WEIGHT_BITS, networks.UNIT_BITS, networks.LAST_BITS)


def _key(part: tuple[int, int]) -> str:
    return f"{part[0]}_{part[1]}"


def _below(x: Tensor) -> Tensor:
    """The share of a Laplace distribution below ``x``."""
    return torch.where(x < 0, 0.5 * torch.exp(x.clamp(max=0)), 1 - 0.5 * torch.exp(-x.clamp(min=0)))


def _whole(numbers: Tensor, kind: Any) -> np.ndarray:
    return np.rint(numbers.detach().double().numpy()).astype(kind)


def crops(folder: Path, count: int, chance: np.random.Generator) -> Iterator[Tensor]:
    """Crops (3, SIDE, SIDE) of the listed pictures in turn, from -1 to 1."""
    with Path(__file__).with_name("wavelet_pictures.tsv").open(newline="") as file:
        listed = list(csv.DictReader(file, delimiter="\t"))
    pictures = []
    for row in listed:
        with Image.open(folder / Path(row["path in package"]).name) as picture:
            pictures.append(np.asarray(picture.convert("RGB").reduce(int(row["factor"]))))
    while count:
        picture, again = pictures[count % len(pictures)], int(chance.choice((1, 1, 2, 3)))
        again = again if min(picture.shape[:2]) >= SIDE * again else 1
        side = SIDE * again
        row, column = (int(chance.integers(0, length - side + 1)) for length in picture.shape[:2])
        crop = torch.tensor(picture[row : row + side, column : column + side]).permute(2, 0, 1).float()
        crop = functional.avg_pool2d(crop[None], again)[0].round()
        flipped = crop.flip([axis for axis in (1, 2) if chance.random() < 0.5])
        count -= 1
        if flipped.std() > 3:
            yield flipped / 127.5 - 1


def examples(
    folder: Path, by: Network | None, count: int, chance: np.random.Generator
) -> tuple[dict[Any, Columns], dict[Any, Columns]]:
    """What the distributions and the offsets are trained on, by kind and phase, and by kind."""
    contexts: dict[Any, list[Columns]] = {}
    surroundings: dict[Any, list[Columns]] = {}
    for crop in crops(folder, count, chance):
        step = 2.0 ** chance.uniform(1.6, 6.2) / 127.5
        levels = level_count((SIDE, SIDE))
        sizes = Coefficients(bands((SIDE, SIDE), levels), 3, step)
        found = transform.analysis(colours.rotated(crop, colours.decorrelating(crop)), levels)
        exact = {name: values.numpy() / np.float32(step) for name, values in found.items()}
        integers = {name: np.rint(values).astype(np.int32) for name, values in exact.items()}
        if by is not None:
            integers = rate_distortion.optimised(exact, sizes, passes=2)
        _add_contexts(contexts, integers, sizes, chance)
        for band, channel, maps in restoration.surroundings(integers, sizes.layout):
            kind, place = part_of(band.orientation, band.level, channel)
            numbers = np.empty((len(AROUND), math.prod(band.shape)), np.float32)
            _take(maps.padded, Places(AROUND, (0, 0), 1, band.shape), 0, band.shape[0], numbers)
            offset = (exact[band.name][channel] - integers[band.name][channel]).reshape(-1)
            kept = numbers.any(0) & (chance.random(len(offset)) < (KEPT if band.level < 2 else 1))
            surroundings.setdefault(kind, []).append(_columns(numbers, offset, place, 0, kept))
    return _joined(contexts), _joined(surroundings)


def _add_contexts(
    found: dict[Any, list[Columns]], integers: dict[str, Any], sizes: Coefficients, chance: np.random.Generator
) -> None:
    """Adds the contexts of all coefficients of ``integers``, which a network sees that does nothing else."""
    levels = {band.name: band for band in sizes.layout}
    seen: dict[str, Any] = {}

    class Seen:
        def distributions(self, kind: int, phase: int, place: int, step: int, maps: np.ndarray) -> tuple[Any, Any]:
            seen.update(kind=kind, phase=phase, place=place, maps=maps)
            return None, None

    def visit(means: Any, scales: Any, place: Place) -> np.ndarray:
        own = place.of(integers)
        numbers = np.empty((len(places(seen["phase"])), own.size), np.float32)
        at = Places(places(seen["phase"]), PHASES[seen["phase"]], 2, own.shape)
        _take(seen["maps"], at, 0, own.shape[0], numbers)
        kept = chance.random(own.size) < (KEPT if levels[place.band].level < 2 else 1)
        columns = _columns(numbers, own.reshape(-1), seen["place"], sizes.step_class, kept)
        found.setdefault((seen["kind"], seen["phase"]), []).append(columns)
        return own.reshape(-1)

    walk(sizes, Seen(), integers["low"], visit)  # type: ignore[arg-type]


def _columns(numbers: np.ndarray, wanted: np.ndarray, place: int, step: int, kept: np.ndarray) -> Columns:
    count = int(kept.sum())
    small = torch.tensor(numbers.T[kept].astype(np.int8))
    wanted = torch.tensor(wanted[kept].astype(np.float32))
    return [small, wanted, torch.full((count,), place, dtype=torch.int8), torch.full((count,), step, dtype=torch.int16)]


def _joined(parts: dict[Any, list[Columns]]) -> dict[Any, Columns]:
    return {key: [torch.cat(column) for column in zip(*several, strict=True)] for key, several in parts.items()}


def train(name: str, net: nn.Module, loss: Callable[..., Tensor], found: dict[Any, Columns], seconds: float) -> None:
    """Trains for so many seconds with Adam, and prints the mean loss of examples that were left out."""
    optimiser, began, step, rate = (
        torch.optim.Adam(net.parameters(), 3e-3, betas=(0.9, 0.99)),
        time.monotonic(),
        0,
        3e-3,
    )
    while (share := (time.monotonic() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-5
        total = torch.zeros(())
        for key, columns in found.items():
            chosen = torch.randint(0, max(1, len(columns[1]) - VALIDATION), (2048,))
            total = total + loss(key, [column[chosen] for column in columns]).mean()
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if (step := step + 1) % 500 == 0:
            with torch.no_grad():
                left = [
                    loss(key, [column[-VALIDATION:] for column in columns]).mean() for key, columns in found.items()
                ]
            print(f"{name}: {step} steps, {share:.0%}, {float(torch.stack(left).mean()):.5f}", flush=True)


def check_bounds(arrays: dict[str, np.ndarray]) -> None:
    """Ends if a sum of whole numbers can reach 2^24, beyond which float32 does not hold them."""
    for name, weight in arrays.items():
        if ".weight" not in name or name.startswith("restoration"):
            continue
        most = 127 if name.startswith("first") else networks.LARGEST_UNIT
        sums = (
            most * np.abs(weight.astype(np.int64)).sum(-1).max() + np.abs(arrays[name.replace("weight", "bias")]).max()
        )
        if name.startswith("first"):
            sums += 200 * np.abs(arrays[name.replace("weight", "step")]).max()
        if sums >= 1 << 24:
            raise SystemExit(f"{name}: sums up to {sums:,}")


def main() -> None:
    """Makes the examples, trains both networks and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--by", type=Path, help="the networks of the first round")
    parser.add_argument("--minutes", type=float, default=30.0, help="of each training")
    parser.add_argument("--crops", type=int, default=CROPS)
    asked = parser.parse_args()
    torch.manual_seed(0)
    by = None
    if asked.by is not None:
        with np.load(asked.by) as arrays:
            by = Network(dict(arrays))
        rate_distortion.network = lambda number: by  # type: ignore[assignment]
    contexts, surroundings = examples(asked.folder, by, asked.crops, np.random.default_rng(0))
    distributions, offsets = Distributions(), Offsets()
    train("bits", distributions, lambda key, columns: distributions.bits(*key, columns), contexts, 60 * asked.minutes)
    train("squared error", offsets, offsets.errors, surroundings, 60 * asked.minutes)
    arrays = distributions.arrays() | offsets.arrays()
    check_bounds(arrays)
    np.savez_compressed(asked.output, **arrays)


if __name__ == "__main__":
    main()
