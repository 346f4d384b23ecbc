"""What chose the first layer's frequency: quality after equal steps, per frequency factor and file.

python tests/bench/omega.py --steps 700
python tests/bench/omega.py --steps 400 --omega 30 --omega 60 --omega 90 images/div2k/train/01.png
python tests/bench/omega.py --between --omega 30 --omega 90 images/kodak/kodim05.png

python tests/bench/omega.py --steps 500 --strips images/kodak/kodim05.png

``--strips`` takes the middle 64 rows and the middle 64 columns of pictures, with several factors between the axes.
``--between`` fits a picture of half as many pixels a side and measures what it decodes to at the full size: between the
pixels that were taught.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import data, table
from PIL import Image

import inrfit
from inrfit.config import plan
from inrfit.config.settings import Settings
from inrfit.modalities import MODALITIES, metrics

FILES = (
    "audio/libri121/05.flac",
    "audio/gt_bach.wav",
    "audio/music_hungarian_7s_stereo.wav",
    "audio/trumpet_solo.ogg",
    "audio/bird_robin.ogg",
)
OMEGAS = {
    "audio": (1000.0, 2000.0, 3500.0, 5500.0, 9000.0),
    "image": (30.0, 60.0, 90.0, 120.0),
    "shape": (30.0, 60.0, 90.0),
}
STRIP_FACTORS = ((1, 1), (0.5, 2), (1, 2), (1, 4), (1, 8), (2, 2))


def halved(source: Path) -> np.ndarray:
    """The picture with a pixel for every four."""
    with Image.open(source) as image:
        return np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX))


def strips(source: Path, steps: int) -> list[dict[str, object]]:
    """PSNR of the middle 64 rows, and of the middle 64 columns, of a picture, by the factors on the shorter axis' 30
    radians. Networks have 128 units."""
    with Image.open(source) as image:
        pixels = np.asarray(image.convert("RGB"))
    row, column = (side // 2 - 32 for side in pixels.shape[:2])
    parts = {"rows": (pixels[row : row + 64], "{}x{}"), "columns": (pixels[:, column : column + 64], "{1}x{0}")}
    rows = []
    for name, (part, order) in parts.items():
        found: dict[str, object] = {"file": source.name, "64": name}
        for short, long in STRIP_FACTORS:
            options = {"first_omega": 30.0, "axis_factors": order.format(short, long)}
            made = inrfit.encode(np.ascontiguousarray(part), width=128, budget=f"{steps}it", options=options)
            found[f"{short} and {long}"] = made.quality["psnr"]
        rows.append(found)
        print(found, flush=True)
    return rows


def between(source: Path, model: inrfit.Artifact) -> float:
    """PSNR of the picture decoded at twice its size against the full one."""
    with Image.open(source) as image:
        full = np.asarray(image)
    width, height = full.shape[1] // 2 * 2, full.shape[0] // 2 * 2
    return metrics.psnr(inrfit.decode(model, inrfit.Request(size=(width, height))), full[:height, :width], 255.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--omega", type=float, action="append")
    parser.add_argument("--between", action="store_true", help="pictures: decode twice as many pixels a side")
    parser.add_argument("--strips", action="store_true", help="pictures: factors between the axes of long parts")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    rows = []
    for source in data(*given.files):
        if given.strips:
            rows += strips(source, given.steps)
            continue
        planned = plan.plan(source.read_bytes(), source.name, Settings())
        modality = MODALITIES[planned.signal.modality]
        row: dict[str, object] = {"file": source.name}
        if not given.between:
            row["the rule"] = " ".join(f"{omega:.0f}" for omega in modality.first_omega(planned.signal))
        for omega in given.omega or OMEGAS[modality.name]:
            content = halved(source) if given.between else source
            made = inrfit.encode(content, budget=f"{given.steps}it", options={"first_omega": omega})
            row[f"{omega:g}"] = made.quality[modality.main_measure]
            if given.between:
                row[f"{omega:g}, between"] = between(source, made)
        rows.append(row)
        print(row, flush=True)
    table(rows)
