"""The synthesis of ``fields.wavelet.transform`` in integers, so that every machine has the same low bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...fields.wavelet.transform import HIGH_NORM, LIFTING, LOW_NORM, SCALE

Ints = npt.NDArray[np.signedinteger[Any]]

FRACTION = 64
"""Low bands are in units of this part of a step."""

_BITS = 14
_STEPS = tuple(round(factor * (1 << _BITS)) for factor in LIFTING)
_LOW, _HIGH = round((1 << _BITS) / (SCALE * LOW_NORM)), round((1 << _BITS) / HIGH_NORM)


def finer(low: Ints, details: Sequence[Ints]) -> Ints:
    """The low band (..., rows, columns) of the next finer level, in 1 / FRACTION steps, from the ``low`` band in the
    same unit and the details h, v and d in steps."""
    horizontal, vertical, diagonal = (FRACTION * detail.astype(np.int64) for detail in details)
    left, right = _merged(low, vertical, -2), _merged(horizontal, diagonal, -2)
    return _merged(left, right, -1)


def _merged(low: Ints, high: Ints, axis: int) -> Ints:
    """``transform._merged`` along an axis."""
    even, odd = np.moveaxis(_scaled(low, _LOW), axis, -1), np.moveaxis(_scaled(high, _HIGH), axis, -1)
    first, second, third, fourth = _STEPS
    even = even - _scaled(_sums_at_even(odd, even.shape[-1]), fourth)
    odd = odd - _scaled(_sums_at_odd(even, odd.shape[-1]), third)
    even = even - _scaled(_sums_at_even(odd, even.shape[-1]), second)
    odd = odd - _scaled(_sums_at_odd(even, odd.shape[-1]), first)
    samples = np.empty((*even.shape[:-1], even.shape[-1] + odd.shape[-1]), np.int64)
    samples[..., 0::2], samples[..., 1::2] = even, odd
    return np.moveaxis(samples, -1, axis)


def _scaled(values: Ints, factor: int) -> Ints:
    return (values * factor + (1 << (_BITS - 1))) >> _BITS


def _sums_at_odd(even: Ints, count: int) -> Ints:
    following = even[..., 1:] if even.shape[-1] > count else np.concatenate([even[..., 1:], even[..., -1:]], -1)
    return even[..., :count] + following


def _sums_at_even(odd: Ints, count: int) -> Ints:
    after = odd if odd.shape[-1] == count else np.concatenate([odd, odd[..., -1:]], -1)
    sums: Ints = np.concatenate([odd[..., :1], odd], -1)[..., :count] + after
    return sums
