"""Fields beside codecs: encode and decode files as a user would, and make a JPEG, a FLAC or a gzip of the same files.

For a picture: the JPEG of the same PSNR as the decoded field, and the PSNR of the JPEG of the same size as the field.
For a sound: FLAC of the same samples, and the Vorbis file of the nearest SNR. For a mesh: its file after gzip. For
clips and volumes: volume_codecs.py.

python tests/bench/codecs.py FILE [OPTION OF ENCODE ...]
"""

from __future__ import annotations

import gzip
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import table
from headline import command, decoded_quality
from PIL import Image

from inrfit.modalities import metrics


def jpegs(source: Path) -> list[tuple[int, float]]:
    """Bytes and PSNR of the picture as JPEG, for every quality, without chroma subsampling."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    pairs = []
    for quality in range(1, 101):
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=quality, subsampling=0, optimize=True)
        with Image.open(written) as back:
            pairs.append((len(written.getvalue()), metrics.psnr(np.asarray(back), np.asarray(picture), 255)))
    return pairs


def beside_picture(source: Path, size: int, psnr: float) -> dict[str, Any]:
    """The JPEG of the field's quality, and the one of its size."""
    pairs = jpegs(source)
    as_good = [pair for pair in pairs if pair[1] >= psnr]
    as_small = [pair for pair in pairs if pair[0] <= size]
    with Image.open(source) as opened:
        lossless = io.BytesIO()
        opened.save(lossless, "PNG", optimize=True)
    return {
        "PNG": len(lossless.getvalue()),
        "JPEG of this PSNR": as_good[0][0] if as_good else "none",
        "PSNR of the JPEG of this size": as_small[-1][1] if as_small else "none",
    }


def beside_sound(source: Path, snr: float) -> dict[str, Any]:
    """FLAC (16 bit), and the smallest Vorbis file with the field's SNR, or the best there is."""
    import soundfile

    samples, rate = soundfile.read(source, dtype="float64", always_2d=True)
    flac = io.BytesIO()
    soundfile.write(flac, samples, rate, format="FLAC", subtype="PCM_16")
    best = (0, -np.inf)
    for level in np.linspace(1.0, 0.0, 21):
        written = io.BytesIO()
        soundfile.write(written, samples, rate, format="OGG", subtype="VORBIS", compression_level=float(level))
        written.seek(0)
        lossy = soundfile.read(written, always_2d=True)[0][: len(samples)]
        best = (len(written.getvalue()), metrics.snr(lossy, samples))
        if best[1] >= snr:
            break
    return {"FLAC": len(flac.getvalue()), "Vorbis": best[0], "its SNR": best[1]}


def row(source: Path, options: list[str], folder: Path) -> dict[str, Any]:
    """One encode and decode, and the codecs beside them."""
    model, back = folder / f"{source.name}.safetensors", folder / f"back{source.suffix}"
    encoded = command("encode", str(source), *options, "-o", str(model), "--force")
    start = time.perf_counter()
    command("decode", str(model), "-o", str(back), "--force")
    decode_seconds = time.perf_counter() - start
    quality, size = encoded["quality"], model.stat().st_size
    figures: dict[str, Any] = {
        "file": source.name,
        "options": " ".join(options),
        "source bytes": source.stat().st_size,
        "fit s": encoded["spent"]["fit_seconds"],
        "encode s": encoded["seconds"],
        "decode s": decode_seconds,
        **{key: quality[key] for key in ("psnr", "ssim", "snr", "iou", "chamfer") if key in quality},
        "of the decoded file": decoded_quality(source, back),
        "field bytes": size,
        "decoded bytes": back.stat().st_size,
    }
    if "ssim" in quality:
        return figures | beside_picture(source, size, quality["psnr"])
    if "snr" in quality:
        return figures | beside_sound(source, quality["snr"])
    return figures | {"gzip": len(gzip.compress(source.read_bytes(), 9))}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        table([row(Path(sys.argv[1]), sys.argv[2:], Path(place))])
