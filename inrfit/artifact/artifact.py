"""The saved file: weights and one JSON header, as safetensors. docs/artifact.md is the specification.

A file is believed only when every byte of it is accounted for: sizes and shapes are computed from the checked
header in Python integers before anything is allocated. torch is imported by ``field`` alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import (
    InrfitError,
    RefusedInput,
    UnreadableFile,
    UnsupportedInput,
    UnwritableOutput,
    UsageError,
    printable,
)
from ..fields import FIELDS, MAX_DEPTH, MAX_PARAMETERS, MAX_WIDTH, FieldSpec
from ..io import files, strict_json
from ..io.json_schema import integer, mapping, registered, scalar
from ..io.limits import Limits
from ..modalities import MODALITIES, Request
from . import container, weight_dtypes
from .provenance import PROVENANCE

if TYPE_CHECKING:
    import torch

    from ..fields.module import Field
    from ..modalities import OnProgress

VERSION = 2
"""1 had siren alone, and float32 weights alone."""

LIMITS = Limits()
MAX_OUTPUTS = 65_535

_SPEC: Mapping[str, Any] = {
    "inputs": integer(1, 4),
    "outputs": integer(1, MAX_OUTPUTS),
    "width": integer(1, MAX_WIDTH),
    "depth": integer(1, MAX_DEPTH),
    "options": mapping(scalar),
}


@dataclass(frozen=True, eq=False)
class Artifact:
    """A field as a file.

    ``weights`` are float32, by the names of ``spec.shapes``, and but for ``spec.fp32_tensors`` rounded to ``store``
    (fp32, fp16, bf16) when they are written; ``meta`` is all that is needed to write the source's kind of file;
    ``quality`` was measured on the weights as stored, null where undefined."""

    spec: FieldSpec
    weights: Mapping[str, npt.NDArray[np.float32]]
    modality: str
    meta: Mapping[str, Any]
    provenance: Mapping[str, Any]
    quality: Mapping[str, Any]
    store: str = "fp32"

    @staticmethod
    def from_bytes(data: bytes, limits: Limits = LIMITS) -> Artifact:
        """The artifact in ``data``; raises a ``RefusedInput`` that names what is wrong. Imports no torch."""
        limits.require("max_bytes", len(data), "size in bytes")
        parsed = container.parse(data)
        header = _checked(parsed.inrfit)
        spec = _spec(header["field"], header["modality"], header["signal"])
        store = container.match_tensors(parsed, spec.shapes, spec.fp32_tensors)
        if header["version"] == 1 and (spec.architecture, store) != ("siren", "fp32"):
            raise UnreadableFile(f"{spec.architecture} in {store}: version 1 has siren in fp32 alone", "version")
        return Artifact(
            spec,
            _weights(data, spec, store),
            header["modality"],
            header["signal"],
            header["provenance"],
            header["quality"],
            store,
        )

    def to_bytes(self) -> bytes:
        """As a file: the same bytes for the same artifact. Raises ``InrfitError`` if it would not load."""
        if self.store not in weight_dtypes.STORES:
            raise InrfitError(f"{self.store}: weights are stored as {', '.join(weight_dtypes.STORES)}", "artifact")
        if weight_dtypes.fitting_store(self.weights, self.store, self.spec.fp32_tensors) != self.store:
            raise InrfitError(f"a weight is beyond the range of {self.store}", "artifact")
        try:
            data = weight_dtypes.serialize(
                self.weights, self.store, self.spec.fp32_tensors, {container.KEY: strict_json.dumps(self.header())}
            )
            parsed = container.parse(data)
            _checked(parsed.inrfit)
            spec = _spec(parsed.inrfit["field"], self.modality, self.meta)
            container.match_tensors(parsed, spec.shapes, spec.fp32_tensors)
        except (RefusedInput, ValueError, TypeError) as error:
            raise InrfitError(f"this artifact could not be loaded again: {error}", "artifact") from error
        return data

    def header(self) -> dict[str, Any]:
        """The inrfit header, as JSON values."""
        # All options are written, so that a later change of a default changes no field that exists.
        spec = replace(self.spec, options=asdict(self.spec.formula))
        return {
            "version": VERSION,
            "field": spec.json(),
            "modality": self.modality,
            "signal": dict(self.meta),
            "provenance": _sanitize_provenance(self.provenance),
            "quality": json_quality(self.quality),
        }

    def save(self, path: str | os.PathLike[str], force: bool = False) -> None:
        """Writes the file, complete or not at all, and only if it loads again; raises ``OutputExists``
        (without ``force``) or ``UnwritableOutput``."""

        def check(written: bytes) -> None:
            try:
                Artifact.from_bytes(written, Limits(max_bytes=len(written)))
            except RefusedInput as error:
                raise UnwritableOutput(f"the model cannot be loaded again: {error}", error.reason) from error

        files.write(path, self.to_bytes(), force, check)

    def field(self, device: str | torch.device = "cpu") -> Field:
        """The field itself, a ``torch.nn.Module``, with its own copy of the weights."""
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
        """The samples, in the source's sample type, on its grid unless ``request`` asks for another."""
        modality, wanted = MODALITIES[self.modality], Request() if request is None else request
        modality.check_request(wanted)
        return modality.decode(self.field(device), self.meta, wanted, limits, on_progress)

    def with_quality(self, quality: Mapping[str, Any]) -> Artifact:
        """The same with ``quality``, as JSON can say it."""
        return replace(self, quality=json_quality(quality))

    @property
    def stored_bytes(self) -> int:
        """Size of the file."""
        return len(self.to_bytes())

    @property
    def bits_per_sample(self) -> float:
        """Size of the file in bits, per sample (pixel, frame, point) of the source."""
        return 8 * self.stored_bytes / int(self.provenance["samples"])


def load(path: str | os.PathLike[str] | int, limits: Limits = LIMITS) -> Artifact:
    """The artifact in a file, or from standard input for "-"; raises a ``RefusedInput``."""
    return Artifact.from_bytes(files.read(path, limits), limits)


def json_quality(quality: Mapping[str, Any]) -> dict[str, Any]:
    """``quality`` without what JSON lacks: infinity and NaN become null; the names of the infinite ones are listed in
    ``infinite`` (a text, by spaces), so that nothing else is taken for perfect."""
    made: dict[str, Any] = {}
    infinite = []
    for name, given in quality.items():
        value = given.item() if isinstance(given, np.generic) else given
        made[name] = None if isinstance(value, float) and not math.isfinite(value) else value
        if value == math.inf:
            infinite.append(name)
    if infinite:
        made["infinite"] = " ".join(infinite)
    return made


def _sanitize_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """``provenance`` with a name and notes that no terminal and no other JSON reader chokes on (file names
    need not be Unicode), short enough for the schema: a long remark must not cost a finished fit."""
    made = dict(provenance)
    if isinstance(source := made.get("source"), Mapping):
        made["source"] = {**source, "name": printable(os.path.basename(str(source.get("name"))))[:1000]}
    if isinstance(notes := made.get("notes"), list | tuple):
        made["notes"] = [printable(note)[:1000] for note in notes[:100]]
    return made


def _checked(header: Any) -> dict[str, Any]:
    """The header, after its version and the shape of it are as they must be."""
    if type(header) is not dict:
        raise UnreadableFile("the header 'inrfit' is not a JSON object", "schema")
    version = header.get("version")
    if type(version) is int and version > VERSION:
        raise UnsupportedInput(f"format version {version}: needs a newer inrfit (this one reads {VERSION})", "version")
    schema = {
        "version": integer(1, VERSION),
        "field": {"architecture": registered(FIELDS), **_SPEC},
        "modality": registered(MODALITIES),
        "signal": mapping(lambda value: None),
        "provenance": PROVENANCE,
        "quality": mapping(scalar),
    }
    strict_json.refuse_unless(header, schema, "header", "schema")
    strict_json.refuse_unless(header["signal"], MODALITIES[header["modality"]].meta_schema, "header.signal", "schema")
    return header


def _spec(given: Mapping[str, Any], modality: str, meta: Mapping[str, Any]) -> FieldSpec:
    """The field that the checked header describes, if it can be one and fits the signal."""
    known = FIELDS[given["architecture"]]
    spec = FieldSpec(**given)
    try:
        options, parameters = asdict(spec.formula), spec.parameters
    except UsageError as error:
        raise UnreadableFile(f"header.field.options: {str(error).removeprefix('-O ')}", "field") from None
    for name in given["options"]:
        if name not in options:
            raise UnreadableFile(f"header.field.options: {known.__name__} has no option {name[:40]!r}", "field")
    for name, value in options.items():
        if name not in given["options"]:
            raise UnreadableFile(f"header.field.options lacks {name!r}", "field")
        written = type(given["options"][name])
        if written is not type(value) and not (written is int and type(value) is float):
            raise UnreadableFile(f"header.field.options.{name} has the wrong type", "field")
    if parameters > MAX_PARAMETERS:
        raise UnreadableFile(f"{parameters:,} weights, at most {MAX_PARAMETERS:,} are read", "field")
    if spec.formula.TRAITS.raster_only and spec.formula.raster() != MODALITIES[modality].raster(meta):
        raise UnreadableFile("header.field.options.grid is not the raster of the signal", "field")
    implied = MODALITIES[modality].field_size(meta)
    if (spec.inputs, spec.outputs) != implied:
        raise UnreadableFile(
            f"header.field has {spec.inputs} inputs and {spec.outputs} outputs, "
            f"but this {modality} has {implied[0]} and {implied[1]}",
            "field",
        )
    return spec


def _weights(data: bytes, spec: FieldSpec, store: str) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of a container that was checked, as float32, all finite, in the order of ``spec.shapes``."""
    import safetensors

    deserialize: Any = safetensors.deserialize
    try:
        found = {name: tensor["data"] for name, tensor in deserialize(data)}
    except safetensors.SafetensorError as error:  # stricter than our own check: believed
        raise UnreadableFile(f"damaged: {error}", "safetensors") from None
    kinds = weight_dtypes.tensor_stores(spec.shapes, store, spec.fp32_tensors)
    weights = {name: weight_dtypes.unpack(found.pop(name), shape, kinds[name]) for name, shape in spec.shapes.items()}
    for name, weight in weights.items():
        broken = weight.size - int(np.isfinite(weight).sum())
        if broken:
            raise UnreadableFile(f"tensor {name!r} has {broken:,} values that are not finite", "nonfinite")
    return weights
