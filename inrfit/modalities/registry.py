"""The registry of modalities. Importing this module imports NumPy and all built-in modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..io.registry import Registry
from .audio import AUDIO
from .image import IMAGE
from .modality import Modality
from .points import POINTS
from .shape import SHAPE
from .video import VIDEO
from .volume import VOLUME

if TYPE_CHECKING:
    import numpy.typing as npt


def fault(name: str, entry: Any) -> str:
    """What is wrong with a modality of another package; "" if it can be used."""
    if not isinstance(entry, Modality):
        return "it is not an instance of inrfit.modalities.Modality"
    if entry.name != name:
        return f"its name is {entry.name!r}, not {name!r}"
    if not isinstance(entry.meta_schema, Mapping):
        return "its meta_schema is not a mapping of keys to schemas"
    if not entry.architecture_rules or entry.architecture_rules[-1].within:
        return "the last of its architecture_rules does not always apply"
    if entry.main_measure not in entry.measures:
        return f"its main_measure {entry.main_measure!r} is not among its measures"
    return ""


MODALITIES: Registry[Modality] = Registry(
    "inrfit.modalities",
    {"points": POINTS, "volume": VOLUME, "video": VIDEO, "image": IMAGE, "audio": AUDIO, "shape": SHAPE},
    fault,
    "modality",
)
"""The built-in modalities by name, and those of the entry points of other packages (docs/extending.md). The first one
that recognises a file gets it: a .npz file of coords and values is of points, a TIFF file of several pages a volume, an
animated GIF a clip."""


def array_source(array: npt.NDArray[Any], arguments: Mapping[str, Any]) -> tuple[bytes, str, dict[str, Any]]:
    """The bytes of a file with the samples of ``array``, the modality that reads it, the first one whose arrays take
    these ``arguments``, and the options that it reads it with. Raises ``UsageError``."""
    for modality in MODALITIES.values():
        known = modality.array_input
        if known is not None and known.arguments <= arguments.keys() <= known.arguments | known.optional:
            return known.to_file(array, **arguments), modality.name, known.options_of(array, **arguments)
    raise UsageError(f"no modality encodes arrays with the arguments {', '.join(arguments)}", "array")


def file_of(array: npt.NDArray[Any], arguments: Mapping[str, Any]) -> bytes:
    """The bytes of ``array_source``."""
    return array_source(array, arguments)[0]
