"""The formats of volumes: how each is recognised, read and written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import UnreadableFile, UnsupportedInput, UsageError
from ...io.limits import Limits
from . import (
    hdf5,
    hdf5_writer,
    metaimage,
    netcdf,
    nifti,
    nrrd,
    nrrd_writer,
    numpy_files,
    raw_samples,
    tiff_stack,
    vtk_legacy,
    vtk_xml,
    zarr_files,
    zarr_store,
    zarr_writer,
)
from .compression import gunzipped
from .hdf5_file import is_hdf5
from .raw_volume import Array, RawVolume


@dataclass(frozen=True)
class Options:
    """What a reader may be told: the letters of the axes, the name of an array, and shape and number type of raw
    samples."""

    axes: str | None = None
    array: str | None = None
    shape: str | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class Format:
    """A format by its suffixes, the first of which decoded files get. ``read(data, limits, options)`` and
    ``write(samples, volume, suffix)``, where the volume may be of another format."""

    suffixes: tuple[str, ...]
    read: Callable[[bytes, Limits, Options], RawVolume]
    write: Callable[[Array, RawVolume, str], bytes]


FORMATS: dict[str, Format] = {
    "NumPy": Format((".npy",), lambda data, limits, o: numpy_files.read(data, limits, o.axes), numpy_files.write),
    "NumPy archive": Format(
        (".npz",), lambda data, limits, o: numpy_files.read_npz(data, limits, o.axes, o.array), numpy_files.write
    ),
    "NIfTI": Format((".nii", ".nii.gz"), lambda data, limits, o: nifti.read(data, limits), nifti.write),
    "NRRD": Format((".nrrd", ".nhdr"), lambda data, limits, o: nrrd.read(data, limits, o.axes), nrrd_writer.write),
    "MetaImage": Format((".mha", ".mhd"), lambda data, limits, o: metaimage.read(data, limits), metaimage.write),
    "VTK XML": Format((".vti",), lambda data, limits, o: vtk_xml.read(data, limits, o.array), vtk_xml.write),
    "VTK": Format((".vtk",), lambda data, limits, o: vtk_legacy.read(data, limits, o.array), vtk_legacy.write),
    "TIFF stack": Format((".tif", ".tiff"), lambda data, limits, o: tiff_stack.read(data, limits), tiff_stack.write),
    "netCDF-3": Format((".nc",), lambda data, limits, o: netcdf.read(data, limits, o.array), netcdf.write),
    "HDF5": Format(
        (".h5", ".hdf5", ".nxs"),
        lambda data, limits, o: hdf5.read(data, limits, o.axes, o.array),
        hdf5_writer.write,
    ),
    "netCDF-4": Format(
        (".nc", ".nc4"), lambda data, limits, o: hdf5.read(data, limits, o.axes, o.array), hdf5_writer.write
    ),
    "Zarr": Format(
        (".zarr.zip", ".ozx"),
        lambda data, limits, o: zarr_files.read(data, limits, o.axes, o.array),
        zarr_writer.write,
    ),
    "raw samples": Format(
        (".raw",),
        lambda data, limits, o: raw_samples.read(data, limits, o.shape, o.dtype, o.axes),
        raw_samples.write,
    ),
}

_WITH_AXES = ("NIfTI", "MetaImage", "VTK XML", "VTK", "TIFF stack", "netCDF-3")
"""Formats that name the axes of their samples."""

FROM_THEMSELVES = ("netCDF-3", "netCDF-4", "HDF5", "Zarr")
"""Formats that are written only from files of the same format, whose other content they keep."""

RAW = "raw samples"
"""The format of files that no signature tells."""

INPUT_SUFFIXES = (
    *(suffix for name, known in FORMATS.items() for suffix in known.suffixes if name != RAW),
    zarr_store.FOLDER_SUFFIX,
)

SUFFIXES = tuple(suffix for known in FORMATS.values() for suffix in known.suffixes)

_SIGNATURES: dict[str, bytes] = {
    "NumPy": rb"\x93NUMPY",
    "NRRD": rb"NRRD000\d",
    "VTK": rb"# vtk DataFile Version",
    "VTK XML": rb'\s*(?:<\?xml[^>]{0,200}>\s*)?<VTKFile\s[^>]{0,200}type="ImageData"',
    "MetaImage": rb"(?:[A-Za-z]{1,40} *=[^\n]{0,200}\r?\n){0,20}?(?:NDims *=)",
    "netCDF-3": rb"CDF[\x01\x02]",
}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF files. One of a single page is a picture, unless it is named a volume."""

_REFUSED: dict[str, tuple[bytes, str]] = {
    "DICOM": (rb".{128}DICM", "convert the series to NIfTI first, for example with dcm2niix"),
    "OpenVDB": (rb" BDV\0", "write a dense array of it, for example as .npy"),
    "netCDF": (rb"CDF[\x05]", "convert it to netCDF-4"),
}


def recognised(data: bytes) -> str | None:
    """The name of the format of ``data``, also of one that is refused; None if it is none of them."""
    head = data[:4096]
    for name, pattern in _SIGNATURES.items():
        if re.match(pattern, head, re.DOTALL):
            return name
    for name, (pattern, _) in _REFUSED.items():
        if re.match(pattern, head, re.DOTALL):
            return name
    if nifti.is_nifti(head):
        return "NIfTI"
    if head[:2] == b"\x1f\x8b" and _begins_like_nifti(data):
        return "NIfTI"
    if head[:4] == b"PK\x03\x04" and re.match(rb"PK\x03\x04.{26}[^\0]{1,200}?\.npy", head, re.DOTALL):
        return "NumPy archive"
    if zarr_store.is_archive(data):
        return "Zarr"
    if head[:4] in _TIFF and tiff_stack.page_count(data) > 1:
        return "TIFF stack"
    return "HDF5" if is_hdf5(data) else None


def _begins_like_nifti(data: bytes) -> bool:
    """Whether a gzip stream begins with a NIfTI header."""
    try:
        return nifti.is_nifti(gunzipped(data[:65_536], 1024))
    except Exception:  # a damaged stream of whatever kind
        return False


def read(data: bytes, limits: Limits, options: Options, suffix: str = "") -> tuple[str, RawVolume]:
    """The name of the format, and the volume. Raises a ``RefusedInput``, also for a file that has the ``suffix`` of a
    format and not its content, and ``UsageError`` for an option that is missing or does not suit."""
    name = recognised(data) or ("TIFF stack" if data[:4] in _TIFF else RAW)
    if name in _REFUSED:
        raise UnsupportedInput(f"{name} is not read: {_REFUSED[name][1]}", "format")
    if name == RAW and options.shape is None and options.dtype is None:
        _require_no_promise(suffix)
    for option, value in (("shape", options.shape), ("dtype", options.dtype)):
        if value is not None and name != RAW:
            raise UsageError(f"-O {option}: only raw samples need it, and this is a {name} file", "option")
    if options.axes is not None and name in _WITH_AXES:
        raise UsageError(f"-O axes: a {name} file says its axes itself", "option")
    volume = FORMATS[name].read(data, limits, options)
    return "netCDF-4" if volume.layout.get("netcdf") else name, volume


def _require_no_promise(suffix: str) -> None:
    """Raises ``UnreadableFile`` if files of this suffix have a format that would have been recognised."""
    named = " or ".join(name for name, known in FORMATS.items() if suffix in known.suffixes and name != RAW)
    if named:
        raise UnreadableFile(f"its content is not {named}, as the suffix says, or it is damaged", "corrupt")


def companion(data: bytes) -> str | None:
    """The name of the file that holds the samples of the header ``data``; None if it holds them itself. Raises
    ``UnreadableFile`` for a damaged header."""
    readers = {"NRRD": nrrd.data_file, "MetaImage": metaimage.data_file}
    name = next((name for name in readers if re.match(_SIGNATURES[name], data[:4096], re.DOTALL)), None)
    return None if name is None else readers[name](data)


def format_of_suffix(suffix: str, source: str) -> str | None:
    """The format that files of this suffix are written in: that of the ``source``, if it has the suffix."""
    names = (source, *FORMATS)
    return next((name for name in names if suffix in FORMATS[name].suffixes), None)
