"""Clips and volumes as fields beside video codecs and scientific ones: at the bytes of the field, and at its quality.

Each signal is fitted with ``--arch auto``; its field is as large as its file. PSNR is over RGB for clips, over the
range of the samples for volumes; integers are rounded. x264 and x265 have the preset medium, clips 4:4:4, volumes grey
slices (of 12 bits, where they have more than 8). gzip loses nothing.

The codecs are those of PyAV (inrfit[video]) and imagecodecs (inrfit[tiff]); what is missing is skipped.

python tests/bench/volume_codecs.py [--budget 60s] [bigbuckbunny mni152 ...]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import child, data, machine, table
from volumes import CASES, Case

from inrfit.io import options as io_options
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES
from inrfit.modalities.recognition import identify
from inrfit.modalities.video.clip import Colours
from inrfit.modalities.video.colour import from_rgb, to_rgb

Array = npt.NDArray[Any]
Attempt = tuple[int, Array]
"""Bytes, and the samples decoded from them."""

Encode = Callable[[float], Attempt]
"""A codec at a level, where 0 is the finest and 1 the coarsest."""

SIGNALS = ("bigbuckbunny", "carphone", "mni152", "headsq", "hydrogen")
TRIALS = 11
"""Halvings of the range of levels, until one is found."""

LEVELS = 120
"""Levels that are tried of codecs whose bytes go in jumps."""

COLOURS = Colours(matrix=1, full_range=True, chroma="444")


def samples(case: Case) -> Array:
    """The samples of a signal: a clip (n, h, w, 3), or a volume (z, y, x)."""
    path = data(case.file)[0]
    content = path.read_bytes()
    modality = identify(content, path.name)
    given = dict(option.split("=", 1) for option in case.options)
    options = io_options.build({modality.name: modality.options}, given)[modality.name]
    signal = MODALITIES[modality.name].load(content, path.name, options, Limits())
    shape = tuple(signal.meta["shape"])
    return signal.samples.reshape(*shape, 3) if modality.name == "video" else signal.samples.reshape(shape)


def psnr(decoded: Array, truth: Array) -> float:
    """PSNR in dB over the range of uint8 for clips, of the samples for volumes; integers are rounded."""
    values, wide = decoded.astype(np.float64), float(truth.max()) - float(truth.min())
    if truth.dtype.kind in "iu":
        values = values.round().clip(truth.min(), truth.max())
    peak = 255.0 if truth.ndim == 4 else wide
    return -10 * math.log10(max(float(np.square((values - truth) / peak).mean()), 1e-30))


def level_of(encode: Encode, truth: Array, accepted: Callable[[int, float], bool], coarser: bool) -> Any:
    """Bytes and PSNR at the finest accepted level, or the ``coarser`` one; None if none is accepted."""
    best, fine, coarse = None, 0.0, 1.0
    for _ in range(TRIALS):
        level = (fine + coarse) / 2
        size, decoded = encode(level)
        if accepted(size, quality := psnr(decoded, truth)):
            best = size, quality
        if accepted(size, quality) == coarser:
            fine = level
        else:
            coarse = level
    return best


def best_of(encode: Encode, truth: Array, most: int, quality: float) -> tuple[Any, Any]:
    """Bytes and PSNR of the best one within ``most`` bytes, and of the smallest one of ``quality``, of LEVELS levels.
    For codecs whose bytes go in jumps."""
    tried = []
    for level in np.linspace(0, 1, LEVELS):
        size, decoded = encode(float(level))
        tried.append((size, psnr(decoded, truth)))
    small, good = ([a for a in tried if a[0] <= most], [a for a in tried if a[1] >= quality])
    return max(small, key=lambda a: a[1], default=None), min(good, default=None)


def video(codec: str, pictures: list[list[Array]], pixels: str, crf: float) -> tuple[int, Iterator[list[Array]]]:
    """Bytes of the planes of ``pictures`` in a codec at a CRF, and the decoded planes."""
    import av

    height, width = pictures[0][0].shape
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixels
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {"crf": f"{crf:.2f}", "preset": "medium"}
    if codec == "libx265":
        encoder.options = {**encoder.options, "x265-params": "log-level=none"}
    packets = []
    for number, planes in enumerate(pictures):
        frame = av.VideoFrame(width, height, pixels)
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
            rows[:, :width] = values
            plane.update(rows.tobytes())
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create({"libx264": "h264", "libx265": "hevc"}[codec], "r")

    def decoded() -> Iterator[list[Array]]:
        for packet in [*packets, None]:
            for frame in decoder.decode(packet):
                found = []
                for plane in frame.planes:
                    kind = pictures[0][0].dtype
                    found.append(np.frombuffer(plane, kind).reshape(plane.height, -1)[:, :width])
                yield found

    return sum(packet.size for packet in packets), decoded()


def clips(codec: str, truth: Array) -> Encode:
    """A codec for a clip, in 4:4:4."""
    pictures = [from_rgb(frame, 8, COLOURS, centred=False) for frame in truth]

    def encode(level: float) -> Attempt:
        size, decoded = video(codec, pictures, "yuv444p", 51 * level)
        return size, np.stack([to_rgb(planes, 8, COLOURS, centred=False) for planes in decoded])

    return encode


def slices(codec: str, truth: Array) -> Encode:
    """A codec for a volume, as grey slices of the first axis: of 8 bits if it has such, else of 12 over its range."""
    low, wide = float(truth.min()), float(truth.max()) - float(truth.min())
    steps = 1.0 if truth.dtype == np.uint8 else 4095 / max(wide, 4095.0 if truth.dtype.kind in "iu" else 0)
    kind, pixels = (np.uint8, "gray") if truth.dtype == np.uint8 else (np.uint16, "gray12le")
    low = 0.0 if truth.dtype == np.uint8 else low
    pictures = [[((part.astype(np.float64) - low) * steps).round().astype(kind)] for part in truth]

    def encode(level: float) -> Attempt:
        size, decoded = video(codec, pictures, pixels, 51 * level)
        return size, np.stack([planes[0] for planes in decoded]) / steps + low

    return encode


def sz3(truth: Array) -> Encode:
    """SZ3 with a bound on the error of each sample."""
    import imagecodecs

    real, wide = truth.astype(np.float32), float(truth.max()) - float(truth.min())

    def encode(level: float) -> Attempt:
        coded = imagecodecs.sz3_encode(real, mode="abs", abs=wide * 10 ** (6 * level - 6))
        return len(coded), imagecodecs.sz3_decode(coded, real.shape, real.dtype)

    return encode


def zfp(truth: Array) -> Encode:
    """zfp with a bound on the error of each sample."""
    import imagecodecs

    real, wide = truth.astype(np.float32), float(truth.max()) - float(truth.min())

    def encode(level: float) -> Attempt:
        written = imagecodecs.zfp_encode(real, mode="a", level=wide * 10 ** (7 * level - 6))
        return len(written), imagecodecs.zfp_decode(written)

    return encode


CODECS: dict[str, tuple[bool, Callable[[Array], Encode]]] = {
    "x264": (True, lambda truth: clips("libx264", truth)),
    "x265": (True, lambda truth: clips("libx265", truth)),
    "x265, grey": (False, lambda truth: slices("libx265", truth)),
    "SZ3": (False, sz3),
    "zfp": (False, zfp),
}
"""Whether each codec is for clips, or else for volumes."""


def beside(truth: Array, most: int, quality: float) -> dict[str, Any]:
    """The PSNR of each codec within ``most`` bytes, and its kB at ``quality`` or better."""
    figures: dict[str, Any] = {}
    for name, (of_clips, codec) in CODECS.items():
        if of_clips != (truth.ndim == 4):
            continue
        try:
            encode = codec(truth)
            if name in ("SZ3", "zfp"):
                at_bytes, as_good = best_of(encode, truth, most, quality)
            else:
                at_bytes = level_of(encode, truth, lambda size, _: size <= most, coarser=False)
                as_good = level_of(encode, truth, lambda _, found: found >= quality, coarser=True)
        except (ImportError, AttributeError) as error:
            print(f"{name} skipped: {error}", flush=True)
            continue
        figures[f"{name}, dB"] = "none" if at_bytes is None else at_bytes[1]
        figures[f"{name}, kB"] = "none" if as_good is None else as_good[0] / 1000
    return figures


def fitted(case: Case, budget: str | None, folder: Path) -> tuple[int, float]:
    """Bytes of a field with ``--arch auto``, and its PSNR on every sample."""
    options = [word for option in case.options for word in ("-O", option)]
    said, _, _ = child(
        "encode", str(data(case.file)[0]), "-o", str(folder / "field.safetensors"), "-f", "--json", "--params",
        case.params, "--budget", budget or case.budget, "--arch", "auto", "--verify", "full", *options,
    )  # fmt: skip
    record = json.loads(said.splitlines()[-1])
    return record["bytes"], record["quality"]["psnr"]


def row(name: str, budget: str | None, folder: Path) -> dict[str, Any]:
    """The codecs beside one field."""
    case = CASES[name]
    truth = samples(case)
    size, quality = fitted(case, budget, folder)
    return {
        "signal": name, "samples kB": truth.nbytes / 1000, "gzip kB": len(gzip.compress(truth.tobytes(), 9)) / 1000,
        "field kB": size / 1000, "field dB": quality, **beside(truth, size, quality),
    }  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", help="of each fit (default: as in volumes.py)")
    parser.add_argument("signals", nargs="*", default=list(SIGNALS))
    given = parser.parse_args()
    print(machine(), "load", os.getloadavg(), flush=True)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.signals:
            found.append(row(name, given.budget, Path(folder)))
            print(found[-1], flush=True)
    for of_clips in (True, False):
        table([r for r in found if ("x264, dB" in r) == of_clips])


if __name__ == "__main__":
    main()
