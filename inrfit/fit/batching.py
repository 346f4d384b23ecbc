"""What is taught in one step: selections cut into batches; for fields whose cells share work, whole blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor

from ..samplers import Selection
from ..samplers.learner import Learner
from ..samplers.uniform import LONGEST_SHUFFLE

Batch = tuple[Tensor, Tensor | None]
"""Flat indices, and their weights where not all weigh the same."""


def batches(learner: Learner, select: Callable[[], Selection], points: int) -> Iterator[Batch]:
    """Points of one step at a time, ``points`` of them (0: a whole selection): a stream of shuffled selections, cut
    into batches of one size; what is left of a selection opens the first batch of the next."""
    rest: Batch | None = None
    while True:
        selection = select()
        count = learner.n if selection.indices is None else selection.indices.shape[0]
        if selection.indices is None and learner.blocks is not None:
            for indices in block_batches(learner, points or count):
                yield indices, None
            continue
        if points == 0:
            whole = torch.arange(learner.n, device=learner.device) if selection.indices is None else selection.indices
            yield whole, selection.weights
            continue
        size = min(points, count)
        if selection.indices is None and learner.n > LONGEST_SHUFFLE:
            for _ in range(count // size):
                yield learner.draw(size), None
            continue
        stream = _joined(rest, _shuffled(learner, selection))
        full = stream[0].shape[0] // size * size
        for start in range(0, full, size):
            yield _part(stream, start, start + size)
        rest = _part(stream, full, stream[0].shape[0])


def _shuffled(learner: Learner, selection: Selection) -> Batch:
    """Indices and weights in random order, or as the sampler has dealt them."""
    if selection.indices is None:
        return learner.permutation(learner.n), None
    if selection.dealt:
        return selection.indices, selection.weights
    order = learner.permutation(selection.indices.shape[0])
    weights = None if selection.weights is None else selection.weights[order]
    return selection.indices[order], weights


def _joined(first: Batch | None, second: Batch) -> Batch:
    if first is None or not first[0].shape[0]:
        return second
    indices = torch.cat([first[0], second[0]])
    if first[1] is None and second[1] is None:
        return indices, None
    weights = [
        torch.ones(part[0].shape[0], device=indices.device) if part[1] is None else part[1] for part in (first, second)
    ]
    return indices, torch.cat(weights)


def _part(stream: Batch, start: int, stop: int) -> Batch:
    indices, weights = stream
    return indices[start:stop], None if weights is None else weights[start:stop]


def block_batches(learner: Learner, batch: int) -> Iterator[Tensor]:
    """Every point once, in batches of about ``batch``, of one block at least: whole blocks in the raster's order, the
    points of each block together. One block of every stretch of the raster goes to each batch, so that a batch covers
    the signal evenly."""
    grid, block = learner.samples.signal.grid, learner.blocks
    assert grid is not None
    assert block is not None
    across = tuple(-(-length // side) for length, side in zip(grid.shape, block, strict=True))
    total = prod(across)
    parts = min(total, max(1, round(total * prod(block) / batch)))
    stretches = -(-total // parts)
    turns = learner.uniform(stretches * parts).view(stretches, parts).argsort(1)
    turns += torch.arange(stretches, device=learner.device)[:, None] * parts
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
