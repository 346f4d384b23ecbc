"""The commands a user types, on real files: encode for --budget, decode, and the quality of the decoded file itself.

python tests/bench/headline.py --budget 60s
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import data, table

from inrfit.modalities import metrics

FILES = (
    "images/div2k/train/01.png",
    "images/kodak/kodim03.png",
    "audio/libri121/05.flac",
    "audio/gt_bach.wav",
    "shapes/armadillo.obj",
    "shapes/bunny_oded_hr.obj",
)


def command(*words: str) -> dict[str, Any]:
    """One inrfit command; its JSON object."""
    found = subprocess.run(
        [sys.executable, "-m", "inrfit", *words, "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    record: dict[str, Any] = json.loads(found.stdout)
    return record


def decoded_quality(source: Path, decoded: Path) -> str:
    """Measured on the two files with other readers than inrfit's."""
    if source.suffix == ".png":
        from PIL import Image

        with Image.open(source) as a, Image.open(decoded) as b:
            assert (a.size, a.mode) == (b.size, b.mode)
            return f"{metrics.psnr(np.asarray(b), np.asarray(a), 255):.4f} dB"
    if source.suffix in (".flac", ".wav"):
        import soundfile

        a, b = soundfile.info(source), soundfile.info(decoded)
        assert (a.samplerate, a.channels, a.frames, a.subtype) == (
            b.samplerate,
            b.channels,
            b.frames,
            b.subtype,
        )
        left, right = (soundfile.read(path, dtype="float64", always_2d=True)[0] for path in (source, decoded))
        return f"{metrics.snr(right, left):.4f} dB"
    import trimesh

    a, b = (trimesh.load(path, process=False, force="mesh") for path in (source, decoded))
    return f"box off by {np.abs(a.bounds - b.bounds).max() / a.extents.max():.2%} of the longest side"


def row(source: Path, budget: str, size: list[str], arch: str, sampler: str, folder: Path) -> dict[str, Any]:
    """encode and decode one file."""
    model, back = str(folder / f"{source.name}.safetensors"), str(folder / f"back{source.suffix}")
    choices = ("--budget", budget, "--arch", arch, "--sampler", sampler, *size)
    made = command("encode", str(source), *choices, "-o", model, "--force")
    command("decode", model, "-o", back, "--force")
    quality, spent = made["quality"], made["spent"]
    named = {key: quality[key] for key in ("psnr", "snr", "si_snr", "ssim", "iou", "chamfer") if key in quality}
    return {
        "file": source.name,
        "architecture": arch,
        "sampler": sampler,
        "quality told": ", ".join(f"{key} {value:.4g}" for key, value in named.items()),
        "of the decoded file": decoded_quality(source, Path(back)),
        "fit s": spent["fit_seconds"],
        "steps": spent["steps"],
        "Mpoints": spent["points"] / 1e6,
        "sampler share": spent["sampler_seconds"] / spent["fit_seconds"],
        "passes": spent["scoring_passes"],
        "bytes": made["bytes"],
        "all s": made["seconds"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--arch", action="append")
    parser.add_argument("--sampler", action="append")
    parser.add_argument("--params", help="number of weights of every field, at most")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    size = ["--params", given.params] if given.params else []
    with tempfile.TemporaryDirectory() as place:
        choices = list(itertools.product(given.arch or ["siren"], given.sampler or ["auto"]))
        table(
            [
                row(source, given.budget, size, *choice, Path(place))
                for source in data(*given.files)
                for choice in choices
            ]
        )
