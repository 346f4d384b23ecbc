"""Limits on the size of inputs and outputs. Each is an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import NotEnoughMemory, OverLimit
from ..runtime import available_memory, physical_memory
from .arguments import checked
from .options import check_option, setting

ALWAYS_GRANTED = 256_000_000
"""Bytes of memory that ``max_output`` does not refuse: it bounds the memory of large decodes."""


@checked()
@dataclass(frozen=True)
class Limits:
    """Upper bounds on the size of inputs and outputs, which are checked before memory is allocated."""

    max_bytes: int = setting(4_000_000_000, "Largest source file, in bytes.")
    max_pixels: int = setting(200_000_000, "Largest image, in pixels.")
    max_voxels: int = setting(1 << 30, "Largest volume, or most samples at points, in samples of one channel.")
    max_samples: int = setting(16_777_216, "Longest sound, in samples per channel.")
    max_channels: int = setting(64, "Largest number of channels of a sound.")
    max_faces: int = setting(5_000_000, "Largest mesh, in triangles, all polygons cut and all instances counted.")
    max_output: int = setting(4_000_000_000, "Largest decoded signal, and most memory for decoding one, in bytes.")

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

    def check_memory(self, needed: int, what: str, advice: str) -> None:
        """Raises ``OverLimit`` if ``what`` needs more bytes of memory than ``max_output`` admits."""
        if needed <= max(ALWAYS_GRANTED, self.max_output):
            return
        how = "raise it with --max-output"
        if needed > (whole := physical_memory()):
            how = f"this machine has {in_bytes(whole)}, so that no --max-output helps: {advice}"
        limit = in_bytes(self.max_output)
        raise OverLimit(
            f"{what} needs about {in_bytes(needed)} of memory, the limit is {limit} ({how})", "limit.max_output"
        )


def require_memory(needed: int, what: str, advice: str) -> None:
    """Raises ``NotEnoughMemory`` if ``what`` needs more bytes than there are."""
    available = available_memory()
    if needed > available:
        raise NotEnoughMemory(
            f"{what} needs about {in_bytes(needed)} of memory, {in_bytes(available)} are available ({advice})", "memory"
        )


def in_bytes(count: int) -> str:
    """A number of bytes for people, as in 3.2 GB or 480 MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 10**9 else f"{count / 1e6:,.0f} MB"
