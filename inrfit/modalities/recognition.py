"""Finds the modality of a file, and loads it."""

from __future__ import annotations

from typing import Any

from ..errors import PluginError, UnreadableFile, UnsupportedInput, warn
from ..io.file_names import suffix_of
from ..io.limits import Limits
from ..io.registry import plugin_errors
from ..signal import Signal
from .modality import Modality
from .registry import MODALITIES


def identify(data: bytes, name: str, type: str | None = None) -> Modality:
    """The modality of ``data``: the one called ``type`` if given, else recognised by content, else by the suffix of
    ``name``. Raises ``UnsupportedInput``."""
    if type is not None:
        return MODALITIES[type]
    suffix = suffix_of(name)
    for _ in ("built in", "from other packages"):
        for modality in MODALITIES.values():
            if _recognises(modality, data):
                return modality
        for modality in MODALITIES.values():
            if suffix in modality.input_suffixes:
                return modality
        MODALITIES.load_all()
    named = " or ".join(f"--type {m.name}" for m in MODALITIES.values() if suffix in m.named_suffixes)
    if named:
        raise UnsupportedInput(f"a {suffix} file may be many things; it is read with {named}", "format")
    readable = "; ".join(f"{m.name}: {', '.join(m.formats)}" for m in MODALITIES.values())
    raise UnsupportedInput(f"not a type of file that inrfit reads ({readable})", "format")


def _recognises(modality: Modality, data: bytes) -> bool:
    """Whether the content of a file is of this modality. A plug-in that fails is passed over, with a warning."""
    try:
        with plugin_errors():
            return modality.sniff(data)
    except PluginError as error:
        warn(str(error))
        return False


def load_signal(modality: Modality, data: bytes, name: str, options: Any, limits: Limits) -> Signal:
    """The signal of a file; ``options`` is an instance of ``modality.options``. Raises a ``RefusedInput``.

    Numbers that are not finite are refused by the readers, so NumPy does not warn of them."""
    import numpy as np

    with np.errstate(all="ignore"), plugin_errors(UnreadableFile):
        return modality.load(data, name, options, limits).named(modality.name)
