"""Sample formats of sound files (libsndfile's subtypes): the number types in which they are read, and the closest
subtype that another container supports.

Samples are read as int16 (8 and 16 bits, and telephone codecs such as u-law, ADPCM and GSM), int32 (24 bits, in steps
of 256, and 32 bits) or floats. Vorbis, Opus and MP3 are read as float32 without clipping, so that values beyond +-1
are kept.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ...signal import Scale

Array = npt.NDArray[Any]

FRAMES_PER_BLOCK = 65_536
"""Frames that are read or written at a time. libsndfile's Vorbis writer overflows its stack on large writes."""

FLOAT_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "VORBIS": "float32", "OPUS": "float32"}
MPEG_SUBTYPES = ("MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
BLOCK_SUBTYPES = ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32")
"""Codecs that decode to whole blocks. The last block is padded."""

TELEPHONE_SUBTYPES = ("ULAW", "ALAW", *BLOCK_SUBTYPES)
LOSSY_SUBTYPES = ("VORBIS", "OPUS", *MPEG_SUBTYPES, *TELEPHONE_SUBTYPES)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
MAX_OGG_RATE, MAX_OGG_CHANNELS = 200_000, 255
"""Highest sample rate (Hz) and largest number of channels that Vorbis can be written with. Beyond them libsndfile 1.2.2
crashes with a segmentation fault when the file is closed. Opus has the same limit of channels, and lower rates."""


def raw_scale(subtype: str) -> Scale:
    """Number type, range and step of the raw samples of ``subtype``. The factor is 1."""
    if subtype in FLOAT_DTYPES or subtype in MPEG_SUBTYPES:
        dtype = FLOAT_DTYPES.get(subtype, "float32")
        high = float(np.finfo(dtype).max)
        return Scale(dtype, 1.0, 0.0, -high, high, 0.0)
    bits = PCM_BITS.get(subtype, 16)
    stored_bits = 16 if bits <= 16 else 32
    step = 2.0 ** (stored_bits - bits)
    return Scale(f"int{stored_bits}", 1.0, 0.0, -(2.0 ** (stored_bits - 1)), 2.0 ** (stored_bits - 1) - step, step)


def md5(samples: Array, subtype: str) -> bytes:
    """The checksum in FLAC files: MD5 of the samples (n, c), interleaved, little-endian, in whole bytes."""
    digest, width = hashlib.md5(usedforsecurity=False), PCM_BITS[subtype] // 8
    for start in range(0, len(samples), FRAMES_PER_BLOCK):
        block = np.ascontiguousarray(samples[start : start + FRAMES_PER_BLOCK])
        octets = block.astype(block.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, block.itemsize)
        digest.update(octets[:, block.itemsize - width :].tobytes())
    return digest.digest()


def closest_subtype(container: str, source: str, rate: int) -> str:
    """The subtype closest to ``source`` that ``container`` (WAV, FLAC or OGG) supports at ``rate`` Hz."""
    if container == "OGG":
        return "OPUS" if source == "OPUS" and rate in _OPUS_RATES else "VORBIS"
    if container == "FLAC":
        closest = {"PCM_U8": "PCM_S8", "PCM_32": "PCM_24", "FLOAT": "PCM_24", "DOUBLE": "PCM_24"}
        return closest.get(source, source if source in ("PCM_S8", "PCM_24") else "PCM_16")
    return "PCM_U8" if source == "PCM_S8" else "PCM_16" if source in ("VORBIS", "OPUS", *MPEG_SUBTYPES) else source


def exceeds_ogg_limits(rate: int, channels: int) -> bool:
    """Whether Ogg files with this sample rate (Hz) and number of channels cannot be written."""
    return rate > MAX_OGG_RATE or channels > MAX_OGG_CHANNELS


def to_subtype(block: Array, subtype: str) -> Array:
    """``block`` (n, c) in a number type that libsndfile writes as ``subtype`` without scaling. libsndfile would
    multiply floats by 32,767 when writing, and divides by 32,768 when reading."""
    if subtype not in ("PCM_16", "PCM_24") or block.dtype == np.int16:
        return block
    unit = 1.0 if block.dtype.kind == "f" else 2.0**31
    full = 2.0 ** (PCM_BITS[subtype] - 1)
    integers = np.clip(np.round(block.astype(np.float64) / unit * full), -full, full - 1)
    return integers.astype(np.int16) if subtype == "PCM_16" else integers.astype(np.int32) * 256
