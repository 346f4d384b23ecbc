"""What makes two fits the same fit: source, field, sampler and settings, as JSON. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from ..fields import FieldSpec
from ..io import files, strict_json
from .plan import Plan
from .settings import Settings

DIGEST = "asked_sha256"
"""Where the provenance of a field has ``settings_digest``, among its settings."""

NOT_PART = frozenset({"budget", "target", "limits", "verify", "device", "threads", "type", "arch", "sampler"})
"""Settings that do not belong to the identity, or are in it under another name."""


def identity(planned: Plan, spec: FieldSpec) -> dict[str, Any]:
    """What the state of a fit is a state of. The budget is not part of it: a fit may go on with a larger one."""
    return {
        "inrfit version": version(),
        "source": planned.sha256,
        "modality": {"name": planned.signal.modality, **_plain(planned.signal.meta)},
        "architecture": _plain(asdict(spec)),
        "sampler": {"name": planned.strategy, **_plain(asdict(planned.sampler))},  # type: ignore[call-overload]
        "settings": asked(planned.settings),
    }


def asked(settings: Settings) -> dict[str, Any]:
    """The settings that a fit depends on, as they were asked for."""
    return _plain({f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in NOT_PART})


def settings_digest(planned: Plan) -> str:
    """SHA-256 of all that was asked for, the budget included: two complete fields of one source with the same digest
    are interchangeable."""
    value = {
        **asked(planned.settings),
        "arch": planned.settings.arch,
        "sampler": planned.settings.sampler,
        "budget": asdict(planned.budget),
    }
    return files.sha256(strict_json.dumps(value).encode())


def version() -> str:
    """This program's version."""
    from .. import __version__

    return __version__


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as flat JSON: what is no scalar is written as text."""
    return {str(name): value if _scalar(value) else strict_json.dumps(_json(value)) for name, value in values.items()}


def _json(value: Any) -> Any:
    """``value`` as JSON; what JSON does not have, as text."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value if _scalar(value) else str(value)


def _scalar(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str)
