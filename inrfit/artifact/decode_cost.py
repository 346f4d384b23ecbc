"""What decoding takes, in memory and in work, from the header of a field and a request: in Python integers, before
anything is allocated. docs/benchmarks.md compares it with what was measured (tests/bench/memory.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import TooMuchWork
from ..io.limits import Limits, require_memory
from ..modalities import MODALITIES, Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..fields import FieldSpec

FIXED_BYTES = 40_000_000
"""Bytes that the first products of torch take, and the libraries that write files, beside torch itself."""

MACS_PER_SECOND, MACS_PER_SINE, MACS_PER_POINT = 8e10, 16, 10_000
"""Multiply-accumulates in float32 that two cores do in a second, and those that take as long as a sine, and as
converting the values of a point and writing it (docs/benchmarks.md)."""

MAX_MACS = 10**15
"""Most multiply-accumulates of a decode: three and a half hours of two cores at MACS_PER_SECOND."""

_ADVICE = "choose a smaller --size, --scale, --rate or --resolution"


@dataclass(frozen=True)
class DecodeCost:
    """The memory of a decode in bytes, beside Python and torch, and its multiply-accumulates: the sines and conversions
    count as some."""

    memory: int
    macs: int

    @property
    def seconds(self) -> float:
        """About the seconds that it takes on two cores."""
        return self.macs / MACS_PER_SECOND


def decode_cost(
    spec: FieldSpec, modality: str, meta: Mapping[str, Any], request: Request, suffix: str | None = None
) -> DecodeCost | None:
    """The cost of decoding a field, and of writing the file; part by part if the modality does so and ``suffix`` names
    the format of the file. None for a modality that does not say what it needs."""
    whole, streaming = MODALITIES[modality].decode_need, MODALITIES[modality].streaming
    if suffix is not None and streaming is not None:
        need = streaming.decode_need(meta, suffix, request)
    elif whole is not None:
        need = whole(meta, request)
    else:
        return None
    weights = 4 * spec.parameters
    cells = need.cells(spec.decode_chunk)
    evaluated = spec.decode_bytes(need.shape, cells) + need.value_bytes * cells * spec.outputs
    memory = FIXED_BYTES + weights + max(weights + need.held + evaluated, need.finish)
    return DecodeCost(memory, need.points * (spec.macs + MACS_PER_SINE * spec.sines + MACS_PER_POINT))


def check_decode(
    spec: FieldSpec, modality: str, meta: Mapping[str, Any], request: Request, limits: Limits, suffix: str | None = None
) -> None:
    """Raises ``NotEnoughMemory``, ``OverLimit`` or ``TooMuchWork`` for a decode of a loaded field that takes too much.
    ``suffix`` is that of ``decode_cost``."""
    cost = decode_cost(spec, modality, meta, request, suffix)
    if cost is None:
        return
    limits.check_memory(cost.memory, "decoding", _ADVICE)
    require_memory(cost.memory - 4 * spec.parameters, "decoding", _ADVICE)
    if cost.macs > MAX_MACS:
        raise TooMuchWork(
            f"decoding takes about {cost.macs:.1e} multiply-accumulates, {cost.seconds / 3600:,.0f} hours of two "
            f"cores; at most {MAX_MACS:.0e} are done ({_ADVICE})",
            "work",
        )


def check_load(file_bytes: int, parameters: int, coded: bool) -> None:
    """Raises ``NotEnoughMemory`` if so many bytes of a file, which are still to be read, and its weights do not fit in
    memory."""
    needed = file_bytes + (CODED_BYTES if coded else 4) * parameters
    require_memory(needed, "the field", f"it has {parameters:,} weights")


CODED_BYTES = 24
"""Bytes a weight while coded weights are read."""
