"""The defaults of what a modality may leave out (``modality.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .request import Request

if TYPE_CHECKING:
    from ..signal import Signal
    from .modality import Meta, Quality


def no_options(array: Any, **arguments: Any) -> dict[str, Any]:
    """Default of ``ArrayInput.options_of``: none."""
    return {}


def no_quality_warning(quality: Quality) -> str | None:
    """Default of ``Modality.quality_warning``: None."""
    return None


def always_writable(meta: Meta, suffix: str, request: Request, attachments: Mapping[str, bytes]) -> list[str]:
    """A ``Modality.check_writable`` for modalities whose output formats can hold every grid."""
    return []


def no_losses(decoded: Any, meta: Meta, suffix: str, request: Request) -> list[str]:
    """Default of ``Modality.losses``: none."""
    return []


def no_plain_codec(signal: Signal, quality: Quality) -> tuple[str, int] | None:
    """Default of ``Modality.plain_codec``: none."""
    return None


def nothing_asked(meta: Meta) -> Request:
    """Default of ``Modality.whole``: nothing is asked for."""
    return Request()


def unchanged(decoded: Any, meta: Meta, attachments: Mapping[str, bytes]) -> Any:
    """Default of ``Modality.with_attachments``: the decoded signal as it is."""
    return decoded


def in_place(signal: Signal, meta: Meta) -> Signal:
    """Default of ``Modality.in_place_of``: the signal as it is."""
    return signal


def default_options(meta: Meta) -> dict[str, Any]:
    """Default of ``Modality.options_of``: none differ from their defaults."""
    return {}


def consistent_meta(meta: Meta) -> None:
    """Default of ``Modality.check_meta``: nothing is checked."""
