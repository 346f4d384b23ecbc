"""The estimate of a decode's memory (``artifact.decode_cost``) against the peak of the command.

Each case is a field of random weights, decoded by ``inrfit decode`` in a process of its own, as a user runs it. Its
peak counts from that of a process that has imported torch and read nothing.

python tests/bench/memory.py [--only TEXT]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RUNNER, child, table

from inrfit.artifact.artifact import Artifact
from inrfit.artifact.decode_cost import decode_cost
from inrfit.fields import FieldSpec
from inrfit.modalities import MODALITIES, Request
from inrfit.modalities.audio import arrays, audio
from inrfit.modalities.image import image
from inrfit.modalities.image.picture import Picture
from inrfit.modalities.shape import shape


def picture(width: int, height: int, bands: int = 3, dtype: str = "uint8", fmt: str = "PNG") -> dict[str, Any]:
    """The meta of a picture of this size."""
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, bands)).astype(dtype)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(bands, "bands")
    meta = image.to_signal(fmt, Picture(pixels, mode, pixels.itemsize * 8)).meta
    return {**meta, "width": width, "height": height}


def sound(frames: int, channels: int = 1, rate: int = 44_100) -> dict[str, Any]:
    """The meta of a sound of this length."""
    noise = np.random.default_rng(0).integers(-9999, 9999, (64, channels)).astype(np.int16)
    meta = audio.load(arrays.from_array(noise, rate), "a.wav", audio.Options(), image.Limits()).meta
    return {**meta, "frames": frames}


def mesh() -> dict[str, Any]:
    """The meta of a box."""
    corners = [f"v {x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    faces = ("1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4")
    text = "\n".join([*corners, *(f"f {face}" for face in faces)])
    return dict(shape.load(text.encode(), "a.obj", shape.Options(), image.Limits()).meta)


SMOOTH = {"first_omega": 1.5, "omega": 3.0}
"""Options of a SIREN whose surface is about as large as that of a usual shape."""

LARGE, SMALL = picture(2048, 2048), picture(256, 128)
CASES: list[tuple[str, str, int, int, dict[str, Any], str, dict[str, Any], dict[str, Any]]] = [
    ("siren 5x256", "siren", 256, 5, {}, "image", SMALL, {}),
    ("siren 2x16, 4 MP", "siren", 16, 2, {}, "image", LARGE, {}),
    ("siren 1x8192", "siren", 8192, 1, {}, "image", SMALL, {"size": (128, 128)}),
    ("siren 2x5000", "siren", 5000, 2, {}, "image", SMALL, {"size": (32, 32)}),
    ("siren 24x1024", "siren", 1024, 24, {}, "image", SMALL, {"size": (32, 32)}),
    ("finer 2x2048", "finer", 2048, 2, {}, "image", SMALL, {"size": (64, 64)}),
    ("wire 2x2048", "wire", 2048, 2, {}, "image", SMALL, {"size": (64, 64)}),
    ("gauss 2x2048", "gauss", 2048, 2, {}, "image", SMALL, {"size": (64, 64)}),
    ("mlp 2x2048", "mlp", 2048, 2, {}, "image", SMALL, {"size": (64, 64)}),
    ("ffn 2x256, 8192 features", "ffn", 256, 2, {"features": 8192}, "image", SMALL, {}),
    ("pemlp 4x2048", "pemlp", 2048, 4, {"frequencies": 24}, "image", SMALL, {"size": (128, 128)}),
    ("grid 60 MB", "grid", 64, 2, {"finest": "2048"}, "image", LARGE, {}),
    ("grid, 256 features", "grid", 64, 2, {"features": 256, "finest": "128"}, "image", LARGE, {"size": (2048, 64)}),
    ("grid 32x64 features, hashed", "grid", 64, 2,
     {"levels": 32, "features": 64, "table": 4096, "growth": 1.3, "finest": "512"}, "image", SMALL, {}),
    ("tiles 32x32", "tiles", 32, 4, {"tiles": "32x32"}, "image", LARGE, {}),
    ("tiles 2, 2x2048", "tiles", 2048, 2, {"tiles": "2x1"}, "image", SMALL, {"size": (128, 128)}),
    ("asmr", "asmr", 256, 3, {"grid": "2048x2048", "factors": "16x16,8x8,4x4,4x4"}, "image", LARGE, {}),
    ("asmr, wide last level", "asmr", 256, 3, {"grid": "2048x2048", "factors": "4x4,4x4,4x4,32x32"}, "image", LARGE,
     {}),
    ("asmr to a third", "asmr", 256, 3, {"grid": "2048x2048", "factors": "16x16,8x8,4x4,4x4"}, "image", LARGE,
     {"scale": 0.33}),
    ("16-bit, 4 MP", "siren", 16, 1, {}, "image", picture(2048, 2048, 3, "uint16"), {}),
    ("float32 TIFF, 4 MP", "siren", 16, 1, {}, "image", picture(2048, 2048, 3, "float32", "TIFF"), {}),
    ("60 bands", "siren", 16, 1, {}, "image", picture(1024, 1024, 60, "uint8", "TIFF"), {}),
    ("4 MP to 4x4", "siren", 16, 1, {}, "image", LARGE, {"size": (4, 4)}),
    ("sound, 2 min", "siren", 16, 1, {}, "audio", sound(5_000_000), {}),
    ("sound, 8 channels", "siren", 16, 1, {}, "audio", sound(600_000, 8), {}),
    ("sound to 8 kHz", "siren", 16, 1, {}, "audio", sound(5_000_000), {"rate": 8000}),
    ("sound from 44,101 Hz", "siren", 16, 1, {}, "audio", sound(100_000, 1, 44_101), {"rate": 8000}),
    ("shape 128", "siren", 32, 2, SMOOTH, "shape", mesh(), {}),
    ("shape 300", "siren", 16, 1, SMOOTH, "shape", mesh(), {"resolution": 300}),
    ("shape of noise 128", "siren", 32, 2, {"first_omega": 60.0}, "shape", mesh(), {}),
]  # fmt: skip


def artifact(architecture: str, width: int, depth: int, options: dict[str, Any], kind: str, meta: Any) -> Artifact:
    """A field of random weights."""
    import torch

    spec = FieldSpec(architecture, *MODALITIES[kind].field_size(meta), width, depth, options)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(spec.outputs))
    return Artifact(spec, {k: w.numpy() for k, w in weights.items()}, kind, meta, {}, {})


def peak_of(*command: str) -> float:
    """Peak memory of a command in MB. Raises ``SystemExit`` if it fails."""
    told = subprocess.run([sys.executable, "-ISc", RUNNER, *command], stdout=subprocess.PIPE, text=True, check=True)
    _, _, peak, code = json.loads(told.stdout)
    if code:
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    return float(peak)


def words(request: dict[str, Any]) -> list[str]:
    """The options of decode for a request."""
    values = {key: "x".join(map(str, value)) if key == "size" else str(value) for key, value in request.items()}
    return [word for key, value in values.items() for word in (f"--{key}", value)]


def row(case: Any, folder: Path, base: float) -> dict[str, Any]:
    """The estimate of one case and what was measured."""
    name, architecture, width, depth, options, kind, meta, request = case
    made = artifact(architecture, width, depth, options, kind, meta)
    cost = decode_cost(made.spec, kind, meta, Request(**request))
    assert cost is not None
    path, suffix = folder / "model.safetensors", MODALITIES[kind].suffix(meta)[0]
    made.save(path, force=True)
    target = folder / f"decoded{suffix}"
    begun = time.perf_counter()
    _, _, peak = child("decode", str(path), "-o", str(target), "-fq", "--device", "cpu", *words(request))
    seconds = time.perf_counter() - begun
    real, estimate = peak - base, cost.memory / 1e6
    return {
        "case": name, "weights": f"{made.spec.parameters:,}", "estimate MB": round(estimate), "peak MB": round(real),
        "ratio": round(estimate / real, 2), "estimate s": round(cost.seconds, 1), "s": round(seconds, 1),
    }  # fmt: skip


def main() -> None:
    """Prints the table, and the largest error of the cases above 50 MB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--after", default="", help="cases after the one of this name")
    chosen = parser.parse_args()
    names = [case[0] for case in CASES]
    first = names.index(chosen.after) + 1 if chosen.after else 0
    modules = "torch, inrfit.codec, inrfit.artifact.artifact, inrfit.cli.decode"
    base = peak_of(sys.executable, "-c", f"import {modules}")
    print(f"base: {base:.0f} MB")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES[first:]:
            if chosen.only in case[0]:
                rows.append(row(case, Path(folder), base))
                print(rows[-1], file=sys.stderr, flush=True)
    table(rows)
    ratios = [row["ratio"] for row in rows if row["peak MB"] > 50]
    print(f"largest factor: {max((math.exp(abs(math.log(ratio))) for ratio in ratios), default=1):.2f}")


if __name__ == "__main__":
    main()
