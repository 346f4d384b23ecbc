"""What is asked of a decoded file beside what the source was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

NONE: Mapping[str, Any] = MappingProxyType({})
"""No attachments."""


@dataclass(frozen=True)
class Request:
    """The output, where it differs from the source's own grid and kind of file.

    ``size``: (width, height) in pixels; one of them may be None and then follows from the source's aspect. ``scale``:
    factor on width and height; not together with ``size``. ``rate``: sample rate in Hz. ``resolution``: cells per side
    of the cube from which a surface is extracted. ``bits``: 8 to reduce samples of more bits. ``image_quality``: 1 to
    100, of lossy files. ``faces``: number of triangles that a mesh is simplified to. ``centred``: whether a mesh
    is written around the origin rather than at its own place. ``background``: the colour behind transparent pixels,
    such as "white" or "#ffcc00"."""

    size: tuple[int | None, int | None] | None = None
    scale: float | None = None
    rate: int | None = None
    resolution: int | None = None
    bits: int | None = None
    image_quality: int | None = None
    background: str | None = None
    faces: int | None = None
    centred: bool | None = None
