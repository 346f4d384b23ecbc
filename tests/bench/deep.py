"""Pictures of more than 8 bits: encoded, decoded, and the decoded file measured against the source by other readers.

    python tests/bench/deep.py [--budget 60s] [--arch grid --width ... -O ...]

16-bit TIFF is read by tifffile, PSNR over 65,535. OpenEXR is read by FFmpeg (PyAV), PSNR of the linear samples over
their range, and of log2(max(sample, floor)) over its range; floor is the curve's knee, which ``info`` shows. Further
options are those of ``encode``.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import child, data, machine, table

FILES = ("images/odd/rgb16_flower.tif", "images/hdr/Desk.exr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="60s")
    arguments, options = parser.parse_known_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for source in data(*FILES):
            rows.append(row(source, Path(folder), arguments.budget, options))
    print(machine())
    table(rows)


def row(source: Path, folder: Path, budget: str, options: list[str]) -> dict[str, str]:
    """One file through ``encode`` and ``decode``."""
    field, decoded = folder / f"{source.name}.safetensors", folder / source.name
    child("encode", str(source), "-o", str(field), "--budget", budget, "--quiet", *options)
    child("decode", str(field), "-o", str(decoded), "--quiet")
    told = json.loads(child("info", str(field), "--json")[0])
    truth, found = (read(path).astype(np.float64) for path in (source, decoded))
    knee = told["signal"]["scale"]["knee"]
    span = 65_535.0 if source.suffix == ".tif" else truth.max() - truth.min()
    logarithmic = ""
    if knee:
        logs = [np.log2(np.maximum(samples, knee)) for samples in (truth, found)]
        logarithmic = f"{psnr(logs[0], logs[1], logs[0].max() - logs[0].min()):.2f}"
    return {
        "file": source.name,
        "architecture": told["field"]["architecture"],
        "weights": f"{told['parameters']:,}",
        "bytes": f"{field.stat().st_size:,}",
        "PSNR dB": f"{psnr(truth, found, span):.2f}",
        "log2 PSNR dB": logarithmic,
        "told": ", ".join(f"{name} {value:.2f}" for name, value in told["quality"].items() if name.startswith("psnr")),
    }


def psnr(truth: npt.NDArray[np.float64], found: npt.NDArray[np.float64], peak: float) -> float:
    """Peak signal-to-noise ratio in dB."""
    return 10 * math.log10(peak**2 / np.mean((truth - found) ** 2))


def read(path: Path) -> npt.NDArray[np.generic]:
    """The colours (h, w, 3) of a file, without a library that inrfit reads it with as well where there is one."""
    if path.suffix == ".tif":
        import tifffile

        return tifffile.imread(path)
    import av

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    dtype = np.dtype("<f2" if frame.format.name.endswith("f16le") else "<f4")
    planes = [
        np.frombuffer(plane, dtype).reshape(frame.height, -1)[:, : frame.width] for plane in frame.planes[:3]
    ]  # green, blue, red
    return np.stack([planes[2], planes[0], planes[1]], axis=-1)


if __name__ == "__main__":
    main()
