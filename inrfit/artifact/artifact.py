"""The saved file: weights and one JSON header, as safetensors. docs/artifact.md is the specification.

A file is accepted only if every byte of it is accounted for. Sizes and shapes are computed from the validated header
in Python integers before anything is allocated. Only ``Artifact.field`` and ``Artifact.decode`` import torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InrfitError, RefusedInput, UnreadableFile, UnwritableOutput
from ..fields import FieldSpec
from ..io import files, strict_json
from ..io.limits import Limits
from ..modalities import MODALITIES, Request
from . import container, weight_dtypes
from .header import VERSION, json_quality, sanitized_provenance, spec_of, validate

if TYPE_CHECKING:
    import torch

    from ..fields.module import Field
    from ..modalities import OnProgress

LIMITS = Limits()
"""Default size limits."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """A fitted field with all that is needed to write it to a file and to decode it.

    ``inrfit.encode`` returns one; ``inrfit.load`` reads one from a file. docs/artifact.md specifies the file format."""

    spec: FieldSpec
    """Architecture, sizes and options of the network."""

    weights: Mapping[str, npt.NDArray[np.float32]]
    """Weights as float32 arrays, by the names and with the shapes of ``spec.shapes``."""

    modality: str
    """Kind of the source: a name in ``modalities.MODALITIES``, such as "image", "audio" or "shape"."""

    meta: Mapping[str, Any]
    """What is needed to write the source's kind of file: for an image its height, width and mode, for example. JSON
    values; docs/artifact.md lists them for each modality."""

    provenance: Mapping[str, Any]
    """How the field was made: versions, device, source, sampler, settings, budget, times in seconds and notes. JSON
    values with the schema ``provenance.PROVENANCE``."""

    quality: Mapping[str, Any]
    """Quality of the decoded signal, measured on the weights as they are stored: for example "psnr" (dB) and "ssim" of
    an image, "snr" (dB) of a sound, "iou" (0 to 1) of a shape. A value is None where it is infinite or undefined; the
    key "infinite" lists the names of the infinite ones, separated by spaces."""

    store: str = "fp32"
    """Number type of the stored weights: "fp32", "fp16" or "bf16". Weights are rounded to it when the file is written,
    except for ``spec.fp32_tensors``."""

    attachments: Mapping[str, bytes] = field(default_factory=dict)
    """Data of the source that are kept as they are, by name: for an image "icc" (colour profile) and "exif"."""

    @staticmethod
    def from_bytes(data: bytes, limits: Limits = LIMITS) -> Artifact:
        """Reads the artifact in ``data``, the bytes of a file. Does not import torch.

        Raises a ``RefusedInput`` that says what is wrong with the file, or that it exceeds ``limits``."""
        limits.check("max_bytes", len(data), "size in bytes")
        parsed = container.parse(data)
        header = validate(parsed.inrfit)
        spec = spec_of(header["field"], header["modality"], header["signal"])
        lengths = header["attachments"]
        store = container.match_tensors(parsed, spec.shapes, spec.fp32_tensors, lengths)
        if header["version"] == 1 and (spec.architecture, store) != ("siren", "fp32"):
            raise UnreadableFile(f"{spec.architecture} in {store}: format version 1 has only siren in fp32", "version")
        weights, attachments = _tensors(data, spec, store, lengths)
        return Artifact(
            spec,
            weights,
            header["modality"],
            header["signal"],
            header["provenance"],
            header["quality"],
            store,
            attachments,
        )

    def to_bytes(self) -> bytes:
        """The bytes of the artifact's file; equal artifacts give equal bytes.

        Raises an ``InrfitError`` if the file could not be loaded again."""
        if self.store not in weight_dtypes.STORES:
            raise InrfitError(
                f"{self.store}: unknown number type for weights; choose from {', '.join(weight_dtypes.STORES)}",
                "artifact",
            )
        if weight_dtypes.fitting_store(self.weights, self.store, self.spec.fp32_tensors) != self.store:
            raise InrfitError(f"a weight is beyond the range of {self.store}", "artifact")
        try:
            metadata = {container.KEY: strict_json.dumps(self.header())}
            data = container.serialize(self.weights, self.store, self.spec.fp32_tensors, metadata, self.attachments)
            parsed = container.parse(data)
            header = validate(parsed.inrfit)
            spec = spec_of(header["field"], self.modality, self.meta)
            container.match_tensors(parsed, spec.shapes, spec.fp32_tensors, header["attachments"])
        except (RefusedInput, ValueError, TypeError) as error:
            raise InrfitError(f"this artifact could not be loaded again: {error}", "artifact") from error
        return data

    def header(self) -> dict[str, Any]:
        """The header that is stored with the weights, as JSON values."""
        # All options are written, so that a later change of a default does not change existing fields.
        spec = replace(self.spec, options=asdict(self.spec.formula))
        attachments = {name: len(content) for name, content in sorted(self.attachments.items())}
        return {
            "version": VERSION,
            "field": spec.json(),
            "modality": self.modality,
            "signal": {key: value for key, value in self.meta.items() if value is not None},
            **({"attachments": attachments} if attachments else {}),
            "provenance": sanitized_provenance(self.provenance),
            "quality": json_quality(self.quality),
        }

    def save(self, path: str | os.PathLike[str], force: bool = False) -> None:
        """Writes the artifact to ``path``, completely or not at all, after checking that it can be loaded again.

        Raises ``OutputExists`` if the file exists and ``force`` is false, ``UnwritableOutput`` if it cannot be
        written."""

        def check(written: bytes) -> None:
            try:
                Artifact.from_bytes(written, Limits(max_bytes=len(written)))
            except RefusedInput as error:
                raise UnwritableOutput(f"the model cannot be loaded again: {error}", error.reason) from error

        files.write(path, self.to_bytes(), force, check)

    def field(self, device: str | torch.device = "cpu") -> Field:
        """The field as a ``torch.nn.Module`` on ``device``, with its own copy of the weights.

        It maps coordinates (n, d) in [-1, 1] to values (n, c), both float32."""
        import torch

        from ..fields.module import Field

        weights = {name: torch.tensor(self.weights[name], device=device) for name in self.spec.shapes}
        return Field(self.spec, weights)

    def decode(
        self,
        request: Request | None = None,
        device: str | torch.device = "cpu",
        limits: Limits = LIMITS,
        on_progress: OnProgress = lambda fraction: None,
    ) -> Any:
        """Decodes the signal: an image as (h, w, c), a sound as (n, c), in the sample type of the source, or a shape as
        a ``Mesh`` in the units of the source.

        ``request`` chooses another size, scale, sample rate (Hz) or grid resolution than that of the source.
        ``on_progress`` is called with the fraction done, 0 to 1. Raises ``UsageError`` for a request that does not
        apply to the modality, and ``OverLimit`` for a result larger than ``limits.max_output`` bytes."""
        modality, request = MODALITIES[self.modality], Request() if request is None else request
        modality.check_request(request)
        return modality.decode(self.field(device), self.meta, request, limits, on_progress)

    def with_quality(self, quality: Mapping[str, Any]) -> Artifact:
        """A copy of this artifact with ``quality``, converted by ``json_quality``."""
        return replace(self, quality=json_quality(quality))

    @property
    def stored_bytes(self) -> int:
        """Size of the file in bytes."""
        return len(self.to_bytes())

    @property
    def bits_per_sample(self) -> float:
        """Size of the file in bits per sample of the source (a pixel, an audio frame or a point)."""
        return 8 * self.stored_bytes / int(self.provenance["samples"])


def load(path: str | os.PathLike[str] | int, limits: Limits = LIMITS) -> Artifact:
    """Reads an artifact from a file, or from standard input if ``path`` is "-". Does not import torch.

    Raises a ``RefusedInput`` that says what is wrong with the file, or that it exceeds ``limits``."""
    return Artifact.from_bytes(files.read(path, limits), limits)


def _tensors(
    data: bytes, spec: FieldSpec, store: str, attachments: Mapping[str, int]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, bytes]]:
    """The weights in a validated file as float32, in the order of ``spec.shapes``, and the attachments. Raises
    ``UnreadableFile`` if a weight is not finite."""
    import safetensors

    deserialize: Any = safetensors.deserialize
    try:
        tensors = {name: tensor["data"] for name, tensor in deserialize(data)}
    except safetensors.SafetensorError as error:  # the library is stricter than the checks above
        raise UnreadableFile(f"damaged: {error}", "safetensors") from None
    stores = weight_dtypes.tensor_stores(spec.shapes, store, spec.fp32_tensors)
    weights = {
        name: weight_dtypes.unpack(tensors.pop(name), shape, stores[name]) for name, shape in spec.shapes.items()
    }
    for name, weight in weights.items():
        not_finite = weight.size - int(np.isfinite(weight).sum())
        if not_finite:
            raise UnreadableFile(f"tensor {name!r} has {not_finite:,} values that are not finite", "nonfinite")
    return weights, {name: bytes(tensors[container.ATTACHMENT_PREFIX + name]) for name in attachments}
