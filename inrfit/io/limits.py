"""What is refused for its size alone; every limit has an option of its name on the command line."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OverLimit
from .options import setting


@dataclass(frozen=True)
class Limits:
    """Upper bounds on what is read or made. Each is checked before the memory for it is taken."""

    max_bytes: int = setting(4_000_000_000, "Largest source file, in bytes.")
    max_pixels: int = setting(200_000_000, "Largest image, in pixels.")
    max_samples: int = setting(16_777_216, "Longest sound, in samples per channel.")
    max_channels: int = setting(64, "Largest number of channels of a sound.")
    max_faces: int = setting(5_000_000, "Largest mesh, in triangles.")
    max_output: int = setting(4_000_000_000, "Largest decoded signal, in bytes.")

    def require(self, name: str, claimed: int, what: str) -> None:
        """Raises ``OverLimit`` when ``claimed`` exceeds the limit ``name``; ``what`` says what was counted."""
        limit = getattr(self, name)
        if claimed > limit:
            option = "--" + name.replace("_", "-")
            raise OverLimit(f"{what}: {claimed:,}, the limit is {limit:,} (raise it with {option})", "limit." + name)
