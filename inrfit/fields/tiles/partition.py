"""A box cut into tiles that blend into each other: which tiles a point belongs to, and by how much.

Along every axis from -1 to 1 the tiles are equally long. Around each inner border lies a band, ``overlap`` of a tile's
side wide, in which the two neighbours share a point: their weights sum to 1 and rise and fall smoothly (3u^2 - 2u^3),
so that what is blended is as smooth as its parts. Elsewhere, and outside the box, a point belongs to one tile.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


MOST_TILES = 65_536

FULL_ROWS, LEAST_ROW = 1.5, 32
"""A row of points of one tile is as long as the longest, but at most so many times the mean, or so many points: what is
longer takes several rows. Padding then is bounded however unevenly the points lie."""


def parse(tiles: str, axes: int) -> tuple[int, ...]:
    """Tiles per axis from "8x12", or from "4" for 4 along each of ``axes``; raises ``UsageError``."""
    if not re.fullmatch("[1-9][0-9]{0,4}(x[1-9][0-9]{0,4}){0,3}", tiles):
        raise UsageError(f"-O tiles={tiles[:40]}: write the tiles per axis as in 8x12, or one number for all", "option")
    counts = tuple(int(count) for count in tiles.split("x"))
    counts = counts * axes if len(counts) == 1 else counts
    if len(counts) != axes:
        raise UsageError(f"-O tiles={tiles}: this signal has {axes} axes", "option")
    if math.prod(counts) > MOST_TILES:
        raise UsageError(f"-O tiles={tiles}: {math.prod(counts):,} tiles, at most {MOST_TILES:,}", "option")
    return counts


def proportioned(shape: tuple[int, ...], tiles: int) -> tuple[int, ...]:
    """At most ``tiles`` in all, along axes of ``shape``, as nearly cubes as can be: one more at a time along the axis
    where they are longest, as long as there is room."""
    counts = [1] * len(shape)
    while True:
        sides = sorted(range(len(shape)), key=lambda axis: shape[axis] / counts[axis], reverse=True)
        for axis in sides:
            more = math.prod(counts) // counts[axis] * (counts[axis] + 1)
            if more <= tiles and counts[axis] < shape[axis]:
                counts[axis] += 1
                break
        else:
            return tuple(counts)


def places(coords: Tensor, count: int, overlap: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of coordinates (n,) on an axis of ``count`` tiles: position in tiles (0 to ``count``), the tile there, the
    neighbour that shares the point (itself where none does) and the neighbour's weight (n,), 0 to 1/2."""
    position = (coords + 1) * (count / 2)
    own = position.detach().floor().clamp(0, count - 1)
    within = position - own
    low, high = overlap / 2 - within, within - (1 - overlap / 2)
    neighbour = own - (low > 0).to(own.dtype) + (high > 0).to(own.dtype)
    inside = (neighbour >= 0) & (neighbour < count)
    neighbour = neighbour.where(inside, own)
    deep = (low.maximum(high) / overlap).where(neighbour != own, 0)
    return position, own, neighbour, deep * deep * (3 - 2 * deep)


@dataclass(frozen=True)
class Rows:
    """Points of many tiles as rows of one length, each row of one tile.

    ``point`` (m,) and ``weight`` (m,): the point of every (point, tile) pair and the tile's weight there; ``slot`` (m,)
    its place in the rows, flat; ``tiles`` (r,): the tile of every row, None where it is every tile once;
    ``local`` (r, length, d): coordinates of each place, from -1 to 1 across its tile, 0 where there is no point."""

    point: Tensor
    weight: Tensor
    slot: Tensor
    tiles: Tensor | None
    local: Tensor

    def gather(self, values: Tensor, points: int) -> Tensor:
        """Values (points, c) of rows (r, length, c): of each point the blend of its tiles."""
        found = values.flatten(0, 1).index_select(0, self.slot) * self.weight[:, None]
        return found.new_zeros(points, values.shape[-1]).index_add(0, self.point, found)

    def scatter(self, grad: Tensor) -> Tensor:
        """Of derivatives (points, c) with respect to ``gather``'s values those with respect to the rows."""
        rows, length = self.local.shape[:2]
        made = grad.new_zeros(rows * length, grad.shape[-1])
        made[self.slot] = grad.index_select(0, self.point) * self.weight[:, None]
        return made.view(rows, length, grad.shape[-1])


def rows(coords: Tensor, counts: tuple[int, ...], overlap: float) -> Rows:
    """The (point, tile) pairs of ``coords`` (n, d), sorted by tile."""
    import torch

    point = torch.arange(coords.shape[0], device=coords.device)
    tile, weight = torch.zeros_like(point), coords.new_ones(coords.shape[0])
    local: list[Tensor] = []
    for axis, count in enumerate(counts):
        position, own, neighbour, share = places(coords[:, axis], count, overlap)
        shared = (share.detach()[point] > 0).nonzero().squeeze(1)
        others = point[shared]
        weight = torch.cat([weight * (1 - share)[point], weight[shared] * share[others]])
        tile = torch.cat([tile * count + own[point].long(), tile[shared] * count + neighbour[others].long()])
        local = [torch.cat([found, found[shared]]) for found in local]
        local.append(torch.cat([position[point] - own[point], position[others] - neighbour[others]]) * 2 - 1)
        point = torch.cat([point, others])
    return _filled(point, weight, tile, torch.stack(local, dim=-1), math.prod(counts))


def _filled(point: Tensor, weight: Tensor, tile: Tensor, local: Tensor, tiles: int) -> Rows:
    """The pairs as rows."""
    import torch

    tile, order = tile.sort()
    numbers = torch.bincount(tile, minlength=tiles)
    used = numbers.nonzero().squeeze(1)
    pairs, longest = tile.shape[0], max(1, int(numbers.max()))
    length = min(longest, max(LEAST_ROW, math.ceil(FULL_ROWS * pairs / max(1, used.shape[0]))))
    needed = (numbers + length - 1) // length
    first_row, first_pair = needed.cumsum(0) - needed, numbers.cumsum(0) - numbers
    slot = torch.arange(pairs, device=tile.device) + (first_row * length - first_pair)[tile]
    whole = longest <= length and used.shape[0] == tiles
    of_row = None if whole else torch.arange(tiles, device=tile.device).repeat_interleave(needed)
    count = tiles if of_row is None else of_row.shape[0]
    placed = local.new_zeros(count * length, local.shape[-1]).index_copy(0, slot, local[order])
    return Rows(point[order], weight[order], slot, of_row, placed.view(count, length, local.shape[-1]))


@dataclass(frozen=True)
class Stretch:
    """The cells that one tile reaches along an axis: the first, and the local coordinate and weight (m,) of each."""

    tile: int
    start: int
    local: Tensor
    weight: Tensor


def stretches(coords: Tensor, count: int, overlap: float) -> list[Stretch]:
    """What each of the ``count`` tiles of an axis reaches of rising ``coords`` (n,)."""
    import torch

    position, own, neighbour, share = places(coords, count, overlap)
    first, last = int(own[0].minimum(neighbour[0])), int(own[-1].maximum(neighbour[-1]))
    tiles = torch.arange(first, last + 1, device=coords.device)
    starts = torch.searchsorted(position, tiles - overlap / 2).tolist()
    stops = torch.searchsorted(position, tiles + (1 + overlap / 2), right=True).tolist()
    found = []
    for tile, start, stop in zip(range(first, last + 1), starts, stops, strict=True):
        part = slice(start, stop)
        weight = (1 - share[part]).where(own[part] == tile, share[part].where(neighbour[part] == tile, 0))
        if stop > start:
            found.append(Stretch(tile, start, (position[part] - tile) * 2 - 1, weight))
    return found


Box = tuple[tuple[int, int], ...]
"""Cells of a raster: per axis the first and the one after the last."""


def boxes(shape: tuple[int, ...], start: int, stop: int) -> list[Box]:
    """The cells start..stop (flat, row-major) as boxes, in their order."""
    if start >= stop:
        return []
    inner = math.prod(shape[1:])
    if inner == 1 and len(shape) == 1:
        return [((start, stop),)]
    first, last = start // inner, (stop - 1) // inner
    if first == last:
        return [((first, first + 1), *box) for box in boxes(shape[1:], start - first * inner, stop - first * inner)]
    head = boxes(shape, start, (first + 1) * inner) if start % inner else []
    tail = boxes(shape, last * inner, stop) if stop % inner else []
    low, high = first + bool(head), last + 1 - bool(tail)
    whole: list[Box] = [((low, high), *((0, side) for side in shape[1:]))] if low < high else []
    return head + whole + tail
