"""Every file of the bad-input corpus through ``encode --dry-run`` (models: ``info``): exit code, lines, time.

    python tests/bench/corpus.py

``refuse`` must end with code 3 and one line, ``decode`` in a format we read with code 0.
"""

from __future__ import annotations

import contextlib
import csv
import io
import sys
import time
from collections import Counter
from pathlib import Path

from common import SHARED

from inrfit.__main__ import run

READ = {
    "png",
    "jpg",
    "jpeg",
    "webp",
    "tif",
    "tiff",
    "bmp",
    "wav",
    "flac",
    "ogg",
    "mp3",
    "ply",
    "obj",
    "stl",
    "off",
    "glb",
    "gltf",
    "3mf",
    "gif",
    "avif",
    "ico",
    "pgm",
    "ppm",
}


def outcome(path: Path, model: bool) -> tuple[int, int, float]:
    """Exit code, error lines and seconds of one command."""
    words = ["info", str(path)] if model else ["encode", "--dry-run", "-q", str(path)]
    out, err = io.StringIO(), io.StringIO()
    begun = time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    return code, err.getvalue().count("\n"), time.perf_counter() - begun


def main() -> int:
    """Prints deviations and counts; 1 when there are any."""
    listing = SHARED / "badinputs" / "README.tsv"
    if not listing.exists():
        print("skipped: no", listing)
        return 0
    counts: Counter[tuple[str, str, int]] = Counter()
    wrong, slowest = [], 0.0
    for row in csv.DictReader(listing.read_text("utf-8").splitlines(), delimiter="\t"):
        path, expected = listing.parent / row["file"], row["expected"]
        kind = row["file"].split("/")[0]
        if expected == "helper":
            continue
        code, lines, seconds = outcome(path, kind == "models")
        slowest = max(slowest, seconds)
        counts[kind, expected, code] += 1
        read = path.suffix[1:].lower() in READ
        fine = {
            "refuse": code == 3 and lines == 1,
            "decode": code == 0 or not read,
            "either": code in (0, 3),
        }[expected]
        if not fine:
            wrong.append(f"{row['file']}: expected {expected}, code {code}, {lines} lines ({row['why_interesting']})")
    for (kind, expected, code), count in sorted(counts.items()):
        print(f"{kind:8} {expected:8} code {code}: {count}")
    print(f"slowest {slowest:.2f} s; torch imported: {'torch' in sys.modules}")
    print("\n".join(wrong) or "no deviations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
