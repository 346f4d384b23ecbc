"""The size of a field for a number of parameters or bytes, without torch.

This module converts the bytes of a file to a number of weights. ``Architecture.sized`` decides how they are distributed
over the layers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..artifact.file_size import FileContents
from ..errors import UsageError
from ..fields import MAX_PARAMETERS, FieldSpec
from ..fields.sizing import FEW_SAMPLES, default_parameters
from ..modalities import MODALITIES
from ..signal import Signal
from .settings import Settings, parsed_count


def sized(spec: FieldSpec, settings: Settings, signal: Signal, contents: FileContents) -> FieldSpec:
    """``spec`` with the sizes that the settings ``params`` or ``bytes`` allow. Raises ``UsageError`` if even the
    smallest field is too large."""
    sizer = Sizer(spec, signal, {name for name in ("width", "depth") if getattr(settings, name) is not None})
    if settings.params is not None:
        return sizer.sized(parsed_count("params", settings.params))
    if settings.bytes is None:
        return sizer.sized(None) if settings.regime == "paper" else sizer.usual()
    limit = parsed_count("bytes", settings.bytes)
    largest = sizer.smallest()
    if (needed := contents.file_bytes(largest)) > limit:
        raise UsageError(
            f"--bytes {settings.bytes}: the smallest {spec.architecture} for this file ({largest.parameters:,} "
            f"parameters) takes up to {needed:,} bytes with its header",
            "option",
        )
    low, high = largest.parameters, int((limit - contents.header_bytes(largest)) / contents.bytes_per_weight(spec))
    while high > low:
        middle = (low + high + 1) // 2
        candidate = sizer.sized(middle)
        if contents.file_bytes(candidate) > limit:
            high = middle - 1
        else:
            largest, low = candidate, middle
    return largest


@dataclass(frozen=True)
class Sizer:
    """The fields of a signal that ``spec`` can be sized to, with the widths and depths that were ``asked`` for."""

    spec: FieldSpec
    signal: Signal
    asked: Collection[str]

    def sized(self, parameters: int | None) -> FieldSpec:
        """The largest field of at most so many ``parameters``. Raises the architecture's ``UsageError`` if there is
        none."""
        modality = MODALITIES[self.signal.modality]
        shape = (modality.sized_like or modality.raster)(self.signal.meta)
        return self.spec.formula.sized(self.spec, shape, parameters, self.asked)

    def usual(self) -> FieldSpec:
        """The architecture's usual field, or a smaller one for a signal of few samples on a grid, unless its width or
        depth was asked for."""
        usual, samples = self.sized(None), self.signal.n
        shape = MODALITIES[self.signal.modality].raster(self.signal.meta)
        if self.asked or shape is None or samples >= FEW_SAMPLES:
            return usual
        limit = default_parameters(samples)
        return usual if usual.parameters <= limit or not self._exists(limit) else self.sized(limit)

    def smallest(self) -> FieldSpec:
        """The smallest field. Raises the architecture's ``UsageError`` if there is none."""
        low, high = 0, 1
        while not self._exists(high) and high < MAX_PARAMETERS:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._exists(middle) else (middle, high)
        return self.sized(high)

    def _exists(self, parameters: int) -> bool:
        """Whether there is a field of at most so many parameters."""
        try:
            self.sized(parameters)
        except UsageError:
            return False
        return True
