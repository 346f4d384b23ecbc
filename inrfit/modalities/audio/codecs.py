"""Sounds as Opus, MP3 and Ogg Vorbis files, beside which fields are compared."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...signal import Signal
from ..declarations import Codec
from ..metrics import snr
from ..modality import OnProgress
from .sample_formats import FRAMES_PER_BLOCK, OPUS_RATES, Array

Meta = Mapping[str, Any]

MP3_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
VORBIS_RATES = range(8000, 48_001)
"""Sample rates, in Hz, of which codecs make files."""

_MAX_DELAY = 8192
"""Largest delay of a decoder, in samples, that is undone."""


def file_of(samples: Array, rate: int, kind: tuple[str, str], **options: Any) -> bytes:
    """The bytes of a file with ``samples`` (n, c), in -1 to 1, in a container and a subtype of libsndfile. ``options``
    are those of ``soundfile.SoundFile``."""
    import soundfile

    written = io.BytesIO()
    with soundfile.SoundFile(written, "w", rate, samples.shape[1], kind[1], format=kind[0], **options) as file:
        for start in range(0, len(samples), FRAMES_PER_BLOCK):
            file.write(samples[start : start + FRAMES_PER_BLOCK])
    return written.getvalue()


def samples_of(data: bytes) -> Array:
    """The samples (n, c) of such a file, in float64."""
    import soundfile

    samples: Array = soundfile.read(io.BytesIO(data), always_2d=True)[0]
    return samples


def aligned(decoded: Array, source: Array) -> Array:
    """``decoded`` (m, c) without the delay of its decoder, in the length of ``source`` (n, c). The delay is that at
    which both are most alike, within _MAX_DELAY samples; samples that are missing are silent."""
    from scipy.signal import correlate

    middle = slice(max(0, len(source) // 2 - (1 << 17)), len(source) // 2 + (1 << 17))  # of a long sound, some seconds
    pairs = zip(decoded[middle].T, source[middle].T, strict=True)
    likeness = np.sum([correlate(a, b, "full", "fft") for a, b in pairs], axis=0)
    none = len(source[middle]) - 1
    first = max(0, none - _MAX_DELAY)
    delay = first + int(np.argmax(likeness[first : none + _MAX_DELAY + 1])) - none
    moved = decoded[delay:] if delay >= 0 else np.pad(decoded, ((-delay, 0), (0, 0)))
    missing = max(0, len(source) - len(moved))
    result: Array = np.pad(moved, ((0, missing), (0, 0)))[: len(source)]
    return result


def _resampled(samples: Array, rate: int, other: int) -> Array:
    """``samples`` (n, c) at another rate."""
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, other)
    result: Array = resample_poly(samples, other // divisor, rate // divisor, axis=0, window=("kaiser", 10.0))
    return result


def _trial(signal: Signal, kind: tuple[str, str], rates: tuple[int, ...], options: dict[str, Any]) -> tuple[int, float]:
    """Bytes and SNR of the sound in a format. Rates that it does not have are raised to the next one of ``rates``, and
    the decoded sound is brought back."""
    rate, source = signal.meta["rate"], signal.samples * float(signal.meta["scale"]["factor"])
    coded = min((known for known in rates if known >= rate), default=rate)
    data = file_of(source if coded == rate else _resampled(source, rate, coded), coded, kind, **options)
    decoded = samples_of(data)
    decoded = decoded if coded == rate else _resampled(decoded, coded, rate)
    return len(data), snr(aligned(decoded, source), source)


def _soundfile() -> str:
    """The library, and its version."""
    import soundfile

    return f"libsndfile {soundfile.__libsndfile_version__}"


def _unsuited(rates: tuple[int, ...] | range, name: str) -> Callable[[Meta], str | None]:
    """Why a format of these rates cannot hold a sound."""

    def unsuited(meta: Meta) -> str | None:
        if meta["channels"] > 2:
            return f"codecs are compared on sounds of one or two channels, not {meta['channels']}"
        offered = f"{rates[0]} to {rates[-1]}" if isinstance(rates, range) else ", ".join(map(str, rates))
        return None if meta["rate"] in rates else f"{name} has no sounds of {meta['rate']} Hz (but of {offered} Hz)"

    return unsuited


def _opus(signal: Signal, settings: Mapping[str, Any], on_progress: OnProgress) -> tuple[int, float]:
    return _trial(signal, ("OGG", "OPUS"), OPUS_RATES, {"compression_level": settings["level"]})


def _mp3(signal: Signal, settings: Mapping[str, Any], on_progress: OnProgress) -> tuple[int, float]:
    options = {"compression_level": settings["level"], "bitrate_mode": settings["bitrate"]}
    return _trial(signal, ("MP3", "MPEG_LAYER_III"), MP3_RATES, options)


def _vorbis(signal: Signal, settings: Mapping[str, Any], on_progress: OnProgress) -> tuple[int, float]:
    return _trial(signal, ("OGG", "VORBIS"), (), {"compression_level": settings["level"]})


_LEVELS = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.4, 0.2, 0.0)
"""Compression levels of libsndfile: 1 makes the smallest file."""

CODECS: dict[str, Codec] = {
    "opus": Codec(
        _soundfile,
        _unsuited(range(4000, 48_001), "Opus"),
        lambda meta: [{"level": level} for level in _LEVELS],
        _opus,
    ),
    "mp3": Codec(
        _soundfile,
        _unsuited(MP3_RATES, "MP3"),
        lambda meta: [  # libsndfile refuses the level 1
            {"bitrate": mode, "level": level} for level in _LEVELS[1:] for mode in ("CONSTANT", "VARIABLE")
        ],
        _mp3,
    ),
    "vorbis": Codec(
        _soundfile, _unsuited(VORBIS_RATES, "Vorbis"), lambda meta: [{"level": level} for level in _LEVELS], _vorbis
    ),
}
"""The codecs of sounds by name."""
