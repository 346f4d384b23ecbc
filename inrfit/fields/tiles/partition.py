"""A partition of the domain into tiles that blend into each other: the tiles of each point and their weights.

Tiles are equally long along every axis from -1 to 1. Around each inner border lies a band, ``overlap`` of a tile's side
wide, in which the two neighbours are blended: their weights sum to 1 and follow the smooth step 3u^2 - 2u^3, so the
blend has a continuous derivative. Elsewhere, and outside the domain, a point belongs to one tile.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

MAX_TILES = 65_536
"""Maximum number of tiles."""

MAX_ROW_TO_MEAN, MIN_ROW_LENGTH = 1.5, 32
"""Limit on the length of a row of points: this multiple of the mean number of points per tile in use, but at least the
given number of points. Tiles with more points take several rows, which bounds the padding for uneven points."""


def parse_tiles(tiles: str, axes: int) -> tuple[int, ...]:
    """Tiles per axis from "8x12", or from "4" for 4 along each of ``axes``; raises ``UsageError``."""
    if not re.fullmatch("[1-9][0-9]{0,4}(x[1-9][0-9]{0,4}){0,3}", tiles):
        raise UsageError(f"-O tiles={tiles[:40]}: write the tiles per axis as in 8x12, or one number for all", "option")
    counts = tuple(int(count) for count in tiles.split("x"))
    counts = counts * axes if len(counts) == 1 else counts
    if len(counts) != axes:
        raise UsageError(f"-O tiles={tiles}: this signal has {axes} axes", "option")
    if math.prod(counts) > MAX_TILES:
        raise UsageError(
            f"-O tiles={tiles}: {math.prod(counts):,} tiles, at most {MAX_TILES:,} are supported", "option"
        )
    return counts


def near_cubic_tiles(shape: tuple[int, ...], tiles: int) -> tuple[int, ...]:
    """Tiles per axis for a raster of ``shape``: at most ``tiles`` in all, and as nearly cubic as possible.

    Adds one tile at a time along the axis where they are longest, while the limit permits.
    """
    counts = [1] * len(shape)
    while True:
        longest_first = sorted(range(len(shape)), key=lambda axis: shape[axis] / counts[axis], reverse=True)
        for axis in longest_first:
            total = math.prod(counts) // counts[axis] * (counts[axis] + 1)
            if total <= tiles and counts[axis] < shape[axis]:
                counts[axis] += 1
                break
        else:
            return tuple(counts)


def locate(
    coords: Float[Tensor, " n"], count: int, overlap: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """For coordinates on an axis of ``count`` tiles: position in tiles (0 to ``count``), the tile, the neighbour that
    the tile is blended with (the tile itself where there is none) and the neighbour's weight (0 to 1/2)."""
    position = (coords + 1) * (count / 2)
    own = position.detach().floor().clamp(0, count - 1)
    within = position - own
    low, high = overlap / 2 - within, within - (1 - overlap / 2)
    neighbour = own - (low > 0).to(own.dtype) + (high > 0).to(own.dtype)
    inside = (neighbour >= 0) & (neighbour < count)
    neighbour = neighbour.where(inside, own)
    depth = (low.maximum(high) / overlap).where(neighbour != own, 0)
    return position, own, neighbour, depth * depth * (3 - 2 * depth)


@dataclass(frozen=True)
class TileRows:
    """The points of many tiles as rows of equal length, each row with points of one tile.

    ``point`` and ``weight``: the point of each (point, tile) pair and the weight of the tile there. ``slot``: the
    pair's flat index in the rows. ``tiles``: the tile of each row, or None if the rows are all tiles in order.
    ``local``: coordinates from -1 to 1 across the row's tile, 0 in unused slots.
    """

    point: Int[Tensor, " pairs"]
    weight: Float[Tensor, " pairs"]
    slot: Int[Tensor, " pairs"]
    tiles: Int[Tensor, " rows"] | None
    local: Float[Tensor, "rows length d"]

    def blend(self, values: Float[Tensor, "rows length c"], points: int) -> Float[Tensor, "points c"]:
        """The values of ``points`` points, each the weighted sum over its tiles."""
        weighted = values.flatten(0, 1).index_select(0, self.slot) * self.weight[:, None]
        return weighted.new_zeros(points, values.shape[-1]).index_add(0, self.point, weighted)

    def blend_backward(self, grad: Float[Tensor, "points c"]) -> Float[Tensor, "rows length c"]:
        """The gradient with respect to the rows, from that with respect to the result of ``blend``."""
        rows, length = self.local.shape[:2]
        grad_rows = grad.new_zeros(rows * length, grad.shape[-1])
        grad_rows[self.slot] = grad.index_select(0, self.point) * self.weight[:, None]
        return grad_rows.view(rows, length, grad.shape[-1])


def arrange(coords: Float[Tensor, "n d"], counts: tuple[int, ...], overlap: float) -> TileRows:
    """The (point, tile) pairs of ``coords`` in rows by tile, for ``counts`` tiles per axis."""
    import torch

    point = torch.arange(coords.shape[0], device=coords.device)
    tile, weight = torch.zeros_like(point), coords.new_ones(coords.shape[0])
    local: list[Tensor] = []
    for axis, count in enumerate(counts):
        position, own, neighbour, neighbour_weight = locate(coords[:, axis], count, overlap)
        shared = (neighbour_weight.detach()[point] > 0).nonzero().squeeze(1)
        shared_point = point[shared]
        weight = torch.cat([weight * (1 - neighbour_weight)[point], weight[shared] * neighbour_weight[shared_point]])
        tile = torch.cat([tile * count + own[point].long(), tile[shared] * count + neighbour[shared_point].long()])
        local = [torch.cat([coordinate, coordinate[shared]]) for coordinate in local]
        distances = [position[point] - own[point], position[shared_point] - neighbour[shared_point]]
        local.append(torch.cat(distances) * 2 - 1)
        point = torch.cat([point, shared_point])
    return _fill_rows(point, weight, tile, torch.stack(local, dim=-1), math.prod(counts))


def _fill_rows(
    point: Int[Tensor, " pairs"],
    weight: Float[Tensor, " pairs"],
    tile: Int[Tensor, " pairs"],
    local: Float[Tensor, "pairs d"],
    tiles: int,
) -> TileRows:
    """The pairs sorted by tile and laid out in rows."""
    import torch

    tile, order = tile.sort()
    numbers = torch.bincount(tile, minlength=tiles)
    used = numbers.nonzero().squeeze(1)
    pairs, longest = tile.shape[0], max(1, int(numbers.max()))
    length = min(longest, max(MIN_ROW_LENGTH, math.ceil(MAX_ROW_TO_MEAN * pairs / max(1, used.shape[0]))))
    rows_per_tile = (numbers + length - 1) // length
    first_row, first_pair = rows_per_tile.cumsum(0) - rows_per_tile, numbers.cumsum(0) - numbers
    slot = torch.arange(pairs, device=tile.device) + (first_row * length - first_pair)[tile]
    row_per_tile = longest <= length and used.shape[0] == tiles
    tile_of_row = None
    if not row_per_tile:
        tile_of_row = torch.arange(tiles, device=tile.device).repeat_interleave(rows_per_tile)
    rows = tiles if tile_of_row is None else tile_of_row.shape[0]
    placed = local.new_zeros(rows * length, local.shape[-1]).index_copy(0, slot, local[order])
    return TileRows(point[order], weight[order], slot, tile_of_row, placed.view(rows, length, local.shape[-1]))


@dataclass(frozen=True)
class TileSpan:
    """The cells along an axis to which one tile contributes: the first of them, and each one's local coordinate and
    weight."""

    tile: int
    start: int
    local: Float[Tensor, " m"]
    weight: Float[Tensor, " m"]


def tile_spans(coords: Float[Tensor, " n"], count: int, overlap: float) -> list[TileSpan]:
    """The spans of the ``count`` tiles of an axis that contribute to increasing ``coords``."""
    import torch

    position, own, neighbour, neighbour_weight = locate(coords, count, overlap)
    first, last = int(own[0].minimum(neighbour[0])), int(own[-1].maximum(neighbour[-1]))
    tiles = torch.arange(first, last + 1, device=coords.device)
    starts = torch.searchsorted(position, tiles - overlap / 2).tolist()
    stops = torch.searchsorted(position, tiles + (1 + overlap / 2), right=True).tolist()
    spans = []
    for tile, start, stop in zip(range(first, last + 1), starts, stops, strict=True):
        part = slice(start, stop)
        shared = neighbour_weight[part].where(neighbour[part] == tile, 0)
        weight = (1 - neighbour_weight[part]).where(own[part] == tile, shared)
        if stop > start:
            spans.append(TileSpan(tile, start, (position[part] - tile) * 2 - 1, weight))
    return spans


Box = tuple[tuple[int, int], ...]
"""A box of cells of a raster: per axis the first and the one after the last."""


def split_into_boxes(shape: tuple[int, ...], start: int, stop: int) -> list[Box]:
    """The cells start..stop (flat, row-major) of a raster as boxes, in order."""
    if start >= stop:
        return []
    inner = math.prod(shape[1:])
    if inner == 1 and len(shape) == 1:
        return [((start, stop),)]
    first, last = start // inner, (stop - 1) // inner
    if first == last:
        inside = split_into_boxes(shape[1:], start - first * inner, stop - first * inner)
        return [((first, first + 1), *box) for box in inside]
    head = split_into_boxes(shape, start, (first + 1) * inner) if start % inner else []
    tail = split_into_boxes(shape, last * inner, stop) if stop % inner else []
    low, high = first + bool(head), last + 1 - bool(tail)
    whole: list[Box] = [((low, high), *((0, side) for side in shape[1:]))] if low < high else []
    return head + whole + tail
