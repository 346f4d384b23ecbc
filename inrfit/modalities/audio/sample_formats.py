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

FLOAT_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "VORBIS": "float32", "OPUS": "float32", "AAC": "float32"}
MPEG_SUBTYPES = ("MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
BLOCK_SUBTYPES = ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32")
"""Codecs that decode to whole blocks. The last block is padded."""

TELEPHONE_SUBTYPES = ("ULAW", "ALAW", *BLOCK_SUBTYPES)
LOSSY_SUBTYPES = ("VORBIS", "OPUS", "AAC", *MPEG_SUBTYPES, *TELEPHONE_SUBTYPES)
APPLE_CODECS = {"ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 32}
"""Lossless codecs of CAF, and their bits."""

SUBTYPES = (*PCM_BITS, *FLOAT_DTYPES, *MPEG_SUBTYPES, *TELEPHONE_SUBTYPES, *APPLE_CODECS)
"""All subtypes of the sounds that are read."""

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
MAX_OGG_RATE, MAX_OGG_CHANNELS = 200_000, 255
"""Highest sample rate (Hz) and largest number of channels that Vorbis can be written with. Beyond them libsndfile 1.2.2
crashes with a segmentation fault when the file is closed. Opus has the same limit of channels, and lower rates."""


def raw_scale(subtype: str) -> Scale:
    """Number type, range and step of the raw samples of ``subtype``. The factor is 1."""
    if subtype in FLOAT_DTYPES or subtype in MPEG_SUBTYPES:
        dtype = FLOAT_DTYPES.get(subtype, "float32")
        high = float(np.finfo(dtype).max)
        return Scale(dtype, 1.0, 0.0, -high, high, 0.0)
    bits = PCM_BITS.get(subtype) or APPLE_CODECS.get(subtype, 16)
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


def closest_subtype(container: str, source: str) -> str:
    """The subtype closest to ``source`` that ``container`` (a format of libsndfile, or OPUS for Opus in Ogg)
    supports."""
    if container in ("OGG", "OPUS"):
        return "OPUS" if container == "OPUS" else "VORBIS"
    if container == "FLAC":
        closest = {"PCM_U8": "PCM_S8", "PCM_32": "PCM_24", "FLOAT": "PCM_24", "DOUBLE": "PCM_24", "ALAC_24": "PCM_24"}
        closest |= {"ALAC_20": "PCM_24", "ALAC_32": "PCM_24"}
        return closest.get(source, source if source in ("PCM_S8", "PCM_24") else "PCM_16")
    eight_bits = "PCM_U8" if container in ("WAV", "WAVEX", "RF64", "W64") else "PCM_S8"
    alac = {"ALAC_16": "PCM_16", "ALAC_20": "PCM_24", "ALAC_24": "PCM_24", "ALAC_32": "PCM_32"}
    if source in alac and container != "CAF":
        return alac[source]
    if source in ("PCM_S8", "PCM_U8"):
        return eight_bits
    kept = {*PCM_BITS, "FLOAT", "DOUBLE", "ULAW", "ALAW", *(APPLE_CODECS if container == "CAF" else ())}
    kept |= set(BLOCK_SUBTYPES) if container in ("WAV", "WAVEX") else set()
    return source if source in kept else "PCM_16"


def exceeds_ogg_limits(rate: int, channels: int) -> bool:
    """Whether Ogg files with this sample rate (Hz) and number of channels cannot be written."""
    return rate > MAX_OGG_RATE or channels > MAX_OGG_CHANNELS


def to_subtype(block: Array, subtype: str) -> Array:
    """``block`` (n, c) in a number type that libsndfile writes as ``subtype`` without scaling. libsndfile would
    multiply floats by 32,767 when writing, and divides by 32,768 when reading."""
    if not full_scale(subtype) or block.dtype == np.int16:
        return block
    unit = 1.0 if block.dtype.kind == "f" else 2.0**31
    full = full_scale(subtype)
    integers = np.clip(np.round(block.astype(np.float64) / unit * full), -full, full - 1)
    return integers.astype(np.int16) if subtype == "PCM_16" else integers.astype(np.int32) * 256


def full_scale(subtype: str) -> float:
    """The magnitude of full scale in ``subtype``, for those to which floats and longer integers are converted here."""
    return 2.0 ** (PCM_BITS[subtype] - 1) if subtype in ("PCM_16", "PCM_24") else 0.0


def clipped(decoded: Array, subtype: str) -> int:
    """Number of samples of ``decoded`` (n, c), if they are floats, that are beyond the range of ``subtype``."""
    if decoded.dtype.kind != "f" or not full_scale(subtype):
        return 0
    full = full_scale(subtype)
    count = 0
    for start in range(0, len(decoded), FRAMES_PER_BLOCK):
        scaled = np.round(decoded[start : start + FRAMES_PER_BLOCK].astype(np.float64) * full)
        count += int(((scaled < -full) | (scaled > full - 1)).sum())
    return count
