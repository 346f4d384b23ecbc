"""How good fields are between the samples: fitted at half the size or rate, decoded at the full one.

Pictures are halved by Lanczos's filter; fields of the halves are decoded at twice their size, and compared with the
source. Beside them stand Lanczos's filter and cubic splines, which enlarge the same halves. The measure is PSNR.
Sounds are halved and doubled by a polyphase filter (``scipy.signal.resample_poly``), and the measure is SNR.
``at the samples`` is the quality against the half itself. The summary has means over the files, and the file that loses
most.

python tests/bench/between.py --budget 1000it --archs siren,grid
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from common import data, machine, table
from PIL import Image
from scipy.signal import resample_poly

import inrfit
from inrfit.errors import InrfitError

PICTURES = [f"images/kodak/kodim{number:02}.png" for number in range(1, 25, 2)]
SOUNDS = ["audio/libri121/05.flac", "audio/gt_bach.wav", "audio/guit_em9.flac"]


def decibels(found: np.ndarray, truth: np.ndarray, peak: float | None) -> float:
    """PSNR for a peak value, SNR without one."""
    found, truth = found.astype(float), truth.astype(float)
    power = peak**2 if peak is not None else float((truth**2).mean())
    return float(10 * np.log10(power / max(float(((found - truth) ** 2).mean()), 1e-30)))


def picture(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A picture whose sides are even, its half, and the half enlarged by other means."""
    with Image.open(path) as image:
        whole = image.convert("RGB").crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
    half = whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)
    filters = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}
    return np.asarray(whole), np.asarray(half), {n: np.asarray(half.resize(whole.size, f)) for n, f in filters.items()}


def sound(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], int]:
    """The same of a sound, and the rate of its half. Its samples are floats, so that nothing is rounded."""
    whole, rate = soundfile.read(path, dtype="float32", always_2d=True)
    whole = whole[: len(whole) // 2 * 2]
    half = resample_poly(whole, 1, 2).astype(np.float32)
    return whole, half, {"lanczos": resample_poly(half, 2, 1)}, rate // 2


def row(path: Path, arch: str, budget: str) -> dict[str, Any]:
    """One fit."""
    if path.suffix in (".flac", ".wav", ".ogg"):
        whole, half, others, rate = sound(path)
        fitted = inrfit.encode(half, rate=rate, arch=arch, budget=budget, store="fp16")
        enlarged, same = inrfit.decode(fitted, inrfit.Request(rate=2 * rate)), inrfit.decode(fitted)
        peak, enlarged = None, enlarged[: len(whole)]
    else:
        whole, half, others = picture(path)
        fitted = inrfit.encode(half, arch=arch, budget=budget, store="fp16")
        size = (whole.shape[1], whole.shape[0])
        enlarged, same, peak = inrfit.decode(fitted, inrfit.Request(size=size)), inrfit.decode(fitted), 255.0
    found = {name: decibels(other, whole, peak) for name, other in others.items()}
    return {
        "file": path.name, "arch": arch, "at the samples": decibels(same, half, peak),
        "between": decibels(enlarged, whole, peak), **found,
    }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means by architecture."""
    lines = []
    for arch in dict.fromkeys(row["arch"] for row in rows):
        of_it = [row for row in rows if row["arch"] == arch]
        gains = {row["file"]: row["between"] - row["lanczos"] for row in of_it}
        worst = min(gains, key=lambda name: gains[name])
        means = {name: statistics.mean(row[name] for row in of_it) for name in ("at the samples", "between", "lanczos")}
        lines.append({"arch": arch, "files": len(of_it), **means})
        lines[-1] |= {"against lanczos": statistics.mean(gains.values()), "worst": f"{worst} {gains[worst]:+.2f}"}
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="1000it")
    parser.add_argument("--archs", default="siren,finer,grid")
    parser.add_argument("--sounds", action="store_true", help="sounds instead of pictures")
    parser.add_argument("files", nargs="*")
    given = parser.parse_args()
    print(machine(), flush=True)
    every = []
    for source in data(*(given.files or (SOUNDS if given.sounds else PICTURES))):
        for name in given.archs.split(","):
            try:
                every.append(row(source, name, given.budget))
            except InrfitError as error:
                print(f"{source.name}, {name}: {error}", flush=True)
                continue
            print(
                {k: v if isinstance(v, str) else round(v, 2) for k, v in every[-1].items()}, file=sys.stderr, flush=True
            )
    table(every)
    table(summary(every))
