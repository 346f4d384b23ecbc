"""Batches of small fields by whole commands: fields a second of one processor, bytes, resuming, learning from weights.

``speed``: pictures of 32x32 (parts of Kodak pictures) and made digits of 28x28, each with two numbers of steps, so that
the time of a step and the time beside the steps follow, and with a floor. One process of one thread; the seconds are
those of the processor, from the picture to the verified part. Start-up, that of a batch of one field,
is told apart.

``resume``: the seconds until the first part of a plan of a million rows is there, all others but one being present.

``digits``: how well a linear classifier (ridge regression on standardised weights) reads the digits of the UCI set
(8x8 pixels, made 28x28; from scikit-learn, 400 to learn from and 200 to read) from the weights of their fields, which
start from shared weights or from their own.

python tests/bench/batch.py speed resume digits
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, table
from PIL import Image, ImageDraw, ImageFont
from tiny import pictures

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
KINDS = {"32x32, 3x64": (64, "35dB"), "digits 28x28, 3x32": (32, "40dB")}


def inrfit(*words: str) -> tuple[list[dict[str, Any]], float]:
    """The JSON lines of a command, and its seconds of the processor with those of its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "inrfit", *words, "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [json.loads(line) for line in done.stdout.splitlines()], seconds


def digits(folder: Path, count: int) -> list[int]:
    """``count`` pictures of 28x28 of digits, moved, rotated and sheared by chance; their labels."""
    chance, font = random.Random(0), ImageFont.load_default(22)
    labels = []
    for number in range(count):
        image = Image.new("L", (28, 28))
        place = (8 + chance.randint(-3, 3), chance.randint(-2, 3))
        ImageDraw.Draw(image).text(place, str(number % 10), chance.randint(160, 255), font)
        shear = (1, chance.uniform(-0.25, 0.25), 0, 0, 1, 0)
        image = image.rotate(chance.uniform(-15, 15), Image.Resampling.BILINEAR)
        image.transform((28, 28), Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR).save(
            folder / f"{number:04}.png"
        )
        labels.append(number % 10)
    return labels


def sources(folder: Path, kind: str, count: int) -> Path:
    """A folder of ``count`` pictures of a kind."""
    where = folder / kind.replace(" ", "-").replace(",", "")
    where.mkdir(exist_ok=True)
    if kind.startswith("digits"):
        digits(where, count)
    else:
        for number, pixels in enumerate(pictures(32, count)):
            Image.fromarray(pixels).save(where / f"{number:04}.png")
    return where


def batch(folder: Path, where: Path, width: int, rule: list[str]) -> tuple[Path, float]:
    """A data set of the pictures in a folder, and the seconds that it took."""
    ds = folder / "ds"
    shutil.rmtree(ds, ignore_errors=True)
    sizes = ["--width", str(width), "--depth", "3", "--sampler", "full", "--arch", "siren", "--workers", "1"]
    return ds, inrfit("batch", "run", str(ds), str(where), *sizes, *rule)[1]


def speed(folder: Path, count: int) -> list[dict[str, Any]]:
    """A row for each kind and rule, and one for the time of a step and the time beside the steps."""
    rows = []
    for kind, (width, floor) in KINDS.items():
        where, one, each = sources(folder, kind, count), sources(folder, kind + " one", 1), {}
        _, start = batch(folder, one, width, ["--budget", "20it"])
        for rule in (["--budget", "20it"], ["--budget", "60it"], ["--budget", "20it", "--floor", floor]):
            ds, spent = batch(folder, where, width, rule)
            found, name = open_rows(ds), " ".join(rule)
            psnr, each[name] = [row["psnr"] for row in found], (spent - start) / (count - 1)
            parts = sum(path.stat().st_size for path in ds.glob("parts/*/*"))
            rows.append({
                "kind": kind, "rule": name, "fields": count, "fields / CPU s": 1 / each[name],
                "with start-up": count / spent, "dB median": float(np.median(psnr)), "dB least": min(psnr),
                "steps": float(np.mean([row["steps"] for row in found])),
                "bytes beside weights": parts / count - 4 * found[0]["size"],
            })  # fmt: skip
        step = (each["--budget 60it"] - each["--budget 20it"]) / 40
        rows.append({"kind": kind, "ms a step": 1000 * step, "ms beside": 1000 * (each["--budget 20it"] - 20 * step),
                     "start-up s": start})  # fmt: skip
    return rows


def open_rows(ds: Path) -> list[dict[str, Any]]:
    """The rows of a data set, with the number of weights; the PSNR of exact fields is infinite."""
    import inrfit as package

    fields = package.open_dataset(ds, flat=True)
    size = fields.artifact(0).spec.parameters
    return [{**row, "size": size, "psnr": math.inf if row["psnr"] is None else row["psnr"]} for row in fields.rows]


def resume(folder: Path, rows: int) -> list[dict[str, Any]]:
    """The seconds until the missing part of a large plan is there."""
    from inrfit.artifact.data_set import part_path

    where = sources(folder, "32x32, 3x64", 1)
    source, ds, manifest = next(where.glob("*.png")), folder / "million", folder / "million.jsonl"
    with manifest.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"source": str(source), "id": f"row{number:07}"}) + "\n")
    options = ["--width", "64", "--depth", "3", "--budget", "1it", "--part-size", "256"]
    begun = time.monotonic()
    inrfit("batch", "plan", str(manifest), "-o", str(ds), *options)
    planned = time.monotonic() - begun
    inrfit("batch", "run", str(ds), "--shard", f"0/{-(-rows // 256)}", "--workers", "1")
    first = next(ds.glob("parts/*/*.safetensors"))
    for number in range(1, -(-rows // 256) - 1):
        path = Path(part_path(str(ds), number))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(first, path)
    missing = Path(part_path(str(ds), -(-rows // 256) - 1))
    begun = time.monotonic()
    command = [sys.executable, "-m", "inrfit", "batch", "run", str(ds), "--workers", "1", "--quiet"]
    with subprocess.Popen(command, env=ENVIRONMENT) as running:
        while not missing.exists():
            time.sleep(0.05)
        there = time.monotonic() - begun
        running.wait()
    return [{"rows": rows, "plan s": planned, "last part s": there, "index s": time.monotonic() - begun - there}]


def accuracy(ds: Path) -> float:
    """The share of the test digits that ridge regression reads from the weights, at one fixed penalty."""
    import inrfit as package

    fields = package.open_dataset(ds, flat=True)
    weights = np.stack([fields[k].weights for k in range(len(fields))]).astype(np.float64)
    label = np.array([int(row["label"]) for row in fields.rows])
    taught = np.array([row["split"] == "train" for row in fields.rows])
    scaled = (weights - weights[taught].mean(0)) / (weights[taught].std(0) + 1e-6)
    known, asked = scaled[taught], scaled[~taught]
    dual = np.linalg.solve(known @ known.T + 100 * np.eye(len(known)), np.eye(10)[label[taught]])
    return float(((asked @ known.T @ dual).argmax(1) == label[~taught]).mean())


def learned(folder: Path, count: int) -> list[dict[str, Any]]:
    """A row for each choice of the first weights, the steps and the rates."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        print("skipped: digits needs scikit-learn")
        return []
    read = load_digits()
    where, manifest, rows = folder / "digits", folder / "digits.jsonl", []
    where.mkdir()
    with manifest.open("w") as file:
        for number in range(count):
            small = Image.fromarray((read.images[number] * 255 / 16).astype(np.uint8))
            small.resize((28, 28), Image.Resampling.BICUBIC).save(where / f"{number:04}.png")
            split, label = "train" if number < 2 * count // 3 else "test", int(read.target[number])
            file.write(json.dumps({"source": f"digits/{number:04}.png", "label": label, "split": split}) + "\n")
    choices = [("shared", "10it"), ("shared", "20it"), ("shared", "60it", "--lr", "1e-3"), ("shared", "60it"),
               ("own", "60it")]  # fmt: skip
    for init, *rule in choices:
        ds = folder / f"{init}-{'-'.join(rule)}"
        sizes = ["--width", "32", "--depth", "3", "--arch", "siren", "--sampler", "full"]
        words = ["--init", init, "--budget", *rule, "--workers", "1"]
        inrfit("batch", "run", str(ds), str(manifest), *sizes, *words)
        psnr = [row["psnr"] for row in open_rows(ds)]
        rows.append({"first weights": init, "rule": " ".join(rule), "dB median": float(np.median(psnr)),
                     "dB least": min(psnr), "read from the weights": accuracy(ds)})  # fmt: skip
    return rows


def main() -> None:
    """Prints a table for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["speed"], choices=["speed", "resume", "digits"])
    parser.add_argument("--count", type=int, default=256, help="fields of a kind")
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in given.what:
            table(speed(folder, given.count))
        if "resume" in given.what:
            table(resume(folder, given.rows))
        if "digits" in given.what:
            table(learned(folder, 600))


if __name__ == "__main__":
    main()
