"""Weights as integer multiples of steps, and their coded form. docs/artifact.md is the specification.

The weights of a tensor are divided into groups of consecutive numbers (``FieldSpec.groups``), each with one step.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UnreadableFile
from . import entropy_coder
from .entropy_coder import Ints
from .weight_dtypes import Weights
from .weight_dtypes import pack as pack_floats
from .weight_dtypes import unpack as unpack_floats

Groups = Mapping[str, tuple[int, ...]]
"""Sizes of the groups of each tensor, in their order."""

Steps = Mapping[str, tuple[float, ...]]
"""The step of each group: a positive number that bfloat16 holds exactly."""

_BLOCK = 64
"""Consecutive numbers of a group whose distribution is coded as one class."""


def storable(steps: npt.NDArray[np.float64], peaks: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """The numbers next to ``steps`` that the format holds. Small ones are replaced so that a weight of magnitude
    ``peaks`` is at most about ``entropy_coder.LARGEST`` steps."""
    wanted = np.maximum(steps, 1.01 * peaks / entropy_coder.LARGEST).clip(1e-30, 1e30).astype(np.float32)
    return tuple(unpack_floats(pack_floats(wanted, "bf16").tobytes(), wanted.shape, "bf16").tolist())


def problem(weights: Weights, groups: Groups, steps: Steps) -> str:
    """Why the weights cannot be stored in these steps; "" if they can."""
    for name, sizes in groups.items():
        own = np.array(steps[name], np.float64)
        with np.errstate(over="ignore"):
            exact = unpack_floats(pack_floats(own.astype(np.float32), "bf16").tobytes(), own.shape, "bf16")
        if not (np.isfinite(own) & (own > 0) & (exact == own)).all():
            return f"the steps of {name} are not positive numbers of bfloat16"
        with np.errstate(over="ignore"):
            largest = np.abs(weights[name].reshape(-1) / np.repeat(own, sizes)).max(initial=0)
        if not largest <= entropy_coder.LARGEST:
            return f"a weight of {name} is not finite, or beyond {entropy_coder.LARGEST:,} steps"
    return ""


def to_integers(weights: Weights, groups: Groups, steps: Steps) -> Ints:
    """All weights of the tensors in ``groups`` in steps, rounded to the nearest, ties to even."""
    parts = [np.rint(weights[name].reshape(-1) / np.repeat(steps[name], sizes)) for name, sizes in groups.items()]
    return np.concatenate(parts).clip(-entropy_coder.LARGEST, entropy_coder.LARGEST).astype(np.int64)


def rounded(weights: Weights, groups: Groups, steps: Steps) -> dict[str, npt.NDArray[np.float32]]:
    """``weights`` with those of the tensors in ``groups`` rounded to multiples of their steps."""
    shapes = {name: weight.shape for name, weight in weights.items() if name in groups}
    return {**weights, **_from_integers(to_integers(weights, groups, steps), shapes, groups, steps)}


def _from_integers(
    integers: npt.NDArray[np.integer[Any]], shapes: Mapping[str, tuple[int, ...]], groups: Groups, steps: Steps
) -> dict[str, npt.NDArray[np.float32]]:
    """The weights that ``integers`` stand for: the products are computed in float64 and rounded to float32."""
    weights, start = {}, 0
    for name, sizes in groups.items():
        values = np.empty(sum(sizes), np.float32)
        begin = 0
        for step, size in zip(steps[name], sizes, strict=True):
            with np.errstate(over="ignore"):  # infinite weights are refused
                values[begin : begin + size] = integers[start : start + size] * step
            begin, start = begin + size, start + size
        weights[name] = values.reshape(shapes[name])
    return weights


def _block_sizes(groups: Groups) -> Ints:
    """The number of integers in each block: every group is cut into blocks, of which the last may be shorter."""
    sizes = np.array([size for sizes in groups.values() for size in sizes])
    counts = -(-sizes // _BLOCK)
    blocks = np.full(counts.sum(), _BLOCK)
    blocks[np.cumsum(counts) - 1] = sizes - _BLOCK * (counts - 1)
    return blocks


def _choose_classes(integers: Ints, blocks: Ints) -> tuple[Ints, npt.NDArray[np.float64]]:
    """The class of each block that needs the fewest bits among those next to its mean square, and these bits."""
    starts = np.cumsum(blocks) - blocks
    deviation = np.sqrt(np.add.reduceat(np.square(integers, dtype=np.float64), starts) / blocks)
    likely = np.rint(4 * np.log2(8 * deviation + 1e-9)).clip(0, entropy_coder.CLASSES - 1).astype(np.int64)
    least = np.searchsorted(entropy_coder.capacities(), np.maximum.reduceat(np.abs(integers), starts))
    best, fewest = likely, np.full(len(blocks), np.inf)
    for offset in (-1, 0, 1):
        classes = np.maximum(likely + offset, least).clip(0, entropy_coder.CLASSES - 1)
        bits = np.add.reduceat(entropy_coder.code_lengths(integers, np.repeat(classes, blocks)), starts)
        best, fewest = np.where(bits < fewest, classes, best), np.minimum(bits, fewest)
    return best, fewest


def coded_bytes(integers: Ints, groups: Groups) -> float:
    """About the number of bytes that ``integers`` take, without coding them: within a percent."""
    blocks = _block_sizes(groups)
    classes, bits = _choose_classes(integers, blocks)
    fixed = 8 + 2 * sum(map(len, groups.values())) + 4 * entropy_coder.state_count(len(integers))
    return float(bits.sum()) / 8 + fixed + len(_side(classes, groups, {}))


def pack(weights: Weights, groups: Groups, steps: Steps) -> bytes:
    """The coded form of the tensors in ``groups``."""
    integers, blocks = to_integers(weights, groups, steps), _block_sizes(groups)
    classes, _ = _choose_classes(integers, blocks)
    side = _side(classes, groups, steps)
    content = len(side).to_bytes(4, "little") + side + entropy_coder.encode(integers, np.repeat(classes, blocks))
    return zlib.crc32(content).to_bytes(4, "little") + content


def _side(classes: Ints, groups: Groups, steps: Steps) -> bytes:
    """The steps, two bytes each, and the classes, a byte each, deflated."""
    numbers = np.array([step for name in groups for step in steps.get(name, ())], np.float32)
    plain = pack_floats(numbers, "bf16").tobytes() + (np.diff(classes, prepend=0) % 256).astype(np.uint8).tobytes()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(plain) + deflate.flush()


def unpack(
    code: bytes, shapes: Mapping[str, tuple[int, ...]], groups: Groups
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, tuple[float, ...]]]:
    """The weights of the tensors in ``groups``, and their steps. Raises ``UnreadableFile`` for a damaged code."""
    blocks, count = _block_sizes(groups), sum(len(sizes) for sizes in groups.values())
    if zlib.crc32(code[4:]) != int.from_bytes(code[:4], "little"):
        raise UnreadableFile("damaged: the checksum of the coded weights is wrong", "code")
    side, code = _inflate(code[4:], 2 * count + len(blocks))
    numbers = unpack_floats(side[: 2 * count], (count,), "bf16")
    classes = np.cumsum(np.frombuffer(side, np.uint8, offset=2 * count), dtype=np.uint8)  # modulo 256
    if (classes >= entropy_coder.CLASSES).any() or not (np.isfinite(numbers) & (numbers > 0)).all():
        raise UnreadableFile("damaged: the coded weights have an impossible class or step", "code")
    steps, start = {}, 0
    for name, sizes in groups.items():
        steps[name], start = tuple(numbers[start : start + len(sizes)].tolist()), start + len(sizes)
    integers = entropy_coder.decode(code, np.repeat(classes, blocks))
    if max(abs(int(integers.min())), abs(int(integers.max()))) > entropy_coder.LARGEST:
        raise UnreadableFile(f"a coded weight is beyond {entropy_coder.LARGEST:,} steps", "code")
    return _from_integers(integers, {name: shapes[name] for name in groups}, groups, steps), steps


def _inflate(code: bytes, length: int) -> tuple[bytes, bytes]:
    """The ``length`` bytes of steps and classes, and the rest of the code."""
    end = 4 + int.from_bytes(code[:4], "little")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(code[4:end], length + 1)
    except zlib.error:
        plain = b""
    if len(plain) != length or not inflate.eof or inflate.unused_data or end > len(code):
        raise UnreadableFile("damaged: the steps of the coded weights do not decode", "code")
    return plain, code[end:]
