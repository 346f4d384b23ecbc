"""The saved file: weights and one JSON header, as safetensors. docs/artifact.md is the specification.

A file is accepted only if every byte of it is accounted for. Sizes and shapes are computed from the validated header
in Python integers before anything is allocated. Only ``Artifact.field`` and ``Artifact.decode`` import torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InrfitError, RefusedInput, UnwritableOutput, UsageError
from ..fields import FieldSpec
from ..io import descriptors, files
from ..io.arguments import BOOLEAN, BYTES, DEVICE, FILE, FUNCTION, MAPPING, PATH, TEXT, a, checked, described, or_none
from ..io.limits import Limits
from ..modalities import MODALITIES, Request, file_of
from ..modalities.sources import read_source
from . import checks, container, contents, quantisation, weight_dtypes
from .decode_cost import check_decode
from .header import json_quality, sanitized_provenance, spec_of, validate
from .provenance import kept
from .quantisation import Steps

if TYPE_CHECKING:
    import torch

    from ..fields.module import Field
    from ..modalities import OnProgress

LIMITS = Limits()
"""Default size limits."""


@checked(
    spec=a(FieldSpec),
    weights=MAPPING,
    modality=TEXT,
    meta=MAPPING,
    provenance=MAPPING,
    quality=MAPPING,
    store=TEXT,
    attachments=MAPPING,
    steps=MAPPING,
    provenance_kept=TEXT,
)
@dataclass(frozen=True, eq=False)
class Artifact:
    """A fitted field with all that is needed to write it to a file and to decode it.

    ``inrfit.encode`` returns one; ``inrfit.load`` reads one from a file. docs/artifact.md specifies the file format."""

    spec: FieldSpec
    """Architecture, sizes and options of the network."""

    weights: Mapping[str, npt.NDArray[np.float32]]
    """Weights as float32 arrays, by the names and with the shapes of ``spec.shapes``. Other floats are converted."""

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
    """How the weights are stored: "fp32", "fp16", "bf16", or "int" for entropy-coded multiples of ``steps``. Weights
    are rounded accordingly when the file is written, except for ``spec.fp32_tensors``."""

    attachments: Mapping[str, bytes] = field(default_factory=dict)
    """Data of the source that are kept as they are, by name: for an image "icc" (colour profile) and "exif"."""

    steps: Steps = field(default_factory=dict)
    """With the store "int": the step of each group of ``spec.rounding_groups``, positive and exact in bfloat16."""

    provenance_kept: str = "full"
    """How much of ``provenance`` is written to the file: "full", "short" or "none"."""

    _measured: Any = field(default=None, repr=False)
    """What ``quality`` was measured on. ``dataclasses.replace`` hands it on."""

    def __post_init__(self) -> None:
        """Converts other floats to float32, and drops a quality that was measured on other weights, or on the same in
        another store."""
        object.__setattr__(self, "weights", checks.in_float32(self.weights))  # the dataclass is frozen
        spec = (replace(self.spec, options={}), self.spec.formula)
        described = (self.store, dict(self.steps), spec, dict(self.meta))
        if self._measured is not None:
            quality, weights, before = self._measured
            if quality is self.quality and not (before == described and checks.equal(weights, self.weights)):
                object.__setattr__(self, "quality", {})
        object.__setattr__(self, "_measured", (self.quality, self.weights, described))

    @staticmethod
    @checked(data=BYTES, limits=a(Limits))
    def from_bytes(data: bytes, limits: Limits = LIMITS) -> Artifact:
        """Reads the artifact in ``data``, the bytes of a file. Does not import torch.

        Raises a ``RefusedInput`` that says what is wrong with the file, or that it exceeds ``limits``."""
        limits.check("max_bytes", len(data), "size in bytes")
        parsed, header, spec, store = contents.judged(data, len(data), limits)
        weights, steps, attachments = contents.stored_tensors(data, parsed, spec, store, header["attachments"])
        return Artifact(
            spec,
            weights,
            header["modality"],
            header["signal"],
            header["provenance"],
            header["quality"],
            store,
            attachments,
            steps,
        )

    def to_bytes(self) -> bytes:
        """The bytes of the artifact's file; equal artifacts give equal bytes.

        Raises ``UsageError`` for weights, a store or steps that do not suit the field, another ``InrfitError`` if the
        file could not be loaded again."""
        checks.check_storable(self.spec, self.weights, self.store, self.steps)
        try:
            data = container.serialize(container.VERSION, self._stored())
            parsed = container.parse(data, len(data))
            header = validate(parsed.inrfit)
            spec = spec_of(header["field"], self.modality, self.meta)
            container.match_tensors(parsed, spec.shapes, spec.fp32_tensors, header["attachments"])
        except (RefusedInput, ValueError, TypeError) as error:
            raise InrfitError(f"this artifact could not be loaded again: {error}", "artifact") from error
        return data

    def _stored(self) -> dict[str, container.Stored]:
        """The tensors of the file, in their order."""
        tensors = {container.KEY: container.deflated(self.header())}
        for name, kind in weight_dtypes.tensor_stores(self.weights, self.store, self.spec.fp32_tensors).items():
            packed = weight_dtypes.pack(self.weights[name], kind)
            tensors[name] = container.Stored(weight_dtypes.STORES[kind].dtype, packed.shape, packed.tobytes())
        if self.store == "int":
            coded = quantisation.pack(self.weights, self.spec.rounding_groups, self.steps)
            tensors[container.CODED] = container.bytes_tensor(coded)
        for name, content in sorted(self.attachments.items()):
            tensors[container.ATTACHMENT_PREFIX + name] = container.bytes_tensor(content)
        return tensors

    def header(self) -> dict[str, Any]:
        """The header that is stored with the weights, as JSON values without the version."""
        # All options are written, so that a later change of a default does not change existing fields.
        spec = replace(self.spec, options=asdict(self.spec.formula))
        attachments = {name: len(content) for name, content in sorted(self.attachments.items())}
        return {
            "field": spec.json(),
            "modality": self.modality,
            "signal": {key: value for key, value in self.meta.items() if value is not None},
            **({"attachments": attachments} if attachments else {}),
            "provenance": sanitized_provenance(kept(self.provenance, self.provenance_kept)),
            "quality": json_quality(self.quality),
        }

    @checked(path=PATH, force=BOOLEAN)
    def save(self, path: str | os.PathLike[str], force: bool = False) -> None:
        """Writes the artifact to ``path``, completely or not at all, after checking that it can be loaded again.

        Raises ``OutputExists`` if the file exists and ``force`` is false, ``UnwritableOutput`` if it cannot be
        written."""

        def check(written: bytes) -> None:
            try:
                Artifact.from_bytes(written, Limits(max_bytes=2**62))
            except RefusedInput as error:
                raise UnwritableOutput(f"the model cannot be loaded again: {error}", error.reason) from error

        files.write(path, self.to_bytes(), force, check)

    @checked(device=DEVICE)
    def field(self, device: str | torch.device = "cpu") -> Field:
        """The field as a ``torch.nn.Module`` on ``device``, with its own copy of the weights.

        It maps coordinates (n, d) in [-1, 1] to values (n, c), both float32, and raises ``UsageError`` for anything but
        finite coordinates of this shape."""
        import torch

        from ..fields.module import Field
        from ..fit.engine.step import choose_device

        checks.check_weights(self.spec, self.weights)
        place = choose_device(device)
        weights = {name: torch.tensor(self.weights[name], device=place) for name in self.spec.shapes}
        field = Field(self.spec, weights)
        field.register_forward_pre_hook(checks.check_coords, with_kwargs=True)
        return field

    @checked(request=or_none(a(Request)), device=DEVICE, limits=a(Limits), on_progress=FUNCTION)
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
        checks.check_described(self.modality, self.meta)
        modality, request = MODALITIES[self.modality], Request() if request is None else request
        modality.check_request(request)
        check_decode(self.spec, self.modality, self.meta, request, limits)
        decoded = modality.decode(self.field(device), self.meta, request, limits, on_progress)
        return modality.with_attachments(decoded, self.meta, self.attachments)

    @checked(limits=a(Limits), device=DEVICE, on_progress=FUNCTION)
    def measure(
        self,
        source: str | os.PathLike[str] | npt.NDArray[Any],
        limits: Limits = LIMITS,
        device: str | torch.device = "cpu",
        on_progress: OnProgress = lambda fraction: None,
        **options: Any,
    ) -> Artifact:
        """A copy with the quality of the stored weights, measured on every sample of ``source``: a path, or an array as
        ``inrfit.encode`` takes it. ``options`` are those of the modality, such as ``frame=2``.

        An artifact whose weights, store or description were replaced has no quality until it is measured. Raises
        ``UsageError`` if the source differs in size or channels, ``RefusedInput`` if it cannot be read."""
        from ..fit.engine.step import choose_device
        from . import measuring

        checks.check_described(self.modality, self.meta)
        if isinstance(source, np.ndarray):
            known = {**self.meta, **MODALITIES[self.modality].options_of(self.meta)}
            arguments: dict[str, Any] = {key: known[key] for key in ("rate", "axes") if key in known}
            data, name = file_of(source, arguments), "array"
        elif PATH.accepts(source):
            data, name = read_source(source, limits), os.fspath(source)
        else:
            raise UsageError(f"source: must be a path or a NumPy array, not {described(source)}", "option")
        signal = measuring.source_signal(self, data, name, limits, options)
        return self.with_quality(measuring.measured(self, signal, choose_device(device), on_progress))

    @checked(quality=MAPPING)
    def with_quality(self, quality: Mapping[str, Any]) -> Artifact:
        """A copy of this artifact with ``quality``, converted by ``json_quality``."""
        return replace(self, quality=json_quality(quality))

    @property
    def stored_bytes(self) -> int:
        """Size of the file in bytes."""
        return len(self.to_bytes())

    @property
    def bits_per_sample(self) -> float:
        """Size of the file in bits per sample of the source (a pixel, an audio frame or a point); nan if the file does
        not say how many samples that has."""
        samples = self.provenance.get("samples", self.quality.get("samples"))
        return 8 * self.stored_bytes / int(samples) if samples else math.nan


@checked(path=FILE, limits=a(Limits))
def load(path: str | os.PathLike[str] | int, limits: Limits = LIMITS) -> Artifact:
    """Reads an artifact from a file, or from standard input if ``path`` is "-". Does not import torch. The header is
    judged before the rest of the file is read.

    Raises a ``RefusedInput`` that says what is wrong with the file, or that it exceeds ``limits``."""
    return Artifact.from_bytes(read(path, limits), limits)


def read(path: str | os.PathLike[str] | int, limits: Limits, or_other: bool = False) -> bytes:
    """The bytes of the file of a field, whose header is judged before the rest is read; with ``or_other`` also those of
    a file that does not begin like one. Raises a ``RefusedInput``."""

    def expected_bytes(start: bytes, size: int | None) -> int:
        if or_other and not container.is_safetensors(start):
            return limits.max_bytes
        return contents.judged(start, size, limits)[0].file_bytes

    return files.read(path, limits, descriptors.Head(container.HEAD_BYTES, expected_bytes))
