"""Fewer samples a second: a low-pass filter and a polyphase resampler, so that high tones vanish instead of folding."""

from __future__ import annotations

import math

import numpy as np

from .sample_formats import Array

HALF_LENGTH, KAISER_BETA, CUTOFF = 32, 10.0, 0.9
"""Half the length of the filter in samples of the lower rate, the shape of its window (about 100 dB of attenuation),
and its cutoff as a share of half the lower rate."""


def filter_bytes(rate: int, lower_rate: int) -> int:
    """Bytes that the filter of ``downsample`` takes while it is computed, and scipy."""
    return 40_000_000 + 6 * 8 * 2 * HALF_LENGTH * rate // math.gcd(rate, lower_rate)


def downsample(samples: Array, rate: int, lower_rate: int, frames: int) -> Array:
    """``samples`` (n, c), at ``rate`` Hz, as ``frames`` samples at ``lower_rate``, in float64.

    A sample stands for the cell around it, so the centres of the first cells of both rates differ. Beyond the ends, the
    first and last samples are continued."""
    from scipy.signal import firwin, upfirdn

    divisor = math.gcd(rate, lower_rate)
    up, down = lower_rate // divisor, rate // divisor
    half = HALF_LENGTH * down
    length = 2 * half + (down - up + 1) % 2  # so that the delay below is a whole number
    taps = firwin(length, CUTOFF / down, window=("kaiser", KAISER_BETA)) * up
    margin = half // up + 1
    padded = np.pad(samples.astype(np.float64), ((margin, margin), (0, 0)), mode="edge")
    # In samples of the raised rate, output k lies at (k + 1/2) down - up / 2, after the delay of the filter.
    delay = (length - 1 + down - up) // 2 + margin * up
    shift = -delay % down
    filtered = upfirdn(np.concatenate([np.zeros(shift), taps]), padded, up, down, axis=0)
    first = (delay + shift) // down
    picked: Array = filtered[first : first + frames]
    return picked
