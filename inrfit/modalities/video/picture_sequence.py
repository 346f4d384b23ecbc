"""Frames as a picture of Pillow that has several, like that of an opened animation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PIL import Image

from .clip import Array


class PictureSequence(Image.Image):
    """A picture of ``n_frames``, each of which is taken from ``frames`` (h, w, c), uint8, when Pillow asks for its
    pixels. Pillow may ask in their order only, as it does when it writes them."""

    def __init__(self, frames: Iterable[Array], n_frames: int, width: int, height: int, channels: int) -> None:
        super().__init__()
        self._mode, self._size = {1: "L", 3: "RGB", 4: "RGBA"}[channels], (width, height)
        self.n_frames, self._frames = n_frames, enumerate(frames)
        self._shown, self._loaded = 0, -1

    def tell(self) -> int:
        """The number of the frame that is shown."""
        return self._shown

    def seek(self, frame: int) -> None:
        """Shows another frame. Raises ``EOFError`` beyond the last one."""
        if not 0 <= frame < self.n_frames:
            raise EOFError
        self._shown = frame

    def load(self) -> Any:
        """The pixels of the frame that is shown."""
        if self._loaded != self._shown:
            self._loaded, frame = next(self._frames)
            if self._loaded != self._shown:
                raise ValueError(f"frame {self._shown} was asked for in place of {self._loaded}")
            self.im = Image.fromarray(frame[..., 0] if self.mode == "L" else frame).im
        return super().load()
