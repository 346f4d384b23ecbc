"""Optimiser steps as CUDA graphs, and a limit on the work queued for a CUDA device.

A small step consists of some sixty kernels of a few microseconds each, which the host cannot launch as fast as the
device runs them. A graph launches all of them at once.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

SECONDS_AHEAD = 0.05
"""The host waits once about this much work is queued on the device."""

WARM_UP_STEPS = 3
"""Steps on a side stream before a capture, in which libraries allocate their workspaces, as torch requires."""

SMALL_BATCH = 4096
"""A captured step of at most this many points is used for any smaller batch."""


@functools.cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream for warm-up and capture, one per device. cuBLAS keeps a workspace for every stream it has been used
    on, and torch's default stream for captures belongs to the device of the first capture."""
    return torch.cuda.Stream(device)


class Capture:
    """One captured optimiser step for batches of at most ``size`` points.

    ``step(indices, weights) -> residuals`` must do all its work on tensors. ``state`` are the tensors that it changes;
    the warm-up leaves them unchanged. On the CPU ``step`` is called directly, with the same buffers and padding, so
    that tests can check these without a device."""

    def __init__(
        self, step: Callable[[Tensor, Tensor], Tensor], size: int, state: Sequence[Tensor], device: torch.device
    ) -> None:
        self.size = size
        self.step = step
        self.indices = torch.zeros(size, dtype=torch.int64, device=device)
        self.weights = torch.ones(size, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture(state, device)

    def _capture(self, state: Sequence[Tensor], device: torch.device) -> None:
        copies = [tensor.clone() for tensor in state]
        stream = side_stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self.step(self.indices, self.weights)
        torch.cuda.current_stream(device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.residuals = self.step(self.indices, self.weights)
        for tensor, copy in zip(state, copies, strict=True):
            tensor.copy_(copy)

    def replay(self, indices: Int[Tensor, "n"], weights: Float[Tensor, "n"] | None) -> Float[Tensor, "n c"]:
        """Makes one step on ``indices``, padded to ``size`` with points of weight 0; returns its residuals."""
        count = indices.shape[0]
        self.indices[:count].copy_(indices)
        self.indices[count:].zero_()
        if weights is None:
            self.weights[:count].fill_(1.0)
        else:
            self.weights[:count].copy_(weights)
        self.weights[count:].zero_()
        if self.graph is None:
            return self.step(self.indices, self.weights)[:count]
        self.graph.replay()
        return self.residuals[:count].clone()


class Captures:
    """The captured steps of one fit, for batches of several sizes. ``state`` as for ``Capture``."""

    def __init__(self, state: Sequence[Tensor], device: torch.device) -> None:
        self._state, self._device = state, device
        self.captures: list[Capture] = []

    def step(
        self, step: Callable[[Tensor, Tensor], Tensor], indices: Int[Tensor, "n"], weights: Float[Tensor, "n"] | None
    ) -> Float[Tensor, "n c"]:
        """Makes one ``step`` by its captured graph; returns the residuals before it."""
        return self._capture_for(step, indices.shape[0]).replay(indices, weights)

    def clear(self) -> None:
        """Drops all captures, because the step has changed or the fit is over."""
        self.captures = []

    def _capture_for(self, step: Callable[[Tensor, Tensor], Tensor], count: int) -> Capture:
        """The capture for batches of ``count`` points: the smallest that has room for them and at most twice the size,
        or a new one. If batches grow, the new one has room for further growth."""
        large_enough = [c for c in self.captures if count <= c.size <= max(2 * count, SMALL_BATCH)]
        if large_enough:
            return min(large_enough, key=lambda capture: capture.size)
        largest = max(self.captures, key=lambda capture: capture.size, default=None)
        if largest is not None and count > largest.size:
            count, largest = 1 << (count - 1).bit_length(), None
        self.captures = [] if largest is None else [largest]  # frees memory before the new capture
        self.captures.append(Capture(step, count, self._state, self._device))
        return self.captures[-1]


class Throttle:
    """Limits the queue of the device to about SECONDS_AHEAD, but at least one step.

    An event is recorded every ``interval`` steps, and the host waits while more than ``max_queued`` events are pending.
    ``interval`` is chosen so that INTERVALS of them take about SECONDS_AHEAD."""

    INTERVALS = 8

    def __init__(self) -> None:
        self.interval, self.max_queued, self.steps = 1, self.INTERVALS, 0
        self.queued: deque[torch.cuda.Event] = deque()
        self.last_reached: torch.cuda.Event | None = None

    def record_step(self) -> None:
        """Counts a step that was queued, and waits for the device if necessary."""
        self.steps += 1
        if self.steps % self.interval:
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.queued.append(event)
        while len(self.queued) > self.max_queued:
            oldest = self.queued.popleft()
            oldest.synchronize()
            previous, self.last_reached = self.last_reached, oldest
            if previous is not None:
                self._adjust(max(previous.elapsed_time(oldest) / 1e3, 1e-6) / self.interval)

    def _adjust(self, step_seconds: float) -> None:
        """Adapts ``interval`` and ``max_queued`` to the duration of a step. Pending events of another interval are
        dropped."""
        interval = max(1, int(SECONDS_AHEAD / self.INTERVALS / step_seconds))
        if interval >= 2 * self.interval or 2 * interval <= self.interval:
            self.interval, self.last_reached = interval, None
            self.queued.clear()
        self.max_queued = min(self.INTERVALS, max(1, int(SECONDS_AHEAD / step_seconds / self.interval)))
