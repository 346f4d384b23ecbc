"""Integer tables of Laplace distributions, and a coder (``rans``) that uses them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from .. import rans
from ..sealing import damaged
from .integer_wavelets import Ints

SCALES = 53
"""Number of scales: scale k is 2^(k / 4) / 32 steps."""

LARGEST = 1 << 22
"""Largest magnitude of an integer."""

PARTS = 8
"""Parts of a step to which the mean of a distribution is rounded."""

_ONE = 1 << 32

_DECAYS = (
    78665070, 148652826, 253857248, 398132550, 581260615, 799036310, 1044178424, 1307656790, 1580030169, 1852521207,
    2117713904, 2369882518, 2605029347, 2820730047, 3015876649, 3190386796, 3344923893, 3480652712, 3599040369,
    3701703250, 3790295335, 3866431115, 3931635878, 3987316692, 4034748382, 4075069962, 4109287957, 4138284039,
    4162825044, 4183574096, 4201101925, 4215897841, 4228380000, 4238904802, 4247775344, 4255248918, 4261543595,
    4266843974, 4271306145, 4275061981, 4278222805, 4280882540, 4283120382, 4285003080, 4286586875, 4287919135,
    4289039749, 4289982295, 4290775039, 4291441769, 4292002499, 4292474072, 4292870656,
)  # fmt: skip
"""2^32 exp(-1 / (8 scale)) for each scale, rounded."""


def _radius(scale: int) -> int:
    """The largest distance from the mean that a table has; further ones are escapes."""
    return min(1000, (12 << (scale // 4)) * (16, 19, 23, 27)[scale % 4] // 512 + 3)


def frequencies(scale: int, part: int) -> Ints:
    """Frequencies of the distances -radius to radius from a mean that is ``part`` / PARTS steps above 0, and of an
    escape. Each is at least 1, their sum 2^14."""
    powers = [_ONE]
    for _ in range(8):
        powers.append(powers[-1] * _DECAYS[scale] >> 32)
    above, below = powers[4 - part], powers[4 + part]  # of the tails that begin half a step above and below
    radius, decay = _radius(scale), powers[8]
    tails = []
    for begin in (below, above):
        weights, weight = [], begin * (_ONE - decay) >> 33
        for _ in range(radius):
            weights.append(weight)
            weight = weight * decay >> 32
        tails.append(weights)
    centre = _ONE - (above + below >> 1)
    weights = [*tails[0][::-1], centre, *tails[1], 0]
    spread = rans.TOTAL - len(weights)
    table = np.array([1 + weight * spread // _ONE for weight in weights])
    table[radius] += rans.TOTAL - table.sum()
    return table


class _Tables(rans.Tables):
    """All tables, by number: scale * PARTS + part + PARTS / 2. A symbol is a distance plus the radius."""

    def __init__(self) -> None:
        known = [frequencies(scale, part - PARTS // 2) for scale in range(SCALES) for part in range(PARTS)]
        super().__init__(known)
        self.radius = np.array([len(table) // 2 - 1 for table in known])
        self.bits = rans.BITS - np.log2(self.frequency)


tables = cache(_Tables)


def split(means: Ints) -> tuple[Ints, Ints]:
    """Means in parts of a step as the nearest integer, and the part that is left plus PARTS / 2."""
    centres = (means + PARTS // 2) >> 3
    return centres, means - PARTS * centres + PARTS // 2


class Encoder:
    """Collects integers with the distributions, and codes them. ``symbols`` may have other symbols, too."""

    def __init__(self, lanes: int) -> None:
        self.symbols, self._escapes = rans.Encoder(lanes), bytearray()

    def add(self, integers: Ints, means: Ints, scales: Ints) -> None:
        """Integers that are decoded together."""
        known = tables()
        centres, parts = split(means)
        numbers = scales * PARTS + parts
        radius = known.radius[numbers]
        distance = integers - centres
        escaped = np.abs(distance) > radius
        for value in distance[escaped].tolist():
            self._escapes += value.to_bytes(4, "little", signed=True)
        self.symbols.add(known, numbers, np.where(escaped, 2 * radius + 1, distance + radius))

    def code(self) -> tuple[bytes, bytes]:
        """The code, and the escaped distances."""
        return self.symbols.code(), bytes(self._escapes)


class Decoder:
    """Decodes what an ``Encoder`` coded, part by part. Raises ``UnreadableFile`` for a damaged code."""

    def __init__(self, lanes: int, code: bytes, escapes: bytes) -> None:
        self.symbols = rans.Decoder(lanes, code)
        if len(escapes) % 4:
            raise damaged()
        self._escapes, self._escaped = np.frombuffer(escapes, "<i4").astype(np.int64), 0

    def take(self, means: Ints, scales: Ints) -> Ints:
        """The next integers, of distributions with these means and scales."""
        known = tables()
        centres, parts = split(means)
        numbers = scales * PARTS + parts
        symbols, radius = self.symbols.take(known, numbers), known.radius[numbers]
        distance = symbols - radius
        escaped = np.flatnonzero(symbols > 2 * radius)
        if len(escaped):
            if self._escaped + len(escaped) > len(self._escapes):
                raise damaged()
            distance[escaped] = self._escapes[self._escaped : self._escaped + len(escaped)]
            self._escaped += len(escaped)
        found: Ints = distance + centres
        if np.abs(found).max(initial=0) > LARGEST:
            raise damaged()
        return found

    def end(self) -> None:
        """Raises ``UnreadableFile`` unless everything has been decoded."""
        self.symbols.end()
        if self._escaped < len(self._escapes):
            raise damaged()


def bits(integers: Ints, means: Ints, scales: Ints) -> npt.NDArray[np.float64]:
    """The bits that integers of these distributions take; about so many for those that are escapes."""
    known = tables()
    centres, parts = split(means)
    numbers = scales * PARTS + parts
    radius, distance = known.radius[numbers], integers - centres
    escaped = np.abs(distance) > radius
    places = known.first[numbers] + np.where(escaped, 2 * radius + 1, distance + radius)
    found: npt.NDArray[np.float64] = known.bits[places] + np.where(escaped, 24.0, 0.0)
    return found
