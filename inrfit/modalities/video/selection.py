"""Which frames of a clip are read, and which part of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from .clip import Array


@dataclass(frozen=True)
class Selection:
    """Frames ``start`` to ``stop`` (excluded; None: to the end), their middle of ``crop`` (width, height), resampled to
    ``size`` (width, height)."""

    start: int = 0
    stop: int | None = None
    crop: tuple[int, int] | None = None
    size: tuple[int, int] | None = None

    def has(self, number: int) -> bool:
        """Whether the frame of this number, from 0, is read."""
        return number >= self.start and not self.is_over(number)

    def is_over(self, number: int) -> bool:
        """Whether neither this frame nor a later one is read."""
        return self.stop is not None and number >= self.stop

    def count(self, frames: int) -> int:
        """Frames that are read of a clip of so many."""
        return max(0, min(frames, frames if self.stop is None else self.stop) - self.start)

    def shaped(self, frame: Array, bits: int) -> Array:
        """The selected part of a frame (h, w, c). Raises ``UsageError`` for a crop that is larger than the frame."""
        height, width = frame.shape[:2]
        if self.crop is not None:
            columns, rows = self.crop
            if columns > width or rows > height:
                raise UsageError(f"-O crop={columns}x{rows}: the frames have {width}x{height} pixels", "option")
            top, left = (height - rows) // 2, (width - columns) // 2
            frame = frame[top : top + rows, left : left + columns]
        if self.size is None or self.size == (frame.shape[1], frame.shape[0]):
            return frame
        from PIL import Image

        planes = [Image.fromarray(frame[..., c].astype(np.float32)) for c in range(frame.shape[-1])]
        resized = [np.asarray(plane.resize(self.size, Image.Resampling.LANCZOS)) for plane in planes]
        found: Array = np.stack(resized, -1).round().clip(0, (1 << bits) - 1).astype(frame.dtype)
        return found
