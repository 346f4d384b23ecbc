"""Cuts selections into the batches of the optimiser steps; recipe.py chooses the batch size.

Fields whose cells share work are trained on whole blocks of the raster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..samplers import Selection
from ..samplers.learner import Learner
from ..samplers.uniform import MAX_SHUFFLED_POINTS

Batch = tuple[Tensor, Tensor | None]
"""Flat indices (k,), and their weights (k,), or None if all have the same weight."""


@dataclass(frozen=True)
class BatchQueue:
    """The part of a selection that has not been trained on yet, in one of three forms:

    - ``points``, in their order, of which those before ``position`` are done, in batches of ``batch_size``;
    - ``block_columns`` (stretches, batches): each column is one batch of raster blocks; those before ``position`` are
      done;
    - ``random_batches``: so many batches of ``batch_size`` points, drawn when they are due.

    ``leftover`` holds the points of earlier selections that did not fill a batch; they open the next one."""

    points: Batch | None = None
    block_columns: Tensor | None = None
    random_batches: int = 0
    batch_size: int = 0
    position: int = 0
    leftover: Batch | None = None


def queue_selection(
    learner: Learner, selection: Selection, batch_size: int | None, leftover: Batch | None
) -> BatchQueue:
    """Queues a new selection in batches of ``batch_size`` points (None: as a single batch), in random order. Batches
    have one size: the points of a selection that do not fill one become ``leftover`` for the next selection."""
    count = learner.n if selection.indices is None else selection.indices.shape[0]
    if selection.indices is None and learner.block_shape is not None:
        return BatchQueue(block_columns=shuffled_blocks(learner, batch_size or count), leftover=leftover)
    if batch_size is None:
        everything = learner.samples.all_indices if selection.indices is None else selection.indices
        return BatchQueue(points=(everything, selection.weights), batch_size=count, leftover=leftover)
    size = min(batch_size, count)
    if selection.indices is None and size == count and leftover is None:
        return BatchQueue(points=(learner.samples.all_indices, None), batch_size=size)
    if selection.indices is None and learner.n > MAX_SHUFFLED_POINTS:
        return BatchQueue(random_batches=count // size, batch_size=size, leftover=leftover)
    return BatchQueue(points=_concatenated(leftover, _shuffled(learner, selection)), batch_size=size)


def next_batch(learner: Learner, queue: BatchQueue) -> tuple[Batch | None, BatchQueue]:
    """The next batch and the queue after it; the batch is None if the selection is used up."""
    if queue.block_columns is not None and queue.position < queue.block_columns.shape[1]:
        batch = points_of_blocks(learner, queue.block_columns[:, queue.position]), None
        return batch, replace(queue, position=queue.position + 1)
    if queue.random_batches:
        return (learner.draw(queue.batch_size), None), replace(queue, random_batches=queue.random_batches - 1)
    if queue.points is not None:
        end = queue.position + queue.batch_size
        if end == queue.batch_size == queue.points[0].shape[0]:
            return queue.points, replace(queue, position=end)
        if end <= queue.points[0].shape[0]:
            return _slice(queue.points, queue.position, end), replace(queue, position=end)
        leftover = _slice(queue.points, queue.position, queue.points[0].shape[0])
        return None, BatchQueue(leftover=leftover if leftover[0].shape[0] else queue.leftover)
    return None, BatchQueue(leftover=queue.leftover)


def _shuffled(learner: Learner, selection: Selection) -> Batch:
    """Indices and weights in random order, or in the order of the sampler if that is to be kept."""
    if selection.indices is None:
        return learner.permutation(learner.n), None
    if selection.keep_order:
        return selection.indices, selection.weights
    order = learner.permutation(selection.indices.shape[0])
    weights = None if selection.weights is None else selection.weights[order]
    return selection.indices[order], weights


def _concatenated(first: Batch | None, second: Batch) -> Batch:
    """Both batches in one; points without a weight have weight 1 beside points that have one."""
    if first is None or not first[0].shape[0]:
        return second
    indices = torch.cat([first[0], second[0]])
    if first[1] is None and second[1] is None:
        return indices, None
    weights = [
        torch.ones(part[0].shape[0], device=indices.device) if part[1] is None else part[1] for part in (first, second)
    ]
    return indices, torch.cat(weights)


def _slice(batch: Batch, start: int, end: int) -> Batch:
    """The points from ``start`` to ``end``."""
    indices, weights = batch
    return indices[start:end], None if weights is None else weights[start:end]


def shuffled_blocks(learner: Learner, batch_size: int) -> Tensor:
    """The raster blocks of one pass over the signal, (stretches, batches), int64: each column is a batch.

    The blocks are divided into stretches of as many consecutive blocks as there are batches; every batch gets one block
    of each stretch, in random order, so that it covers the signal evenly. A batch has about ``batch_size`` points, one
    block at least. Numbers beyond the last block stand for no block."""
    block_count, block = prod(_blocks_per_axis(learner)), learner.block_shape
    assert block is not None
    batches = min(block_count, max(1, round(block_count * prod(block) / batch_size)))
    stretches = -(-block_count // batches)
    order = learner.uniform(stretches * batches).view(stretches, batches).argsort(1)
    return order + torch.arange(stretches, device=learner.device)[:, None] * batches


def points_of_blocks(learner: Learner, blocks: Tensor) -> Tensor:
    """The flat indices (n,) of the points of flat ``blocks`` (k,), the points of each block together."""
    grid, blocks_per_axis = learner.samples.signal.grid, _blocks_per_axis(learner)
    assert grid is not None
    assert learner.block_shape is not None
    return block_members(blocks[blocks < prod(blocks_per_axis)], grid.shape, learner.block_shape, blocks_per_axis)


def _blocks_per_axis(learner: Learner) -> tuple[int, ...]:
    """Number of blocks along each axis of the raster."""
    grid, block = learner.samples.signal.grid, learner.block_shape
    assert grid is not None
    assert block is not None
    return tuple(-(-length // side) for length, side in zip(grid.shape, block, strict=True))


def block_members(
    blocks: Tensor, shape: tuple[int, ...], block: tuple[int, ...], blocks_per_axis: tuple[int, ...]
) -> Tensor:
    """The flat indices of the points of flat ``blocks`` (k,) of sides ``block``, block after block, in a raster of
    ``shape``; points of a block that lie outside the raster are left out."""
    flat = torch.zeros(blocks.shape[0], 1, dtype=torch.int64, device=blocks.device)
    inside = None
    stride, block_rest = 1, blocks
    within_rest = torch.arange(prod(block), device=blocks.device)
    for length, side, count in zip(shape[::-1], block[::-1], blocks_per_axis[::-1], strict=True):
        position = (block_rest % count * side)[:, None] + within_rest % side
        block_rest, within_rest = block_rest // count, within_rest // side
        flat = flat + position * stride
        stride *= length
        if length % side:
            fits = position < length
            inside = fits if inside is None else inside & fits
    return flat.reshape(-1) if inside is None else flat[inside]
