"""Fields of given qualities beside files of codecs: pictures beside JPEG, WebP and AVIF, sounds beside Opus, MP3 and
Vorbis. What is compared are the bytes of whole files at equal PSNR or SNR.

Each field is encoded, and decoded again, by a process of its own, and its quality is that of the decoded PNG or WAV as
Pillow or soundfile reads it. A codec's bytes at that quality are interpolated, linearly in their logarithm, between
files of many settings, of which only those count that no smaller one surpasses. With --bytes, the quality of codecs at
the bytes of the field.

python tests/bench/small_files.py --qualities 28,31,34,37 --budget 60s --curves curves.json
python tests/bench/small_files.py --sounds --qualities 20,25,30 --budget 60s
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from common import child, data, machine, table
from PIL import Image

from inrfit.config.plan import plan
from inrfit.config.settings import Settings
from inrfit.modalities import MODALITIES

QUALITIES = {
    "jpeg": [
        {"quality": quality, "subsampling": chroma} for quality in range(4, 98, 3) for chroma in ("4:2:0", "4:4:4")
    ],
    "webp": [{"quality": quality} for quality in range(0, 100, 4)],
    "avif": [{"quality": quality} for quality in range(5, 96, 5)],
}
"""Settings of each codec; all other options are those of ``inrfit compare --codecs``."""

KODAK = tuple(f"{number:02d}" for number in range(1, 25))

SOUNDS = ("libri121/*.flac", "gt_bach.wav", "gt_counting.wav", "guit_em9.flac", "music_hungarian_7s_stereo.wav")

Curve = list[tuple[float, int]]
"""Quality in dB and bytes of files of which none is larger and worse than another, sorted."""


def main() -> None:
    """Prints the table of every file, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", help="separated by commas (default: the Kodak pictures that are there)")
    parser.add_argument("--sounds", action="store_true", help="the files are sounds; default: those that are there")
    parser.add_argument("--qualities", default="28,31,34,37", help="targets in dB")
    parser.add_argument("--bytes", help="sizes instead of qualities, as in 40kB")
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--arch", help="default: wavelet, of sounds mdct")
    parser.add_argument("--provenance", default="full", help="that of encode: full, short or none")
    parser.add_argument("--codecs", help="default: jpeg,webp,avif, or opus,mp3,vorbis")
    parser.add_argument("--curves", type=Path, help="file that keeps the codecs' results")
    asked = parser.parse_args()
    files = [Path(name) for name in asked.files.split(",")] if asked.files else _sounds() if asked.sounds else _kodak()
    arch = asked.arch or ("mdct" if asked.sounds else "wavelet")
    codecs = (asked.codecs or ("opus,mp3,vorbis" if asked.sounds else "jpeg,webp,avif")).split(",")
    curves = _curves(files, codecs, asked.curves)
    wanted = [("--bytes", size) for size in asked.bytes.split(",")] if asked.bytes else []
    wanted = wanted or [("--target", quality) for quality in asked.qualities.split(",")]
    rows = []
    for file in files:
        for option, value in wanted:
            options = [option, value, "--budget", asked.budget, "--arch", arch, "--provenance", asked.provenance]
            row = _field(file, options, _snr if asked.sounds else _psnr)
            for codec in codecs:
                row |= _beside(codec, curves[f"{file.name} {codec}"], row["dB"], row["bytes"], bool(asked.bytes))
            rows.append({"file": file.stem, "asked": value, **row})
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps(machine()))
    table(rows)
    table([_mean(rows, value) for _, value in wanted] + [_mean(rows, None)])


def _kodak() -> list[Path]:
    (folder,) = data("images/kodak")
    return [path for number in KODAK if (path := folder / f"kodim{number}.png").exists()]


def _sounds() -> list[Path]:
    (folder,) = data("audio")
    return [path for pattern in SOUNDS for path in sorted(folder.glob(pattern))]


def _curves(files: list[Path], codecs: list[str], kept: Path | None) -> dict[str, Curve]:
    """The curve of each file and codec; those in the file ``kept`` are not computed again."""
    curves: dict[str, Curve] = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    for file in files:
        signal = plan(file.read_bytes(), file.name, Settings()).signal
        for codec in codecs:
            key = f"{file.name} {codec}"
            if key in curves:
                continue
            known = MODALITIES[signal.modality].codecs[codec]
            ladder = QUALITIES.get(codec) or known.ladder(signal.meta)
            tried = [known.trial(signal, settings, lambda fraction: None) for settings in ladder]
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


def _field(file: Path, options: list[str], measured: Callable[[Path, str], float]) -> dict[str, Any]:
    """Bytes, quality and seconds of a field that is encoded and decoded by processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        stored = os.path.join(folder, "field.safetensors")
        decoded = os.path.join(folder, "decoded.wav" if measured is _snr else "decoded.png")
        _, encoding, peak = child("encode", str(file), "-o", stored, "--quiet", *options)
        _, decoding, _ = child("decode", stored, "-o", decoded, "--quiet")
        size, quality = os.path.getsize(stored), measured(file, decoded)
    row = {"dB": quality, "bytes": size, "encode s": encoding, "decode s": decoding, "encode MB": peak}
    return row | ({"kbit/s": size / 125 / soundfile.info(file).duration} if measured is _snr else {})


def _psnr(source: Path, decoded: str) -> float:
    first, second = (np.asarray(Image.open(path).convert("RGB"), np.float64) for path in (source, decoded))
    return 10 * math.log10(255**2 / np.square(first - second).mean())


def _snr(source: Path, decoded: str) -> float:
    first, second = (soundfile.read(path, always_2d=True)[0] for path in (source, decoded))
    return float(10 * np.log10(np.square(first).sum() / np.square(first - second).sum()))


def _beside(codec: str, curve: Curve, quality: float, size: int, equal_bytes: bool) -> dict[str, Any]:
    """How many more bytes the field has than the codec, in percent; at equal bytes the codec's PSNR."""
    qualities, sizes = [point[0] for point in curve], [math.log(point[1]) for point in curve]
    if equal_bytes:
        inside = sizes[0] <= math.log(size) <= sizes[-1]
        return {f"{codec} dB": float(np.interp(math.log(size), sizes, qualities)) if inside else math.nan}
    inside = qualities[0] <= quality <= qualities[-1]
    return {f"{codec} %": 100 * (size / math.exp(np.interp(quality, qualities, sizes)) - 1) if inside else math.nan}


def _mean(rows: list[dict[str, Any]], asked: str | None) -> dict[str, Any]:
    """The means of the rows for what was ``asked``, or of all; of ratios the geometric ones."""
    own = [row for row in rows if asked in (None, row["asked"])]
    mean: dict[str, Any] = {"mean of": asked or "all"}
    for name in own[0]:
        numbers = [row[name] for row in own if isinstance(row[name], int | float) and not math.isnan(row[name])]
        if name.endswith("%") and numbers:
            mean[name] = 100 * (math.exp(statistics.fmean(math.log1p(number / 100) for number in numbers)) - 1)
        elif numbers:
            mean[name] = statistics.fmean(numbers)
    return mean


if __name__ == "__main__":
    main()
