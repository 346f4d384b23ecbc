"""Meshes as Draco files, beside which fields are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...io import extras
from ...signal import Signal
from ..declarations import Codec
from ..modality import OnProgress
from .mesh import Mesh
from .quality import compare

_EFFORT = 10
"""Draco's compression level, 0 to 10: 10 makes the smallest files."""

_BITS = (6, 7, 8, 9, 10, 11, 12)
"""Bits of each coordinate. Measuring one file takes some 10 s."""


def _writer() -> str:
    """The library, and its version."""
    from importlib.metadata import version

    extras.load("DracoPy", "the codec draco")
    return f"DracoPy {version('DracoPy')}"


def _trial(signal: Signal, settings: Mapping[str, Any], on_progress: OnProgress) -> tuple[int, float]:
    """Bytes and IoU of the mesh in a Draco file, with the colours of its vertices if they are fitted."""
    import DracoPy

    mesh: Mesh = signal.reference
    data = DracoPy.encode(
        mesh.vertices.astype(np.float32),
        mesh.faces.astype(np.uint32),
        quantization_bits=settings["bits"],
        compression_level=_EFFORT,
        colors=None if mesh.colours is None else np.rint(mesh.colours * 255).astype(np.uint8),
    )
    decoded = DracoPy.decode(data)
    found = Mesh(np.asarray(decoded.points, np.float64), np.asarray(decoded.faces, np.int64))
    return len(data), float(compare(replace(signal, reference=found), signal, on_progress)["iou"])


CODECS: dict[str, Codec] = {
    "draco": Codec(_writer, lambda meta: None, lambda meta: [{"bits": bits} for bits in _BITS], _trial)
}
"""The codecs of meshes by name."""
