"""Libraries that read and write media files run in another process, in commands that work on many files: if one crashes
there, one file has failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..config.plan import Plan, plan
from ..config.settings import Settings
from ..errors import UnreadableFile, UnwritableOutput, printable
from ..io.checked_file import CheckedFile
from ..io.worker_process import Worker, WorkerDied
from ..modalities import MODALITIES, Request
from ..modalities.sources import read_source
from ..modalities.streaming import ArrayStream


def plan_file(worker: Worker | None, path: str, settings: Settings, started: float) -> Plan:
    """Reads the file ``path`` and plans it in ``worker`` (None: in this process). Raises ``UnreadableFile`` if a
    library crashes."""
    data, name = read_source(path, settings.limits), os.path.basename(path)
    if worker is None:
        return plan(data, name, settings, started)
    try:
        planned = worker.call(plan, data, name, settings, started)
    except WorkerDied as death:
        raise death.failure(UnreadableFile, "it read the file") from None
    return replace(planned, loaded_at=time.monotonic())


def media_bytes(
    worker: Worker | None,
    modality: str,
    decoded: Any,
    meta: Mapping[str, Any],
    suffix: str,
    request: Request,
    attachments: Mapping[str, bytes],
) -> bytes:
    """The bytes of a file of ``decoded`` samples, made in ``worker`` (None: in this process). Raises
    ``UnwritableOutput`` if a library crashes."""
    arguments = (modality, decoded, dict(meta), suffix, request, dict(attachments))
    if worker is None:
        return _media_bytes(*arguments)
    try:
        return worker.call(_media_bytes, *arguments)
    except WorkerDied as death:
        raise death.failure(UnwritableOutput, f"it wrote a {printable(suffix)}") from None


def _media_bytes(modality: str, *arguments: Any) -> bytes:
    return MODALITIES[modality].write(*arguments)


def write_media(
    worker: Worker,
    modality: str,
    decoded: ArrayStream,
    meta: Mapping[str, Any],
    suffix: str,
    request: Request,
    attachments: Mapping[str, bytes],
    out: CheckedFile,
) -> None:
    """Writes a file of samples that are decoded part by part to ``out``, in ``worker``. Raises ``UnwritableOutput`` if
    a library crashes."""
    arguments = (decoded.shape, decoded.dtype, out.path, modality, dict(meta), suffix, request, dict(attachments))
    try:
        out.size, out.sums = worker.call_with_items(_write_media, decoded, *arguments)
    except WorkerDied as death:
        raise death.failure(UnwritableOutput, f"it wrote a {printable(suffix)}") from None


def _write_media(
    items: Iterable[Any], shape: tuple[int, ...], dtype: Any, path: str, modality: str, meta: Mapping[str, Any],
    suffix: str, request: Request, attachments: Mapping[str, bytes],
) -> tuple[int, list[int]]:  # fmt: skip
    """Writes to the file at ``path``, which is empty; returns the size and the checksums of what was written."""
    streaming = MODALITIES[modality].streaming
    assert streaming is not None
    with CheckedFile(path, new=False) as out:
        streaming.write(ArrayStream(shape, dtype, items), meta, suffix, request, attachments, out)
        out.sync()
        return out.size, out.sums
