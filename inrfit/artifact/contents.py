"""From the bytes of a file to what is in it: the header, which its first bytes are enough for, and the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import UnreadableFile
from ..fields import FieldSpec
from ..io.limits import Limits
from . import container, weight_code, weight_dtypes
from .decode_cost import check_load
from .header import check_version, spec_of, validate

if TYPE_CHECKING:
    from .artifact import Artifact


def judged(
    data: bytes, size: int | None, limits: Limits
) -> tuple[container.ParsedContainer, dict[str, Any], FieldSpec, str]:
    """Container, header, field and store of a file, of which ``data`` is the whole or the first
    ``container.HEAD_BYTES``; ``size`` is that of the file in bytes (None: unknown). Raises a ``RefusedInput`` for a
    wrong header, tensors other than those of its field, and anything beyond ``limits`` or ``size``."""
    parsed = container.parse(data, size)
    header = validate(parsed.inrfit)
    spec = spec_of(header["field"], header["modality"], header["signal"])
    limits.check("max_bytes", 4 * spec.parameters, "size of the weights in bytes")
    store = container.match_tensors(parsed, spec.shapes, spec.fp32_tensors, header["attachments"])
    check_version(header["version"], spec.architecture, store)
    missing = parsed.file_bytes if len(data) < parsed.file_bytes else 0
    check_load(missing, spec.parameters, store == "int")
    return parsed, header, spec, store


def stored_tensors(
    data: bytes, parsed: container.ParsedContainer, spec: FieldSpec, store: str, attachments: Mapping[str, int]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, tuple[float, ...]], dict[str, bytes]]:
    """The weights in a validated file as float32, in the order of ``spec.shapes``, the steps of coded ones, and the
    attachments. Raises ``UnreadableFile`` if a weight is not finite."""
    content = memoryview(data)[parsed.start :]
    tensors = {name: content[tensor.start : tensor.stop] for name, tensor in parsed.tensors.items()}
    kinds = weight_dtypes.tensor_stores(spec.shapes, store, spec.fp32_tensors)
    weights = {name: weight_dtypes.unpack(tensors[name], spec.shapes[name], kind) for name, kind in kinds.items()}
    steps: dict[str, tuple[float, ...]] = {}
    if store == "int":
        coded, steps = weight_code.unpack(bytes(tensors[container.CODED]), spec)
        weights |= coded
    for name, weight in weights.items():
        not_finite = weight.size - int(np.isfinite(weight).sum())
        if not_finite:
            raise UnreadableFile(f"tensor {name!r} has {not_finite:,} values that are not finite", "nonfinite")
    in_order = {name: weights[name] for name in spec.shapes}
    for weight in in_order.values():
        weight.flags.writeable = False  # the quality is that of these weights
    return in_order, steps, {name: bytes(tensors[container.ATTACHMENT_PREFIX + name]) for name in attachments}


def tensors_of(artifact: Artifact) -> dict[str, container.Stored]:
    """The tensors of the file of ``artifact``, in their order."""
    tensors = {container.KEY: container.deflated(artifact.header())}
    for name, kind in weight_dtypes.tensor_stores(artifact.weights, artifact.store, artifact.spec.fp32_tensors).items():
        packed = weight_dtypes.pack(artifact.weights[name], kind)
        tensors[name] = container.Stored(weight_dtypes.STORES[kind].dtype, packed.shape, packed.tobytes())
    if artifact.store == "int":
        coded = weight_code.pack(artifact.spec, artifact.weights, artifact.steps)
        tensors[container.CODED] = container.bytes_tensor(coded)
    for name, content in sorted(artifact.attachments.items()):
        tensors[container.ATTACHMENT_PREFIX + name] = container.bytes_tensor(content)
    return tensors
