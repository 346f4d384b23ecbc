"""The places that a field is asked at: points, the grid of a region, or the part of a source that is decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..fields.window import Window
from ..modalities import MODALITIES
from ..modalities.domain import Coordinates, Domain
from ..modalities.regions import parsed, resolved

if TYPE_CHECKING:
    from torch import Tensor

    from .artifact import Artifact


MAX_SCALE = 65_535
"""Largest factor on the sides of a region."""


def domain_of(artifact: Artifact) -> Domain:
    """The domain of the field. Raises ``UsageError`` if its modality says none."""
    refuse_cropped(artifact)
    describe = MODALITIES[artifact.modality].domain
    if describe is None:
        raise UsageError(f"fields of the kind {artifact.modality} cannot be queried", "query")
    return describe(artifact.meta, artifact.attachments)


def refuse_cropped(artifact: Artifact) -> None:
    """Raises ``UsageError`` for a part of a field, which is only decoded."""
    if artifact._window is not None:
        raise UsageError("a cropped field can only be decoded", "query")


def cropped(artifact: Artifact, region: Any) -> tuple[dict[str, Any], Mapping[str, bytes], Window]:
    """``meta`` and attachments of the part of the source in ``region``, and the window of the field. Raises
    ``UsageError``."""
    modality, domain = MODALITIES[artifact.modality], domain_of(artifact)
    if modality.window is None or domain.shape is None:
        raise UsageError(
            f"region: fields of the kind {artifact.modality} are decoded as a whole; their values in a region are .npy "
            "or .csv",
            "query",
        )
    found = resolved(parsed(region), domain)
    box = [(int(start), int(stop)) for start, stop in zip(found.start, found.stop, strict=True)]
    meta, attachments = modality.window(artifact.meta, artifact.attachments, box)
    return dict(meta), attachments, Window(domain.shape, found.start, found.stop)


@dataclass(frozen=True)
class Places:
    """The points of a question: ``count`` of them, arranged as ``shape``; ``unit(start, stop)`` returns unit
    coordinates (k, d) in float64."""

    shape: tuple[int, ...]
    unit: Callable[[int, int], Tensor]

    @property
    def count(self) -> int:
        """Number of points."""
        return math.prod(self.shape)


def grid_places(domain: Domain, region: Any, size: Sequence[int | None] | None, scale: float | None) -> Places:
    """The centres of the cells of a grid over ``region``, without the axes that were named at one place. Raises
    ``UsageError``."""
    found = resolved(parsed(region), domain)
    sides = list(found.shape)
    moving = [axis for axis, flat in enumerate(found.flat) if not flat]
    if size is not None:
        for axis, side in zip(moving, _sides(size, [sides[axis] for axis in moving], domain, moving), strict=True):
            sides[axis] = side
    elif domain.shape is None and moving:
        example = "x".join(["64"] * len(moving))
        raise UsageError(f"this field has no grid of its own: say how many points with --size, as {example}", "query")
    if scale is not None:
        check_scale(scale)
        of_space = [axis for axis in moving if domain.axes[axis] in "xyz"]
        for axis in of_space or moving:
            sides[axis] = max(1, round(sides[axis] * scale))
    if several := [domain.axes[axis] for axis in domain.flat if axis in moving and sides[axis] > 1]:
        raise UsageError(f"size: all samples have the same {several[0]}: give that axis the side 1", "query")
    source = domain.shape or (2,) * len(domain.axes)
    window, shape = Window(source, found.start, found.stop), tuple(sides)

    def unit(start: int, stop: int) -> Tensor:
        import torch

        return window.unit(shape, torch.arange(start, stop))

    return Places(tuple(shape[axis] for axis in moving), unit)


def check_scale(scale: float) -> None:
    """Raises ``UsageError`` for a factor out of range."""
    if not 0 < scale <= MAX_SCALE:
        raise UsageError(f"scale {scale:g}: must be above 0 and at most {MAX_SCALE:,}", "query")


def _sides(size: Sequence[int | None], own: list[int], domain: Domain, axes: list[int]) -> list[int]:
    """The sides of a result of ``own`` sides that ``size`` asks for; one of two that is None follows from the other."""
    if len(size) != len(own) or any(side is not None and side < 1 for side in size) or all(s is None for s in size):
        raise UsageError(f"size: give {len(own)} sides, of the axes {', '.join(domain.axes[a] for a in axes)}", "query")
    known = next((given / side for given, side in zip(size, own, strict=True) if given is not None), 1.0)
    factors = [1.0 if domain.axes[axis] == "t" else known for axis in axes]
    sides = zip(size, own, factors, strict=True)
    return [max(1, round(side * factor)) if given is None else given for given, side, factor in sides]


def point_places(domain: Domain, points: Any, coordinates: Coordinates) -> Places:
    """The given points (n, d). Raises ``UsageError`` for other shapes and for numbers that are not finite."""
    given = np.asarray(points)
    if given.dtype.kind not in "iuf" or given.ndim != 2 or given.shape[1] != len(domain.axes) or not len(given):
        raise UsageError(
            f"points: must be numbers (n, {len(domain.axes)}), the columns {', '.join(domain.axes)}, not "
            f"{given.dtype} {given.shape}",
            "query",
        )
    coords = domain.to_unit(given.astype(np.float64), coordinates)
    if not np.isfinite(coords).all():
        raise UsageError("points: some are not finite", "query")

    def unit(start: int, stop: int) -> Tensor:
        import torch

        return torch.from_numpy(coords[start:stop])

    return Places((len(coords),), unit)
