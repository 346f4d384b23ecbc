"""The saved file: weights and one JSON header, as safetensors. docs/artifact.md is the specification.

A file is accepted only if every byte of it is accounted for. Sizes and shapes are computed from the validated header
in Python integers before anything is allocated. Only ``Artifact.field`` and ``Artifact.decode`` import torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InrfitError, RefusedInput, UnwritableOutput
from ..fields import FieldSpec
from ..fields.window import Window
from ..io import files
from ..io.arguments import BOOLEAN, BYTES, DEVICE, FUNCTION, MAPPING, PATH, TEXT, a, checked, or_none
from ..io.limits import Limits
from ..modalities import Request
from . import checks, container, contents, decoding, places, query
from .header import json_quality, sanitized_provenance, spec_of, validate
from .provenance import kept
from .quantisation import Steps

if TYPE_CHECKING:
    import torch

    from ..fields.module import Field
    from ..modalities import OnProgress
    from ..modalities.domain import Coordinates

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
    """What is needed to write the source's kind of file, as JSON values; docs/artifact.md lists them by modality."""

    provenance: Mapping[str, Any]
    """How the field was made: source, settings, versions, seconds and notes, as JSON values (``provenance.py``)."""

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

    _window: Window | None = field(default=None, repr=False)
    """The part of the field that ``meta`` describes, of a field that ``cropped`` returned."""

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
        places.refuse_cropped(self)
        checks.check_storable(self.spec, self.weights, self.store, self.steps)
        try:
            data = container.serialize(container.VERSION, contents.tensors_of(self))
            parsed = container.parse(data, len(data))
            header = validate(parsed.inrfit)
            spec = spec_of(header["field"], self.modality, self.meta)
            container.match_tensors(parsed, spec.shapes, spec.fp32_tensors, header["attachments"])
        except (RefusedInput, ValueError, TypeError) as error:
            raise InrfitError(f"this artifact could not be loaded again: {error}", "artifact") from error
        return data

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
        field = Field(self.spec, {name: torch.tensor(self.weights[name], device=place) for name in self.spec.shapes})
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

        ``request`` chooses another size, scale, sample rate (Hz) or grid resolution than the source's; samples at
        points need a size. ``on_progress(fraction)`` is called from 0 to 1. Raises ``UsageError`` for a request that
        does not apply, and ``OverLimit`` for a result larger than ``limits.max_output`` bytes."""
        return decoding.decode(self, Request() if request is None else request, device, limits, on_progress)

    def cropped(self, region: str | Mapping[str, Any]) -> Artifact:
        """The part of the source in ``region``, which is decoded like a whole field, but neither measured nor saved.

        ``region`` is a text such as "x=10:200,y=0:64" or "z=3mm:9mm", or a mapping such as {"x": (10, 200)}: ranges in
        samples, or in units of the file, which do not include their end. Raises ``UsageError`` for a region that there
        is not, and for shapes."""
        meta, attachments, window = places.cropped(self, region)
        return replace(self, meta=meta, attachments=attachments, quality={}, _window=window)

    @checked(what=TEXT, device=DEVICE, limits=a(Limits), on_progress=FUNCTION)
    def query(
        self,
        region: str | Mapping[str, Any] | None = None,
        *,
        points: npt.ArrayLike | None = None,
        coords: Coordinates | None = None,
        what: str = "value",
        size: Sequence[int | None] | None = None,
        scale: float | None = None,
        device: str | torch.device = "cpu",
        limits: Limits = LIMITS,
        on_progress: OnProgress = lambda fraction: None,
    ) -> npt.NDArray[Any]:
        """The field's values or derivatives on a grid over ``region`` (as for ``cropped``; default: the whole), or at
        ``points`` (n, d). Only these are computed.

        - The grid has the samples of the source, or ``size`` of them along each axis, or ``scale`` times as many. Axes
          that ``region`` names at one place, as in "z=40", are left out of the result.
        - ``coords`` are those of ``points``, and the unit of derivatives: "index" (samples; the default), "unit" (-1 to
          1 over the source) or "physical" (the file's units; the default without a grid), in the order of the axes.
        - ``what``: "value" (..., c), in the units of the file, not rounded; "gradient" (..., c, d); "laplacian"
          (..., c); of vectors "divergence" (..., 1) and "curl" (..., 3), or (..., 1) in two dimensions; "normal"
          (..., d), from the inside to the outside of a surface; "distance" (..., 1) to it, negative inside.

        The result is float32, or float64 if the source has integers of 32 bits or float64. It is NaN outside of the
        field, and where the source has no value. Raises ``UsageError`` for what the field does not have, and
        ``OverLimit``."""
        from ..fit.engine.step import choose_device

        checks.check_described(self.modality, self.meta)
        place = choose_device(device)
        return query.query(self, region, points, coords, what, size, scale, place, limits, on_progress)

    @checked(limits=a(Limits), device=DEVICE, on_progress=FUNCTION)
    def measure(
        self,
        source: str | os.PathLike[str] | npt.NDArray[Any] | None = None,
        limits: Limits = LIMITS,
        device: str | torch.device = "cpu",
        on_progress: OnProgress = lambda fraction: None,
        coords: npt.ArrayLike | None = None,
        values: npt.ArrayLike | None = None,
        **options: Any,
    ) -> Artifact:
        """A copy with the quality of the stored weights, measured on every sample of ``source``, a path, or an array as
        ``inrfit.encode`` takes it; or of ``values`` at ``coords``, which need not be those of the fit. ``options`` are
        those of the modality, such as ``frame=2``. An artifact whose weights, store or description were replaced has no
        quality until it is measured. Raises ``UsageError`` if the source differs in size or channels, ``RefusedInput``
        if it cannot be read."""
        from ..fit.engine.step import choose_device
        from . import measuring

        checks.check_described(self.modality, self.meta)
        given = measuring.source_bytes(self, source, coords, values, limits)
        signal = measuring.source_signal(self, *given, limits, options)
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
