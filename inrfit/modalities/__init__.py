"""Modalities: what a file is as a function, and how the function becomes a file again.

Readers are imported inside the functions that use them, and torch only where a field is evaluated, so that a bad file
is refused at once. To add a modality: one file here, one line in ``MODALITIES`` (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..io.json_schema import Schema
from ..io.limits import Limits
from ..signal import Scale, Signal
from .audio import audio
from .image import image
from .shape import shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from ..fields.module import Field

Tick = Callable[[float], None]
"""Called between chunks with the share done, 0 to 1; it may raise to stop the work."""


@dataclass(frozen=True)
class Request:
    """The grid asked for, where it is not the source's own. At most one of ``size`` and ``scale``."""

    size: tuple[int, int] | None = None
    scale: float | None = None
    rate: int | None = None
    resolution: int | None = None


class Modality(Protocol):
    """What a module in this folder must offer."""

    NAME: str
    FORMATS: tuple[str, ...]
    SUFFIXES: tuple[str, ...]
    WRITES: tuple[str, ...]
    QUALITY: str
    UNIT: str
    PROBED: bool
    OMEGA_SOURCE: str
    META: Schema
    Options: type[Any]

    def sniff(self, data: bytes) -> bool:
        """Whether the content looks like one of ours (any format we know by its signature)."""

    def load(self, data: bytes, name: str, options: Any, limits: Limits) -> Signal:
        """The file as a signal. Raises a ``RefusedInput``; imports no torch."""

    def first_omega(self, signal: Signal) -> float:
        """The frequency factor of a SIREN's first layer, in radians per unit of an axis from -1 to 1."""

    def estimate(self, predicted: Tensor, values: Tensor, scale: Scale) -> float:
        """Quality (QUALITY, in UNIT) of predicted (k, c) against true values, both as the field gives them."""

    def probe(self, signal: Signal, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Where PROBED: coordinates (k, d) and values (k, c) at about ``count`` fixed points that stand for the whole
        signal better than its own samples; ``estimate`` is told these."""

    def suffix(self, meta: Mapping[str, Any]) -> tuple[str, str | None]:
        """Suffix of the decoded file, and a note when that is not the source's own format."""

    def decode(self, field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, tick: Tick) -> Any:
        """The samples on the requested grid, in the source's sample type (image: (h, w, c); audio: (n, c);
        shape: ``Mesh`` in the source's units)."""

    def check_writable(self, meta: Mapping[str, Any], suffix: str, request: Request) -> None:
        """Raises the ``UsageError`` of ``write`` for a grid that files of this suffix cannot hold, before anything is
        decoded."""

    def write(self, decoded: Any, meta: Mapping[str, Any], suffix: str, request: Request) -> bytes:
        """``decoded`` as a file of the kind that ``suffix`` names. Raises ``UsageError`` for a suffix it cannot."""

    def measure(self, field: Field, signal: Signal, tick: Tick) -> dict[str, Any]:
        """Every measure of the whole signal: floats (inf: perfect; nan: undefined), ints and notes."""

    def describe(self, meta: Mapping[str, Any]) -> str:
        """One line for people: size, rate, channels, units."""

    def outcome(self, decoded: Any, meta: Mapping[str, Any], request: Request) -> str:
        """The same of what was decoded, which may have another size, rate or mesh than the source."""


MODALITIES: dict[str, Modality] = {"image": image, "audio": audio, "shape": shape}
