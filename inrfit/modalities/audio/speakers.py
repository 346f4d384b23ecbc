"""Speaker positions of sounds with several channels.

Samples in memory are in the order of WAV (that of the bits of the speaker mask), whatever the file. Vorbis and Opus
have orders of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

FL, FR, FC, LFE, BL, BR, BC, SL, SR = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x100, 0x200, 0x400
"""Bits of the speaker mask: front left, right and centre, low frequencies, back left, right and centre, sides."""

_BITS = (FL, FR, FC, LFE, BL, BR, BC, SL, SR)

VORBIS_ORDERS: dict[int, tuple[int, ...]] = {
    1: (FC,),
    2: (FL, FR),
    3: (FL, FC, FR),
    4: (FL, FR, BL, BR),
    5: (FL, FC, FR, BL, BR),
    6: (FL, FC, FR, BL, BR, LFE),
    7: (FL, FC, FR, SL, SR, BC, LFE),
    8: (FL, FC, FR, SL, SR, BL, BR, LFE),
}
"""The order of channels in Vorbis (and Opus) by their number."""

FLAC_MASKS = {1: 0x4, 2: 0x3, 3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}
"""Speaker masks of FLAC files without a comment about them, by the number of channels."""


def vorbis_mask(channels: int) -> int | None:
    """The speaker mask of a Vorbis or Opus file; None for numbers of channels without positions."""
    return sum(VORBIS_ORDERS[channels]) if channels in VORBIS_ORDERS else None


def from_vorbis(channels: int) -> list[int] | None:
    """For each channel in WAV order, its place in a Vorbis file; None if the order is the same or unknown."""
    order = VORBIS_ORDERS.get(channels)
    if order is None:
        return None
    places = [order.index(bit) for bit in _BITS if bit in order]
    return None if places == sorted(places) else places


def to_vorbis(mask: int | None, channels: int) -> list[int] | None:
    """For each channel of a Vorbis file, its place in WAV order, for a sound of this speaker ``mask``; None if the
    order is the same, or positions are unknown. Side speakers serve as back speakers and the other way round."""
    order = VORBIS_ORDERS.get(channels)
    if order is None or mask is None or not holds(mask, channels):
        return None
    present = [bit for bit in _BITS if mask & bit]
    places = [present.index(_present(bit, present)) for bit in order]
    return None if places == sorted(places) else places


def holds(mask: int, channels: int) -> bool:
    """Whether Vorbis and Opus have positions for the speakers in ``mask``."""
    order = VORBIS_ORDERS.get(channels)
    present = [bit for bit in _BITS if mask & bit]
    if order is None or len(present) != channels or bin(mask).count("1") != channels:
        return False
    return len({_present(bit, present) for bit in order}) == channels and all(
        _present(bit, present) in present for bit in order
    )


def _present(bit: int, present: Sequence[int]) -> int:
    """``bit``, or the side or back speaker that stands for it among those that are ``present``."""
    twins = {BL: SL, BR: SR, SL: BL, SR: BR}
    return bit if bit in present else twins.get(bit, bit)


def describe(mask: int | None, channels: int) -> str:
    """The usual name of a layout, such as 5.1; "" if there is none."""
    names = {0x4: "mono", 0x3: "stereo", 0x33: "4.0", 0x37: "5.0", 0x607: "5.0", 0x3F: "5.1", 0x60F: "5.1 (side)"}
    names |= {0x70F: "6.1", 0x63F: "7.1", 0xFF: "7.1 (wide)"}
    return names.get(mask, "") if mask else ""
