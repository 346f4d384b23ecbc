"""Optimiser steps of several fields of one shape at once, by the compiled kernel.

The kernel has one call for all gradients, in which threads share the fields, and Muon orthogonalises the matrices of
all fields in one batch of products. A field's step is the same as alone, bit for bit, if one thread computes it there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .backends import KernelBackend
from .optimizer import step_together as update_together
from .step import Engine, Step, normalized_weights


def step_together(engines: Sequence[Engine], steps: Sequence[Step]) -> list[Tensor | None]:
    """Makes a step with each engine, those of one shape by one call, and returns the residuals (n, c) before it; None
    for steps that were not made, because the kernel does not compute them, or memory was short."""
    residuals: list[Tensor | None] = [None] * len(engines)
    waiting = list(range(len(engines)))
    while waiting:
        first = engines[waiting[0]]
        alike = [k for k in waiting if _joins(first, engines[k], steps[k])]
        for k, made in zip(alike, _made([engines[k] for k in alike], [steps[k] for k in alike]), strict=True):
            residuals[k] = made
        waiting = [k for k in waiting[1:] if k not in alike]
    return residuals


@torch.no_grad()
def _made(engines: Sequence[Engine], steps: Sequence[Step]) -> Sequence[Tensor | None]:
    """The residuals of steps of one shape, which are made by one call."""
    backend = engines[0].backend if engines else None
    if not isinstance(backend, KernelBackend):
        return []
    points, factors = [], []
    for engine, step in zip(engines, steps, strict=True):
        coords, values = engine.samples.take(step.indices)
        points.append((coords, values, normalized_weights(step.indices, step.weights, engine.samples.signal.channels)))
        factors.append(engine.lr_factor.fill_(step.lr_factor))
    try:
        residuals, gradients = backend.gradients_of_many([engine.weights for engine in engines], points)
    except MemoryError:
        return [None] * len(engines)
    update_together([engine.optimiser for engine in engines], gradients, factors)
    return residuals


def _joins(first: Engine, engine: Engine, step: Step) -> bool:
    """Whether ``step`` of ``engine`` can be made together with those of ``first``."""
    one, other = first.backend, engine.backend
    if not (isinstance(one, KernelBackend) and isinstance(other, KernelBackend)):
        return False
    alike = engine.field.spec == first.field.spec and engine.config == first.config
    several_chunks = step.indices.shape[0] > engine.chunk_size
    activation = one.formula.kernel_activation(engine.field.spec.inputs)
    tiled = activation is None or bool(activation.tiles)  # tiles are many perceptrons already
    return alike and one.instructions == other.instructions and not (several_chunks or step.loss_terms or tiled)
