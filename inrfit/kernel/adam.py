"""Updates of Adam by the compiled library: one pass over the weights instead of ten."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .library import available, library

if TYPE_CHECKING:
    from torch import Tensor


class _Adam(ctypes.Structure):
    """``Adam`` of src/kernel.h."""

    _fields_ = (
        ("mean_decay", ctypes.c_float),
        ("square_decay", ctypes.c_float),
        ("correction", ctypes.c_float),
        ("epsilon", ctypes.c_float),
    )


@dataclass(frozen=True)
class Update:
    """An update of the ``weights`` of a field. ``rates`` are those of each tensor; ``mean`` and ``square``, the running
    means of the gradients and of their squares, are one vector each for all tensors. ``corrections`` are the factors on
    the two, which begin at zero. All tensors are float32 on the CPU; ``weights`` are contiguous."""

    weights: Sequence[Tensor]
    gradients: Sequence[Tensor]
    rates: Sequence[float]
    mean: Tensor
    square: Tensor
    corrections: tuple[float, float]


def update(updates: Sequence[Update], decays: tuple[float, float], epsilon: float, name: str) -> None:
    """Makes updates of fields of one shape with the instruction set ``name``: changes their weights and running means.
    Threads share the fields, and the numbers of large ones."""
    import torch

    fields, tensors = len(updates), len(updates[0].weights)
    settings = (_Adam * fields)(*(_Adam(*decays, each.corrections[1], epsilon) for each in updates))
    corrected = [rate * each.corrections[0] for each in updates for rate in each.rates]
    gradients = [gradient.contiguous() for each in updates for gradient in each.gradients]
    sizes = (ctypes.c_int64 * tensors)(*(weight.numel() for weight in updates[0].weights))
    places = [
        (ctypes.c_void_p * len(found))(*(tensor.data_ptr() for tensor in found))
        for found in (
            gradients,
            [weight for each in updates for weight in each.weights],
            [each.mean for each in updates],
            [each.square for each in updates],
        )
    ]
    loaded = library()
    assert loaded is not None  # an instruction set was named
    loaded.inrfit_adam(
        available().index(name), ctypes.c_int64(fields), settings, ctypes.c_int64(tensors), sizes,
        (ctypes.c_float * len(corrected))(*corrected), *places, ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
