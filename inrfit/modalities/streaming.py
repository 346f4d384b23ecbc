"""Signals that are decoded and written part by part, so that neither memory nor disk goes with their length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..fields.module import Field
    from ..io.checked_file import Output
    from ..io.limits import Limits
    from .declarations import DecodeNeed
    from .modality import Meta, OnProgress
    from .request import Request

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ArrayStream:
    """An array of which one item along the first axis after the other is made while it is iterated over, once."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    items: Iterable[Array]

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return iter(self.items)

    @property
    def item_bytes(self) -> int:
        """Bytes of one item."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True)
class Streaming:
    """How a modality decodes and writes a signal part by part. The command line then uses these functions in place of
    those of the same names in ``Modality``, and does not call ``with_attachments``."""

    decode: Callable[[Field, Meta, Request, Limits, OnProgress], ArrayStream]
    """``decode(field, meta, request, limits, on_progress)`` returns the samples of ``Modality.decode``, which are
    evaluated while they are iterated over. The errors of a request are raised at once, those of the field then."""

    write: Callable[[Any, Meta, str, Request, Mapping[str, bytes], Output], None]
    """``write(decoded, meta, suffix, request, attachments, out)`` writes the bytes of ``Modality.write`` to ``out``, of
    an array or an ``ArrayStream``."""

    decode_need: Callable[[Meta, str, Request], DecodeNeed]
    """``decode_need(meta, suffix, request)`` returns what ``decode`` and ``write`` need beside the field."""

    piped: frozenset[str] = frozenset()
    """Suffixes of the formats that ``write`` writes from the beginning to the end by ``out.write`` alone, so that they
    go through a pipe while they are made."""
