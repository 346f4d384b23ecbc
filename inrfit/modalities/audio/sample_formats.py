"""How the samples of a sound file are coded: the types they are read as, and the nearest coding a container
has.

libsndfile hands out 8-bit samples as int16 and 24-bit ones as int32, in steps of 256; telephone codecs
(u-law, ADPCM, GSM ...) as the int16 they decode to; Vorbis, Opus and MP3 as float32, unclipped, so that a
decoder's overshoot beyond +-1 is kept.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ...signal import Scale

Array = npt.NDArray[Any]

BLOCK = 65_536
"""Frames read or written at a time; libsndfile's Vorbis writer overflows its stack on large single writes."""

FLOATS = {"FLOAT": "float32", "DOUBLE": "float64", "VORBIS": "float32", "OPUS": "float32"}
MPEG = ("MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
PCM = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
BLOCKS = ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32")
"""Codecs that decode to whole blocks, the last one padded."""
PHONE = ("ULAW", "ALAW", *BLOCKS)
LOSSY = ("VORBIS", "OPUS", *MPEG, *PHONE)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
OGG_RATE, OGG_CHANNELS = 200_000, 255
"""The highest rate (Hz) and the most channels that Vorbis is written with; from 1 Hz on all lower ones are. Beyond them
libsndfile 1.2.2 crashes with a segmentation fault when the file is closed. Opus has the same limit of channels, and its
rates are low."""


def raw_scale(subtype: str) -> Scale:
    """Type, range and step of the raw samples of ``subtype``; the factor is still 1."""
    if subtype in FLOATS or subtype in MPEG:
        dtype = FLOATS.get(subtype, "float32")
        high = float(np.finfo(dtype).max)
        return Scale(dtype, 1.0, 0.0, -high, high, 0.0)
    bits = PCM.get(subtype, 16)
    held = 16 if bits <= 16 else 32
    step = 2.0 ** (held - bits)
    return Scale(f"int{held}", 1.0, 0.0, -(2.0 ** (held - 1)), 2.0 ** (held - 1) - step, step)


def md5(samples: Array, subtype: str) -> bytes:
    """FLAC's checksum: MD5 of the samples, interleaved, little-endian, in whole bytes."""
    digest, width = hashlib.md5(usedforsecurity=False), PCM[subtype] // 8
    for start in range(0, len(samples), BLOCK):
        block = np.ascontiguousarray(samples[start : start + BLOCK])
        octets = block.astype(block.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, block.itemsize)
        digest.update(octets[:, block.itemsize - width :].tobytes())
    return digest.digest()


def nearest(container: str, source: str, rate: int) -> str:
    """The coding nearest to ``source`` that ``container`` holds."""
    if container == "OGG":
        return "OPUS" if source == "OPUS" and rate in _OPUS_RATES else "VORBIS"
    if container == "FLAC":
        near = {"PCM_U8": "PCM_S8", "PCM_32": "PCM_24", "FLOAT": "PCM_24", "DOUBLE": "PCM_24"}
        return near.get(source, source if source in ("PCM_S8", "PCM_24") else "PCM_16")
    return "PCM_U8" if source == "PCM_S8" else "PCM_16" if source in ("VORBIS", "OPUS", *MPEG) else source


def beyond_ogg(rate: int, channels: int) -> bool:
    """Whether Ogg files of this rate (Hz) and so many channels cannot be written."""
    return rate > OGG_RATE or channels > OGG_CHANNELS


def coded(block: Array, subtype: str) -> Array:
    """``block`` in a type that libsndfile stores as ``subtype`` without scaling of its own: it multiplies
    floats by 32,767 where reading divides by 32,768."""
    if subtype not in ("PCM_16", "PCM_24") or block.dtype == np.int16:
        return block
    unit = 1.0 if block.dtype.kind == "f" else 2.0**31
    full = 2.0 ** (PCM[subtype] - 1)
    whole = np.clip(np.round(block.astype(np.float64) / unit * full), -full, full - 1)
    return whole.astype(np.int16) if subtype == "PCM_16" else whole.astype(np.int32) * 256
