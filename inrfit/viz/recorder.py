"""Seeing the teaching: where the selections of a fit fell, as a map, and with the field's progress as a video.

seen = Recorder(frames=40)
artifact = inrfit.encode("photo.png", on_step=seen)
Path("map.png").write_bytes(seen.map())
Path("teaching.gif").write_bytes(seen.video(artifact, ".gif"))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..artifact.artifact import Artifact
from ..errors import UsageError
from ..fields.module import Field
from ..fit.checkpoint import StatefulCallback
from ..fit.evaluation import EVALUATION_CHUNK_SIZE, EvaluationSet, evaluation_set
from ..modalities import MODALITIES
from . import drawing, video_file
from .drawing import Numbers
from .heatmap import SMALLEST, hottest
from .views import CELLS, View, view_of

if TYPE_CHECKING:
    from PIL import Image

    from ..fit.events import StepEvent

FRAMES = 40
"""Moments of the fit that a video shows; its end comes on top."""

KEPT_BYTES = 1 << 29
"""Most memory for the weights of all frames: of a large field fewer are kept."""

JUDGED = 16_384
"""Points that the quality in a frame is estimated from."""


@dataclass(frozen=True)
class Frame:
    """The fit at one moment: its weights, and what had been taught by then (``View.thumbnail``)."""

    step: int
    seconds: float
    weights: dict[str, Tensor]
    times: Numbers


class Recorder(StatefulCallback):
    """Watches a fit (``on_step=``): counts how often each sample is taught and, for a video, keeps the weights at
    ``frames`` moments evenly spread over the budget. At most ``cells`` counters are kept, on the fit's device."""

    def __init__(self, frames: int = 0, cells: int = CELLS) -> None:
        self.frames: list[Frame] = []
        self.steps, self.seconds = 0, 0.0
        self._wanted, self._cells = frames, cells
        self._view: View | None = None
        self._counts = torch.zeros(0, dtype=torch.int32)
        self._mark = 0

    def __call__(self, moment: StepEvent) -> None:
        if self._view is None or self._view.signal.n != moment.signal.n:  # the first step, or points were added
            self._view = view_of(moment.signal, self._cells)
            added = self._view.cells - self._counts.shape[0]
            room = torch.zeros(added, dtype=torch.int32, device=moment.indices.device)
            self._counts = torch.cat([self._counts.to(room), room])
        cells = self._view.cell(moment.indices)
        self._counts.index_add_(0, cells, torch.ones_like(cells, dtype=torch.int32))
        self.steps, self.seconds = moment.step, moment.seconds
        if self._wanted and int(moment.progress * self._wanted) >= self._mark and moment.progress < 1:
            self._keep(moment)

    def save_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its state, to be saved with that of the fit (``fit.checkpoint.StatefulCallback``)."""
        tensors = {"counts": self._counts}
        for number, frame in enumerate(self.frames):
            tensors |= {f"frames/{number}/weights/{name}": weight for name, weight in frame.weights.items()}
            tensors[f"frames/{number}/times"] = torch.from_numpy(np.asarray(frame.times))
        frames = [[frame.step, frame.seconds] for frame in self.frames]
        numbers = {"steps": self.steps, "seconds": self.seconds, "wanted": self._wanted, "mark": self._mark}
        return tensors, numbers | {"frames": frames}

    def restore_state(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restores what ``save_state`` returned."""
        self._counts = tensors["counts"]
        if self._wanted and not numbers["wanted"]:
            raise UsageError("the fit was begun without a video, so that its frames were not kept", "companion")
        self.steps, self.seconds = numbers["steps"], numbers["seconds"]
        self._wanted, self._mark = numbers["wanted"], numbers["mark"]
        self.frames = []
        for number, (step, seconds) in enumerate(numbers["frames"]):
            path = f"frames/{number}/weights/"
            weights = {name.removeprefix(path): t for name, t in tensors.items() if name.startswith(path)}
            self.frames.append(Frame(step, seconds, weights, tensors[f"frames/{number}/times"].numpy()))

    def _keep(self, moment: StepEvent) -> None:
        """One frame, and when the next is due."""
        weights = {name: weight.cpu() for name, weight in moment.weights().items()}
        if not self.frames:
            size = sum(weight.nbytes for weight in weights.values())
            self._wanted = max(1, min(self._wanted, KEPT_BYTES // size))
        self.frames.append(Frame(moment.step, moment.seconds, weights, self._thumbnail()))
        self._mark = int(moment.progress * self._wanted) + 1

    def _thumbnail(self) -> Numbers:
        view = self.view
        return view.thumbnail(view.times(self._counts)).cpu().numpy()

    @property
    def view(self) -> View:
        """How the signal is shown. Raises ``UsageError`` before the first step: nothing was taught then."""
        if self._view is None:
            raise UsageError("nothing was taught, so there is nothing to show of it", "untaught")
        return self._view

    @property
    def counts(self) -> Tensor:
        """How often each sample, or each cell of samples, was taught: (cells,), int32."""
        return self._counts

    def words(self) -> str:
        """Such as ``times taught, mean 3.21``."""
        return f"times taught, mean {drawing.number(float(self.view.times(self._counts).mean()))}"

    def map(self) -> bytes:
        """The counts as a PNG: an image's over the image, pixel by pixel (cell by cell, beyond ``cells`` pixels); a
        sound's over time; a shape's from three sides."""
        times = self.view.times(self._counts).cpu().numpy()
        return drawing.png(self.view.map(times, self.words()))

    def video(self, artifact: Artifact, suffix: str, tick: Callable[[float], None] = lambda share: None) -> bytes:
        """The fit of ``artifact`` as a file of the kind ``suffix`` names (.gif, .mp4): left what the field was, right
        what was taught since the frame before. ``tick`` is told the share done, and may raise to stop. Costs an
        evaluation of about 100,000 points a frame."""
        video_file.check(suffix)
        weights = {name: torch.from_numpy(weight) for name, weight in artifact.weights.items()}
        frames = [*self.frames, Frame(self.steps, self.seconds, weights, self._thumbnail())]
        before = [np.zeros_like(frames[0].times), *(frame.times for frame in frames)]
        taught = [self.view.shown(_since(old, frame.times)) for frame, old in zip(frames, before, strict=False)]
        top = hottest(np.stack(taught))
        judged = evaluation_set(self.view.signal, JUDGED, self._counts.device)
        images = []
        for number, (frame, times) in enumerate(zip(frames, taught, strict=True)):
            field = Field(artifact.spec, frame.weights).to(self._counts.device)
            panels = self.view.reconstruction(field), self.view.taught(times, top)
            stamp = f"{frame.seconds:.1f} s  step {frame.step:,}  {self._quality(field, judged)}"
            images.append(side_by_side(*panels, stamp, top))
            tick((number + 1) / (len(frames) + 1))
        data = video_file.encoded(images, suffix)
        tick(1.0)
        return data

    def _quality(self, field: Field, judged: EvaluationSet) -> str:
        """Such as ``31.2 dB`` or ``iou 0.953``."""
        modality, quality = MODALITIES[self.view.signal.modality], judged.quality(field, EVALUATION_CHUNK_SIZE)
        return f"{quality:.1f} {modality.unit}" if modality.unit else f"{modality.main_measure} {quality:.3f}"


def _since(before: Numbers, now: Numbers) -> Numbers:
    """What was taught between two thumbnails; of a shape whose points were added meanwhile the later one is longer."""
    if before.shape == now.shape:
        return now - before
    added = [(0, after - length) for length, after in zip(before.shape, now.shape, strict=True)]
    return now - np.pad(before, added)


def side_by_side(left: Image.Image, right: Image.Image, stamp: str, top: float) -> Image.Image:
    """Two panels of one size under a line of text: the time stamp, and what the colours stand for."""
    width, gap, head = max(left.width, SMALLEST), 8, 28
    image, pen = drawing.canvas(2 * width + gap, head + left.height)
    for number, panel in enumerate((left, right)):
        image.paste(panel, (number * (width + gap) + (width - panel.width) // 2, head))
    pen.text((6, head // 2), stamp, drawing.INK, drawing.font(12), anchor="lm")
    pen.text((width + gap, head // 2), "taught meanwhile", drawing.INK, drawing.font(12), anchor="lm")
    drawing.key(image, image.width - 6, head // 2, top, 11)
    return image
