"""Rates of fields of few samples: quality after equal steps, per learning rate, over small pictures, sounds and shapes.

Pictures are parts of Kodak pictures, reduced to each side by averages. ``mean`` and ``least`` are over the files of a
kind, in dB (SNR of sounds), or IoU of shapes. ``x`` is a factor on the rates that the recipe has for many steps.

python tests/bench/tiny.py --steps 30 60 120 --factors 1 1.6 3 6 10
python tests/bench/tiny.py --kinds 32 --arch siren --width 64 --depth 3 --count 20
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from common import data, machine, table
from PIL import Image

import inrfit
from inrfit.fields import FIELDS

PICTURES = [f"images/kodak/kodim{number:02}.png" for number in (1, 3, 5, 7, 9, 13, 15, 19, 21, 23)]


def pictures(side: int, count: int) -> Iterator[np.ndarray]:
    """``count`` parts of 256x256 pixels of photographs, reduced to ``side`` x ``side``."""
    sources = data(*PICTURES)
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as image:
            left = 64 + 128 * (number // len(sources) % 3)
            part = image.crop((left, 128, left + 256, 384))
            yield np.asarray(part.resize((side, side), Image.Resampling.BOX))


def sounds(seconds: float, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """``count`` parts of speech of so many ``seconds``, and their rate."""
    samples, rate = soundfile.read(data("audio/libri121/05.flac")[0], dtype="int16")
    length = int(seconds * rate)
    for number in range(count):
        start = (rate // 2 + number * length) % (len(samples) - length)
        yield samples[start : start + length], rate


def quality(source: Any, **settings: Any) -> float:
    """The main measure of a fit; 0 where it diverges, and 100 dB where nothing is lost."""
    arguments = {}
    if isinstance(source, tuple):
        source, arguments["rate"] = source
    try:
        found = inrfit.encode(source, **arguments, **settings).quality
    except inrfit.Diverged:
        return 0.0
    value = next(found[name] for name in ("psnr", "snr", "iou") if name in found)
    return 100.0 if value is None else float(value)


def row(kind: str, steps: int, factor: float, given: argparse.Namespace) -> dict[str, Any]:
    """Mean and least quality of a kind of signals after so many steps with the rates times ``factor``."""
    count = given.count
    sources: list[Any]
    if kind == "shape":
        sources = [str(path) for path in data("shapes/spot.obj", "shapes/suzanne.obj")]
    elif kind.endswith("s"):
        sources = list(sounds(float(kind[:-1]), count))
    else:
        sources = list(pictures(int(kind), count))
    rate = FIELDS[given.arch].TRAITS.hyperparameters.adam_rate
    settings = {name: value for name, value in vars(given).items() if name in ("arch", "width", "depth", "sampler")}
    if factor:
        settings["lr"] = factor * rate
    begun = time.process_time()
    found = [quality(source, budget=f"{steps}it", **settings) for source in sources]
    spent = (time.process_time() - begun) / len(sources)
    mean, least = statistics.fmean(found), min(found)
    return {"kind": kind, "steps": steps, "x": factor or "recipe", "mean": mean, "least": least, "CPU s": spent}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["28", "32", "64", "0.1s", "1s", "shape"])
    parser.add_argument("--steps", type=int, nargs="+", default=[30, 60, 120])
    parser.add_argument("--factors", type=float, nargs="+", default=[0, 1, 1.6, 3, 6, 10], help="0: the recipe's")
    parser.add_argument("--count", type=int, default=5, help="signals of a kind")
    parser.add_argument("--arch", default="siren")
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=3)
    given = parser.parse_args()
    print(machine(), flush=True)
    rows = []
    for kind in given.kinds:
        for steps in given.steps:
            for factor in given.factors:
                rows.append(row(kind, steps, factor, given))
                print(rows[-1], flush=True)
    table(rows)
