"""What is asked of a decoded file beside what the source was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import Any

from ..errors import UsageError
from ..io.arguments import BOOLEAN, NUMBER, TEXT, checked, described, or_none

NONE: Mapping[str, Any] = MappingProxyType({})
"""No attachments."""


_WHOLE_NUMBERS = ("rate", "resolution", "bits", "image_quality", "faces")
"""Fields that are whole numbers."""


@checked(codec=or_none(TEXT), scale=or_none(NUMBER), background=or_none(TEXT), centred=or_none(BOOLEAN))
@dataclass(frozen=True)
class Request:
    """The output, where it differs from the source's own grid and kind of file.

    ``size``: (width, height) in pixels; one of them may be None and then follows from the source's aspect; of a volume,
    its sides, slowest axis first; of samples at points, a side for each axis of the grid that is decoded. ``scale``:
    factor on width and height; not together with ``size``. ``rate``: sample rate in Hz. ``resolution``: cells per side
    of the cube from which a surface is extracted. ``bits``: 8 to reduce samples of more bits. ``image_quality``: 1 to
    100, of lossy files. ``faces``: number of triangles that a mesh is simplified to. ``centred``: whether a mesh
    is written around the origin rather than at its own place. ``background``: the colour behind transparent pixels,
    such as "white" or "#ffcc00". ``codec``: of a
    clip, such as "h264" or "ffv1". Raises ``UsageError`` for values of other types."""

    size: tuple[int | None, ...] | None = None
    scale: float | None = None
    rate: int | None = None
    resolution: int | None = None
    bits: int | None = None
    image_quality: int | None = None
    background: str | None = None
    faces: int | None = None
    centred: bool | None = None
    codec: str | None = None

    def __post_init__(self) -> None:
        for name in _WHOLE_NUMBERS:
            object.__setattr__(self, name, _whole(name, getattr(self, name)))  # the dataclass is frozen
        if self.size is not None:
            sides = self.size
            if not isinstance(sides, tuple | list) or not 1 <= len(sides) <= 4 or all(side is None for side in sides):
                raise UsageError(
                    f"size must be (width, height), or the sides of a volume, not {sides!r:.60}", "request"
                )
            object.__setattr__(self, "size", tuple(_whole("size", side) for side in sides))


def _whole(name: str, value: Any) -> int | None:
    """``value`` as an int or None. Raises ``UsageError`` for other types."""
    if value is None:
        return None
    if isinstance(value, Integral) and not BOOLEAN.accepts(value):
        return int(value)
    raise UsageError(f"{name} must be a whole number, not {described(value)}", "request")
