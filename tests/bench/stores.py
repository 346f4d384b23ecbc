"""What rounding the stored weights costs and saves: one fit for each file and architecture, stored in every way.

Every row reads its file back, decodes it and measures it whole, as ``inrfit measure`` does. ``loss`` is against fp32,
in dB or IoU; ``x fp16`` is how many times smaller the file is than in fp16; ``reading`` is the median of five, in
seconds, from the bytes of the file to the weights, which is all in which decoding differs; ``choosing`` is the time
to choose the steps.

python tests/bench/stores.py --budget 10s
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import data, machine, table

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.artifact.rounding import stored_as
from inrfit.errors import InrfitError
from inrfit.fields import FIELDS
from inrfit.fit.evaluation import evaluation_set
from inrfit.modalities import MODALITIES

FILES = (
    "images/kodak/kodim05.png",
    "images/kodak/kodim03.png",
    "images/kodak/kodim13.png",
    "images/cameraman/camera_cc0_512.png",
    "images/other/astronaut.png",
    "images/odd/rgb16_flower.tif",
    "audio/libri121/05.flac",
    "audio/gt_bach.wav",
    "audio/guit_em9.flac",
    "audio/trumpet_solo.ogg",
    "shapes/armadillo.obj",
    "shapes/bunny_oded_hr.obj",
    "shapes/spot.obj",
)

STORES = ("fp32", "fp16", "int8", "int6", "auto")


def reading_seconds(written: bytes) -> float:
    """From the bytes of a file to its weights."""
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        Artifact.from_bytes(written)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def rows(path: Path, arch: str, budget: str) -> list[dict[str, Any]]:
    """One row a store."""
    fitted = inrfit.encode(path, budget=budget, arch=arch, store="fp32")
    modality, device = MODALITIES[fitted.modality], torch.device("cpu")
    main, signal = modality.main_measure, _signal(fitted, path)
    points = evaluation_set(signal, 16_384 if signal.grid is not None else 65_536, device)
    found: dict[str, dict[str, Any]] = {}
    for store in STORES:
        begun = time.perf_counter()
        if store in ("fp32", "fp16"):
            stored = replace(fitted, store=store)
        else:
            stored = stored_as(fitted, store, points, modality.rounding_loss, None, device)
        choosing, written = time.perf_counter() - begun, stored.to_bytes()
        found[store] = {
            "file": path.name,
            "arch": arch,
            "store": store if stored.store in (store, "int") else f"{store}: {stored.store}",
            "bytes": len(written),
            "bits a weight": 8 * len(written) / fitted.spec.parameters,
            main: Artifact.from_bytes(written).measure(path).quality[main],
            "choosing": choosing,
            "reading": reading_seconds(written),
        }
    for row in found.values():
        row["loss"] = _difference(found["fp32"][main], row[main])
        row["x fp16"] = found["fp16"]["bytes"] / row["bytes"]
    return list(found.values())


def _signal(fitted: Artifact, path: Path) -> Any:
    from inrfit.artifact.measuring import source_signal
    from inrfit.io.limits import Limits

    return source_signal(fitted, path.read_bytes(), path.name, Limits(), {})


def _difference(kept: float | None, rounded: float | None) -> Any:
    return "" if kept is None or rounded is None else round(kept - rounded, 5)


def summary(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over all fits: the loss and the size of each store."""
    lines = []
    for store in STORES:
        of_store = [row for row in found if row["store"].split(":")[0] == store]
        losses = [row["loss"] for row in of_store if row["loss"] != "" and "iou" not in row]
        ious = [row["loss"] for row in of_store if row["loss"] != "" and "iou" in row]
        sizes = [row["x fp16"] for row in of_store]
        lines.append(
            {
                "store": store,
                "fits": len(of_store),
                "median loss, dB": statistics.median(losses) if losses else "",
                "largest": max(losses, default=""),
                "median loss, IoU": statistics.median(ious) if ious else "",
                "largest IoU": max(ious, default=""),
                "median x fp16": statistics.median(sizes),
                "least": min(sizes),
                "longest reading, s": max(row["reading"] for row in of_store),
                "longest choosing, s": max(row["choosing"] for row in of_store),
            }
        )
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="10s")
    parser.add_argument("--archs", default=",".join(FIELDS))
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    print(machine(), flush=True)
    every: list[dict[str, Any]] = []
    for source in data(*given.files):
        for name in given.archs.split(","):
            try:
                every += (made := rows(source, name, given.budget))
            except InrfitError as error:  # an architecture that does not fit this kind, or diverges in the time
                print(f"{source.name}, {name}: {error}", flush=True)
                continue
            table(made)
    table(summary(every))
