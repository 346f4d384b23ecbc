"""Edge maps: where a signal changes fastest, for the edge-guided samplers and any modality.

The edges of an image are those of Canny on its luma; the edges of a sound or a volume are its samples of largest slope
along any axis; the edges of a shape are the points nearest to its surface. For all but images the caller sets the share
that counts as edges.
The map is computed once. Beyond MAX_MAP_CELLS samples a cell of the map stands for a block of samples (an image: their
mean luma, a sound: their largest slope), so that the map takes at most MAX_MAP_CELLS bytes and a few seconds. The
points of a shape have no order and are never put into blocks: their map takes one byte per point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..signal import CHUNK
from .loss_terms import LUMA, neighbours_along_axes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from jaxtyping import Bool, Int
    from torch import Tensor

    from ..signal import Signal
    from .learner import Learner

    GreyImage = npt.NDArray[np.float32]
    BoolMask = npt.NDArray[np.bool_]

MAX_MAP_CELLS = 1 << 22
"""A raster of more samples than this is mapped in blocks of samples."""

EDGE_SHARE = 0.1
"""Share of a sound, a volume or a shape that counts as edges; Canny(30, 40) finds 5 % to 30 % of a photograph."""

CANNY_THRESHOLDS = (30 / 255, 40 / 255)
"""Thresholds of the EVOS code, Canny(grey, 30, 40), for grey in [0, 1].

OpenCV and scikit-image both apply them to the plain 3x3 Sobel gradient of the unsmoothed image (sigma is 0 here), but
OpenCV takes its L1 norm and scikit-image its L2 norm. They agree on upright edges; a slanted edge must be up to 1.4
times as steep here."""

MAX_HALVINGS = 6
"""How often the lower threshold of the anchors is halved if Canny marks too few pixels."""


@dataclass(frozen=True)
class CellGrid:
    """A raster of samples, divided into cells of equal size; cells at the right and lower border may be smaller."""

    height: int
    width: int
    cell_height: int = 1
    cell_width: int = 1

    @property
    def rows(self) -> int:
        """Number of rows of cells."""
        return -(-self.height // self.cell_height)

    @property
    def columns(self) -> int:
        """Number of columns of cells."""
        return -(-self.width // self.cell_width)

    def cell_index(self, rows: Int[Tensor, "k"], columns: Int[Tensor, "k"]) -> Int[Tensor, "k"]:
        """Flat indices of the cells that hold the samples at ``rows`` and ``columns``."""
        return rows // self.cell_height * self.columns + columns // self.cell_width


@dataclass(frozen=True)
class EdgeMap:
    """Which cells of a raster are edges."""

    grid: CellGrid
    mask: Bool[Tensor, "m"]
    """One entry per cell, row by row."""

    def contains(self, indices: Int[Tensor, "k"], shift: int = 0) -> Bool[Tensor, "k"]:
        """Whether the samples at the flat ``indices`` are edges after the edges have been shifted by ``shift`` samples
        to the right; edges shifted past the end of a row are dropped."""
        rows, columns = indices // self.grid.width, indices % self.grid.width - shift
        return self.mask[self.grid.cell_index(rows, columns.clamp_min(0))] & (columns >= 0)

    def count(self, shift: int = 0) -> int:
        """Number of samples in the whole signal for which ``contains`` is true."""
        import torch

        grid = self.grid
        columns = torch.arange(grid.columns + 1, device=self.mask.device) * grid.cell_width
        widths = columns.clamp_max(max(0, grid.width - shift)).diff()
        rows = torch.arange(grid.rows + 1, device=self.mask.device) * grid.cell_height
        heights = rows.clamp_max(grid.height).diff()
        # Integers: a float32 sum is inexact from 2^24 on.
        return int(((self.mask.view(grid.rows, grid.columns) * widths).sum(1) * heights).sum())

    def sample(self, learner: Learner, count: int) -> Int[Tensor, "k"]:
        """``count`` random samples on edges, with repetition; of the whole signal if there are no edges."""
        cells, grid = self.mask.nonzero().squeeze(1), self.grid
        if not cells.shape[0]:
            return (learner.uniform(count).double() * learner.n).long()
        chosen = cells[(learner.uniform(count).double() * cells.shape[0]).long()]
        top, left = chosen // grid.columns * grid.cell_height, chosen % grid.columns * grid.cell_width
        rows = top + (learner.uniform(count) * (grid.height - top).clamp_max(grid.cell_height)).long()
        columns = left + (learner.uniform(count) * (grid.width - left).clamp_max(grid.cell_width)).long()
        return rows * grid.width + columns


def cell_grid(signal: Signal) -> CellGrid:
    """The cells of an edge map: those of the raster of an image; a single row for every other signal."""
    if signal.grid is None:
        return CellGrid(1, signal.n)
    if len(signal.grid.shape) != 2:
        return CellGrid(1, signal.n, 1, -(-signal.n // MAX_MAP_CELLS))
    height, width = signal.grid.shape
    side = 1
    while -(-height // side) * -(-width // side) > MAX_MAP_CELLS:
        side += 1
    return CellGrid(height, width, side, side)


def find_edges(learner: Learner, memory: Mapping[str, Tensor] | None) -> EdgeMap:
    """The map stored in ``memory`` under ``edges``, or a new one if there is none or it is out of date."""
    signal = learner.samples.signal
    grid = cell_grid(signal)
    if memory is not None and is_current(learner, memory):
        return EdgeMap(grid, memory["edges"])
    if not _is_image(signal):
        return EdgeMap(grid, sharpest_cells(learner, grid, EDGE_SHARE))
    return EdgeMap(grid, _to_tensor(_canny(grey_image(learner, grid), *CANNY_THRESHOLDS), learner))


def is_current(learner: Learner, memory: Mapping[str, Tensor]) -> bool:
    """Whether ``memory`` was made from the samples the signal has now; points may be added to a shape."""
    return learner.samples.signal.grid is not None or int(memory["generation"]) == learner.generation


def find_anchors(learner: Learner, share: float) -> EdgeMap:
    """Edges that make up about ``share`` of the signal; in an image, the strongest lines, widened to two pixels."""
    grid = cell_grid(learner.samples.signal)
    if not _is_image(learner.samples.signal):
        return EdgeMap(grid, sharpest_cells(learner, grid, share))
    lines = _strongest_lines(grey_image(learner, grid), share)
    widened = lines.copy()
    widened[1:] |= lines[:-1]
    widened[:, 1:] |= widened[:, :-1].copy()
    return EdgeMap(grid, _to_tensor(widened, learner))


def sharpest_cells(learner: Learner, grid: CellGrid, share: float) -> Bool[Tensor, "m"]:
    """Marks the ``share`` of the cells with the steepest samples of a raster, or nearest to the surface of a shape; the
    flattest cells are never marked."""
    import torch

    signal = learner.samples.signal
    level = 0.0 if signal.surface is None else signal.surface.level
    sharpness = torch.full((grid.rows * grid.columns,), -torch.inf, device=learner.device)
    for start in range(0, learner.n, 8 * CHUNK):
        indices = torch.arange(start, min(start + 8 * CHUNK, learner.n), device=learner.device)
        if signal.grid is None:
            sample_sharpness = -(learner.samples.take(indices)[1][:, 0] - level).abs()  # without colours
        else:
            values = learner.samples.take(indices)[1]
            sample_sharpness = torch.zeros(indices.shape[0], device=learner.device)
            for neighbours, _ in neighbours_along_axes(signal.grid.shape, indices):
                slopes = (learner.samples.take(neighbours)[1] - values).abs().sum(-1)
                sample_sharpness = torch.maximum(sample_sharpness, slopes)
        cells = grid.cell_index(torch.zeros_like(indices), indices)
        sharpness.scatter_reduce_(0, cells, sample_sharpness, "amax")
        learner.check_cancelled()
    mask = torch.zeros_like(sharpness, dtype=torch.bool)
    mask[torch.topk(sharpness, int(share * sharpness.shape[0]), sorted=False).indices] = True
    return mask & (sharpness > sharpness.min())


def grey_image(learner: Learner, grid: CellGrid) -> GreyImage:
    """Mean luma of each cell of an image (rows, columns), in [0, 1]; alpha is ignored."""
    import numpy as np

    signal = learner.samples.signal
    samples = signal.samples.reshape(grid.height, grid.width, signal.channels)
    left = np.arange(0, grid.width, grid.cell_width)
    widths = np.diff(left, append=grid.width)
    scale = signal.scale
    plain = isinstance(scale.high, int | float) and scale.low == 0.0 and not scale.knee
    luma = np.array(LUMA if signal.channels >= 3 else (1.0,), np.float32)
    luma /= np.float32(scale.high if plain and isinstance(scale.high, int | float) else 1.0)
    means = np.empty((grid.rows, grid.columns), np.float32)
    step = max(1, 8 * CHUNK // (grid.width * grid.cell_height))
    for row in range(0, grid.rows, step):
        rows = samples[row * grid.cell_height : (row + step) * grid.cell_height]
        part = (rows if plain else scale.unit(rows))[..., : luma.size] @ luma
        top = np.arange(0, len(part), grid.cell_height)
        heights = np.diff(top, append=len(part))
        sums = np.add.reduceat(np.add.reduceat(part, left, axis=1), top, axis=0)
        means[row : row + step] = sums / (heights[:, None] * widths)
        learner.check_cancelled()
    return means


def _is_image(signal: Signal) -> bool:
    return signal.grid is not None and len(signal.grid.shape) == 2


def _to_tensor(mask: BoolMask, learner: Learner) -> Bool[Tensor, "m"]:
    import numpy as np
    import torch

    return torch.from_numpy(np.ascontiguousarray(mask)).reshape(-1).to(learner.device)


def _canny(image: GreyImage, low: float, high: float) -> BoolMask:
    """Canny without smoothing. The border is padded with its own values; otherwise edges along it, and all edges of an
    image of a single row, would be lost."""
    import numpy as np
    from skimage.feature import canny

    edges: Any = canny(np.pad(image, 1, mode="edge"), 0.0, low, high)
    return np.asarray(edges[1:-1, 1:-1], np.bool_)


def _strongest_lines(image: GreyImage, share: float) -> BoolMask:
    """Canny(A / 2, t A), where A is Otsu's threshold of the image and t is such that ``share`` of it is marked.

    Canny's hysteresis keeps a connected line if its steepest pixel passes the upper threshold. So one run of Canny with
    both thresholds at A / 2 yields all candidate lines, and ranking them by their steepest pixels gives t. A / 2 is
    halved if the candidates are too few."""
    import numpy as np
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    if image.min() == image.max():
        return np.zeros(image.shape, np.bool_)
    low = 0.5 * float(threshold_otsu(image))
    for _ in range(MAX_HALVINGS):
        candidates = _canny(image, low, low)
        if candidates.mean() >= share:
            break
        low /= 2
    lines = label(candidates, connectivity=2)
    line_of_pixel, steepness = lines[candidates], _sobel_norm(image)[candidates]
    order = np.argsort(steepness, kind="stable")
    steepest = np.zeros(lines.max() + 1, np.float32)
    steepest[line_of_pixel[order]] = steepness[order]  # the last write to a line, that of its steepest pixel, stays
    ranked = 1 + np.argsort(-steepest[1:], kind="stable")
    area = np.cumsum(np.bincount(line_of_pixel, minlength=len(steepest))[ranked])
    kept = np.zeros(len(steepest), np.bool_)
    kept[ranked[: 1 + np.searchsorted(area, share * image.size)]] = True
    return np.asarray(kept[lines], np.bool_)


def _sobel_norm(image: GreyImage) -> GreyImage:
    """L2 norm of the plain 3x3 Sobel gradient, as Canny computes it."""
    import numpy as np

    padded = np.pad(image, 1, mode="edge")
    across = padded[:, 2:] - padded[:, :-2]
    down = padded[2:] - padded[:-2]
    across = across[:-2] + 2 * across[1:-1] + across[2:]
    down = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    norm: GreyImage = np.hypot(across, down)
    return norm
