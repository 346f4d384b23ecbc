"""The specification of a field: everything but its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any

from ..errors import PluginError
from ..io.options import from_mapping
from ..signal import CHUNK
from .architecture import Architecture, points_at_a_time, widest_layer
from .registry import FIELDS

MAX_CHUNK_VALUES, MAX_CHUNK_MACS = 1 << 22, 1 << 35
"""Values, and multiply-accumulates, of a call of ``on_grid``: 16 MB, and about a second of a CPU."""


@dataclass(frozen=True)
class FieldSpec:
    """Everything that determines a field except its weights, as JSON values. Needs no torch.

    ``architecture`` is a name in ``FIELDS``, ``inputs`` the number of dimensions, ``outputs`` the number of channels,
    ``width`` the units per layer and ``depth`` the number of hidden layers."""

    architecture: str
    inputs: int
    outputs: int
    width: int
    depth: int
    options: Mapping[str, Any]

    @cached_property
    def formula(self) -> Architecture:
        """The architecture with these options. Raises ``UsageError`` for an invalid value."""
        return from_mapping(FIELDS[self.architecture], self.options)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor."""
        shapes = self.formula.shapes(self)
        if not isinstance(shapes, dict):
            raise PluginError(f"the architecture {self.architecture}: shapes must return a dict", "plugin")
        return shapes

    @property
    def paper_factors(self) -> dict[str, float]:
        """By weight tensor, the frequency factor that it includes, and that the papers write beside it: a layer is
        activation(factor (W x + b)) there. Divided by it, the weights are in the papers' parametrisation."""
        factors = {name: factor or 1.0 for name, factor in self.formula.rates().items()}
        if "first.bias" in factors:  # it has another rate in a SIREN, but one factor stands before W x + b
            factors["first.bias"] = factors["first.weight"]
        return factors

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def fp32_tensors(self) -> frozenset[str]:
        """Names of the tensors that are always stored in float32."""
        return self.formula.fp32_tensors()

    @property
    def rounding_groups(self) -> dict[str, tuple[int, ...]]:
        """Sizes of the groups of numbers that share a step if the weights are stored as integers, of each tensor that
        may be rounded, in the order of ``shapes``."""
        groups = self.formula.rounding_groups(self)
        return {name: groups[name] for name in self.shapes if name not in self.fp32_tensors}

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.formula.macs(self)

    @property
    def sines(self) -> int:
        """Sines, cosines and exponentials per sample."""
        return self.formula.sines(self)

    @property
    def decode_chunk(self) -> int:
        """Cells per call of ``on_grid``: fewer for many channels, and for fields that take long for each."""
        chunk = self.formula.TRAITS.decode_chunk or CHUNK
        most = min(chunk, MAX_CHUNK_VALUES // self.outputs, MAX_CHUNK_MACS // max(1, self.macs))
        return 1 << max(0, most.bit_length() - 1)

    def decode_bytes(self, shape: tuple[int, ...], cells: int) -> int:
        """Bytes of memory that ``on_grid`` takes beside the weights, for ``cells`` cells of a grid of ``shape``."""
        traits = self.formula.TRAITS
        if traits.decode_bytes is not None:
            return traits.decode_bytes(self, shape, cells)
        widest = widest_layer(self.shapes.values())
        rows = min(cells, points_at_a_time(widest))
        encoding = 10 * widest if widest > self.width else 0
        return rows * (traits.unit_bytes * self.width + encoding + 64) + 8 * cells * self.outputs

    def resampling(self, own: tuple[int, ...] | None, shape: tuple[int, ...]) -> str:
        """A remark that decoding on a grid of ``shape`` resamples the field's only raster, of which the part that is
        decoded has ``own`` cells; "" if it does not."""
        if not self.formula.TRAITS.raster_only or own is None or own == shape:
            return ""
        ordered = (sides[::-1] if len(sides) == 2 else sides for sides in (own, shape))  # width first
        before, after = ("x".join(map(str, sides)) for sides in ordered)
        return (
            f"{self.architecture} is defined on the cells of its raster only: decoded at {before} and resampled to "
            f"{after}"
        )

    def json(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return asdict(self)
