"""How many bytes an Ogg Vorbis file of the same SNR takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...signal import Signal
from ..metrics import snr
from .codecs import VORBIS_RATES, file_of, samples_of
from .sample_formats import FRAMES_PER_BLOCK

_TRIALS = 5
"""Trials of the encoder's level between its lowest and its highest quality, after these two."""


def vorbis_bytes(signal: Signal, quality: Mapping[str, Any]) -> tuple[str, int] | None:
    """("Ogg Vorbis", about the bytes of the smallest file with at least the SNR in ``quality``), of sounds of one or
    two channels; None if there is no such file. FRAMES_PER_BLOCK frames in the middle of a longer sound are tried,
    which takes about 0.2 s."""
    wanted, meta = quality.get("snr"), signal.meta
    if wanted is None or not math.isfinite(wanted) or meta["channels"] > 2 or meta["rate"] not in VORBIS_RATES:
        return None
    start = max(0, signal.n - FRAMES_PER_BLOCK) // 2
    part = signal.samples[start : start + FRAMES_PER_BLOCK] * float(meta["scale"]["factor"])
    largest = float(np.abs(part).max())
    if not 0 < largest < math.inf:
        return None
    size, reached = _trial(part, meta["rate"], 0.0)
    if reached < wanted:
        return None
    found, low, high = size, 0.0, 1.0
    for _ in range(_TRIALS):
        middle = (low + high) / 2
        size, reached = _trial(part, meta["rate"], middle)
        low, high, found = (middle, high, size) if reached >= wanted else (low, middle, found)
    if len(part) == signal.n:
        return "Ogg Vorbis", found
    fixed = _trial(part[:64], meta["rate"], 0.5)[0]  # the headers, about
    return "Ogg Vorbis", round(fixed + max(0, found - fixed) * signal.n / len(part))


def _trial(samples: Any, rate: int, level: float) -> tuple[int, float]:
    """Bytes and SNR of a Vorbis file; ``level`` is 0 for the best quality, 1 for the smallest file."""
    data = file_of(samples, rate, ("OGG", "VORBIS"), compression_level=level)
    decoded = samples_of(data)
    length = min(len(decoded), len(samples))
    return len(data), snr(decoded[:length], samples[:length])
