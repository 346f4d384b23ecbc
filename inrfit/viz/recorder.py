"""A recorder of sampling: which points a fit was trained on, as a map, and with the field's progress as a video.

recorder = Recorder(frames=40)
artifact = inrfit.encode("photo.png", on_step=recorder)
Path("map.png").write_bytes(recorder.map())
Path("sampling.gif").write_bytes(recorder.video(artifact, ".gif"))
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
from .drawing import Floats
from .heatmap import MIN_PANEL_SIDE, colour_limit
from .views import MAX_BINS, View, view_of

if TYPE_CHECKING:
    from PIL import Image

    from ..fit.events import StepEvent

FRAMES = 40
"""Frames of a video, in addition to the one at the end of the fit."""

MAX_FRAME_BYTES = 1 << 29
"""Largest size of the weights of all frames; of a large field fewer frames are kept."""

QUALITY_POINTS = 16_384
"""Points on which the quality shown in a frame is estimated."""


@dataclass(frozen=True)
class Frame:
    """The fit after a step: its weights, and the visits up to then (``View.thumbnail``)."""

    step: int
    seconds: float
    weights: dict[str, Tensor]
    visits: Floats


class Recorder(StatefulCallback):
    """A step callback (``on_step=``) that counts how often each sample is trained and, for a video, keeps the weights
    at ``frames`` steps evenly spread over the budget. It has at most ``max_bins`` counters, on the fit's device."""

    def __init__(self, frames: int = 0, max_bins: int = MAX_BINS) -> None:
        self.frames: list[Frame] = []
        self.steps, self.seconds = 0, 0.0
        self._frame_count, self._max_bins = frames, max_bins
        self._view: View | None = None
        self._counts = torch.zeros(0, dtype=torch.int32)
        self._next_frame = 0

    def __call__(self, event: StepEvent) -> None:
        if self._view is None or self._view.signal.n != event.signal.n:  # the first step, or points were added
            self._view = view_of(event.signal, self._max_bins)
            added = self._view.bins - self._counts.shape[0]
            zeros = torch.zeros(added, dtype=torch.int32, device=event.indices.device)
            self._counts = torch.cat([self._counts.to(zeros), zeros])
        bins = self._view.bin_of(event.indices)
        self._counts.index_add_(0, bins, torch.ones_like(bins, dtype=torch.int32))
        self.steps, self.seconds = event.step, event.seconds
        frame = int(event.progress * self._frame_count)
        if self._frame_count and frame >= self._next_frame and event.progress < 1:
            self._keep_frame(event)

    def save_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state of the recorder, saved with that of the fit."""
        tensors = {"counts": self._counts}
        for number, frame in enumerate(self.frames):
            tensors |= {f"frames/{number}/weights/{name}": weight for name, weight in frame.weights.items()}
            tensors[f"frames/{number}/times"] = torch.from_numpy(np.asarray(frame.visits))
        frames = [[frame.step, frame.seconds] for frame in self.frames]
        numbers = {"steps": self.steps, "seconds": self.seconds, "wanted": self._frame_count, "mark": self._next_frame}
        return tensors, numbers | {"frames": frames}

    def restore_state(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restores what ``save_state`` returned. Raises ``UsageError`` if a video is wanted but no
        frames were saved."""
        self._counts = tensors["counts"]
        if self._frame_count and not numbers["wanted"]:
            raise UsageError("the fit was started without a video, so its first frames are missing", "companion")
        self.steps, self.seconds = numbers["steps"], numbers["seconds"]
        self._frame_count, self._next_frame = numbers["wanted"], numbers["mark"]
        self.frames = []
        for number, (step, seconds) in enumerate(numbers["frames"]):
            path = f"frames/{number}/weights/"
            weights = {name.removeprefix(path): t for name, t in tensors.items() if name.startswith(path)}
            self.frames.append(Frame(step, seconds, weights, tensors[f"frames/{number}/times"].numpy()))

    def _keep_frame(self, event: StepEvent) -> None:
        """Adds a frame, and sets when the next one is due."""
        weights = {name: weight.cpu() for name, weight in event.weights().items()}
        if not self.frames:
            size = sum(weight.nbytes for weight in weights.values())
            self._frame_count = max(1, min(self._frame_count, MAX_FRAME_BYTES // size))
        self.frames.append(Frame(event.step, event.seconds, weights, self._thumbnail()))
        self._next_frame = int(event.progress * self._frame_count) + 1

    def _thumbnail(self) -> Floats:
        """The visits so far at the size of a panel."""
        view = self.view
        return view.thumbnail(view.visits(self._counts)).cpu().numpy()

    @property
    def view(self) -> View:
        """The view of the signal. Raises ``UsageError`` before the first step."""
        if self._view is None:
            raise UsageError("the fit has made no step, so there is no sampling to draw", "untaught")
        return self._view

    @property
    def counts(self) -> Tensor:
        """Counters (bins,), int32: how often the samples of each bin were trained."""
        return self._counts

    def caption(self) -> str:
        """A caption of the map, such as ``times trained, mean 3.21``."""
        return f"times trained, mean {drawing.format_number(float(self.view.visits(self._counts).mean()))}"

    def map(self) -> bytes:
        """A PNG of the visits: over an image, over time for a sound, from three sides for a shape. Beyond ``max_bins``
        samples it shows the means of bins."""
        visits = self.view.visits(self._counts).cpu().numpy()
        return drawing.png_bytes(self.view.draw_map(visits, self.caption()))

    def video(
        self, artifact: Artifact, suffix: str, on_progress: Callable[[float], None] = lambda fraction: None
    ) -> bytes:
        """A video of the fit of ``artifact`` as a file of the kind that ``suffix`` names (.gif, .mp4): on the left the
        output of the field, on the right the visits since the last frame. ``on_progress`` gets the fraction done, and
        may raise to stop. Costs an evaluation of about 100,000 points per frame."""
        video_file.check_suffix(suffix)
        weights = {name: torch.tensor(weight) for name, weight in artifact.weights.items()}
        frames = [*self.frames, Frame(self.steps, self.seconds, weights, self._thumbnail())]
        before = [np.zeros_like(frames[0].visits), *(frame.visits for frame in frames)]
        panels = [
            self.view.panel_values(_difference(frame.visits, last)) for frame, last in zip(frames, before, strict=False)
        ]
        limit = colour_limit(np.stack(panels))
        points = evaluation_set(self.view.signal, QUALITY_POINTS, self._counts.device)
        images = []
        for number, (frame, values) in enumerate(zip(frames, panels, strict=True)):
            field = Field(artifact.spec, frame.weights).to(self._counts.device)
            left, right = self.view.draw_reconstruction(field), self.view.draw_visits(values, limit)
            stamp = f"{frame.seconds:.1f} s  step {frame.step:,}  {self._quality(field, points)}"
            images.append(side_by_side(left, right, stamp, limit))
            on_progress((number + 1) / (len(frames) + 1))
        data = video_file.encode_video(images, suffix)
        on_progress(1.0)
        return data

    def _quality(self, field: Field, points: EvaluationSet) -> str:
        """The quality of ``field`` with its unit or name, such as ``31.2 dB`` or ``iou 0.953``."""
        modality, quality = MODALITIES[self.view.signal.modality], points.quality(field, EVALUATION_CHUNK_SIZE)
        return f"{quality:.1f} {modality.unit}" if modality.unit else f"{modality.main_measure} {quality:.3f}"


def _difference(after: Floats, before: Floats) -> Floats:
    """Visits between two thumbnails; points added to a shape in between make the later one longer."""
    if before.shape == after.shape:
        return after - before
    added = [(0, longer - shorter) for shorter, longer in zip(before.shape, after.shape, strict=True)]
    return after - np.pad(before, added)


def side_by_side(left: Image.Image, right: Image.Image, stamp: str, limit: float) -> Image.Image:
    """Two panels of one size below a line of text with ``stamp`` and a colour bar from 0 to ``limit``."""
    width, gap, head = max(left.width, MIN_PANEL_SIDE), 8, 28
    image, pen = drawing.new_canvas(2 * width + gap, head + left.height)
    for number, panel in enumerate((left, right)):
        image.paste(panel, (number * (width + gap) + (width - panel.width) // 2, head))
    pen.text((6, head // 2), stamp, drawing.INK, drawing.default_font(12), anchor="lm")
    pen.text((width + gap, head // 2), "newly trained", drawing.INK, drawing.default_font(12), anchor="lm")
    drawing.draw_colour_bar(image, image.width - 6, head // 2, limit, 11)
    return image
