"""Architectures side by side: quality, size, arithmetic, speed of fitting and decoding, at equal seconds.

Every file is fitted with each architecture in turn, seed by seed, so that a machine that slows down slows all of them;
what a fit loads at first use is loaded before. With --bytes all are stored in at most so many bytes (fp16), else at
their usual sizes. Settings follow an architecture's name as in ``inrfit compare``: siren:width=128:omega=20.

python tests/bench/architectures.py --archs siren,siren:width=128 --budget 20s
python tests/bench/architectures.py --archs siren,siren:depth=3 --budget 20s --bytes 100kB
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import data, table

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.comparison.spec import SIZE_OPTIONS, Method, parse_methods
from inrfit.errors import InrfitError
from inrfit.modalities import MODALITIES
from inrfit.modalities.shape import quality

FILES = ("images/kodak/kodim03.png", "images/kodak/kodim05.png", "audio/libri121/05.flac", "shapes/bunny_zipper.ply")
WARM_UP = "4it"


def fitted(path: Path, method: Method, budget: str, **more: Any) -> Artifact:
    """One fit as ``inrfit encode`` makes it."""
    sizes = {key: int(value) for key, value in method.architecture_options if key in SIZE_OPTIONS}
    written = (*method.sampler_options, *method.architecture_options)
    own = {key: value for key, value in written if key not in SIZE_OPTIONS}
    return inrfit.encode(path, arch=method.arch, options=own, budget=budget, **sizes, **more)


def one(path: Path, method: Method, budget: str, seed: int, **more: Any) -> dict[str, Any]:
    """What a fit gave; the refusal where the two do not go together."""
    try:
        artifact = fitted(path, method, budget, seed=seed, **more)
        begun = time.perf_counter()
        artifact.decode()
        seconds = time.perf_counter() - begun
    except InrfitError as error:
        return {"error": str(error)}
    spent, spec = artifact.provenance["spent"], artifact.spec
    measure = MODALITIES[artifact.modality].main_measure
    return {
        "measure": measure,
        "quality": artifact.quality[measure],
        "parameters": spec.parameters,
        "bytes": artifact.stored_bytes,
        "MACs": spec.macs,
        "sines": spec.sines,
        "steps": spent["steps"],
        "points/s": spent["points"] / max(spent["fit_seconds"] - spent["first_step_seconds"], 1e-9),
        "decode s": seconds,
    }


def rows(path: Path, entered: Sequence[Method], budget: str, seeds: int, **more: Any) -> list[dict[str, Any]]:
    """One row an architecture: medians over the seeds."""
    found: dict[Method, list[dict[str, Any]]] = {method: [] for method in entered}
    for seed in range(seeds):
        for method in entered:
            found[method].append(one(path, method, budget, seed, **more))
    return [
        {"file": path.name, "architecture": method.architecture_label, **_middle(made)}
        for method, made in found.items()
    ]


def _middle(made: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians of what finished, in the columns of every row."""
    names = ("measure", "quality", "parameters", "bytes", "MACs", "sines", "steps", "points/s", "decode s")
    good = [row for row in made if "error" not in row]
    if not good:
        return dict.fromkeys(names, "-") | {"error": made[0]["error"]}
    middle = {name: statistics.median(row[name] for row in good) for name in names[1:]}
    return {"measure": good[0]["measure"], **middle, "error": ""}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", default="siren")
    parser.add_argument("--sampler", default="auto", help="auto: the one that suits each architecture")
    parser.add_argument("--budget", default="20s")
    parser.add_argument("--bytes", help="size of every file, as in 100kB")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=quality.RESOLUTION, help="cells a side that IoU is taken on")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    quality.RESOLUTION = given.resolution
    limits = {"sampler": given.sampler} | ({} if given.bytes is None else {"bytes": given.bytes})
    chosen = parse_methods("uniform", given.archs)  # one each: the strategy is the same for all
    for each in chosen:
        for source in data(*given.files):
            one(source, each, WARM_UP, 0, verify="sample", **limits)
    table([row for source in data(*given.files) for row in rows(source, chosen, given.budget, given.seeds, **limits)])
