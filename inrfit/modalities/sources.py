"""Reading a source whose samples may be in another file than its header."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from ..errors import InrfitError, UnreadableFile, UnsupportedInput, printable
from ..io import files
from ..io.file_names import suffix_of
from ..io.limits import Limits
from ..io.registry import plugin_errors
from .registry import MODALITIES
from .video import frame_files
from .volume import zarr_store

MAX_HEADER = 1 << 16
"""Bytes of a header within which it names the file with its samples."""


def read_source(path: str | os.PathLike[str], limits: Limits) -> bytes:
    """The content of a file; if it is a header that names another file of its folder, followed by that file's content.
    A folder is read as one file of its frames, or of the files of a Zarr store. Raises a ``RefusedInput``."""
    if path != "-" and not isinstance(path, int) and os.path.isdir(path):
        pack = zarr_store.packed if is_store(path) else frame_files.packed
        return pack(os.fspath(path), limits)
    return with_companion(files.read(path, limits), path, limits)


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a folder which is one source, as it is: a Zarr store."""
    return path != "-" and zarr_store.is_folder(path)


def with_companion(data: bytes, path: str | os.PathLike[str], limits: Limits) -> bytes:
    """The content of the file ``path``, followed by that of the file that it names, if it is only a header. Raises a
    ``RefusedInput``."""
    name = companion_of(data)
    if name is None:
        return data
    if os.fspath(path) == "-" or isinstance(path, int):
        raise UnsupportedInput(f"the samples are in {printable(name)}: give the path of the header", "companion")
    if os.path.basename(name) != name or name in ("", ".", ".."):
        raise UnsupportedInput(
            f"the samples are in {printable(name)}: only a file of the same folder is read", "companion"
        )
    beside = os.path.join(os.path.dirname(os.fspath(path)), name)
    try:
        return data + files.read(beside, limits)
    except InrfitError as error:
        raise type(error)(f"{printable(name)}, which holds the samples: {error}", error.reason) from error


def companions(folder: str, names: Sequence[str]) -> set[str]:
    """Those of the ``names`` in a folder that hold the samples of headers among them: header and samples are one
    source."""
    suffixes = {suffix for modality in MODALITIES.values() for suffix in modality.header_suffixes}
    found = set[str]()
    for name in names:
        if suffix_of(name) in suffixes:
            with suppress(OSError), open(os.path.join(folder, name), "rb") as file:
                found.add(companion_of(file.read(MAX_HEADER)) or "")
    return found & set(names)


def companion_of(data: bytes) -> str | None:
    """The name of the file that holds the samples of a header; None if there is no such file."""
    for modality in MODALITIES.values():
        if modality.companion is not None:
            try:
                with plugin_errors(UnreadableFile):
                    if (name := modality.companion(data)) is not None:
                        return name
            except InrfitError:  # a damaged header: ``load`` says what is wrong
                return None
    return None
