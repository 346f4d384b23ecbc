"""The interface of a modality: everything the rest of the package needs to know about one kind of file.

A modality is an instance of ``Modality``: constants and functions in one frozen dataclass. All facts that depend on the
modality are there, and no other package has a table by the name of a modality. The functions are called with positional
arguments. Import libraries that read files inside the functions that use them, and torch only where tensors are used,
so that a bad file is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError
from .declarations import ArchitectureRule, ArrayInput, Codec, DecodeNeed, EarlierMeta, Measure
from .defaults import (
    consistent_meta,
    default_options,
    in_place,
    no_losses,
    no_plain_codec,
    no_quality_warning,
    nothing_asked,
    unchanged,
)
from .request import Request

__all__ = [
    "ArchitectureRule", "ArrayInput", "Box", "Codec", "DecodeNeed", "EarlierMeta", "Layout", "Measure", "Meta",
    "Modality", "OnProgress", "Probe", "Quality",
]  # fmt: skip

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from ..fields.module import Field
    from ..io.json_schema import Schema
    from ..io.limits import Limits
    from ..signal import Signal
    from .domain import Domain
    from .streaming import Streaming

OnProgress = Callable[[float], None]
"""``on_progress(fraction)`` is called between chunks with the fraction of the work that is done, 0 to 1. It may raise
an exception to cancel the work, which must not be caught."""

Meta = Mapping[str, Any]
"""``Signal.meta``: JSON values that describe the source. A decoded file is written from only these and the field."""

Quality = Mapping[str, Any]
"""Results of ``Modality.measure`` by key."""

Layout = Literal["raster", "timeline", "points", "volume", "clip", "scattered"]
"""Arrangement of the samples: rows and columns of an image; one axis of time; points in space that describe a surface;
a grid of one to four axes; frames over time; samples at arbitrary points."""

Box = Sequence[tuple[int, int]]
"""The first sample and the one after the last, along each axis."""

Probe = Callable[["Signal", int], "tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]"]


@dataclass(frozen=True)
class Modality:
    """One kind of file. ``modalities.MODALITIES`` lists the modalities by name.

    Shapes in the descriptions: n samples, d coordinates and c values per sample. Coordinates lie in [-1, 1]."""

    name: str
    """The name in ``MODALITIES``, for ``--type`` and in the header of artifacts."""

    signal_class: str
    """The class of signals whose measured constants the architectures use: image, audio, shape, volume or points."""

    layout: Layout
    """Arrangement of the samples. ``viz`` chooses a view by it."""

    formats: tuple[str, ...]
    """Names of the file formats that ``load`` reads."""

    input_suffixes: tuple[str, ...]
    """Lower-case suffixes (".png") of source files. A file whose content no modality recognises is given to the one
    that has its suffix, and folders are searched for them."""

    output_suffixes: tuple[str, ...]
    """Lower-case suffixes of the files that ``write`` makes."""

    measures: Mapping[str, Measure]
    """Quality measures by their key in ``measure``, in the order in which they are printed."""

    main_measure: str
    """Key of the measure that ``estimate`` returns and targets refer to. Larger values are better."""

    meta_schema: Schema
    """Schema of ``Signal.meta``. A header whose ``meta`` does not match it is refused, so ranges should be as narrow
    as the functions here need them."""

    options: type[Any]
    """Frozen dataclass of the options of ``load``. Each field is declared with ``io.options.setting`` and is an option
    of the command line (``-O key=value``)."""

    request_fields: frozenset[str]
    """Names of the fields of ``Request`` that ``decode`` supports."""

    request_error: Callable[[str], str]
    """``request_error(field)`` returns the message of the ``UsageError`` for a field of ``Request`` that is not among
    ``request_fields``."""

    default_sampler: str
    """The sampler of ``--sampler auto``: the best one in the measurements (docs/samplers.md)."""

    architecture_rules: tuple[ArchitectureRule, ...]
    """The architecture of ``--arch auto``: that of the first rule that applies. The last rule must always apply."""

    first_omega: Callable[[Signal], tuple[float, ...]]
    """``first_omega(signal)`` returns the frequency factor of a SIREN's first layer for each axis, in radians per unit
    of an axis from -1 to 1. Called once before a fit; must not import torch."""

    omega_source: str
    """The reason for the value of ``first_omega``, for ``--explain``."""

    sniff: Callable[[bytes], bool]
    """``sniff(data)`` returns whether the content is of this modality, also for formats that ``load`` does not read
    (which ``load`` then refuses by name). ``data`` is the whole file, possibly damaged or empty. Must not raise, must
    be fast, and must not accept other modalities' files: the first modality that accepts a file gets it."""

    load: Callable[[bytes, str, Any, Limits], Signal]
    """``load(data, name, options, limits)`` reads a file: ``data`` is its whole content, ``name`` its name without
    folders, ``options`` an instance of the class ``options``.

    Returns a ``Signal``: ``samples`` (n, c) in the file's own type; ``scale``, which maps them to the float32 values
    that the field is fitted to; ``meta``; and ``grid``, or ``points`` (n, d), or a ``point_source`` that draws points
    later. ``notes`` lists what of the file cannot be restored, one sentence each. ``modality`` is left empty.

    Must not import torch. Sizes that the file claims are checked with ``limits.check`` before memory is allocated.
    Every failure must be a ``RefusedInput``: ``UnreadableFile`` for truncated or damaged data, ``UnsupportedInput`` for
    intact files of an unsupported kind, ``OverLimit`` for a size above a limit. Exceptions of libraries are translated.
    Raises ``UsageError`` for options that make no sense together."""

    estimate: Callable[[Tensor, Tensor, Signal], float]
    """``estimate(predicted, values, signal)`` returns the main measure on a subset of the samples: ``predicted`` and
    ``values`` are float32 tensors (k, c) of field values, not raw samples, on the same device; ``signal.scale`` gives
    the raw ones. Called during a fit, so it must be fast. inf means a perfect fit."""

    suffix: Callable[[Meta], tuple[str, str | None]]
    """``suffix(meta)`` returns the suffix that decoded files have by default, and a note for the user where that format
    differs from the source's, or None."""

    decode: Callable[[Field, Meta, Request, Limits, OnProgress], Any]
    """``decode(field, meta, request, limits, on_progress)`` evaluates the field on the requested grid, in chunks
    (``field.on_grid``), and returns the decoded signal: an array in the source's sample type whose last axis are
    channels, or an object of the modality's own such as a mesh. Without a request, the grid is the source's.

    ``request`` has only fields that are among ``request_fields``. Raises ``UsageError`` for values out of range,
    ``OverLimit`` if the result is larger than ``limits.max_output`` bytes (before it is allocated), and
    ``UnreadableFile`` if the field's values are not finite or its channels do not match ``meta``."""

    write: Callable[[Any, Meta, str, Request, Mapping[str, bytes]], bytes]
    """``write(decoded, meta, suffix, request, attachments)`` returns the bytes of a file in the format of ``suffix``.
    ``decoded`` is the result of ``decode`` for the same ``meta`` and ``request``; ``attachments`` are those of the
    signal, or none, and are left out where the format cannot hold them. The same input gives the same bytes. Raises
    ``UsageError`` for a suffix that is not among ``output_suffixes`` or a format that cannot hold ``decoded``."""

    check_writable: Callable[[Meta, str, Request, Mapping[str, bytes]], list[str]]
    """``check_writable(meta, suffix, request, attachments)`` is called before ``decode``. It raises the ``UsageError``
    that ``write`` would raise, so that the user does not wait for it, and returns notes on what the file will not keep.
    ``always_writable`` checks nothing."""

    measure: Callable[[Field, Signal, OnProgress], dict[str, Any]]
    """``measure(field, signal, on_progress)`` decodes the whole signal on its own grid and returns its quality by key:
    the keys of ``measures`` that apply, ``extra_measures``, and others, which are saved too. Values are floats (inf for
    a perfect fit, nan where the measure is undefined), ints or strings."""

    describe_source: Callable[[Meta], str]
    """``describe_source(meta)`` returns one line about the source: size, rate, channels, format."""

    describe_decoded: Callable[[Any, Meta, str, Request], str]
    """``describe_decoded(decoded, meta, suffix, request)`` returns the same about a decoded signal in a file of
    this suffix."""

    field_size: Callable[[Meta], tuple[int, int]]
    """``field_size(meta)`` returns (d, c): the coordinates and the values per sample. A header whose field has other
    sizes is refused."""

    raster: Callable[[Meta], tuple[int, ...] | None]
    """``raster(meta)`` returns the number of cells along each axis of the source's grid; None for a signal of
    points."""

    named_suffixes: tuple[str, ...] = ()
    """Lower-case suffixes of files that are read only where this modality is named: by ``--type``, or by a field that
    they are measured against."""

    sized_like: Callable[[Meta], tuple[int, ...] | None] | None = None
    """``sized_like(meta)`` returns the sides of a grid of about as many samples, for which fields are sized. None: that
    of ``raster``."""

    rounding_loss: float = 0.05
    """Largest loss of the main measure by which ``--store auto`` rounds the weights, in its unit."""

    decode_need: Callable[[Meta, Request], DecodeNeed] | None = None
    """``decode_need(meta, request)`` returns what ``decode`` and ``write`` need beside the field. None: they are not
    bounded before they start."""

    values_on: Callable[[Signal, int, float], npt.NDArray[np.float32]] | None = None
    """``values_on(signal, nodes, reach)`` returns the values (nodes^3, 1) of a surface's signed distances at the nodes
    of a cube, clamped to ``reach``. None: signals are no surfaces."""

    streaming: Streaming | None = None
    """How signals are decoded and written part by part. None: they are held in memory."""

    folder_suffixes: Mapping[str, str] = field(default_factory=dict)
    """The suffixes of archives whose files may be written as a folder instead, each with the suffix of the folder: ""
    if it is any name that ends with a slash."""

    domain: Callable[[Meta, Mapping[str, bytes]], Domain] | None = None
    """``domain(meta, attachments)`` returns axes, coordinates and units of the source, for ``query``. None: fields of
    this modality cannot be queried."""

    window: Callable[[Meta, Mapping[str, bytes], Box], tuple[Meta, Mapping[str, bytes]]] | None = None
    """``window(meta, attachments, box)`` returns both for the part of the source that lies in ``box``, the start and
    the stop in samples along each axis, so that ``decode`` and ``write`` make a file of it. None: signals of this
    modality have no parts."""

    whole: Callable[[Meta], Request] = nothing_asked
    """``whole(meta)`` returns the request by which a check decodes a field."""

    held_out: bool = False
    """Whether a field may be measured on other samples than its own, which neither confirm nor refute its figures."""

    with_attachments: Callable[[Any, Meta, Mapping[str, bytes]], Any] = unchanged
    """``with_attachments(decoded, meta, attachments)`` returns the decoded signal with what only its attachments tell,
    such as samples that have no value."""

    header_suffixes: frozenset[str] = frozenset()
    """Suffixes of files that may be only the header of another one."""

    companion: Callable[[bytes], str | None] | None = None
    """``companion(data)`` returns the name of the file that holds the samples, if ``data`` is only their header; None
    otherwise. ``load`` then gets both contents, one after the other. Raises a ``RefusedInput`` for a damaged header."""

    losses: Callable[[Any, Meta, str, Request], list[str]] = no_losses
    """``losses(decoded, meta, suffix, request)`` returns notes on what of the decoded samples the file cannot hold,
    such as samples that are clipped."""

    options_of: Callable[[Meta], dict[str, Any]] = default_options
    """``options_of(meta)`` returns the options with which ``load`` reads the source again as it was for ``meta``."""

    in_place_of: Callable[[Signal, Meta], Signal] = in_place
    """``in_place_of(signal, meta)`` returns the signal in the place that ``meta`` describes, for signals that are
    normalised by their own size."""

    compare: Callable[[Signal, Signal, OnProgress], dict[str, Any]] | None = None
    """``compare(signal, reference, on_progress)`` returns the measures of a file, as those of a decoded field, against
    another one. Raises ``UsageError`` if they cannot be compared. None: files are not compared."""

    plain_codec: Callable[[Signal, Quality], tuple[str, int] | None] = no_plain_codec
    """``plain_codec(signal, quality)`` returns the name of a common lossy format, and about the bytes that a file in it
    takes for the same quality, or None. It must not take more than about 0.2 s."""

    codecs: Mapping[str, Codec] = field(default_factory=dict)
    """The common lossy formats with which ``inrfit compare --codecs`` compares fields, by name."""

    check_meta: Callable[[Meta], None] = consistent_meta
    """``check_meta(meta)`` raises ``ValueError`` if values that match ``meta_schema`` contradict each other."""

    attachment_names: frozenset[str] = frozenset()
    """Names of the attachments that signals of this modality may have. A header with others is refused."""

    meta_before_3: EarlierMeta | None = None
    """``Signal.meta`` in the format versions 1 and 2; None if it was the same as today."""

    probe: Probe | None = None
    """``probe(signal, count)`` returns coordinates (k, d) and values (k, c), float32, at about ``count`` points on
    which ``estimate`` is computed; always the same points for the same arguments. For modalities whose samples are
    drawn unevenly. None: evenly spread samples of the signal are used."""

    array_input: ArrayInput | None = None
    """How NumPy arrays of this modality are encoded; None if they are not."""

    sample_rate: Callable[[Meta], float] | None = None
    """``sample_rate(meta)`` returns samples per second. Required for the layout ``timeline``."""

    paper_omega: float = 30.0
    """First-layer frequency factor of the papers' code on axes from -1 to 1, for ``--regime paper``."""

    extra_measures: tuple[str, ...] = ()
    """Keys of ``measure`` that ``info`` prints after ``measures``."""

    quality_warning: Callable[[Quality], str | None] = no_quality_warning
    """``quality_warning(quality)`` returns a warning about a bad result of ``measure``, or None."""

    @property
    def unit(self) -> str:
        """Unit of the main measure."""
        return self.measures[self.main_measure].unit

    def check_request(self, request: Request) -> None:
        """Raises ``UsageError`` if ``request`` has a field that this modality does not support."""
        for name, value in asdict(request).items():
            if value is not None and name not in self.request_fields:
                raise UsageError(self.request_error(name.replace("_", "-")), "request")
