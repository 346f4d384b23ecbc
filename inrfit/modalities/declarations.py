"""Parts of what a modality declares (modality.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .defaults import no_options

if TYPE_CHECKING:
    from ..io.json_schema import Schema
    from ..signal import Signal


@dataclass(frozen=True)
class Measure:
    """How a quality measure is printed: its name, and its unit ("" if it has none). A figure is confirmed by one that
    differs by at most ``tolerance`` plus the share ``relative_tolerance`` of it: machines round differently."""

    label: str
    unit: str = ""
    tolerance: float = 0.01
    relative_tolerance: float = 0.0


@dataclass(frozen=True)
class ArchitectureRule:
    """``--arch auto`` chooses ``arch`` if every number named in ``within`` lies in its range, both ends included. The
    names are those of ``config.auto.rule_inputs``: samples, seconds, samples_per_second, weights, few_bytes. ``why``
    names the benchmark behind the rule."""

    arch: str
    why: str
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ArrayInput:
    """How NumPy arrays are encoded. ``arguments`` are the names of the arguments that ``inrfit.encode`` needs in
    addition to the array, such as ``rate``, and ``optional`` those that it may have; they distinguish the arrays of the
    modalities. ``to_file(array, **arguments)`` returns the bytes of a file with the same samples, which ``load`` reads
    with the options ``options_of(array, **arguments)``. Both raise ``UsageError`` for an array or an argument of the
    wrong type or shape."""

    arguments: frozenset[str]
    to_file: Callable[..., bytes]
    optional: frozenset[str] = frozenset()
    options_of: Callable[..., dict[str, Any]] = no_options


@dataclass(frozen=True)
class EarlierMeta:
    """The ``meta`` of a modality in earlier versions of the format: its schema, and ``upgrade(meta)``, which returns
    the ``meta`` of today that means the same."""

    schema: Schema
    upgrade: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class DecodeNeed:
    """What decoding a signal and writing it needs, in Python integers: the ``shape`` of the grid on which the field is
    evaluated, the number of ``points`` there, and of those in one call, given the chunk that the field prefers; bytes
    for each value of such a chunk beside the field's own (``value_bytes``), bytes held while the field is evaluated
    (``held``), and bytes that are needed afterwards (``finish``), the decoded signal included in both."""

    shape: tuple[int, ...]
    points: int
    cells: Callable[[int], int]
    value_bytes: int
    held: int
    finish: int


@dataclass(frozen=True)
class Codec:
    """A common lossy format beside which fields are compared.

    ``writer()`` returns the library that writes it and its version, such as "Pillow 12.3", and raises a ``UsageError``
    that says what to install. ``unsuited(meta)`` returns why the format cannot hold such a source, or None.
    ``ladder(meta)`` returns settings of the format, about from the smallest file to the largest.

    ``trial(signal, settings, on_progress)`` writes the whole signal as a file, and returns the bytes of that file and
    the modality's main measure of what the format's own decoder reads from it."""

    writer: Callable[[], str]
    unsuited: Callable[[Mapping[str, Any]], str | None]
    ladder: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    trial: Callable[[Signal, Mapping[str, Any], Callable[[float], None]], tuple[int, float]]
