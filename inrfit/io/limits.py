"""Limits on the size of inputs and outputs. Each is an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import OverLimit
from .arguments import checked
from .options import check_option, setting


@checked()
@dataclass(frozen=True)
class Limits:
    """Upper bounds on the size of inputs and outputs, which are checked before memory is allocated."""

    max_bytes: int = setting(4_000_000_000, "Largest source file, in bytes.")
    max_pixels: int = setting(200_000_000, "Largest image, in pixels.")
    max_samples: int = setting(16_777_216, "Longest sound, in samples per channel.")
    max_channels: int = setting(64, "Largest number of channels of a sound.")
    max_faces: int = setting(5_000_000, "Largest mesh, in triangles.")
    max_output: int = setting(4_000_000_000, "Largest decoded signal, in bytes.")

    def __post_init__(self) -> None:
        for field in fields(self):
            value = check_option(Limits, field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # the dataclass is frozen

    def check(self, name: str, claimed: int, what: str) -> None:
        """Raises ``OverLimit`` if ``claimed`` exceeds the limit ``name``. ``what`` names the unit in the message."""
        limit = getattr(self, name)
        if claimed > limit:
            option = "--" + name.replace("_", "-")
            raise OverLimit(f"{what}: {claimed:,}, the limit is {limit:,} (raise it with {option})", "limit." + name)
