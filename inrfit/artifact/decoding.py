"""Decodes an artifact, or the part of one, into the samples of its source: whole, or part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..fields.window import WindowedField
from ..io.limits import Limits
from ..modalities import MODALITIES, Modality, Request
from . import checks
from .decode_cost import check_decode

if TYPE_CHECKING:
    import torch

    from ..fields.module import Field
    from ..modalities import OnProgress
    from ..modalities.streaming import ArrayStream
    from .artifact import Artifact


def decode(
    artifact: Artifact, request: Request, device: str | torch.device, limits: Limits, on_progress: OnProgress
) -> Any:
    """``Artifact.decode``, with its arguments checked."""
    modality = _modality(artifact, request, limits)
    decoded = modality.decode(_field(artifact, device), artifact.meta, request, limits, on_progress)
    return modality.with_attachments(decoded, artifact.meta, artifact.attachments)


def decode_stream(
    artifact: Artifact, suffix: str, request: Request, device: str | torch.device, limits: Limits,
    on_progress: OnProgress,
) -> ArrayStream:  # fmt: skip
    """The same samples for a file with this ``suffix``, evaluated while they are iterated over. The modality must have
    a ``streaming``."""
    modality = _modality(artifact, request, limits, suffix)
    assert modality.streaming is not None
    return modality.streaming.decode(_field(artifact, device), artifact.meta, request, limits, on_progress)


def _modality(artifact: Artifact, request: Request, limits: Limits, suffix: str | None = None) -> Modality:
    """The modality of the artifact. Raises what is wrong with the request."""
    checks.check_described(artifact.modality, artifact.meta)
    modality = MODALITIES[artifact.modality]
    modality.check_request(request)
    check_decode(artifact.spec, artifact.modality, artifact.meta, request, limits, suffix)
    return modality


def _field(artifact: Artifact, device: str | torch.device) -> Field:
    """The field, or the part of it that the artifact describes."""
    field = artifact.field(device)
    return field if artifact._window is None else cast("Field", WindowedField(field, artifact._window))
