"""Optimiser steps of several fields of one shape at once, by the compiled kernel.

The kernel has one call for all gradients, in which threads share the fields, and Muon orthogonalises the matrices of
all fields in one batch of products. A field's step is the same as alone, bit for bit, if one thread computes it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from .backends import KernelBackend
from .optimizer import step_together as update_together
from .step import Engine, Step, normalized_weights


@torch.no_grad()
def step_together(engines: Sequence[Engine], steps: Sequence[Step]) -> list[Tensor | None]:
    """Makes a step with each engine and returns the residuals (n, c) before it; None for steps that were not made,
    because they cannot be made together, or memory was short."""
    backend = engines[0].backend if engines else None
    if not isinstance(backend, KernelBackend) or not all(map(partial(_joins, engines[0]), engines, steps)):
        return [None] * len(engines)
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
    return list(residuals)


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
