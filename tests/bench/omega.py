"""What chose the first-layer frequency of sounds: SNR after equal steps, per frequency factor and file.

python tests/bench/omega.py --steps 700
"""

from __future__ import annotations

import argparse

from common import data, table

import inrfit
from inrfit.modalities import audio

FILES = (
    "audio/libri121/05.flac",
    "audio/gt_bach.wav",
    "audio/music_hungarian_7s_stereo.wav",
    "audio/trumpet_solo.ogg",
    "audio/bird_robin.ogg",
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--omega", type=float, action="append")
    parser.add_argument("files", nargs="*", default=FILES)
    given = parser.parse_args()
    rows = []
    for source in data(*given.files):
        signal = audio.load(source.read_bytes(), source.name, audio.Options(), inrfit.Limits())
        row: dict[str, object] = {"file": source.name, "the rule": round(audio.first_omega(signal))}
        for omega in given.omega or (1000.0, 2000.0, 3500.0, 5500.0, 9000.0):
            made = inrfit.encode(source, budget=f"{given.steps}it", options={"first_omega": omega})
            row[f"{omega:g}"] = made.quality["snr"]
        rows.append(row)
        print(row, flush=True)
    table(rows)
