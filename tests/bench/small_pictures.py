"""Pictures of given qualities beside JPEG, WebP and AVIF files: bytes of whole files at equal PSNR.

Each field is encoded, and decoded again, by a process of its own, and its PSNR is that of the decoded PNG as Pillow
reads it. A codec's bytes at that PSNR are interpolated, linearly in their logarithm, between files of many qualities,
of which only those count that no smaller one surpasses. With --bytes, the PSNR of codecs at the bytes of the field.

python tests/bench/small_pictures.py --qualities 28,31,34,37 --budget 60s --curves curves.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import child, data, machine, table
from PIL import Image

from inrfit.config.plan import plan
from inrfit.config.settings import Settings
from inrfit.modalities.image.codecs import CODECS

QUALITIES = {
    "jpeg": [
        {"quality": quality, "subsampling": chroma} for quality in range(4, 98, 3) for chroma in ("4:2:0", "4:4:4")
    ],
    "webp": [{"quality": quality} for quality in range(0, 100, 4)],
    "avif": [{"quality": quality} for quality in range(5, 96, 5)],
}
"""Settings of each codec; all other options are those of ``inrfit compare --codecs``."""

KODAK = tuple(f"{number:02d}" for number in range(1, 25))

Curve = list[tuple[float, int]]
"""PSNR in dB and bytes of files of which none is larger and worse than another, sorted."""


def main() -> None:
    """Prints the table of every picture, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", help="files, separated by commas (default: the Kodak pictures that are there)")
    parser.add_argument("--qualities", default="28,31,34,37", help="targets in dB")
    parser.add_argument("--bytes", help="sizes instead of qualities, as in 40kB")
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--arch", default="wavelet")
    parser.add_argument("--provenance", default="full", help="that of encode: full, short or none")
    parser.add_argument("--codecs", default="jpeg,webp,avif")
    parser.add_argument("--curves", type=Path, help="file that keeps the codecs' results")
    asked = parser.parse_args()
    pictures = [Path(name) for name in asked.pictures.split(",")] if asked.pictures else _kodak()
    codecs = asked.codecs.split(",")
    curves = _curves(pictures, codecs, asked.curves)
    wanted = [("--bytes", size) for size in asked.bytes.split(",")] if asked.bytes else []
    wanted = wanted or [("--target", quality) for quality in asked.qualities.split(",")]
    rows = []
    for picture in pictures:
        for option, value in wanted:
            row = _field(
                picture,
                [option, value, "--budget", asked.budget, "--arch", asked.arch, "--provenance", asked.provenance],
            )
            for codec in codecs:
                row |= _beside(codec, curves[f"{picture.name} {codec}"], row["dB"], row["bytes"], bool(asked.bytes))
            rows.append({"picture": picture.stem, option[2:]: value, **row})
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps(machine()))
    table(rows)
    table([_mean(rows, option[2:], value) for option, value in wanted] + [_mean(rows, "", "")])


def _kodak() -> list[Path]:
    (folder,) = data("images/kodak")
    return [path for number in KODAK if (path := folder / f"kodim{number}.png").exists()]


def _curves(pictures: list[Path], codecs: list[str], kept: Path | None) -> dict[str, Curve]:
    """The curve of each picture and codec; those in the file ``kept`` are not computed again."""
    curves: dict[str, Curve] = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    for picture in pictures:
        signal = plan(picture.read_bytes(), picture.name, Settings()).signal
        for codec in codecs:
            key = f"{picture.name} {codec}"
            if key in curves:
                continue
            tried = [CODECS[codec].trial(signal, settings, lambda fraction: None) for settings in QUALITIES[codec]]
            curves[key] = _unsurpassed([(quality, size) for size, quality in tried])
            if kept is not None:
                kept.write_text(json.dumps(curves))
    return curves


def _unsurpassed(points: Curve) -> Curve:
    best: Curve = []
    for quality, size in sorted(points, reverse=True):
        if not best or size < best[-1][1]:
            best.append((quality, size))
    return best[::-1]


def _field(picture: Path, options: list[str]) -> dict[str, Any]:
    """Bytes, PSNR and seconds of a field that is encoded and decoded by processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        stored, decoded = os.path.join(folder, "field.safetensors"), os.path.join(folder, "decoded.png")
        _, encoding, peak = child("encode", str(picture), "-o", stored, "--quiet", *options)
        _, decoding, _ = child("decode", stored, "-o", decoded, "--quiet")
        source, found = (np.asarray(Image.open(path).convert("RGB"), np.float64) for path in (picture, decoded))
        quality = 10 * math.log10(255**2 / np.square(source - found).mean())
        size = os.path.getsize(stored)
    return {"dB": quality, "bytes": size, "encode s": encoding, "decode s": decoding, "encode MB": peak}


def _beside(codec: str, curve: Curve, quality: float, size: int, equal_bytes: bool) -> dict[str, Any]:
    """How many more bytes the field has than the codec, in percent; at equal bytes the codec's PSNR."""
    qualities, sizes = [point[0] for point in curve], [math.log(point[1]) for point in curve]
    if equal_bytes:
        inside = sizes[0] <= math.log(size) <= sizes[-1]
        return {f"{codec} dB": float(np.interp(math.log(size), sizes, qualities)) if inside else math.nan}
    inside = qualities[0] <= quality <= qualities[-1]
    return {f"{codec} %": 100 * (size / math.exp(np.interp(quality, qualities, sizes)) - 1) if inside else math.nan}


def _mean(rows: list[dict[str, Any]], key: str, value: str) -> dict[str, Any]:
    """The means of the rows whose ``key`` is ``value``; of ratios the geometric ones."""
    own = [row for row in rows if not key or row[key] == value]
    mean: dict[str, Any] = {"mean of": f"{key} {value}".strip() or "all"}
    for name in own[0]:
        numbers = [row[name] for row in own if isinstance(row[name], int | float) and not math.isnan(row[name])]
        if name.endswith("%") and numbers:
            mean[name] = 100 * (math.exp(statistics.fmean(math.log1p(number / 100) for number in numbers)) - 1)
        elif numbers:
            mean[name] = statistics.fmean(numbers)
    return mean


if __name__ == "__main__":
    main()
