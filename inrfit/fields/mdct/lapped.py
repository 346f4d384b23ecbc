"""The modified discrete cosine transform (MDCT, Princen and Bradley 1986) with a sine window, of any hop.

Frame f covers the samples from (f - 1) hop to (f + 1) hop, so that two frames cover each sample. The transform is
orthonormal, and its functions exist between the samples too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_PHASES = 1 << 20
"""Points times frequencies whose cosines are computed at a time."""

_TOGETHER = 1 << 17
"""Points on a line that are interpolated at a time."""

_TAPS, _BETA = 8, 6 * math.pi
"""Width, in places of a grid of half a sample, and shape of the window by which values are interpolated from it: the
error is about 1e-7 of the largest value (Fessler and Sutton 2003, "Nonuniform fast Fourier transforms")."""


def frame_count(samples: int, hop: int) -> int:
    """Number of frames of so many samples."""
    return -(-samples // hop) + 1


def analysis(signal: Float[Tensor, "c n"], hop: int) -> Float[Tensor, "c frames hop"]:
    """The coefficients of a signal."""
    import torch

    channels, samples = signal.shape
    frames = frame_count(samples, hop)
    padded = signal.new_zeros(channels, (frames + 1) * hop)
    padded[:, hop : hop + samples] = signal
    windowed = padded.unfold(1, 2 * hop, hop) * _window(hop).to(signal)
    first, second, third, fourth = windowed.unflatten(-1, (4, hop // 2)).unbind(-2)
    return _dct4(torch.cat([-third.flip(-1) - fourth, first - second.flip(-1)], -1))


def synthesis(spectrum: Float[Tensor, "c frames hop"], start: int, stop: int) -> Float[Tensor, "c n"]:
    """The samples from ``start`` to ``stop`` (n of them), from the frames that cover them."""
    import torch

    hop = spectrum.shape[-1]
    first, last = start // hop, max(start, stop - 1) // hop + 2
    folded = _dct4(spectrum[:, first:last])
    low, high = folded[..., : hop // 2], folded[..., hop // 2 :]
    frames = torch.cat([high, -high.flip(-1), -low.flip(-1), -low], -1) * _window(hop).to(spectrum)
    halves = frames.unflatten(-1, (2, hop))
    joined: Tensor = (halves[:, :-1, 1] + halves[:, 1:, 0]).flatten(1)
    return joined[:, start - first * hop : stop - first * hop]


def values_at(spectrum: Float[Tensor, "c frames hop"], positions: Float[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """The values at ``positions`` in samples, in float64, of which 0 is the first sample."""
    import torch

    hop = spectrum.shape[-1]
    pieces = positions.split(max(1, _PHASES // hop))
    return torch.cat([_values_at(spectrum, piece) for piece in pieces])


def _values_at(spectrum: Tensor, positions: Tensor) -> Tensor:
    import torch

    frames, hop = spectrum.shape[1:]
    first = ((positions.detach() + 0.5) / hop).floor().long().clamp(0, frames - 2)
    frequencies = (torch.arange(hop, device=positions.device, dtype=torch.float64) + 0.5) / (2 * hop)
    total = spectrum.new_zeros(len(positions), spectrum.shape[0])
    for frame in (first, first + 1):
        place = positions + 0.5 - (frame - 1) * hop
        turns = (place + hop / 2)[:, None] * frequencies
        turns = turns - turns.detach().floor()  # float32 is exact enough for the rest of a turn
        cosines = torch.cos(2 * math.pi * turns.to(spectrum.dtype))
        window = torch.sin(math.pi * place / (2 * hop)).to(spectrum.dtype) * math.sqrt(2 / hop)
        total = total + torch.einsum("nk,cnk->nc", cosines, spectrum[:, frame]) * window[:, None]
    return total


def values_on_line(spectrum: Float[Tensor, "c frames hop"], positions: Float[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """Like ``values_at``, for many increasing positions: by one Fourier transform of each frame, and interpolation."""
    import torch

    pieces = [_values_on_line(spectrum, piece) for piece in positions.split(_TOGETHER) if len(piece)]
    return torch.cat([spectrum.new_zeros(0, len(spectrum)), *pieces])


def _values_on_line(spectrum: Tensor, positions: Tensor) -> Tensor:
    import torch

    channels, frames, hop = spectrum.shape
    first = ((positions + 0.5) / hop).floor().long().clamp(0, frames - 2)
    start, stop = int(first[0]), int(first[-1]) + 2
    fine = _fine_grid(spectrum[:, start:stop]).flatten(1)
    total = spectrum.new_zeros(channels, len(positions))
    taps = torch.arange(1 - _TAPS // 2, _TAPS // 2 + 1, device=positions.device)
    for frame in (first, first + 1):
        turns = (positions + 0.5 - (frame - 1) * hop + hop / 2) / (2 * hop)
        place = 2 * hop * turns
        nearest = place.floor().long()
        shares = _kernel((place - nearest)[:, None] - taps).to(spectrum.dtype)
        index = (frame - start)[:, None] * (2 * hop) + (nearest[:, None] + taps) % (2 * hop)
        values = (fine[:, index] * shares).sum(-1)
        shift = (turns * (hop + 1)) % 2
        rotated = values * torch.polar(torch.ones_like(shift), math.pi * shift).to(values.dtype)
        window = torch.sin(math.pi * (2 * turns - 0.5) / 2) * math.sqrt(2 / hop)
        total = total + rotated.real * window.to(spectrum.dtype)
    return total.T


def _fine_grid(spectrum: Float[Tensor, "c frames hop"]) -> Tensor:
    """The sums over k of X[k] exp(2 pi i (k - hop / 2) x), complex (c, frames, 2 hop), at steps of 1 / (2 hop) in x,
    made ready for ``_kernel``."""
    import torch

    hop = spectrum.shape[-1]
    frequencies = (torch.arange(hop, dtype=torch.float64) - hop / 2) / (2 * hop)
    root = (_BETA**2 - (math.pi * _TAPS * frequencies) ** 2).sqrt()
    transformed = _TAPS * torch.sinh(root) / root / torch.special.i0(torch.tensor(_BETA, dtype=torch.float64))
    scaled = spectrum / transformed.to(spectrum)
    padded = spectrum.new_zeros(*spectrum.shape[:-1], 2 * hop)
    padded[..., : hop // 2], padded[..., -(hop // 2) :] = scaled[..., hop // 2 :], scaled[..., : hop // 2]
    found: Tensor = torch.fft.ifft(padded, norm="forward")
    return found


def _kernel(distance: Tensor) -> Tensor:
    """The Kaiser-Bessel window at a distance in places of the fine grid."""
    import torch

    inside = (1 - (2 * distance / _TAPS) ** 2).clamp(min=0)
    found: Tensor = torch.special.i0(_BETA * inside.sqrt()) / torch.special.i0(torch.tensor(_BETA).to(distance))
    return torch.where(distance.abs() <= _TAPS / 2, found, 0.0)


def _window(hop: int) -> Tensor:
    """The sine window (2 hop,)."""
    import torch

    return torch.sin(math.pi * (torch.arange(2 * hop, dtype=torch.float64) + 0.5) / (2 * hop))


def _dct4(values: Float[Tensor, "... hop"]) -> Float[Tensor, "... hop"]:
    """The orthonormal discrete cosine transform of the fourth kind, which is its own inverse, by one complex Fourier
    transform of half the length."""
    import torch

    length = values.shape[-1]
    angles = (8 * torch.arange(length // 2, dtype=torch.float64) + 1) * (-math.pi / (8 * length))
    twiddles = torch.polar(torch.ones_like(angles), angles).to(values.device)
    twiddles = twiddles.to(torch.complex64 if values.dtype == torch.float32 else torch.complex128)
    found = torch.fft.fft(torch.complex(values[..., 0::2], values[..., 1::2].flip(-1)) * twiddles) * twiddles
    return torch.stack([found.real, -found.imag.flip(-1)], -1).flatten(-2) * math.sqrt(2 / length)
