"""The quality of what a written field decodes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .fields.field import Field
from .modalities import MODALITIES
from .points import judged_points
from .signal import Signal

FULL_CHECK = 16_000_000
"""Up to this many samples the decoded signal is measured whole; above, by SAMPLED stratified ones."""

SAMPLED = 1_000_000
ESTIMATED = 65_536
"""Samples that judge an interrupted fit, which must be written within two seconds."""


class Hurry(Exception):
    """Raised between chunks when there is no time left for the whole."""


def measure(
    field: Field,
    signal: Signal,
    verify: str | None,
    hurried: bool,
    stop: Callable[[], bool],
    checking: Callable[[float], None],
) -> dict[str, Any]:
    """Every measure of the whole signal; or the main one of a sample, marked as an estimate, when ``hurried`` or when
    ``stop`` becomes true on the way. ``verify`` is ``full``, ``sample`` or None (full up to FULL_CHECK samples)."""
    modality = MODALITIES[signal.modality]

    def tick(share: float) -> None:
        if stop():
            raise Hurry
        checking(share)

    if not hurried and (verify == "full" or (verify is None and signal.n <= FULL_CHECK)):
        try:
            return modality.measure(field, signal, tick) | {"samples": signal.n, "estimate": False}
        except Hurry:
            hurried = True
    if not hurried:
        try:
            return estimate(field, signal, SAMPLED, tick)
        except Hurry:
            pass
    return estimate(field, signal, ESTIMATED, lambda share: None)


@torch.no_grad()
def estimate(field: Field, signal: Signal, count: int, tick: Callable[[float], None]) -> dict[str, Any]:
    """The modality's main measure over ``count`` stratified points."""
    modality = MODALITIES[signal.modality]
    coords, values = judged_points(signal, count, field.device)
    predicted = []
    for piece in coords.split(8192):
        predicted.append(field(piece))
        tick(len(predicted) * 8192 / coords.shape[0])
    quality = modality.estimate(torch.cat(predicted), values, signal.scale)
    return {modality.QUALITY: quality, "samples": int(coords.shape[0]), "estimate": True}
