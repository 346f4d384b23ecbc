"""What a kind of file is to the rest of the program: one frozen description, made of facts and functions.

Everything that depends on a modality stands in its description, so that no other room has a table by modality.
Functions are called with positional arguments. Readers of files are imported inside the functions that use them, and
torch only where tensors are used, so that a bad file is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from ..fields.module import Field
    from ..io.json_schema import Schema
    from ..io.limits import Limits
    from ..signal import Scale, Signal

OnProgress = Callable[[float], None]
"""``on_progress(fraction)`` is called between chunks with the fraction of the work that is done, 0 to 1. It may raise
an exception to cancel the work, which must not be caught."""

Meta = Mapping[str, Any]
"""``Signal.meta``: JSON, all that is needed to write the source's kind of file."""

Quality = Mapping[str, Any]
"""Quality measures by key, as ``Modality.measure`` gives them."""

Layout = Literal["raster", "timeline", "points"]
"""How samples lie: rows and columns of a picture; one axis of time; points in space that describe a surface."""

Probe = Callable[["Signal", int], "tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]"]


@dataclass(frozen=True)
class Request:
    """The grid asked for, where it is not the source's own. At most one of ``size`` and ``scale``."""

    size: tuple[int, int] | None = None
    scale: float | None = None
    rate: int | None = None
    resolution: int | None = None


@dataclass(frozen=True)
class Measure:
    """How a quality measure is shown: its name, and its unit ("" if it has none)."""

    label: str
    unit: str = ""


@dataclass(frozen=True)
class ArchitectureRule:
    """``--arch auto`` stands for ``arch`` where every number named in ``within`` (``config.auto.rule_inputs``) lies in
    its range, both ends included. ``why`` names the measurement behind it."""

    arch: str
    why: str
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ArrayInput:
    """Arrays as a source: ``arguments`` are the arguments of ``codec.encode`` that come with such an array.
    ``to_file(array, **arguments)`` gives the file it stands for, or raises ``UsageError``."""

    arguments: frozenset[str]
    to_file: Callable[..., bytes]


def no_caution(quality: Quality) -> str | None:
    """A modality without a caution about its quality."""
    return None


def always_writable(meta: Meta, suffix: str, request: Request) -> None:
    """Files of every suffix that is written hold every grid."""


@dataclass(frozen=True)
class Modality:
    """One kind of file. ``modalities.MODALITIES`` lists them by name."""

    name: str
    """As in ``MODALITIES``, ``--type`` and the header of artifacts."""

    signal_class: str
    """The class of signals whose measured constants the architectures use: image, audio or shape."""

    layout: Layout
    """How samples lie, by which ``viz`` chooses a view."""

    formats: tuple[str, ...]
    """Names of the file formats that are read."""

    suffixes: tuple[str, ...]
    """Suffixes of files that are taken for this modality where the content does not tell."""

    writes: tuple[str, ...]
    """Suffixes of the files that ``write`` makes."""

    measures: Mapping[str, Measure]
    """Quality measures by their key in ``measure``, in the order in which people are told them."""

    quality: str
    """Key of the main measure, the one that ``estimate`` gives."""

    meta: Schema
    """The schema of ``Signal.meta``, which is believed from a file only if it fits."""

    options: type[Any]
    """Dataclass of the settings that ``load`` takes (``-O key=value``)."""

    takes: frozenset[str]
    """Fields of ``Request`` that ``decode`` understands; ``refuse`` says why another one is refused."""

    refuse: Callable[[str], str]

    default_sampler: str
    """What ``--sampler auto`` stands for: the best measured (docs/samplers.md)."""

    auto: tuple[ArchitectureRule, ...]
    """What ``--arch auto`` stands for: the first rule that holds. The last one holds everywhere."""

    first_omega: Callable[[Signal], float]
    """The frequency factor of a SIREN's first layer, in radians per unit of an axis from -1 to 1."""

    omega_source: str
    """Where ``first_omega`` has it from, for ``--explain``."""

    sniff: Callable[[bytes], bool]
    """Whether the content looks like this modality, of a format that is read or not."""

    load: Callable[[bytes, str, Any, Limits], Signal]
    """(data, name, options, limits): the file as a signal, still without the modality's name (``Signal.named``).
    Raises a ``RefusedInput``; imports no torch."""

    estimate: Callable[[Tensor, Tensor, Scale], float]
    """(predicted, values, scale): the main measure of predicted (k, c) against true values, both as the field gives
    them."""

    suffix: Callable[[Meta], tuple[str, str | None]]
    """Suffix of the decoded file, and a note where that is not the source's own format."""

    decode: Callable[[Field, Meta, Request, Limits, OnProgress], Any]
    """The samples on the requested grid, in the source's sample type."""

    write: Callable[[Any, Meta, str, Request], bytes]
    """(decoded, meta, suffix, request): a file of the kind that the suffix names. Raises ``UsageError`` for a suffix
    it cannot write."""

    check_writable: Callable[[Meta, str, Request], None]
    """(meta, suffix, request): raises the ``UsageError`` of ``write`` for a grid that files of this suffix cannot hold,
    before anything is decoded."""

    measure: Callable[[Field, Signal, OnProgress], dict[str, Any]]
    """Every measure of the whole signal: floats (inf: perfect; nan: undefined), ints and notes."""

    describe: Callable[[Meta], str]
    """One line for people about the source: size, rate, channels, units."""

    outcome: Callable[[Any, Meta, Request], str]
    """(decoded, meta, request): the same of what was decoded."""

    field_size: Callable[[Meta], tuple[int, int]]
    """Coordinates and values per sample that ``meta`` implies."""

    raster: Callable[[Meta], tuple[int, ...] | None]
    """Cells per axis of the source's grid; None for a signal of points."""

    probe: Probe | None = None
    """(signal, count): coordinates (k, d) and values (k, c) at about ``count`` fixed points, on which quality is
    estimated, for signals whose samples lie too unevenly for that. None: samples of the signal are used."""

    arrays: ArrayInput | None = None
    """How arrays are encoded, if they are."""

    sample_rate: Callable[[Meta], float] | None = None
    """Samples per second, for the layout timeline."""

    paper_omega: float = 30.0
    """First-layer frequency of the papers' code on axes from -1 to 1."""

    details: tuple[str, ...] = ()
    """Measures that ``info`` lists by their key besides ``measures``."""

    caution: Callable[[Quality], str | None] = no_caution
    """A warning that a quality deserves, or None."""

    @property
    def unit(self) -> str:
        """Unit of the main measure."""
        return self.measures[self.quality].unit

    def check_request(self, request: Request) -> None:
        """Raises ``UsageError`` for a request that this modality does not take."""
        for asked, value in asdict(request).items():
            if value is not None and asked not in self.takes:
                raise UsageError(self.refuse(asked), "request")
