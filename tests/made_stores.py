"""HDF5 files, also such as netCDF-4 writes, and Zarr stores, made by h5py and zarr."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

from inrfit.io.limits import Limits
from inrfit.modalities.sources import read_source
from inrfit.modalities.volume import hdf5 as hdf5_reader
from inrfit.modalities.volume import hdf5_writer, zarr_files, zarr_writer


def read_here(monkeypatch) -> None:
    """Lets HDF5 and Zarr be read and written in this process, which is fast, and safe for good files."""
    for module in (hdf5_reader, hdf5_writer, zarr_files, zarr_writer):
        monkeypatch.setattr(module, "isolated", lambda function, *args: function(*args))


def hdf5(fill: Callable[[h5py.File], Any], **options) -> bytes:
    """The bytes of a file that ``fill(file)`` fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        fill(file)
    return stream.getvalue()


def opened(data: bytes) -> h5py.File:
    return h5py.File(io.BytesIO(data), "r")


def netcdf4(array, several: bool = False, **attributes) -> bytes:
    """A file as netCDF-4 arranges it: ``t2m`` on time, lat and lon, of which lon has no positions."""

    def fill(file):
        file.attrs["_NCProperties"] = np.bytes_("version=2,netcdf=4.9.2,hdf5=1.14.4")
        file.attrs["title"] = np.bytes_("made")
        data = file.create_dataset("t2m", data=array, chunks=(1, *array.shape[1:]), compression="gzip", shuffle=True,
                                   maxshape=(None, *array.shape[1:]))  # fmt: skip
        steps = {"time": (np.arange(array.shape[0]) * 6, "hours since 2000-01-01"),
                 "lat": (np.linspace(60, 10, array.shape[1]).astype("f4"), "degrees_north")}  # fmt: skip
        for number, (name, (values, unit)) in enumerate(steps.items()):
            file[name] = values
            file[name].attrs["units"] = np.bytes_(unit)
            file[name].make_scale(name)
            file[name].attrs["_Netcdf4Dimid"] = np.int32(number)
        lon = file.create_dataset("lon", (array.shape[2],), dtype=">f4")
        lon.make_scale(f"This is a netCDF dimension but not a netCDF variable.{array.shape[2]:10d}")
        for axis, name in enumerate(("time", "lat", "lon")):
            data.dims[axis].attach_scale(file[name])
        data.attrs["units"] = np.bytes_("K")
        for name, value in attributes.items():
            data.attrs[name] = value
        if several:
            other = file.create_group("more").create_dataset("other", data=np.arange(24.0).reshape(4, 6))
            other.dims[0].attach_scale(file["time"])
            other.dims[1].attach_scale(file["lat"])

    return hdf5(fill)


def zarr_store(fill: Callable[[str], Any]) -> bytes:
    """The bytes that a folder which ``fill(path)`` fills is read as."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "made.zarr")
        fill(path)
        return read_source(path, Limits())


def ome_zarr(path: str, array, version: str = "0.5", names: str = "czyx", levels: int = 2, **more) -> None:
    """An image of OME-Zarr with a pyramid, and labels."""
    form = 3 if version == "0.5" else 2
    group = zarr.open_group(path, mode="w", zarr_format=form)
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    for axis in axes:
        if axis["type"] == "space":
            axis["unit"] = "micrometer"
    datasets = []
    for level in range(levels):
        part = array[(..., *(slice(None, None, 2**level),) * 2)]
        _array(group, f"s{level}", part)
        wide = [2.0 if name == "z" else 0.65 * 2**level if name in "yx" else 1.0 for name in names]
        place = [10.0 if name == "z" else 0.0 for name in names]
        datasets.append(
            {
                "path": f"s{level}",
                "coordinateTransformations": [
                    {"type": "scale", "scale": wide},
                    {"type": "translation", "translation": place},
                ],
            }
        )
    image = {"name": "made", "axes": axes, "datasets": datasets, **more}
    if form == 2:
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    labels = group.create_group("labels")
    labels.attrs["labels"] = ["cells"]
    _array(labels.create_group("cells"), "0", np.zeros(array.shape[-3:], "u1") + 1)


def _array(group, name, array, **options):
    made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=tuple(min(n, 8) for n in array.shape),
                              **options)  # fmt: skip
    made[...] = array
    return made


def zarr_array(path: str, array, form: int = 3, names=None, **options) -> Any:
    """A store that is an array."""
    options = {"chunks": tuple(min(n, 4) for n in array.shape)} | options
    if names is not None and form == 3:
        options["dimension_names"] = names
    made = zarr.create_array(path, shape=array.shape, dtype=array.dtype, zarr_format=form, **options)
    made[...] = array
    return made


def zarr_dataset(path: str, array, form: int = 2, consolidated: bool = True) -> None:
    """A group as xarray writes it: ``t2m`` with its coordinates, and another array."""
    group = zarr.open_group(path, mode="w", zarr_format=form)
    steps = {"time": (np.arange(array.shape[0]) * 6, "hours since 2000-01-01"),
             "lat": (np.linspace(60, 10, array.shape[1]), "degrees_north")}  # fmt: skip
    parts = {"t2m": (array, ["time", "lat", "lon"]), "other": (np.arange(24.0).reshape(4, 6), ["time", "lat"])}
    parts |= {name: (values, [name]) for name, (values, _) in steps.items()}
    for name, (values, names) in parts.items():
        made = _array(group, name, values, **({"dimension_names": names} if form == 3 else {}))
        if form == 2:
            made.attrs["_ARRAY_DIMENSIONS"] = names
        if name in steps:
            made.attrs["units"] = steps[name][1]
    group["t2m"].attrs.update({"scale_factor": 0.5, "add_offset": 273.0, "_FillValue": -32768})
    if consolidated:
        zarr.consolidate_metadata(path, zarr_format=form)
