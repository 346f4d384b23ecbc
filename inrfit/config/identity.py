"""What makes two fits the same fit: source, field, sampler and settings, as JSON. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .. import __version__
from ..fields import FieldSpec
from ..io import files, strict_json
from ..io.renamed import with_old_names, with_old_values
from .plan import Plan

SETTINGS_DIGEST = "settings_sha256"
"""Key of ``settings_digest`` among the settings in the provenance of a field."""

_OLD_SETTINGS_DIGEST = "asked_sha256"
"""Key of the digest in files of unreleased versions; still read."""

TRAINING = ("batch", "lr", "precision", "engine", "regime", "seed")
"""Settings of the training; those that say how large, which sampler and so on are in the plan in the form that they
come to."""


def identity(planned: Plan, spec: FieldSpec) -> dict[str, Any]:
    """What the state of a fit is a state of. The budget is not part of it: a fit may go on with a larger one."""
    return {"inrfit version": __version__, "source": planned.sha256, **_fit(planned, spec)}


def settings_digest(planned: Plan) -> str:
    """SHA-256 of all that was asked for, the budget included: two complete fields of one source with the same digest
    are interchangeable."""
    fit = _fit(planned, planned.spec)
    fit["settings"] = with_old_values(fit["settings"])
    fit["modality"] = with_old_names(fit["modality"])
    asked = {**fit, "budget": asdict(planned.budget), "store": planned.store}
    return files.sha256(strict_json.dumps(asked).encode())


def stored_digest(settings: Mapping[str, Any]) -> Any:
    """The ``settings_digest`` among the ``settings`` in the provenance of a field; None if there is none."""
    return settings.get(SETTINGS_DIGEST, settings.get(_OLD_SETTINGS_DIGEST))


def _fit(planned: Plan, spec: FieldSpec) -> dict[str, Any]:
    """What is fitted, by what, and how it is taught."""
    settings = asdict(planned.settings)
    return {
        "modality": {"name": planned.signal.modality, **flat(asdict(planned.modality_options))},
        "architecture": flat(asdict(spec)),
        "sampler": {"name": planned.sampler_name, **flat(asdict(planned.sampler))},  # type: ignore[call-overload]
        "settings": {name: settings[name] for name in TRAINING},
    }


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, those of inner mappings by their own names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value) if isinstance(value, Mapping) else {name: value}
    return found
