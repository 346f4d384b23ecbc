"""No fit may collapse: every image, sound and shape of ../shared/data that encode accepts, at its default settings.

A row says the quality of the written field, that of the best constant, and whether the guard stepped in. A fit counts
as collapsed when encode fails, when the PSNR or SNR of what it wrote is less than half a decibel above that of the best
constant, or when a shape's IoU is under 0.5.

python tests/bench/collapse.py --budget 15s
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import SHARED, table

from inrfit.config import plan
from inrfit.config.settings import Settings

LEAST_GAIN, LEAST_IOU = 0.5, 0.5
FOLDERS = ("images", "audio", "shapes")


def encoded(source: Path, budget: str, folder: Path) -> dict[str, Any]:
    """The JSON object of one encode."""
    words = ["encode", str(source), "--budget", budget, "-o", str(folder / "field.safetensors"), "--force", "--json"]
    found = subprocess.run([sys.executable, "-m", "inrfit", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    lines = found.stdout.decode().splitlines()
    record: dict[str, Any] = json.loads(lines[-1]) if lines else {"ok": False, "error": {"code": found.returncode}}
    return record


def of_constant(source: Path, measure: str) -> float:
    """PSNR or SNR (dB) of the mean of each channel, rounded as samples are: that of a picture of one bit is black or
    white."""
    signal = plan.plan(source.read_bytes(), source.name, Settings()).signal
    samples = signal.samples.astype(np.float64)
    step, mean = signal.scale.step, samples.mean(0)
    error = float(((samples - (np.round(mean / step) * step if step else mean)) ** 2).mean())
    floats = signal.modality == "audio" and signal.samples.dtype.kind == "f"  # their full scale is -1 to 1
    full = 2.0 if floats else signal.scale.high - signal.scale.low
    peak = full / (2 if signal.modality == "audio" else 1)  # of a sound: full scale (modalities/audio.py)
    peak = peak if measure == "psnr" else float(np.sqrt((samples**2).mean()))
    return 10 * math.log10(peak**2 / error) if error else math.inf


def row(source: Path, budget: str, folder: Path) -> dict[str, Any] | None:
    """One file's row; None where encode refuses the file."""
    record = encoded(source, budget, folder)
    name = str(source.relative_to(SHARED / "data"))
    if not record["ok"]:
        error = record["error"]
        if error["code"] == 3:
            return None
        return {
            "file": name,
            "quality": "",
            "best constant": "",
            "steps": "",
            "guard": error.get("message", ""),
            "collapsed": "YES",
        }
    quality, spent = record["quality"], record["spent"]
    measure = next(key for key in ("psnr", "snr", "iou") if key in quality)
    value = quality[measure]
    infinite = measure in str(quality.get("infinite", "")).split()
    least = LEAST_IOU if measure == "iou" else of_constant(source, measure) + LEAST_GAIN
    collapsed = not infinite and (value is None or value < least)
    guard = [note for note in record["provenance"]["notes"] if "diverged" in note]
    return {
        "file": name,
        "quality": "exact" if infinite else f"{value:.2f} {'' if measure == 'iou' else 'dB '}{measure.upper()}",
        "best constant": "" if measure == "iou" else f"{least - LEAST_GAIN:.2f} dB",
        "steps": spent["steps"],
        "guard": "; ".join(guard),
        "collapsed": "YES" if collapsed else "no",
    }


def files() -> list[Path]:
    """Every file of the folders, in order."""
    roots = [SHARED / "data" / folder for folder in FOLDERS]
    found = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    if not found:
        print(f"skipped: no files under {SHARED / 'data'}")
        sys.exit(0)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="15s")
    parser.add_argument("names", nargs="*", help="parts of file names; default: all")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows, refused = [], 0
        for source in files():
            if given.names and not any(name in str(source) for name in given.names):
                continue
            made = row(source, given.budget, Path(place))
            refused += made is None
            if made is not None:
                print(*made.values(), file=sys.stderr, flush=True)
                rows.append(made)
        table(rows)
        print(f"{len(rows)} files fitted, {refused} refused, {sum(r['collapsed'] == 'YES' for r in rows)} collapsed")
