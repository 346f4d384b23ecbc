"""Zarr stores: folders, which are read as a .zip file of their files, and .zip files. Names in a store are its keys."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import UnreadableFile, UnsupportedInput, machine_error, printable
from ...io import extras, files
from ...io.limits import Limits

FOLDER_SUFFIX = ".zarr"
"""The suffix of the folders."""

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""Names of the files that describe arrays and groups, of the versions 3 and 2."""

CONSOLIDATED = ".zmetadata"
"""The file of version 2 in which all descriptions are repeated."""

MAX_FILES = 1_000_000
"""Most files of a store."""

MAX_METADATA = 1 << 24
"""Most bytes of the description of an array or a group."""


def require() -> None:
    """Raises ``UsageError`` if the package zarr is not installed."""
    extras.require("zarr", "Zarr")


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a Zarr store."""
    try:
        return any(os.path.isfile(os.path.join(os.fspath(path), name)) for name in METADATA[:3])
    except (TypeError, ValueError):  # no path, or one with a NUL
        return False


def is_archive(data: bytes) -> bool:
    """Whether a .zip file has descriptions of Zarr in its directory."""
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - 66_000))
    if data[:4] != b"PK\x03\x04" or end < 0:
        return False
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    directory = data[max(0, end - size - 76) : end]  # with the additional records of large files
    return any(name.encode() in directory for name in METADATA[:3])


def packed(folder: str, limits: Limits) -> bytes:
    """The files of a store as a .zip file without compression, but for those of lower resolutions. Raises a
    ``RefusedInput``."""
    out, total, count = io.BytesIO(), 0, 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, name in _files(folder):
            count += 1
            if count > MAX_FILES:
                raise UnsupportedInput(f"a Zarr store of more than {MAX_FILES:,} files: use larger chunks", "files")
            size = os.stat(path).st_size
            total += size
            limits.check("max_bytes", total, "size of the store in bytes")
            archive.writestr(zipfile.ZipInfo(name), files.read(path, limits) if size else b"")
    return out.getvalue()


def _files(folder: str) -> Iterator[tuple[str, str]]:
    """The paths of the files of a store, and their names in it. Raises ``UnsupportedInput`` for links and devices."""
    skipped: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=_raise):
        inside = "" if place == folder else os.path.relpath(place, folder).replace(os.sep, "/")
        if inside in skipped:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if name[0] != "." or name in (*METADATA, CONSOLIDATED)):
            path, key = os.path.join(place, name), f"{inside}/{name}".lstrip("/")
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise UnsupportedInput(f"{printable(key)[:80]} is a link or a device, which is not followed: copy the "
                                       "store with cp -rL", "link")  # fmt: skip
            yield path, key
            if name in METADATA:
                with open(path, "rb") as file:
                    skipped.update(_lower_levels(inside, file.read(MAX_METADATA)))
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                raise UnsupportedInput(f"{printable(name)[:80]} is a link, which is not followed: copy the store with "
                                       "cp -rL", "link")  # fmt: skip


def _raise(error: OSError) -> None:
    raise machine_error(error) or UnreadableFile(
        f"{printable(os.path.basename(str(error.filename)))[:80]}: {error.strerror}", "unreadable"
    ) from error


def _lower_levels(inside: str, text: bytes) -> list[str]:
    """The folders of the lower resolutions that the description of a group names."""
    try:
        described = json.loads(text)
    except (ValueError, RecursionError):
        return []
    levels = [path for one in multiscales_of(attributes_of(described)) for path in level_paths(one)[1:]]
    return [f"{inside}/{path}".strip("/") for path in levels]


def attributes_of(described: Any) -> Mapping[str, Any]:
    """The attributes in a description: those of version 3 are within it."""
    found = described.get("attributes", described) if isinstance(described, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def multiscales_of(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images that the attributes of a group describe as OME-Zarr (NGFF) does."""
    ome = attributes.get("ome")
    found = (ome if isinstance(ome, Mapping) else attributes).get("multiscales")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def level_paths(multiscale: Mapping[str, Any]) -> list[str]:
    """The paths of an image's resolutions below its group, the highest first."""
    datasets = multiscale.get("datasets")
    paths = [one.get("path") for one in datasets if isinstance(one, Mapping)] if isinstance(datasets, list) else []
    return [path.strip("/") for path in paths if isinstance(path, str)]


class Store:
    """The files of an archive by their keys."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Raises a ``RefusedInput`` if this is no archive, or one of too many files."""
        if data.count(b"PK\x01\x02") > MAX_FILES:
            raise UnsupportedInput(f"a Zarr store of more than {MAX_FILES:,} files: use larger chunks", "files")
        self.limits = limits
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            names = {info.filename: info for info in self._archive.infolist() if not info.is_dir()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, OverflowError) as error:
            raise UnreadableFile(f"damaged: not a .zip file ({printable(str(error))[:80]})", "corrupt") from None
        tops = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in METADATA[:3]]
        top = min(tops, key=lambda name: (name.count("/") + bool(name), name), default="")
        below = f"{top}/" if top else ""
        self._infos = {name.removeprefix(below): info for name, info in names.items() if name.startswith(below)}
        self._total = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __contains__(self, key: str) -> bool:
        return key in self._infos

    def size(self, key: str) -> int:
        """The bytes of a file, as the directory says."""
        return int(self._infos[key].file_size)

    def read(self, key: str) -> bytes:
        """The content of a file. Raises a ``RefusedInput``."""
        self._total += self.size(key)
        self.limits.check("max_bytes", self._total, "size of the files in bytes")
        try:
            return self._archive.read(self._infos[key])
        except Exception as error:  # of zipfile, and of what unpacks
            if (of_machine := machine_error(error)) is not None:
                raise of_machine from error
            raise UnreadableFile(f"damaged: {printable(key)[:80]}: {printable(str(error))[:80]}", "corrupt") from None


def zipped(files_of: Mapping[str, bytes]) -> bytes:
    """A .zip file of a store: descriptions first, from the top down, as readers expect them; nothing is compressed."""
    out = io.BytesIO()

    def order(key: str) -> tuple[bool, int, str]:
        return key.rpartition("/")[2] not in METADATA, key.count("/"), key

    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(files_of, key=order):
            archive.writestr(zipfile.ZipInfo(key), files_of[key])  # always the same date
    return out.getvalue()
