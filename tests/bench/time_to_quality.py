"""Seconds to a quality: inrfit against the loops that papers start from, same network (SIREN 5x256), image and machine.

inrfit: the command as users run it, start-up within the budget; *time to a quality* is the smallest budget, of a ladder
of steps of about a fifth, whose finished fit reaches it, measured on the whole image after the weights were read back.
A loop's seconds are those of its steps alone, so the ratio is given twice: with inrfit's start-up, as a user waits for
it, and like for like, from inrfit's first step on.
The loops of textbook.py are too slow to run each time: seconds per step are measured here (the median of at least 10,
alternating with inrfit's fits) and multiplied by the steps that a complete recorded run needed (tests/bench/traces).
``--complete`` runs the loops to 30 dB instead and says how far the product is from the truth (``--side 192``: minutes).
``--peer nint=DIR`` runs the authors' own checkout for ``--peer-steps`` (NINT's train_image.py, with its dependencies
installed for ``--peer-python``); its own clock and its own PSNR count. ``--peer int=DIR`` does so with INT's, which
keeps no record of its times: seconds per step are the difference of two runs without any measuring (``no_io``).

python tests/bench/time_to_quality.py
python tests/bench/time_to_quality.py --side 192 --complete
"""

from __future__ import annotations

import argparse
import glob
import itertools
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import data, table
from PIL import Image
from textbook import points, run, trace_file

FILES = ("images/div2k/train/01.png", "images/div2k/train/14.png", "images/kodak/kodim03.png")
LADDER = (2, 2.5, 3, 3.5, 4, 5, 6, 7, 8.5, 10, 12, 15, 18, 22, 26, 32, 38, 46, 55, 60, 75, 90, 110, 130, 160, 200)
TARGETS = (30.0, 35.0, 40.0)
SHOWN = (5.0, 15.0, 60.0)
LOOPS = ("selection", "full")
STEPS = 10
TIMES, TIMES_TAUGHT = "30 dB: times inrfit's", "like for like"


class Ours:
    """inrfit's finished fits of one image, by budget."""

    def __init__(self, source: Path, folder: Path, longest: float) -> None:
        self.source, self.folder, self.longest = source, folder, longest
        self.found: dict[float, float] = {}
        self.started: dict[float, float] = {}

    def fit(self, seconds: float) -> float:
        """PSNR of the written field after a fit of ``seconds``; minus infinity where nothing was learned."""
        if seconds not in self.found:
            words = ["encode", str(self.source), "--budget", f"{seconds}s", "-o", str(self.folder / "f.safetensors")]
            command = [sys.executable, "-m", "inrfit", *words, "--force", "--json"]
            told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            record = json.loads(told.stdout.splitlines()[-1])
            self.found[seconds] = record["quality"]["psnr"] if record["ok"] else -float("inf")
            self.started[seconds] = record["spent"]["first_step_seconds"] if record["ok"] else seconds
            print(f"  inrfit {self.source.name} {seconds} s: {self.found[seconds]:.2f} dB", file=sys.stderr, flush=True)
        return self.found[seconds]

    def work(self) -> Iterator[None]:
        """All fits that the table needs, one an item: the shown budgets, then a bisection of the ladder for targets."""
        for seconds in SHOWN:
            if seconds <= self.longest:
                self.fit(seconds)
                yield
        ladder = [seconds for seconds in LADDER if seconds <= self.longest]
        for target in TARGETS:
            low, high = 0, len(ladder)
            while low < high:
                middle = (low + high) // 2
                known = ladder[middle] in self.found
                if self.fit(ladder[middle]) >= target:
                    high = middle
                else:
                    low = middle + 1
                if not known:
                    yield

    def seconds_to(self, target: float) -> float | None:
        """The smallest budget tried whose fit reached ``target``."""
        return min((seconds for seconds, quality in self.found.items() if quality >= target), default=None)

    def taught_to(self, target: float) -> float | None:
        """The same from the first step on."""
        seconds = self.seconds_to(target)
        return None if seconds is None else seconds - self.started[seconds]


class Loop:
    """Steps of a textbook loop, timed one by one."""

    def __init__(self, loop: str, source: Path, side: int | None) -> None:
        self.source, self.side, self.loop = source, side, loop
        self.steps = run(loop, *points(source, side), seed=0)
        self.seconds: list[float] = []
        self.qualities: list[float] = []

    def step(self) -> float:
        """One step, timed; the PSNR before it."""
        begun = time.perf_counter()
        quality = next(self.steps)
        self.seconds.append(time.perf_counter() - begun)
        self.qualities.append(quality)
        return quality

    @property
    def per_step(self) -> float:
        """Median seconds, without the first step, which allocates."""
        return statistics.median(self.seconds[1 : STEPS + 1])

    def trace(self) -> list[float]:
        """PSNR before each step of the recorded run; empty without one."""
        recorded = trace_file(self.loop, self.source, self.side)
        return list(json.loads(recorded.read_text())["psnr"]) if recorded.exists() else []


def crop(source: Path, side: int | None, folder: Path) -> Path:
    """The image, or its centre of ``side`` pixels as a file of its own."""
    if side is None:
        return source
    with Image.open(source) as image:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        cut = folder / source.name
        image.crop((left, top, left + side, top + side)).save(cut)
    return cut


def compare(source: Path, side: int | None, longest: float, folder: Path) -> list[dict[str, Any]]:
    """One row a competitor."""
    ours = Ours(crop(source, side, folder), folder, longest)
    loops = [Loop(name, source, side) for name in LOOPS]
    for _ in ours.work():
        for loop in loops:
            if len(loop.seconds) <= STEPS:
                loop.step()
                loop.step()
    for loop in loops:
        while len(loop.seconds) <= STEPS:
            loop.step()
    size = f"{source.name}{'' if side is None else f' {side}x{side}'}"
    row: dict[str, Any] = {"image": size, "who": "inrfit"}
    row |= {f"s to {target:g} dB": _or_more(ours.seconds_to(target), longest) for target in TARGETS}
    row |= {f"dB at {seconds:g} s": ours.found.get(seconds, "not tried") for seconds in SHOWN}
    taught = ours.taught_to(TARGETS[0])
    rows = [row | {"s a step": "", TIMES: "", TIMES_TAUGHT: "" if taught is None else f"({taught:.2f} s)"}]
    for loop in loops:
        rows.append(loop_row(size, loop, ours.seconds_to(TARGETS[0]), taught))
    return rows


def loop_row(size: str, loop: Loop, ours: float | None, taught: float | None) -> dict[str, Any]:
    """A textbook loop's row: steps of its recorded run times seconds per step."""
    trace = loop.trace()
    row: dict[str, Any] = {"image": size, "who": f"textbook, {loop.loop}"}
    for target in TARGETS:
        steps = next((count for count, quality in enumerate(trace) if quality >= target), None)
        more = f"> {len(trace) * loop.per_step:.0f} ({trace[-1]:.1f} dB)" if trace else "not recorded"
        row[f"s to {target:g} dB"] = more if steps is None else steps * loop.per_step
    known = trace or loop.qualities
    for seconds in SHOWN:
        made = int(seconds / loop.per_step)
        row[f"dB at {seconds:g} s"] = known[made] if made < len(known) else "not recorded"
    reached = row[f"s to {TARGETS[0]:g} dB"]
    row["s a step"] = loop.per_step
    for column, seconds in ((TIMES, ours), (TIMES_TAUGHT, taught)):
        row[column] = reached / seconds if seconds and isinstance(reached, float) else ""
        if seconds and trace and not isinstance(reached, float):
            row[column] = f"> {len(trace) * loop.per_step / seconds:.0f}"
    return row


def complete(source: Path, side: int | None) -> list[dict[str, Any]]:
    """Each loop run to 30 dB by the clock, beside the product of its first steps' median and its steps; and both
    without the first step, which takes several times as long."""
    rows = []
    for name in LOOPS:
        loop = Loop(name, source, side)
        while loop.step() < TARGETS[0]:
            pass
        taken = loop.seconds[:-1]  # the last step only told what those before it had reached
        rows.append(
            {
                "image": f"{source.name} {side or ''}",
                "loop": name,
                "steps to 30 dB": len(taken),
                "s by the clock": sum(taken),
                "of it the first step": taken[0],
                "s as the product": loop.per_step * len(taken),
                "product / clock": loop.per_step * len(taken) / sum(taken),
                "both without the first": loop.per_step * (len(taken) - 1) / sum(taken[1:]),
            }
        )
    return rows


def peer(name: str, checkout: Path, python: str, source: Path, steps: int) -> dict[str, Any]:
    """The authors' own training script, on the CPU where there is no CUDA device."""
    if name == "int":
        return {
            "image": source.name,
            "who": "int, its authors' code",
            "s a step": int_pace(checkout, python, source, steps),
        }
    device = [] if torch.cuda.is_available() else ["TRAIN_CONFIGS.gpu_devices=''"]
    quiet = [f"METRIC_LOGGING.log_{what}=0" for what in ("ssim", "lpips")] + ["WANDB_CONFIGS.log_ssim=0"]
    trained(checkout, python, source, steps, [*device, *quiet, "WANDB_CONFIGS.log_reconstruction=0"])
    written = max(glob.glob(str(checkout / "outputs" / "inrfit_bench" / "metrics_history_*.pkl")))
    with open(written, "rb") as file:
        history = pickle.load(file)  # written by the script just run
    seconds, qualities = history["timestamps"], history["psnr"]
    gaps = [after - before for before, after in itertools.pairwise(seconds)]
    row: dict[str, Any] = {"image": source.name, "who": f"{name}, its authors' code", "steps": len(seconds)}
    for target in TARGETS:
        row[f"s to {target:g} dB"] = next(
            (s for s, q in zip(seconds, qualities, strict=True) if q >= target), "not reached"
        )
    return row | {"s a step": statistics.median(gaps), "last dB": qualities[-1], "s in all": seconds[-1]}


def int_pace(checkout: Path, python: str, source: Path, steps: int) -> float:
    """Seconds per step of INT's script, from runs of ``steps`` and of two."""
    device = f"TRAIN_CONFIGS.device={'cuda' if torch.cuda.is_available() else 'cpu'}"
    took = []
    for count in (2, steps):
        begun = time.perf_counter()
        trained(checkout, python, source, count, [device, "TRAIN_CONFIGS.no_io=1"])
        took.append(time.perf_counter() - begun)
    return (took[1] - took[0]) / (steps - 2)


def trained(checkout: Path, python: str, source: Path, steps: int, settings: list[str]) -> None:
    """Runs their train_image.py."""
    common = [
        f"TRAIN_CONFIGS.iterations={steps}",
        "TRAIN_CONFIGS.out_dir=inrfit_bench",
        f"DATASET_CONFIGS.file_path={source.resolve()}",
        "WANDB_CONFIGS.use_wandb=0",
    ]
    subprocess.run([python, "train_image.py", *common, *settings], cwd=checkout, check=True, stdout=subprocess.DEVNULL)


def _or_more(value: float | None, limit: float) -> Any:
    return f"> {limit:g}" if value is None else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, help="only the centre of so many pixels")
    parser.add_argument("--longest", type=float, default=130.0, help="longest budget tried, seconds")
    parser.add_argument("--complete", action="store_true", help="run the textbook loops to 30 dB by the clock")
    parser.add_argument("--peer", action="append", default=[], help="NAME=DIR")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-steps", type=int, default=12)
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    if given.peer_steps < 3:
        parser.error("--peer-steps: at least 3")
    with tempfile.TemporaryDirectory() as place:
        made: list[dict[str, Any]] = []
        for path in data(*given.files):
            if given.peer:
                cut = crop(path, given.side, Path(place))
                for text in given.peer:
                    name, folder = text.split("=", 1)
                    made.append(peer(name, Path(folder), given.peer_python, cut, given.peer_steps))
            else:
                made += (
                    complete(path, given.side)
                    if given.complete
                    else compare(path, given.side, given.longest, Path(place))
                )
        table(made)
