"""What the size of a picture costs: seconds per million taught points, seconds outside the budget, and peak memory.

A size without a photograph of its own is made from the largest one.

python tests/bench/scaling.py --budget 15s [--decode]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from common import child, data, table

LARGEST = "images/megapixel/shadedrelief_10800x5400.jpg"
SIZES = {
    "0.25": "images/div2k/train/01.png",
    "1": (1448, 724),
    "4": (2896, 1448),
    "16": (5793, 2896),
    "58": LARGEST,
}
"""Megapixels: a file, or the size that LARGEST is brought to."""


def resized(size: tuple[int, int], folder: Path) -> Path:
    """LARGEST as a PNG of this size."""
    from PIL import Image

    target = folder / f"{size[0]}x{size[1]}.png"
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(data(LARGEST)[0]) as picture:
        picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0).save(target)
    return target


def row(megapixels: str, source: Path, budget: str, decoded: bool, folder: Path) -> dict[str, Any]:
    """encode one picture, and decode it where asked for."""
    model = str(folder / "model.safetensors")
    said, wall, peak = child("encode", str(source), "--budget", budget, "-o", model, "--force", "--json", "--quiet")
    record = json.loads(said)
    spent = record["spent"]
    found = {
        "megapixels": megapixels,
        "file": source.name,
        "s per million points": (spent["fit_seconds"] - spent["prepare_seconds"]) / (spent["points"] / 1e6),
        "Mpoints": spent["points"] / 1e6,
        "fit s": spent["fit_seconds"],
        "prepare s": spent["prepare_seconds"],
        "sampler s": spent["sampler_seconds"],
        "read s": spent["read_seconds"],
        "check s": spent["check_seconds"],
        "all s": wall,
        "peak MB": peak,
        "psnr": record["quality"]["psnr"],
    }
    if decoded:
        _, wall, peak = child("decode", model, "-o", str(folder / "back.png"), "--force", "--quiet")
        found |= {"decode s": wall, "decode peak MB": peak}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="15s")
    parser.add_argument("--decode", action="store_true", help="also decode the largest, which takes minutes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, rows = Path(place), []
        for name, what in SIZES.items():
            source = data(what)[0] if isinstance(what, str) else resized(what, folder)
            rows.append(row(name, source, given.budget, given.decode and what == LARGEST, folder))
        everything = dict.fromkeys(rows[-1], "")
        table([everything | found for found in rows])
