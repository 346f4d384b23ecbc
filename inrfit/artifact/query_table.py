"""Questions and answers as people write them: named columns of points, sizes of images as WxH, tables of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..io.tables import csv_bytes
from ..modalities import MODALITIES, Request
from ..modalities.domain import Coordinates, Domain
from ..modalities.regions import parsed, resolved
from .places import check_scale, domain_of, grid_places
from .query import SPACE

if TYPE_CHECKING:
    from .artifact import Artifact

Array = npt.NDArray[Any]
Size = Sequence[int | None]


def in_axis_order(domain: Domain, points: Array | None, names: Sequence[str] | None) -> Array | None:
    """``points`` (n, d) with the columns in the order of the field's axes, if ``names`` are their letters. Raises
    ``UsageError`` for other names."""
    if points is None or names is None:
        return points
    letters = [name.strip().lower() for name in names]
    if sorted(letters) != sorted(domain.axes):
        found, axes = ", ".join(names), ", ".join(domain.axes)
        raise UsageError(f"points: the columns are named {found:.80}, the axes of this field {axes}", "query")
    return points[:, [letters.index(letter) for letter in domain.axes]]


def array_size(artifact: Artifact, region: Any, size: Size | None) -> tuple[int | None, ...] | None:
    """The ``size`` of ``query`` for one as people give it: width first of an image and of the frames of a clip, slowest
    axis first otherwise."""
    layout = MODALITIES[artifact.modality].layout
    if size is None or layout not in ("raster", "clip"):
        return None if size is None else tuple(size)
    ranges = parsed(region)
    kept = () if layout == "raster" or (("t" in ranges) and ranges["t"].place) else (None,)
    return (*kept, *size[::-1])


def decode_request(artifact: Artifact, region: Any, size: Size | None, scale: float | None) -> Request:
    """The request for a ``size`` or a ``scale`` of the axes that ``region`` does not name at one place; the others keep
    their one sample. Raises ``UsageError``."""
    domain, ranges, layout = domain_of(artifact), parsed(region), MODALITIES[artifact.modality].layout
    axes = "xy" if layout in ("raster", "clip") else domain.axes
    flat = [letter in ranges and ranges[letter].place for letter in axes]
    if scale is not None:
        check_scale(scale)
    if size is None and scale is not None and any(flat):
        found = resolved(ranges, domain).shape
        sides = [found[domain.axes.index(letter)] for letter in axes]
        scaled = (
            max(1, round(side * (scale if letter in "xyz" else 1))) for side, letter in zip(sides, axes, strict=True)
        )
        return Request(size=tuple(1 if one else side for side, one in zip(scaled, flat, strict=True)))
    if size is None:
        return Request(scale=scale)
    given = list(size)
    if len(given) != flat.count(False):
        named = ", ".join(letter for letter, one in zip(axes, flat, strict=True) if not one)
        raise UsageError(f"--size: give a side for each of the axes {named or 'none'}", "query")
    return Request(size=tuple(1 if one else given.pop(0) for one in flat))


def remark(artifact: Artifact, answer: Array, what: str, at_points: bool) -> str:
    """What a reader should know of an answer, at points or in a region; "" if it is as it seems."""
    if answer.size and bool(np.isnan(answer).all()):
        if not at_points:
            return "no sample of the source has a value here: all are NaN, infinite or missing"
        return "none of the points lies in the field: are these the coordinates (--coords) and the order of its axes?"
    limit = domain_of(artifact).distance
    if what != "distance" or limit is None:
        return ""
    share = float((np.abs(answer) > 0.9 * limit).mean())
    return f"this field knows distances up to {limit:.3g}: {share:.0%} of the answers are about that" if share else ""


def csv_of(
    artifact: Artifact, answer: Array, region: Any, points: Array | None, coords: Coordinates | None, what: str,
    size: Size | None, scale: float | None,
) -> bytes:  # fmt: skip
    """The CSV text of ``answer``, a line for each point: its coordinates, then the numbers of the answer."""
    domain = domain_of(artifact)
    kind = coords or domain.natural
    if points is None:
        places = grid_places(domain, region, size, scale)
        coordinates = domain.from_unit(places.unit(0, places.count).numpy(), kind)
    else:
        coordinates = points
    rows = answer.reshape(len(coordinates), -1)
    columns = answer.shape[1 if points is not None else answer.ndim - _own_axes(what) :]
    return csv_bytes((*domain.axes, *_names(what, domain, columns)), np.asarray(coordinates, float), rows)


def _own_axes(what: str) -> int:
    """Axes of an answer at one point."""
    return 2 if what == "gradient" else 1


def _names(what: str, domain: Domain, columns: tuple[int, ...]) -> list[str]:
    """Names of the numbers of an answer at one point: value, or value_0 and so on; d_z, or d_z_0 and so on."""
    channels = [""] if columns[0] == 1 else [f"_{k}" for k in range(columns[0])]
    if what == "gradient":
        return [f"d{channel}_{axis}" for channel in channels for axis in domain.axes]
    if what == "normal":
        return [f"normal_{axis}" for axis in domain.axes]
    if what == "curl" and len(channels) == len(SPACE):
        return [f"curl_{axis}" for axis in SPACE]
    return [what + channel for channel in channels]
