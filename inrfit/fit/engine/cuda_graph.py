"""CUDA graphs and the queue in front of a CUDA device.

A small step is some sixty kernels of a few microseconds each, which the host cannot launch as fast as the device runs
them; a graph launches all of them at once.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

SECONDS_AHEAD = 0.05
"""The host queues about this much work before it waits."""

WARM_UP_STEPS = 3
"""Steps on a side stream before a capture, as torch asks for: libraries allocate their workspaces then."""

LITTLE = 4096
"""A captured step of so few points is replayed for any smaller batch."""


@functools.cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which steps are warmed up and captured, one for each device: cuBLAS keeps a workspace for every
    stream it has worked on, and torch's own default stream for captures belongs to the device of the first one."""
    return torch.cuda.Stream(device)


class Capture:
    """One whole step for batches of at most ``size`` points, replayed from fixed buffers.

    ``whole(indices, weights) -> residuals`` must do all its work on tensors; ``state`` are the tensors it changes
    besides, which the warm-up leaves as they were. On the CPU ``whole`` is called as it is: the same buffers, padding
    and results without a graph, which is what tests can check anywhere."""

    def __init__(
        self, whole: Callable[[Tensor, Tensor], Tensor], size: int, state: Sequence[Tensor], device: torch.device
    ) -> None:
        self.size = size
        self.whole = whole
        self.indices = torch.zeros(size, dtype=torch.int64, device=device)
        self.weights = torch.ones(size, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture(state, device)

    def _capture(self, state: Sequence[Tensor], device: torch.device) -> None:
        kept = [tensor.clone() for tensor in state]
        stream = side_stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self.whole(self.indices, self.weights)
        torch.cuda.current_stream(device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.residuals = self.whole(self.indices, self.weights)
        for tensor, before in zip(state, kept, strict=True):
            tensor.copy_(before)

    def replay(self, indices: Int[Tensor, "b"], weights: Float[Tensor, "b"] | None) -> Float[Tensor, "b c"]:
        """One step on ``indices``, padded to ``size`` with points of weight 0; the residuals before it."""
        count = indices.shape[0]
        self.indices[:count].copy_(indices)
        self.indices[count:].zero_()
        if weights is None:
            self.weights[:count].fill_(1.0)
        else:
            self.weights[:count].copy_(weights)
        self.weights[count:].zero_()
        if self.graph is None:
            return self.whole(self.indices, self.weights)[:count]
        self.graph.replay()
        return self.residuals[:count].clone()


class Captures:
    """The captured steps of one fit, for batches of several sizes. ``state`` as for ``Capture``."""

    def __init__(self, state: Sequence[Tensor], device: torch.device) -> None:
        self._state, self._device = state, device
        self.made: list[Capture] = []

    def step(
        self, whole: Callable[[Tensor, Tensor], Tensor], indices: Int[Tensor, "b"], weights: Float[Tensor, "b"] | None
    ) -> Float[Tensor, "b c"]:
        """One step as ``whole`` makes it; the residuals before it."""
        return self._for(whole, indices.shape[0]).replay(indices, weights)

    def clear(self) -> None:
        """Forgets all captures: the step has changed, or the fit is over."""
        self.made = []

    def _for(self, whole: Callable[[Tensor, Tensor], Tensor], count: int) -> Capture:
        """The step for batches of ``count`` points: the smallest captured one with room for them that does not compute
        twice as many; or a new one, for a growing batch with room to grow."""
        roomy = [made for made in self.made if made.size >= count and made.size <= max(2 * count, LITTLE)]
        if roomy:
            return min(roomy, key=lambda made: made.size)
        largest = max(self.made, key=lambda made: made.size, default=None)
        if largest is not None and count > largest.size:
            count, largest = 1 << (count - 1).bit_length(), None
        self.made = [] if largest is None else [largest]  # their memory first
        self.made.append(Capture(whole, count, self._state, self._device))
        return self.made[-1]


class Throttle:
    """Keeps the host about SECONDS_AHEAD in front of the device, but one step at least: an event every ``every`` steps,
    so many that INTERVALS of them make up that time, and at most ``most`` events not yet reached."""

    INTERVALS = 8

    def __init__(self) -> None:
        self.every, self.most, self.steps = 1, self.INTERVALS, 0
        self.queued: deque[torch.cuda.Event] = deque()
        self.reached: torch.cuda.Event | None = None

    def passed(self) -> None:
        """A step was queued."""
        self.steps += 1
        if self.steps % self.every:
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.queued.append(event)
        while len(self.queued) > self.most:
            oldest = self.queued.popleft()
            oldest.synchronize()
            before, self.reached = self.reached, oldest
            if before is not None:
                self._respace(max(before.elapsed_time(oldest) / 1e3, 1e-6) / self.every)

    def _respace(self, step_seconds: float) -> None:
        """Events as far apart as steps of this length need; those of another spacing tell nothing."""
        wanted = max(1, int(SECONDS_AHEAD / self.INTERVALS / step_seconds))
        if wanted >= 2 * self.every or 2 * wanted <= self.every:
            self.every, self.reached = wanted, None
            self.queued.clear()
        self.most = min(self.INTERVALS, max(1, int(SECONDS_AHEAD / step_seconds / self.every)))
