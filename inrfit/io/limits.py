"""What is refused for its size alone; every limit has an option of its name on the command line."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OverLimit


@dataclass(frozen=True)
class Limits:
    """Upper bounds on what is read or made. Each is checked before the memory for it is taken."""

    max_bytes: int = 4_000_000_000
    max_pixels: int = 200_000_000
    max_samples: int = 16_777_216
    max_channels: int = 64
    max_faces: int = 5_000_000
    max_output: int = 4_000_000_000

    def require(self, name: str, claimed: int, what: str) -> None:
        """Raises ``OverLimit`` when ``claimed`` exceeds the limit ``name``; ``what`` says what was counted."""
        limit = getattr(self, name)
        if claimed > limit:
            option = "--" + name.replace("_", "-")
            raise OverLimit(f"{what}: {claimed:,}, the limit is {limit:,} (raise it with {option})", "limit." + name)
