"""A field asked at points, on a part of its grid, or for its derivatives: only what is asked for is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import TooMuchWork, UnreadableFile, UsageError
from ..io.limits import Limits
from ..modalities.domain import COORDINATES, Coordinates, Domain
from .decode_cost import MACS_PER_POINT, MACS_PER_SINE, MAX_MACS
from .places import Places, domain_of, grid_places, point_places

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..fields.module import Field
    from ..modalities.modality import OnProgress
    from .artifact import Artifact

Array = npt.NDArray[Any]

SPACE = "xyz"
"""The axes that the components of a vector belong to, in their order."""

DERIVATIVES = {"value": 0, "distance": 0, "gradient": 1, "divergence": 1, "curl": 1, "normal": 1, "laplacian": 2}
"""What can be asked for, and the derivatives that it takes."""

_PASSES = (1, 6, 24)
"""Forward passes that a value takes as long as, by the derivatives that are computed."""

_POINTS_AT_A_TIME = 8192
"""Points that are differentiated together: 40 MB for a layer of 256 units and its derivatives."""

_WIDE_TYPES = ("int32", "uint32", "float64")
"""Sample types that float32 does not hold."""


@dataclass(frozen=True)
class Question:
    """What is asked of a field: ``what`` (a key of DERIVATIVES), derivatives per unit of ``coordinates``."""

    artifact: Artifact
    domain: Domain
    what: str
    coordinates: Coordinates

    @property
    def dtype(self) -> str:
        """The number type of the result: float64 where float32 does not hold the samples."""
        scale = self.artifact.meta.get("scale", {})
        return "float64" if scale.get("dtype") in _WIDE_TYPES else "float32"

    def columns(self, channels: int) -> tuple[int, ...]:
        """The shape of the answer at one point of a field with so many channels."""
        axes = len(self.domain.axes)
        return {
            "value": (channels,),
            "gradient": (channels, axes),
            "laplacian": (channels,),
            "divergence": (1,),
            "curl": (3,) if len(self.space) == 3 else (1,),
            "normal": (axes,),
            "distance": (1,),
        }[self.what]

    @property
    def space(self) -> list[int]:
        """The axes of space, in the order x, y, z."""
        return [self.domain.axes.index(letter) for letter in SPACE if letter in self.domain.axes]

    def check(self) -> None:
        """Raises ``UsageError`` if the field has no such answer."""
        spec, needed = self.artifact.spec, DERIVATIVES[self.what]
        if needed > spec.formula.TRAITS.derivatives:
            raise UsageError(f"{self.what}: {_lacking(spec.architecture, spec.formula.TRAITS.derivatives)}", "query")
        if self.what == "distance" and self.domain.distance is None:
            kind = "is inside or outside only" if self.domain.surface else f"is of the kind {self.artifact.modality}"
            raise UsageError(f"distance: needs a field of signed distances to a shape; this one {kind}", "query")
        if self.what in ("divergence", "curl") and (len(self.space) < 2 or spec.outputs != len(self.space)):
            raise UsageError(
                f"{self.what}: needs a channel for each axis of space; this field has channels: {spec.outputs}, on the "
                f"axes {', '.join(self.domain.axes)}",
                "query",
            )
        if self.what == "normal" and spec.outputs != 1 and not self.domain.surface:
            raise UsageError(f"normal: needs a field with one channel; this one has {spec.outputs}", "query")
        if needed and self.domain.without_slope and self.what != "gradient":
            letters = ", ".join(self.domain.axes[axis] for axis in self.domain.without_slope)
            raise UsageError(
                f"{self.what}: all samples have the same {letters}, so that no slope is known along it", "query"
            )
        self.domain.to_unit_matrix(self.coordinates)

    def answers(self, field: Field, coords: Tensor) -> Tensor:
        """The answer at ``coords`` (n, d), in float64: (n, *columns)."""
        import torch

        from ..fields import derivatives

        def differentiable(places: Tensor) -> Tensor:
            return self.domain.samples(field.formula.forward(field.weights, places, torch.float32))

        if DERIVATIVES[self.what] == 0:
            values = self.domain.samples(field.evaluate(coords))
            return values if self.what == "value" else values[:, :1] * float(self.domain.distance or 0)
        jacobian = torch.tensor(self.domain.to_unit_matrix(self.coordinates)[:-1, :-1], device=coords.device)
        if self.what == "laplacian":
            return derivatives.laplacian(differentiable, coords, jacobian)
        slopes = derivatives.gradient(differentiable, coords, jacobian)
        return slopes if self.what == "gradient" else self._combined(slopes)

    def _combined(self, slopes: Tensor) -> Tensor:
        """Normal, divergence or curl from the derivatives (n, c, d)."""
        import torch

        if self.what == "normal":
            return self.domain.outward * torch.nn.functional.normalize(slopes[:, 0], dim=1, eps=1e-30)
        of_space = slopes[:, :, self.space]
        if self.what == "divergence":
            return of_space.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
        turns = of_space - of_space.mT  # turns[:, i, j] = dF_i/dx_j - dF_j/dx_i
        if len(self.space) == 2:
            return turns[:, 1, :1]
        return torch.stack([turns[:, 2, 1], turns[:, 0, 2], turns[:, 1, 0]], 1)


def _lacking(architecture: str, order: int) -> str:
    """Why an architecture has no derivatives above ``order``."""
    if order == 0:
        return f"{architecture} is defined on the cells of its raster only, so it has no derivatives"
    return f"{architecture} has kinks, where second derivatives do not exist; siren and tiles have them everywhere"


def answer(question: Question, places: Places, device: torch.device, limits: Limits, on_progress: OnProgress) -> Array:
    """The answers (*shape, *columns) at ``places``; NaN outside of the field's box, where the source has no value, and
    for slopes along an axis in which the samples do not differ.
    Raises ``OverLimit``, ``TooMuchWork``, and ``UnreadableFile`` for a field whose values are not finite."""
    spec, order = question.artifact.spec, DERIVATIVES[question.what]
    work = places.count * (spec.macs + MACS_PER_SINE * spec.sines) * _PASSES[order] + places.count * MACS_PER_POINT
    if work > MAX_MACS:
        raise TooMuchWork(f"this takes about {work:.1e} multiply-accumulates; at most {MAX_MACS:.0e} are done", "work")
    field = question.artifact.field(device)
    step = min(field.point_chunk, _POINTS_AT_A_TIME) if order else field.point_chunk
    result: Array | None = None
    for start in range(0, max(places.count, 1), step):
        stop = min(start + step, places.count)
        coords = places.unit(start, stop).float().to(device)
        found = question.answers(field, coords).cpu()
        if result is None:
            columns = question.columns(question.domain.samples(coords.new_zeros(1, spec.outputs)).shape[1])
            itemsize = np.dtype(question.dtype).itemsize
            limits.check("max_output", places.count * math.prod(columns) * itemsize, "bytes of the answer")
            result = np.empty((places.count, *columns), question.dtype)
        if not bool(found.isfinite().all()):
            raise UnreadableFile("the field has values that are not finite", "nonfinite")
        part = found.numpy().astype(question.dtype)
        part[_outside(question.domain, coords.cpu().numpy())] = math.nan
        if order:
            part[..., question.domain.without_slope] = math.nan
        result[start:stop] = part
        on_progress(stop / max(places.count, 1))
    assert result is not None
    return result.reshape(*places.shape, *result.shape[1:])


def _outside(domain: Domain, coords: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which of ``coords`` (n, d) lie outside of the box, or in a sample that has no value."""
    most = np.ones(coords.shape[1])
    most[list(domain.flat)] = 0
    outside: npt.NDArray[np.bool_] = np.asarray((np.abs(coords) > most + 1e-6).any(axis=1))
    if domain.valid is not None:
        sides = np.array(domain.valid.shape)
        nearest = np.clip(((coords.astype(np.float64) + 1) * sides / 2).astype(np.int64), 0, sides - 1)
        outside |= ~domain.valid[tuple(nearest.T)]
    return outside


def check_arguments(what: str, coordinates: str | None) -> None:
    """Raises ``UsageError`` for other names than those there are."""
    if what not in DERIVATIVES:
        raise UsageError(f"what={what!r}: must be one of {', '.join(DERIVATIVES)}", "query")
    if coordinates not in (None, *COORDINATES):
        raise UsageError(
            f"coords={coordinates!r}: must be one of {', '.join(COORDINATES)} (the units of the file)", "query"
        )


def query(
    artifact: Artifact, region: Any, points: Any, coordinates: Coordinates | None, what: str,
    size: Sequence[int | None] | None, scale: float | None, device: torch.device, limits: Limits,
    on_progress: OnProgress,
) -> Array:  # fmt: skip
    """``Artifact.query``, with its arguments checked."""
    return answer(*prepared(artifact, region, points, coordinates, what, size, scale), device, limits, on_progress)


def prepared(
    artifact: Artifact, region: Any, points: Any, coordinates: Coordinates | None, what: str,
    size: Sequence[int | None] | None, scale: float | None,
) -> tuple[Question, Places]:  # fmt: skip
    """The question and its places. Raises ``UsageError`` for what has no answer."""
    check_arguments(what, coordinates)
    domain = domain_of(artifact)
    question = Question(artifact, domain, what, coordinates or domain.natural)
    question.check()
    if points is None:
        return question, grid_places(domain, region, size, scale)
    if region is not None or size is not None or scale is not None:
        raise UsageError("points: cannot be combined with a region, a size or a scale", "query")
    return question, point_places(domain, points, question.coordinates)
