"""What is taught in one step: selections cut into batches; for fields whose cells share work, whole blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..samplers import Selection
from ..samplers.learner import Learner
from ..samplers.uniform import MAX_SHUFFLED_POINTS

Batch = tuple[Tensor, Tensor | None]
"""Flat indices, and their weights where not all weigh the same."""


@dataclass(frozen=True)
class Queue:
    """What is still to be taught of a selection: ``listed`` points in their order, from ``place`` on, in batches of
    ``size``; or the columns of ``turns`` (blocks of the raster) from ``place`` on; or ``draws`` batches of ``size``
    points drawn by chance. ``rest`` is what earlier selections have left over: it opens the next listed batch."""

    listed: Batch | None = None
    turns: Tensor | None = None
    draws: int = 0
    size: int = 0
    place: int = 0
    rest: Batch | None = None


def queued(learner: Learner, selection: Selection, points: int | None, rest: Batch | None) -> Queue:
    """A new selection, to be taught in batches of ``points`` (None: as a whole): a stream of shuffled selections, cut
    into batches of one size; what is left of a selection opens the first batch of the next."""
    count = learner.n if selection.indices is None else selection.indices.shape[0]
    if selection.indices is None and learner.block_shape is not None:
        return Queue(turns=block_turns(learner, points or count), rest=rest)
    if points is None:
        whole = torch.arange(learner.n, device=learner.device) if selection.indices is None else selection.indices
        return Queue(listed=(whole, selection.weights), size=count, rest=rest)
    size = min(points, count)
    if selection.indices is None and learner.n > MAX_SHUFFLED_POINTS:
        return Queue(draws=count // size, size=size, rest=rest)
    return Queue(listed=_joined(rest, _shuffled(learner, selection)), size=size)


def next_batch(learner: Learner, queue: Queue) -> tuple[Batch | None, Queue]:
    """The next batch and what is then left; no batch when the selection is used up."""
    if queue.turns is not None and queue.place < queue.turns.shape[1]:
        batch = block_batch(learner, queue.turns[:, queue.place]), None
        return batch, replace(queue, place=queue.place + 1)
    if queue.draws:
        return (learner.draw(queue.size), None), replace(queue, draws=queue.draws - 1)
    if queue.listed is not None:
        stop = queue.place + queue.size
        if stop <= queue.listed[0].shape[0]:
            return _part(queue.listed, queue.place, stop), replace(queue, place=stop)
        left = _part(queue.listed, queue.place, queue.listed[0].shape[0])
        return None, Queue(rest=left if left[0].shape[0] else queue.rest)
    return None, Queue(rest=queue.rest)


def _shuffled(learner: Learner, selection: Selection) -> Batch:
    """Indices and weights in random order, or as the sampler has dealt them."""
    if selection.indices is None:
        return learner.permutation(learner.n), None
    if selection.keep_order:
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


def block_turns(learner: Learner, batch: int) -> Tensor:
    """Which block of every stretch of the raster goes to which batch, (stretches, batches): every block once, in
    batches of about ``batch`` points, of one block at least. One block of every stretch goes to each batch, so that a
    batch covers the signal evenly. Entries beyond the last block stand for none."""
    total, block = prod(_across(learner)), learner.block_shape
    assert block is not None
    parts = min(total, max(1, round(total * prod(block) / batch)))
    stretches = -(-total // parts)
    turns = learner.uniform(stretches * parts).view(stretches, parts).argsort(1)
    return turns + torch.arange(stretches, device=learner.device)[:, None] * parts


def block_batch(learner: Learner, blocks: Tensor) -> Tensor:
    """The points of flat ``blocks`` (k,) in the raster's order, the points of each block together."""
    grid, across = learner.samples.signal.grid, _across(learner)
    assert grid is not None
    assert learner.block_shape is not None
    return members(blocks[blocks < prod(across)], grid.shape, learner.block_shape, across)


def _across(learner: Learner) -> tuple[int, ...]:
    """Blocks along each axis of the raster."""
    grid, block = learner.samples.signal.grid, learner.block_shape
    assert grid is not None
    assert block is not None
    return tuple(-(-length // side) for length, side in zip(grid.shape, block, strict=True))


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
