"""The codecs of a comparison: which ones suit its sources, and their files in several settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import InrfitError, UsageError, machine_error, printable
from ..modalities import MODALITIES, Modality
from .spec import ComparisonSpec, Source

if TYPE_CHECKING:
    from ..signal import Signal


@dataclass(frozen=True)
class CodecPoint:
    """A file of a codec: its settings, its bytes, and its quality in the unit of the modality; inf if it is exact."""

    settings: Mapping[str, Any]
    bytes: int
    quality: float

    def label(self, codec: str) -> str:
        """The codec with the settings: ``jpeg:quality=50``."""
        return ":".join([codec, *(f"{key}={value}" for key, value in self.settings.items())])


@dataclass(frozen=True)
class CodecResult:
    """The files of a codec of one source, and the library that wrote them (``Codec.writer``). A failed one has an
    ``error`` (code, reason, message), and no points."""

    source: str
    codec: str
    writer: str
    points: tuple[CodecPoint, ...] = ()
    error: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether all files were written and measured."""
        return self.error is None

    def json(self) -> dict[str, Any]:
        """The result as JSON values; an infinite quality becomes None."""
        points = [asdict(p) | {"quality": p.quality if math.isfinite(p.quality) else None} for p in self.points]
        known = {"ok": self.ok, "source": self.source, "codec": self.codec, "writer": self.writer}
        return known | ({"points": points} if self.error is None else {"error": dict(self.error)})

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> CodecResult:
        """The inverse of ``json``."""
        points = tuple(
            CodecPoint(p["settings"], p["bytes"], math.inf if p["quality"] is None else p["quality"])
            for p in record.get("points", ())
        )
        return CodecResult(record["source"], record["codec"], record["writer"], points, record.get("error"))


class CodecCallbacks(Protocol):
    """Callbacks while the files of codecs are made."""

    def on_codec_start(self, number: int, total: int, source: str, codec: str) -> None:
        """Called before the files of a codec, run ``number`` (from 1) of ``total``."""

    def on_codec_progress(self, fraction: float) -> None:
        """Called with the fraction of the codec's work that is done."""

    def on_codec_end(self, number: int, total: int, result: CodecResult) -> None:
        """Called when the files of a codec are made, or when it has failed."""


def parse_codecs(given: str | Sequence[str]) -> tuple[str, ...]:
    """The names of codecs in "jpeg,webp", or in a sequence of names. Raises ``UsageError`` for a name that is unknown
    or repeated, and for a codec that is not installed."""
    names = given.split(",") if isinstance(given, str) else list(given)
    names = [name.strip() if isinstance(name, str) else name for name in names]
    known = {name: codec for modality in MODALITIES.values() for name, codec in modality.codecs.items()}
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise UsageError(f"--codecs {printable(str(name))}: must be names of {', '.join(known)}", "option")
        known[name].writer()
    if len(set(names)) < len(names):
        raise UsageError(f"--codecs {','.join(names)}: contains the same name twice", "option")
    return tuple(names)


def check_suited(names: Sequence[str], modality: Modality, meta: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` if a codec of this modality cannot hold such a source."""
    for name in names:
        if name in modality.codecs and (reason := modality.codecs[name].unsuited(meta)):
            raise UsageError(f"--codecs {name}: {reason}", "codec")


def check_used(names: Sequence[str], sources: Sequence[Source]) -> None:
    """Raises ``UsageError`` for a codec that is for none of the sources."""
    for name in names:
        if sources and not any(name in source.kind.codecs for source in sources):
            kinds = [modality.name for modality in MODALITIES.values() if name in modality.codecs]
            offered = [known for source in sources for known in source.kind.codecs]
            advice = f"; choose {', '.join(dict.fromkeys(offered))}" if offered else "; leave out --codecs"
            given = " and ".join(dict.fromkeys(source.modality for source in sources))
            message = f"is a codec for sources of the type {', '.join(kinds)}, and this is {given}{advice}"
            raise UsageError(f"--codecs {name}: {message}", "codec")


def codec_runs(spec: ComparisonSpec) -> Iterator[tuple[Source, str]]:
    """Each source with each codec that is for its kind."""
    for source in spec.sources:
        for name in spec.codecs:
            if name in source.kind.codecs:
                yield source, name


def run_codecs(
    spec: ComparisonSpec,
    results: dict[tuple[str, str], CodecResult],
    total: int,
    load: Callable[[Source], Signal],
    stop: Callable[[], bool],
    callbacks: CodecCallbacks,
    save_results: Callable[[], None],
) -> None:
    """Makes the files of each codec of which ``results``, by source and codec, has none by the same library, and calls
    ``save_results`` after each. These are the first runs of ``total``. Returns early if ``stop`` returns True."""
    loaded: tuple[Source, Signal] | None = None
    for number, (source, name) in enumerate(codec_runs(spec), 1):
        writer = source.kind.codecs[name].writer()
        found = results.get((source.name, name))
        if found is not None and found.ok and found.writer == writer:
            continue
        if stop():
            return
        callbacks.on_codec_start(number, total, source.name, name)
        try:
            if loaded is None or loaded[0] != source:
                loaded = None  # frees its signal before the next one is loaded
                loaded = source, load(source)
            points = _points(source, name, loaded[1], stop, callbacks.on_codec_progress)
            result = CodecResult(source.name, name, writer, points)
        except KeyboardInterrupt:
            return
        except InrfitError as error:
            failure = {"code": error.exit_code, "reason": error.reason, "message": str(error)}
            result = CodecResult(source.name, name, writer, error=failure)
        results[source.name, name] = result
        save_results()
        callbacks.on_codec_end(number, total, result)


def _points(
    source: Source, name: str, signal: Signal, stop: Callable[[], bool], on_progress: Callable[[float], None]
) -> tuple[CodecPoint, ...]:
    """The files of a codec in all its settings. Raises ``KeyboardInterrupt`` if ``stop`` returns True, and
    ``UsageError`` if the library fails."""
    codec = source.kind.codecs[name]
    ladder = codec.ladder(signal.meta)
    points = []
    for done, settings in enumerate(ladder):

        def within(fraction: float, done: int = done) -> None:
            if stop():
                raise KeyboardInterrupt
            on_progress((done + fraction) / len(ladder))

        within(0.0)
        try:
            points.append(CodecPoint(settings, *codec.trial(signal, settings, within)))
        except InrfitError:
            raise
        except Exception as error:  # of a library that cannot write this source
            cause = f"{type(error).__name__}: {printable(str(error))[:120]}"
            raise machine_error(error) or UsageError(f"{name} cannot hold this source ({cause})", "codec") from error
    return tuple(point for point in points if not math.isnan(point.quality))
