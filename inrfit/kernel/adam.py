"""One update of Adam by the compiled library: one pass over the weights instead of ten."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
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


def update(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    rates: Sequence[float],
    mean: Tensor,
    square: Tensor,
    decays: tuple[float, float],
    corrections: tuple[float, float],
    epsilon: float,
    name: str,
) -> None:
    """Changes ``weights`` and the running means of the gradients (``mean``) and of their squares (``square``, both one
    vector for all tensors) by one update with the instruction set ``name``. ``corrections`` are the factors on the two
    means, which begin at zero. All tensors are float32 on the CPU; ``weights`` are contiguous."""
    import torch

    setting = _Adam(*decays, corrections[1], epsilon)
    gradients = [gradient.contiguous() for gradient in gradients]
    count, corrected = len(weights), [rate * corrections[0] for rate in rates]
    sizes = (ctypes.c_int64 * count)(*(weight.numel() for weight in weights))
    arrays = [(ctypes.c_void_p * count)(*(tensor.data_ptr() for tensor in tensors)) for tensors in (gradients, weights)]
    loaded = library()
    assert loaded is not None  # an instruction set was named
    loaded.inrfit_adam(
        available().index(name), ctypes.byref(setting), ctypes.c_int64(count), sizes,
        (ctypes.c_float * count)(*corrected), *arrays, ctypes.c_void_p(mean.data_ptr()),
        ctypes.c_void_p(square.data_ptr()), ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
