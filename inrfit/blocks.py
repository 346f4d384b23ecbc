"""Batches of whole blocks of a raster, for fields whose cells share work with their neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from .learner import Learner


def block_batches(learner: Learner, batch: int) -> Iterator[Tensor]:
    """Every point once, in batches of about ``batch``, of one block at least: whole blocks in the raster's order, the
    points of each block together. One block of every stretch of the raster goes to each batch, so that a batch covers
    the signal evenly."""
    grid, block = learner.samples.signal.grid, learner.blocks
    assert grid is not None
    assert block is not None
    across = tuple(-(-length // side) for length, side in zip(grid.shape, block, strict=True))
    total = prod(across)
    batches = min(total, max(1, round(total * prod(block) / batch)))
    stretches = -(-total // batches)
    turns = learner.uniform(stretches * batches).view(stretches, batches).argsort(1)
    turns += torch.arange(stretches, device=learner.device)[:, None] * batches
    for column in turns.unbind(1):
        yield members(column[column < total], grid.shape, block, across)


def members(blocks: Tensor, shape: tuple[int, ...], block: tuple[int, ...], across: tuple[int, ...]) -> Tensor:
    """The flat indices of the points of flat ``blocks`` (k,), block after block, without those off the raster."""
    flat = torch.zeros(blocks.shape[0], 1, dtype=torch.int64, device=blocks.device)
    inside = None
    stride, rest = 1, blocks
    within = torch.arange(prod(block), device=blocks.device)
    for length, side, count in zip(shape[::-1], block[::-1], across[::-1], strict=True):
        position = (rest % count * side)[:, None] + within % side
        rest, within = rest // count, within // side
        flat = flat + position * stride
        stride *= length
        if length % side:
            fits = position < length
            inside = fits if inside is None else inside & fits
    return flat.reshape(-1) if inside is None else flat[inside]
