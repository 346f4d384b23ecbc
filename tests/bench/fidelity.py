"""What a file loses on its way through a field: the written file against the source, by other readers.

    python tests/bench/fidelity.py [FILES]

Without FILES, all pictures and sounds of ../shared/data, ../shared/cases and those of ../shared/badinputs that must be
read. No field is fitted: the samples of the source are written as ``decode`` would write those of a perfect field, so
that only what the formats lose is seen. Pillow and tifffile read pictures (mode, size, bits, ICC profile, density,
samples), soundfile reads sounds (container, subtype, rate, channels, frames, samples). Each difference must be named by
a note of encode or decode; those that are not are silent, and the command then ends with 1.
"""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tifffile
from common import SHARED, table
from PIL import Image, ImageOps

from inrfit.errors import InrfitError
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.image import quality
from inrfit.modalities.recognition import identify

NAMED_BY = {
    "mode": ("converted", "expanded", "alpha", "palette", "written back", "written as", "Lab"),
    "bits": ("bits", "written back", "scaled"),
    "profile": ("profile",),
    "density": ("density", "aspect"),
    "size": ("orientation",),
    "samples": ("loss", "lossy", "quality", "converted", "divided", "scaled", "alpha"),
    "container": ("written as",),
    "subtype": ("written as", "lossy", "written back"),
    "frames": ("lossy", "kept", "length"),
}
"""Words in notes that name each kind of difference."""

DEFAULT_DENSITIES = (None, (1, 1), (72, 72), (96, 96))
"""Densities that Pillow reports, or writers enter, for files that state none."""


def picture_facts(data: bytes) -> dict[str, Any]:
    """What Pillow, or tifffile where Pillow cannot, says about a picture."""
    try:
        with Image.open(BytesIO(data)) as image:
            turned: Any = ImageOps.exif_transpose(image)
            turned = turned if turned is not None else image
            turned.load()
            dpi = image.info.get("dpi")
            mode = turned.mode.partition("B")[0] if turned.mode.startswith("I;16") else turned.mode
            mode = "P" if image.format == "GIF" else mode
            facts = {"mode": mode, "size": turned.size, "profile": image.info.get("icc_profile") or None}
            facts["density"] = tuple(round(float(value)) for value in dpi) if dpi else None
            facts["samples"] = np.asarray(turned.convert("RGBA") if turned.mode in ("P", "PA") else turned)
            return facts | {"bits": None}
    except Exception:
        with tifffile.TiffFile(BytesIO(data)) as file:
            page: Any = file.pages[0]
            samples = page.asarray()
            size = (page.imagewidth, page.imagelength)
            return {"mode": page.photometric.name, "size": size, "bits": page.bitspersample, "samples": samples}


def sound_facts(data: bytes) -> dict[str, Any]:
    """What soundfile says about a sound."""
    with soundfile.SoundFile(BytesIO(data)) as file:
        samples = file.read(always_2d=True)
        facts = {"container": file.format.removesuffix("EX"), "subtype": file.subtype, "rate": file.samplerate}
        return facts | {"channels": file.channels, "frames": len(samples), "samples": samples}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of the facts that differ."""
    found = []
    for name in before.keys() & after.keys():
        a, b = before[name], after[name]
        if name == "samples":
            if np.shape(a) == np.shape(b) and not np.array_equal(a, b):
                found.append(name)
        elif name == "density":
            found += [name] if a != b and not (a in DEFAULT_DENSITIES and b in DEFAULT_DENSITIES) else []
        elif a != b:
            found.append(name)
    return sorted(found)


def examine(path: Path) -> tuple[str, list[str], list[str]] | None:
    """The kind of a file, its differences after a round trip, and those that no note names; None if it is no picture or
    sound, or is refused."""
    data, limits = path.read_bytes(), Limits(max_pixels=20_000_000)
    try:
        modality = identify(data, path.name)
        if modality.name not in ("image", "audio"):
            return None
        signal = modality.load(data, path.name, modality.options(), limits)
    except InrfitError as error:
        return (f"refused: {error.reason}", [], [])
    samples = quality.source_raster(signal) if modality.name == "image" else signal.samples
    suffix, note = modality.suffix(signal.meta)
    notes = [*signal.notes, note or "", *modality.check_writable(signal.meta, suffix, Request(), signal.attachments)]
    written = modality.write(samples, signal.meta, suffix, Request(), signal.attachments)
    facts = picture_facts if modality.name == "image" else sound_facts
    try:
        found = differences(facts(data), facts(written))
    except Exception as error:
        return (f"not read by others: {type(error).__name__}", [], [])
    text = " ".join(notes)
    silent = [name for name in found if not any(word in text for word in NAMED_BY.get(name, ()))]
    return modality.describe_source(signal.meta), found, silent


def files() -> list[Path]:
    """The files that are examined by default."""
    listing = SHARED / "badinputs" / "README.tsv"
    if not listing.exists():
        print("skipped: no", listing)
        sys.exit(0)
    rows = csv.DictReader(listing.read_text("utf-8").splitlines(), delimiter="\t")
    wanted = [SHARED / "badinputs" / row["file"] for row in rows if row["expected"] == "decode"]
    folders = [SHARED / "data" / "images", SHARED / "data" / "audio", SHARED / "cases"]
    return [*wanted, *(path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())]


def main() -> int:
    """Prints the files that differ, and the number of silent differences."""
    warnings.simplefilter("ignore")
    paths = [Path(name) for name in sys.argv[1:]] or files()
    rows, silent, same = [], 0, 0
    for path in paths:
        result = examine(path)
        if result is None:
            continue
        kind, found, unnamed = result
        silent += len(unnamed)
        if found or kind.startswith(("refused", "not read")):
            rows.append(
                {"file": path.name, "kind": kind, "differs in": ", ".join(found), "silently": ", ".join(unnamed)}
            )
        else:
            same += 1
    table(rows)
    print(f"{same} files come back the same, {len(rows)} differ or are refused; silent differences: {silent}")
    return int(silent > 0)


if __name__ == "__main__":
    sys.exit(main())
