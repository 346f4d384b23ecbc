"""Fits that are killed at random moments (SIGKILL) and resumed, against undisturbed ones: the weights must be equal bit
for bit, and no output may be torn.

python tests/bench/kills.py --kills 40

The sources are made: a picture, a sound and a mesh. Each fit is ``inrfit encode --checkpoint 1s --budget 400it``; it is
killed once or several times, each time a random while after it has begun, and then goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import trimesh
from common import table
from PIL import Image

import inrfit

SAMPLERS = ("stream", "nint", "evos", "int", "soft-mining", "uniform", "expansive", "egra")
ARCHS = ("siren", "finer", "grid", "tiles", "ffn")


def sources(folder: Path) -> list[Path]:
    """A picture, a sound and a mesh."""
    y, x = np.mgrid[0:200, 0:240] / 240
    planes = [120 + 80 * np.sin(9 * x + k) * np.cos(7 * y) + 40 * (x > 0.5) for k in range(3)]
    Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)).save(folder / "picture.png")
    moments = np.arange(20_000) / 20_000
    soundfile.write(folder / "sound.wav", 0.5 * np.sin(900 * moments * (1 + moments)), 8000)
    trimesh.creation.icosphere(3).export(folder / "mesh.obj")
    return [folder / name for name in ("picture.png", "sound.wav", "mesh.obj")]


def command(source: Path, output: Path, arch: str, sampler: str, steps: int) -> list[str]:
    """One encode."""
    words = ["encode", source, "-o", output, "--arch", arch, "--sampler", sampler, "--budget", f"{steps}it"]
    words += ["--seed", "5", "--threads", "1", "--batch", "2048", "--verify", "sample", "-q"]
    if source.suffix == ".obj":
        words += ["-O", "points=20000"]
    return [sys.executable, "-m", "inrfit", *map(str, words)]


def killed(words: list[str], longest: float, chance: random.Random) -> tuple[bool, float]:
    """Whether the command was killed before it ended, and after how many seconds."""
    wait = chance.uniform(0.5, longest)
    process = subprocess.Popen(words)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True, wait
    return False, wait


def weights(path: Path) -> dict[str, bytes]:
    """Tensors of a field by name."""
    return {name: weight.tobytes() for name, weight in inrfit.load(path).weights.items()}


def one(source: Path, arch: str, sampler: str, steps: int, kills: int, chance: random.Random) -> dict[str, Any]:
    """A row: one fit killed up to ``kills`` times, against the undisturbed one."""
    folder = source.parent
    whole, broken = folder / "whole.safetensors", folder / "broken.safetensors"
    for path in (whole, broken, Path(f"{broken}.state")):
        path.unlink(missing_ok=True)
    begun = time.monotonic()
    subprocess.run(command(source, whole, arch, sampler, steps), check=True)
    took = time.monotonic() - begun
    words = [*command(source, broken, arch, sampler, steps), "--checkpoint", "1s", "--resume"]
    moments: list[str] = []
    for _ in range(kills):
        done, after = killed(words, took, chance)
        if not done:
            break
        moments.append(f"{after:.1f}" + ("s" if Path(f"{broken}.state").exists() else ""))
        assert not broken.exists() or weights(broken) == weights(whole)  # complete, or not there
    subprocess.run(words, check=True)
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "broken")))
    return {
        "source": source.name,
        "arch": arch,
        "sampler": sampler,
        "killed after (s: a state was there)": " ".join(moments),
        "kills": len(moments),
        "weights": "equal" if weights(whole) == weights(broken) else "DIFFERENT",
        "files left": " ".join(left),
    }


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance, rows, made = random.Random(given.seed), list[dict[str, Any]](), 0
    with tempfile.TemporaryDirectory() as folder:
        made_of = itertools.cycle(itertools.product(ARCHS, SAMPLERS))
        pairs = list(itertools.islice(made_of, len(ARCHS) * len(SAMPLERS)))
        chance.shuffle(pairs)
        for source, (arch, sampler) in zip(
            itertools.cycle(sources(Path(folder))), itertools.cycle(pairs), strict=False
        ):
            if made >= given.kills:
                break
            rows.append(one(source, arch, sampler, given.steps, 3, chance))
            made += rows[-1]["kills"]
            print(f"{made} of {given.kills}: {rows[-1]}", file=sys.stderr, flush=True)
    table(rows)
    different = sum(row["weights"] != "equal" for row in rows)
    print(f"\n{made} kills, {len(rows)} fits, {different} different")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
