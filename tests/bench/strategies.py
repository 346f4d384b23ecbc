"""What each strategy of choosing points is worth: quality at equal seconds or steps, and the noise and bias of its
gradients.

The first table compares samplers with the first one, over 20 photographs (ten of Kodak, ten of DIV2K, easy and hard),
or ``--sounds`` or ``--shapes``: mean difference over the files with its 95 % interval, the file that loses most, and
the sampler's share of the time. ``-o DIR`` keeps every run, so that a later call goes on where an earlier one ended.

``--as-steps`` fits for as many steps as each sampler makes in the budget when the machine is quiet, which is measured
first (``DIR/steps.json``). Other work on the machine then costs time and changes no figure, so that many runs
may be made beside it.

``--noise STEPS`` says why: one picture is fitted with uniform samples, and its field looked at after a tenth and nine
tenths of so many steps. Each sampler then draws batches for the field as it is, with a map that knows all errors.
``bias`` is the distance of the mean gradient of many batches from that of all points, and ``noise W`` the distance of
the mean over W consecutive batches from the mean of all batches; both relative to the gradient's length, in per cent.

``--where`` says where: PSNR of the decoded pictures in the flattest half of the pixels, in the next two fifths, and in
the tenth with the strongest edges (gradients of the luma).

python tests/bench/strategies.py --samplers uniform,stream,nint --budget 20s --seeds 3 -o DIR
python tests/bench/strategies.py --samplers uniform,stream,nint,int --budget 20s --seeds 3 --as-steps -o DIR
python tests/bench/strategies.py --noise 1000 --samplers uniform,stream,stream:hard=0
python tests/bench/strategies.py --where --samplers uniform,stream --budget 20s
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import data, machine, table
from PIL import Image
from torch import Tensor

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.comparison.spec import Method, parse_methods
from inrfit.config import plan
from inrfit.config.settings import Settings
from inrfit.execution import choose_recipe
from inrfit.fields.module import Field
from inrfit.fit.engine.step import Engine, normalized_weights
from inrfit.io import options
from inrfit.modalities import MODALITIES
from inrfit.samplers import SAMPLERS
from inrfit.samplers.learner import Learner
from inrfit.samplers.uniform import Uniform

KODAK = [f"images/kodak/kodim{number:02}.png" for number in (1, 3, 5, 7, 9, 13, 15, 19, 21, 23)]
DIV2K = [f"images/div2k/train/{number:02}.png" for number in (0, 1, 3, 5, 6, 9, 10, 11, 12, 14)]
SOUNDS = ["audio/libri121/05.flac", "audio/gt_bach.wav", "audio/guit_em9.flac"]
SHAPES = ["shapes/armadillo.obj", "shapes/bunny_zipper.ply", "shapes/fandisk.obj"]
OTHER_WORK = 0.12
"""Share by which the engine's time per step differs between samplers without a reason of theirs."""

BATCHES, WINDOWS = 96, (1, 4, 16, 48)


def comparison(given: argparse.Namespace) -> None:
    """All samplers at equal budgets, as ``inrfit compare`` runs them."""
    files = given.files or (SOUNDS if given.sounds else SHAPES if given.shapes else KODAK + DIV2K)
    settings = {"budget": given.budget} | ({"threads": given.threads} if given.threads else {})
    found = inrfit.compare(
        [str(path) for path in data(*files)],
        given.samplers,
        [given.arch],
        seeds=given.seeds,
        output=given.output,
        on_run_end=lambda number, runs, result: print(f"{number} of {runs}: {result.run_key}", flush=True),
        **settings,
    )
    tables = found.summary().tables
    rows = []
    for index, first in enumerate(tables[0].rows):
        of_method = [of.rows[index] for of in tables]
        qualities = [row.qualities[-1].mean or math.nan for row in of_method]
        row: dict[str, Any] = {"sampler": first.sampler, "files": len(tables)}
        row["mean"] = sum(qualities) / len(qualities)
        shares = [row.sampler_share.mean or 0.0 for row in of_method]
        row |= {"difference": "", "worst file": "", "sampler %": 100 * sum(shares) / len(shares)}
        rows.append(row)
    for overall in found.summary().overall:
        row = next(row for row in rows if row["sampler"] == overall.sampler)
        mean, around = overall.difference.mean, overall.difference.ci95
        row["difference"] = f"{mean:+.2f} ± {around or math.nan:.2f}"
        row["worst file"] = f"{overall.worst_source} {overall.worst:+.2f}"
    table([{"file": of.source} | {r.sampler: r.qualities[-1].mean for r in of.rows} for of in tables])
    table(rows)


def as_steps(given: argparse.Namespace) -> None:
    """All samplers for the steps that they make in the budget."""
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    files = data(*(given.files or (SOUNDS if given.sounds else SHAPES if given.shapes else KODAK + DIV2K)))
    methods = parse_methods(given.samplers, [given.arch])
    made, record = calibrated(given, methods, files[0], folder / "steps.json"), folder / "runs.jsonl"
    lines = record.read_text().splitlines() if record.exists() else []
    found = {(r["file"], r["sampler"], r["seed"]): r["quality"] for r in map(json.loads, lines)}
    for seed in range(given.seeds):
        for source in files:
            for method in methods:
                key = (source.name, method.sampler_label, seed)
                if key in found:
                    continue
                known = made[method.sampler_label]
                asked = {"budget": f"{known['steps']}it", "batch": known["batch"], "seed": seed}
                found[key] = quality_of(fitted(given, method, source, **asked))
                with record.open("a") as file:
                    run = {"file": key[0], "sampler": key[1], "seed": seed, "quality": found[key]}
                    print(json.dumps(run), file=file)
                print(*key, round(found[key], 4), flush=True)
    show([source.name for source in files], [m.sampler_label for m in methods], given.seeds, found, made)


def fitted(given: argparse.Namespace, method: Method, source: Path, **settings: Any) -> Artifact:
    """The field of one run."""
    sampler = {"sampler": method.sampler, "options": dict(method.sampler_options)}
    return inrfit.encode(str(source), arch=given.arch, threads=given.threads, **sampler, **settings)


def quality_of(artifact: Artifact) -> float:
    """The main measure."""
    return float(artifact.quality[MODALITIES[artifact.modality].main_measure])


def calibrated(
    given: argparse.Namespace, methods: Sequence[Method], source: Path, record: Path
) -> dict[str, dict[str, Any]]:
    """Steps, batch and the sampler's share of the time of each sampler within the budget, from three fits each, in
    turns. Steps differ by the samplers' own time, and by that of their loss terms: other work of the machine makes the
    engine's time per step differ by up to OTHER_WORK, which is taken as equal."""
    if record.exists():
        found: dict[str, dict[str, Any]] = json.loads(record.read_text())
        return found
    times: dict[str, list[tuple[float, float]]] = {method.sampler_label: [] for method in methods}
    for method in list(methods) * 3:
        provenance = fitted(given, method, source, budget=given.budget, clock="fit").provenance
        spent, batch = provenance["spent"], provenance["settings"]["batch"]
        engine = (spent["fit_seconds"] - spent["sampler_seconds"]) / spent["steps"]
        times[method.sampler_label].append((engine, spent["sampler_seconds"] / spent["steps"]))
        print(method.sampler_label, spent["steps"], batch, f"{spent['sampler_seconds']:.2f} s", flush=True)
    engines = {label: min(engine for engine, _ in runs) for label, runs in times.items()}
    usual, seconds, made = float(np.median(list(engines.values()))), spent["fit_seconds"], {}
    for label, runs in times.items():
        engine, sampler = engines[label], min(sampler for _, sampler in runs)
        engine = usual if abs(engine / usual - 1) < OTHER_WORK else engine
        steps = round(seconds / (engine + sampler))
        made[label] = {"steps": steps, "batch": batch, "share": sampler / (engine + sampler)}
    record.write_text(json.dumps(made))
    return made


def show(
    files: list[str], samplers: list[str], seeds: int, found: dict[Any, float], made: dict[str, dict[str, Any]]
) -> None:
    """The tables of ``as_steps``: mean quality by file, and differences to the first sampler with 95 % intervals."""
    from scipy.stats import t

    by_file = {(f, s): np.array([found[f, s, seed] for seed in range(seeds)]) for f in files for s in samplers}
    table([{"file": f} | {s: float(by_file[f, s].mean()) for s in samplers} for f in files])
    rows = []
    for sampler in samplers:
        gains = {f: float((by_file[f, sampler] - by_file[f, samplers[0]]).mean()) for f in files}
        values, worst = np.array(list(gains.values())), min(gains, key=lambda f: gains[f])
        around = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        known = made[sampler]
        row = {"sampler": sampler, "mean": float(np.mean([by_file[f, sampler].mean() for f in files]))}
        row |= {"difference": f"{values.mean():+.3f} ± {around:.3f}", "worst file": f"{worst} {gains[worst]:+.3f}"}
        rows.append(row | {"steps": known["steps"], "sampler %": 100 * known["share"]})
    table(rows)


def where(given: argparse.Namespace) -> None:
    """The quality of each sampler's picture by local contrast."""
    rows = []
    for source in data(*(given.files or KODAK[1:4])):
        with Image.open(source) as image:
            truth = np.asarray(image.convert("RGB")).astype(float)
        slopes = np.hypot(*np.gradient(truth @ (0.299, 0.587, 0.114)))
        half, edges = np.quantile(slopes, (0.5, 0.9))
        parts = {"flat half": slopes <= half, "middle": (slopes > half) & (slopes <= edges), "edges": slopes > edges}
        for method in parse_methods(given.samplers, [given.arch]):
            chosen = {"sampler": method.sampler, "options": dict(method.sampler_options)}
            found = inrfit.encode(str(source), arch=given.arch, budget=given.budget, threads=given.threads, **chosen)
            squares = ((inrfit.decode(found).astype(float) - truth) ** 2).mean(-1)
            row = {"file": source.name, "sampler": method.sampler_label, "all": squares}
            row |= {name: squares[mask] for name, mask in parts.items()}
            rows.append({k: v if isinstance(v, str) else 10 * math.log10(255**2 / v.mean()) for k, v in row.items()})
            print(rows[-1], flush=True)
    table(rows)


class Frozen:
    """A field at one moment of a fit: its gradients, and what samplers see of it."""

    def __init__(self, engine: Engine, progress: float, generator: torch.Generator) -> None:
        self.engine, self.progress, self.generator = engine, progress, generator
        signal = engine.samples.signal
        everything = torch.arange(signal.n)
        parts = [self.gradient(part, None, with_residuals=True) for part in everything.split(1 << 16)]
        lengths = [part.shape[0] / signal.n for part in everything.split(1 << 16)]
        self.whole = sum(share * part[0] for share, part in zip(lengths, parts, strict=True))
        self.known = [(everything, torch.cat([part[1] for part in parts]))]

    def gradient(self, indices: Tensor, weights: Tensor | None, with_residuals: bool = False) -> Any:
        """The gradient of one batch, flat."""
        engine, channels = self.engine, self.engine.samples.signal.channels
        coords, values = engine.samples.take(indices)
        loss_weights = normalized_weights(indices, weights, channels)
        residuals, found = engine.backend.gradients(engine.weights, coords, values, loss_weights, None)
        flat = torch.cat([found[name].flatten() for name in engine.weights])
        return (flat, residuals) if with_residuals else flat

    def row(self, method: Method) -> dict[str, Any]:
        """Bias and noise of one sampler."""
        engine, batch = self.engine, self.engine.config.batch
        sampler = options.from_mapping(SAMPLERS[method.sampler], dict(method.sampler_options))
        learner = Learner(
            engine.field, engine.samples, self.generator, engine.config.dtype,
            progress=self.progress, batch=batch, trained_batches=self.known,
        )  # fmt: skip
        selection, gradients = sampler.select(learner, None), []
        while len(gradients) < BATCHES:
            selection = sampler.select(learner, selection)
            indices, weights = selection.indices, selection.weights
            if indices is None or not selection.keep_order:
                chosen = learner.permutation(learner.n if indices is None else indices.shape[0])
                weights = None if weights is None else weights[chosen]
                indices = chosen if indices is None else indices[chosen]
            for start in range(0, indices.shape[0] - batch + 1, batch):
                part = slice(start, start + batch)
                gradients.append(self.gradient(indices[part], None if weights is None else weights[part]))
        every = torch.stack(gradients[:BATCHES])
        mean = every.mean(0)
        row = {"progress": self.progress, "sampler": method.sampler_label}
        row["bias %"] = 100 * float((mean / mean.norm() - self.whole / self.whole.norm()).norm())
        for window in WINDOWS:
            means = every.view(BATCHES // window, window, -1).mean(1)
            row[f"noise {window} %"] = 100 * float(((means - mean).square().sum(1).mean()).sqrt() / mean.norm())
        return row


def noise(given: argparse.Namespace) -> None:
    """Bias and noise of all samplers early and late in one fit."""
    rows = []
    methods = parse_methods(given.samplers, [given.arch])
    for source in data(*(given.files or KODAK[2:3])):
        settings = Settings(budget=f"{given.noise}it", arch=given.arch, threads=given.threads)
        planned = plan.plan(source.read_bytes(), source.name, settings)
        spec, chosen = choose_recipe(planned, torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        field = Field(spec, spec.formula.initial(spec, generator, torch.zeros(planned.signal.channels)))
        config = dataclasses.replace(chosen.config, batch=8192)
        engine = Engine(field, planned.signal.on(torch.device("cpu")), config)
        learner = Learner(field, engine.samples, generator, config.dtype, batch=config.batch)
        step, selection = 0, None
        while step < given.noise:
            selection = Uniform().select(learner, selection)
            assert selection.indices is not None
            for indices in selection.indices.split(config.batch)[:-1]:
                step += 1
                engine.step(indices, None, min(1.0, step / 50) * 0.5 * (1 + math.cos(math.pi * step / given.noise)))
                if step in (given.noise // 10, given.noise * 9 // 10):
                    frozen = Frozen(engine, step / given.noise, generator)
                    rows += [{"file": source.name} | frozen.row(method) for method in methods]
                    print(rows[-len(methods) :], flush=True)
    table(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default="uniform,stream", help="the first one is compared with")
    parser.add_argument("--arch", default="siren")
    parser.add_argument("--budget", default="20s")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--sounds", action="store_true", help="sounds instead of photographs")
    parser.add_argument("--shapes", action="store_true", help="shapes instead of photographs")
    parser.add_argument("--noise", type=int, metavar="STEPS", help="noise and bias instead of quality")
    parser.add_argument("--where", action="store_true", help="quality by local contrast")
    parser.add_argument("--as-steps", action="store_true", help="as many steps as in the budget; needs -o")
    parser.add_argument("-o", "--output", help="folder of the comparison, which goes on where it ended")
    parser.add_argument("files", nargs="*")
    given = parser.parse_args()
    print(machine(), flush=True)
    (noise if given.noise else where if given.where else as_steps if given.as_steps else comparison)(given)
