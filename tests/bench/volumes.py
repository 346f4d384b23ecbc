"""Clips and volumes: quality, time and memory of whole commands, as a user runs them.

Each signal is encoded with each architecture within its budget and decoded: the quality that the command measured on
every sample, seconds of the check, seconds and peak memory (MB) of the decode.

python tests/bench/volumes.py
python tests/bench/volumes.py --arch grid,siren --seeds 2 bigbuckbunny mni152
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import child, data, machine, table


@dataclass(frozen=True)
class Case:
    """A signal with the size and the budget of its fit, and how it is read."""

    file: str
    params: str
    budget: str
    options: tuple[str, ...] = ()


BUNNY = ("frames=20:84", "crop=720x720", "resize=256x256")
CASES = {
    "bigbuckbunny": Case("video/bigbuckbunny.mp4", "264k", "60s", BUNNY),
    "carphone": Case("video/carphone.mp4", "264k", "60s", ("frames=:64",)),
    "mni152": Case("volume/mni152_t1.nii.gz", "264k", "60s"),
    "headsq": Case("volume/headsq_93x64x64_u16.npy", "33k", "20s", ("axes=zyx",)),
    "hydrogen": Case("volume/hydrogen.vti", "13k", "10s"),
    "ct": Case("volume/CT_AVM.nii.gz", "264k", "20s"),
    "mr": Case("volume/HeadMRVolume.mhd", "66k", "20s"),
    "calcium": Case("volume/calcium_imaging.tif", "264k", "20s"),
}


def row(name: str, arch: str, seed: int, folder: Path, further: list[str]) -> dict[str, Any]:
    """One fit and its decode."""
    case, field, out = CASES[name], folder / "field.safetensors", folder / "out.npy"
    options = [word for option in (*case.options, *further) for word in ("-O", option)]
    source = str(data(case.file)[0])
    said, _, peak = child(
        "encode", source, "-o", str(field), "-f", "--json", "--arch", arch, "--params", case.params,
        "--budget", case.budget, "--seed", str(seed), "--verify", "full", *options,
    )  # fmt: skip
    record = json.loads(said.splitlines()[-1])
    _, seconds, decode_peak = child("decode", str(field), "-o", str(out), "-f", "--format", "npy")
    quality, spent = record["quality"], record["spent"]
    return {
        "signal": name, "architecture": arch, "seed": seed, "dB": quality["psnr"], "steps": spent["steps"],
        "check s": spent["check_seconds"], "encode MB": peak, "decode s": seconds, "decode MB": decode_peak,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="grid")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("-O", dest="options", action="append", default=[])
    parser.add_argument("signals", nargs="*", default=list(CASES))
    given = parser.parse_args()
    print(machine(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for signal in given.signals:
            for architecture in given.arch.split(","):
                for number in range(given.seeds):
                    rows.append(row(signal, architecture, number, Path(temporary), given.options))
                    print(rows[-1], flush=True)
    table(rows)
