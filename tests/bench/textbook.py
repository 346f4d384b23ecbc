"""The loops that papers and tutorials start from, in plain torch: what ``time_to_quality.py`` compares with.

``selection``: full precision, a forward pass over the whole image, then one Adam step at a constant 1e-4 on a fifth of
the points, 30 % of them those with the largest errors and 70 % by chance (the settings of the released NINT code at its
default schedule, without its six NTK scorings, which only makes it faster). ``full``: one Adam step at 1e-4 on all.
Both start from the SIREN paper's weights with omega 30. Written for clarity, as one would; ``record`` runs one of them
until a quality and keeps the trace, in chunks of points (the same sums, less memory), so that it can run for hours.

python tests/bench/textbook.py --loop selection --until 30 --steps 1000 FILES
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import ROOT, data, machine
from PIL import Image
from torch import Tensor, nn

TRACES = ROOT / "tests" / "bench" / "traces"
RATE, RATIO, HARD, OMEGA = 1e-4, 0.2, 0.3, 30.0
CHUNK = 8192


class Sine(nn.Module):
    """A SIREN layer as its authors publish it."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        bound = 1 / inputs if first else math.sqrt(6 / inputs) / OMEGA
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """sin(omega (W x + b))."""
        return torch.sin(OMEGA * self.linear(x))


def siren(channels: int, width: int = 256, depth: int = 5) -> nn.Sequential:
    """2 -> depth x width -> channels."""
    layers: list[nn.Module] = [Sine(2 if i == 0 else width, width, i == 0) for i in range(depth)]
    last = nn.Linear(width, channels)
    bound = math.sqrt(6 / width) / OMEGA
    nn.init.uniform_(last.weight, -bound, bound)
    return nn.Sequential(*layers, last)


def points(path: Path, side: int | None = None) -> tuple[Tensor, Tensor]:
    """Coordinates (n, 2) and values (n, 3) in [-1, 1] of an image, or of its centre of ``side`` pixels."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    if side is not None:
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    axes = [torch.linspace(-1, 1, length) for length in pixels.shape[:2]]
    coords = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    return coords, torch.from_numpy(pixels.reshape(-1, 3).astype(np.float32) / 127.5 - 1)


def psnr(error: float) -> float:
    """dB of a mean squared error of values two apart."""
    return 10 * math.log10(4 / error)


def run(loop: str, coords: Tensor, values: Tensor, seed: int, chunk: int | None = None) -> Iterator[float]:
    """PSNR before each step, one step an item; ``chunk`` points at a time (None: as one tensor, as published)."""
    torch.manual_seed(seed)
    n = coords.shape[0]
    field = siren(values.shape[1])
    optimiser = torch.optim.Adam(field.parameters(), lr=RATE)
    while True:
        if loop == "selection":
            with torch.no_grad():
                pieces = coords.split(chunk or n)
                residuals = torch.cat([field(piece) for piece in pieces]) - values
            error = float(residuals.square().mean())
            hard = torch.topk(residuals.abs().sum(1), int(RATIO * HARD * n)).indices
            free = torch.ones(n, dtype=torch.bool)
            free[hard] = False
            rest = free.nonzero().squeeze(1)
            chosen = torch.cat([hard, rest[torch.randperm(rest.shape[0])[: int(RATIO * n) - hard.shape[0]]]])
            descend(field, optimiser, coords[chosen], values[chosen], chunk)
        else:
            error = descend(field, optimiser, coords, values, chunk)
        yield psnr(error)


def descend(
    field: nn.Module, optimiser: torch.optim.Optimizer, coords: Tensor, values: Tensor, chunk: int | None
) -> float:
    """One step; the mean squared error before it."""
    optimiser.zero_grad()
    n, total = coords.shape[0], 0.0
    for start in range(0, n, chunk or n):
        part = slice(start, start + (chunk or n))
        loss = (field(coords[part]) - values[part]).square().sum() / (n * values.shape[1])
        loss.backward()
        total += float(loss.detach())
    optimiser.step()
    return total


def trace_file(loop: str, source: Path, side: int | None) -> Path:
    """Where the recorded run of ``loop`` on ``source`` is kept."""
    return TRACES / f"{loop}_{source.parent.name}_{source.stem}{'' if side is None else f'_{side}'}.json"


def record(loop: str, source: Path, side: int | None, until: float, steps: int, seed: int) -> None:
    """Runs until ``until`` dB or ``steps``; writes the PSNR before every step."""
    torch.optim.Adam([torch.zeros(1)])
    qualities: list[float] = []
    begun = time.monotonic()
    for quality in run(loop, *points(source, side), seed, CHUNK):
        qualities.append(round(quality, 4))
        ended = quality >= until or len(qualities) >= steps
        if len(qualities) % 10 == 0 or ended:
            print(f"{loop} {source.name} {len(qualities)} {quality:.2f} {time.monotonic() - begun:.0f} s", flush=True)
            kept = {"loop": loop, "source": source.name, "side": side, "seed": seed, "machine": machine()}
            trace_file(loop, source, side).write_text(json.dumps(kept | {"psnr": qualities}) + "\n")
        if ended:
            break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=("selection", "full"), required=True)
    parser.add_argument("--until", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--side", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("files", nargs="+")
    given = parser.parse_args()
    for path in data(*given.files):
        record(given.loop, path, given.side, given.until, given.steps, given.seed)
