"""Where a signal changes fastest: the prior of the edge-guided strategies, for any modality.

An image's edges are Canny's, of its grey; a sound's are the samples of largest slope, a shape's the points nearest to
its surface, in the share of all that is asked for. The map is made once, in cells: beyond MOST_CELLS samples a cell of
a raster stands for a block of them (the mean grey, the largest slope), so that a map takes at most a byte for each of
MOST_CELLS cells and a few seconds. Points of a set lie in random order and are never put in blocks: a byte a point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..signal import CHUNK
from .loss_terms import LUMA

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from ..signal import Signal
    from .learner import Learner

    Picture = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

MOST_CELLS = 1 << 22
"""Beyond this many samples of a raster a cell of the map stands for a block of them."""

EDGE_SHARE = 0.1
"""Share of a sound or shape that counts as edges; Canny(30, 40) finds 5 % to 30 % of a photograph."""

CANNY = (30 / 255, 40 / 255)
"""Both thresholds of the EVOS code, Canny(grey, 30, 40), on a grey of 0 to 1. OpenCV and skimage both take them on the
plain 3x3 Sobel gradient of the unsmoothed picture (sigma 0 here), but OpenCV by its L1 norm, skimage by its L2 norm:
they agree on upright edges; a slanted one must be up to 1.4 times as steep here."""

MOST_HALVINGS = 6


@dataclass(frozen=True)
class Raster:
    """Samples in rows, and the blocks of them (high, wide) that share a cell."""

    height: int
    width: int
    high: int = 1
    wide: int = 1

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return -(-self.height // self.high)

    @property
    def columns(self) -> int:
        """Columns of cells."""
        return -(-self.width // self.wide)

    def cells(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The flat cell of samples by row and column."""
        return rows // self.high * self.columns + columns // self.wide


@dataclass(frozen=True)
class Edges:
    """A map of edges: ``marked`` (rows * columns,) of the cells of ``raster``."""

    raster: Raster
    marked: Tensor

    def at(self, indices: Tensor, shift: int = 0) -> Tensor:
        """Which of the samples (k,) lie on an edge moved ``shift`` samples along its row; past its end it is gone."""
        rows, columns = indices // self.raster.width, indices % self.raster.width - shift
        return self.marked[self.raster.cells(rows, columns.clamp_min(0))] & (columns >= 0)

    def count(self, shift: int = 0) -> int:
        """How many samples of the whole signal ``at`` would find."""
        import torch

        raster = self.raster
        columns = torch.arange(raster.columns + 1, device=self.marked.device) * raster.wide
        wide = columns.clamp_max(max(0, raster.width - shift)).diff()
        rows = torch.arange(raster.rows + 1, device=self.marked.device) * raster.high
        high = rows.clamp_max(raster.height).diff()
        # Whole numbers: a float32 sum would lose them from 2^24 on.
        return int(((self.marked.view(raster.rows, raster.columns) * wide).sum(1) * high).sum())

    def draw(self, learner: Learner, count: int) -> Tensor:
        """``count`` random samples on edges, with repetition; anywhere when there are no edges."""
        cells, raster = self.marked.nonzero().squeeze(1), self.raster
        if not cells.shape[0]:
            return (learner.uniform(count).double() * learner.n).long()
        chosen = cells[(learner.uniform(count).double() * cells.shape[0]).long()]
        top, left = chosen // raster.columns * raster.high, chosen % raster.columns * raster.wide
        rows = top + (learner.uniform(count) * (raster.height - top).clamp_max(raster.high)).long()
        columns = left + (learner.uniform(count) * (raster.width - left).clamp_max(raster.wide)).long()
        return rows * raster.width + columns


def raster_of(signal: Signal) -> Raster:
    """The raster of an image; of anything else one row."""
    if signal.grid is None:
        return Raster(1, signal.n)
    if len(signal.grid.shape) != 2:
        return Raster(1, signal.n, 1, -(-signal.n // MOST_CELLS))
    height, width = signal.grid.shape
    block = 1
    while -(-height // block) * -(-width // block) > MOST_CELLS:
        block += 1
    return Raster(height, width, block, block)


def edges(learner: Learner, memory: Mapping[str, Tensor] | None) -> Edges:
    """The map kept in ``memory`` as ``edges``, or made now."""
    raster = raster_of(learner.samples.signal)
    if memory is not None and current(learner, memory):
        return Edges(raster, memory["edges"])
    if not _pictured(learner.samples.signal):
        return Edges(raster, sharpest(learner, raster, EDGE_SHARE))
    return Edges(raster, _tensor(_canny(grey(learner, raster), *CANNY), learner))


def current(learner: Learner, memory: Mapping[str, Tensor]) -> bool:
    """Whether the samples are those that ``memory`` is of."""
    return learner.samples.signal.grid is not None or int(memory["generation"]) == learner.generation


def anchors(learner: Learner, share: float) -> Edges:
    """Edges that make up about ``share`` of the signal: the strongest lines of a picture, widened to two pixels."""
    raster = raster_of(learner.samples.signal)
    if not _pictured(learner.samples.signal):
        return Edges(raster, sharpest(learner, raster, share))
    strong = _strongest(grey(learner, raster), share)
    wide = strong.copy()
    wide[1:] |= strong[:-1]
    wide[:, 1:] |= wide[:, :-1].copy()
    return Edges(raster, _tensor(wide, learner))


def sharpest(learner: Learner, raster: Raster, share: float) -> Tensor:
    """The ``share`` of the cells (m,) with the steepest samples, or nearest to the surface; never the flattest."""
    import torch

    signal, last = learner.samples.signal, learner.n - 1
    level = 0.0 if signal.surface is None else signal.surface.level
    sharp = torch.full((raster.rows * raster.columns,), -torch.inf, device=learner.device)
    for start in range(0, learner.n, 8 * CHUNK):
        indices = torch.arange(start, min(start + 8 * CHUNK, learner.n), device=learner.device)
        if signal.grid is None:
            found = -(learner.samples.take(indices)[1] - level).abs().sum(-1)
        else:
            reach = torch.arange(start - 1, int(indices[-1]) + 2, device=learner.device).clamp(0, last)
            steps = learner.samples.take(reach)[1].diff(dim=0).abs().sum(-1)
            found = torch.maximum(steps[:-1], steps[1:])
        sharp.scatter_reduce_(0, raster.cells(torch.zeros_like(indices), indices), found, "amax")
        learner.check_cancelled()
    marked = torch.zeros_like(sharp, dtype=torch.bool)
    marked[torch.topk(sharp, int(share * sharp.shape[0]), sorted=False).indices] = True
    return marked & (sharp > sharp.min())


def grey(learner: Learner, raster: Raster) -> Picture:
    """The luma of an image (rows, columns), 0 to 1, the mean of each block; alpha does not count."""
    import numpy as np

    signal = learner.samples.signal
    picture = signal.samples.reshape(raster.height, raster.width, signal.channels)
    left = np.arange(0, raster.width, raster.wide)
    wide = np.diff(left, append=raster.width)
    luma = np.array(LUMA if signal.channels >= 3 else (1.0,), np.float32) / np.float32(signal.scale.high)
    made = np.empty((raster.rows, raster.columns), np.float32)
    band = max(1, 8 * CHUNK // (raster.width * raster.high))
    for row in range(0, raster.rows, band):
        part = picture[row * raster.high : (row + band) * raster.high, :, : luma.size] @ luma
        top = np.arange(0, len(part), raster.high)
        high = np.diff(top, append=len(part))
        pooled = np.add.reduceat(np.add.reduceat(part, left, axis=1), top, axis=0)
        made[row : row + band] = pooled / (high[:, None] * wide)
        learner.check_cancelled()
    return made


def _pictured(signal: Signal) -> bool:
    return signal.grid is not None and len(signal.grid.shape) == 2


def _tensor(mask: Mask, learner: Learner) -> Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.ascontiguousarray(mask)).reshape(-1).to(learner.device)


def _canny(picture: Picture, low: float, high: float) -> Mask:
    """Canny without smoothing; the border is repeated, or an edge along it would be lost, and a single row with it."""
    import numpy as np
    from skimage.feature import canny

    found: Any = canny(np.pad(picture, 1, mode="edge"), 0.0, low, high)
    return np.asarray(found[1:-1, 1:-1], np.bool_)


def _strongest(picture: Picture, share: float) -> Mask:
    """Canny(A/2, t A) with A Otsu's threshold of the picture and t such that ``share`` of it is marked.

    Hysteresis keeps a connected line when its steepest pixel passes the upper threshold, so one Canny with both
    thresholds at A/2 gives all candidates, and t is found by ranking them. A/2 is halved where they are too few."""
    import numpy as np
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    if picture.min() == picture.max():
        return np.zeros(picture.shape, np.bool_)
    low = 0.5 * float(threshold_otsu(picture))
    for _ in range(MOST_HALVINGS):
        candidates = _canny(picture, low, low)
        if candidates.mean() >= share:
            break
        low /= 2
    lines = label(candidates, connectivity=2)
    at, steepness = lines[candidates], _steepness(picture)[candidates]
    order = np.argsort(steepness, kind="stable")
    steepest = np.zeros(lines.max() + 1, np.float32)
    steepest[at[order]] = steepness[order]  # of several writes to a line the last, the steepest, stays
    ranked = 1 + np.argsort(-steepest[1:], kind="stable")
    area = np.cumsum(np.bincount(at, minlength=len(steepest))[ranked])
    kept = np.zeros(len(steepest), np.bool_)
    kept[ranked[: 1 + np.searchsorted(area, share * picture.size)]] = True
    return np.asarray(kept[lines], np.bool_)


def _steepness(picture: Picture) -> Picture:
    """Length of the plain 3x3 Sobel gradient, as Canny takes it."""
    import numpy as np

    wide = np.pad(picture, 1, mode="edge")
    across = wide[:, 2:] - wide[:, :-2]
    down = wide[2:] - wide[:-2]
    across = across[:-2] + 2 * across[1:-1] + across[2:]
    down = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    length: Picture = np.hypot(across, down)
    return length
