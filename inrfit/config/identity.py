"""The identity of a fit: source, field, sampler and settings, as JSON values. Does not import torch."""

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
"""Settings that are part of the identity as they are. The others enter it through the plan, which holds what they were
resolved to: sizes, sampler, options."""


def identity(planned: Plan, spec: FieldSpec) -> dict[str, Any]:
    """What must be equal for a saved state to be resumed. The budget is not part of it, so that a fit can be continued
    with a larger one."""
    return {"inrfit version": __version__, "source": planned.sha256, **_fit(planned, spec)}


def settings_digest(planned: Plan) -> str:
    """SHA-256 of all settings, including the budget. Two completed fits of one source with equal digests are
    interchangeable."""
    fit = _fit(planned, planned.spec)
    fit["settings"] = with_old_values(fit["settings"])
    fit["modality"] = with_old_names(fit["modality"])
    settings = {**fit, "budget": asdict(planned.budget), "store": planned.store}
    if planned.settings.clock != "load":  # the digests of earlier versions are those of "load"
        settings["clock"] = planned.settings.clock
    if planned.settings.smallest:
        settings["smallest"] = True
    return files.sha256(strict_json.dumps(settings).encode())


def stored_digest(settings: Mapping[str, Any]) -> Any:
    """The ``settings_digest`` among the ``settings`` in the provenance of a field; None if there is none."""
    return settings.get(SETTINGS_DIGEST, settings.get(_OLD_SETTINGS_DIGEST))


def _fit(planned: Plan, spec: FieldSpec) -> dict[str, Any]:
    """Modality, architecture, sampler and training settings, each with its options."""
    settings = asdict(planned.settings)
    return {
        "modality": {"name": planned.signal.modality, **_flatten(asdict(planned.modality_options))},
        "architecture": _flatten(asdict(spec)),
        "sampler": {"name": planned.sampler_name, **_flatten(asdict(planned.sampler))},  # type: ignore[call-overload]
        "settings": {name: settings[name] for name in TRAINING},
    }


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with the entries of nested mappings moved to the top level, under their own names."""
    flattened: dict[str, Any] = {}
    for name, value in values.items():
        flattened |= _flatten(value) if isinstance(value, Mapping) else {name: value}
    return flattened
