"""Volumes of every format, made by other libraries or by hand: name, bytes, options, and the array (*grid, c)."""

from __future__ import annotations

import base64
import io
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK
import tifffile
from made_stores import hdf5, netcdf4, ome_zarr, zarr_array, zarr_dataset, zarr_store
from scipy.io import netcdf_file

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class Made:
    """A file, the options that it is read with, and its samples."""

    name: str
    data: bytes
    array: np.ndarray
    options: dict = field(default_factory=dict)


def samples(shape, dtype="uint8", seed=0):
    """Samples of any type that vary over the grid."""
    draw = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "c":
        return (draw.normal(size=shape) + 1j * draw.normal(size=shape)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        return draw.normal(size=shape).astype(dtype)
    if np.dtype(dtype).kind == "b":
        return draw.random(shape) > 0.5
    low = 0 if np.dtype(dtype).kind == "u" else -100
    return draw.integers(low, 120, shape).astype(dtype)


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def numpy_files():
    for dtype in (*TYPES, "float16", "int64", "uint64", "bool", "complex64", ">i2", ">f4"):
        array = samples((5, 6, 7), dtype)
        yield Made(f"{dtype.lstrip('>')}.npy", npy(array), array[..., None])
    array = samples((5, 6, 7))
    yield Made("fortran.npy", npy(np.asfortranarray(array)), array[..., None])
    yield Made("line.npy", npy(samples((50,))), samples((50,))[:, None])
    yield Made("channels.npy", npy(samples((6, 7, 3))), samples((6, 7, 3)), {"axes": "yxc"})
    array = samples((2, 5, 6, 7))
    yield Made("first.npy", npy(array), np.moveaxis(array, 0, -1), {"axes": "czyx"})
    stream = io.BytesIO()
    np.savez_compressed(stream, density=samples((5, 6, 7)), other=np.zeros(3))
    yield Made("two.npz", stream.getvalue(), samples((5, 6, 7))[..., None], {"array": "density"})
    yield Made("raw.raw", samples((5, 6, 7), ">i2").tobytes(), samples((5, 6, 7), "int16")[..., None],
               {"shape": "5x6x7", "dtype": ">i2"})  # fmt: skip


AFFINE = np.array([[0, -2.0, 0, 11], [1.5, 0, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]])


def nifti(array, kind=nibabel.Nifti1Image, affine=AFFINE, endian="<", suffix=".nii"):
    """``array`` is in the order of NIfTI: x first."""
    header = kind.header_class(endianness=endian)
    header.set_data_dtype(array.dtype)
    image = kind(array, affine, header)
    image.header.set_xyzt_units("mm", "sec")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"made{suffix}"
        nibabel.save(image, path)
        return path.read_bytes()


def nifti_files():
    for dtype in TYPES:
        array = samples((7, 6, 5), dtype)
        yield Made(f"{dtype}.nii", nifti(array), array.T[..., None])
    array = samples((7, 6, 5), "int16")
    yield Made("big.nii", nifti(array.astype(">i2"), endian=">"), array.T[..., None])
    yield Made("two.nii", nifti(array, nibabel.Nifti2Image), array.T[..., None])
    yield Made("packed.nii.gz", nifti(array, suffix=".nii.gz"), array.T[..., None])
    yield Made("complex.nii", nifti(samples((7, 6, 5), "complex64")), samples((7, 6, 5), "complex64").T[..., None])
    times = samples((7, 6, 5, 4), "int16")
    yield Made("times.nii", nifti(times), times.T[..., None])
    vectors = samples((7, 6, 5, 1, 3), "float32")
    yield Made("vectors.nii", nifti(vectors), np.moveaxis(vectors[:, :, :, 0].T, 0, -1))
    colours = samples((7, 6, 5, 3))
    packed = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    yield Made("colours.nii", nifti(packed), np.moveaxis(colours.T, 0, -1))


def nrrd_bytes(array, header, encoding="raw"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.nrrd"
        nrrd.write(str(path), array, {"encoding": encoding, **header})
        return path.read_bytes()


def nrrd_files():
    placed = {
        "space": "left-posterior-superior",
        "space directions": AFFINE[:3, :3].T,
        "space origin": AFFINE[:3, 3],
        "kinds": ["domain"] * 3,
    }
    for encoding in ("raw", "gzip", "bzip2", "ascii"):
        array = samples((7, 6, 5), "int16")
        yield Made(f"{encoding}.nrrd", nrrd_bytes(array, placed, encoding=encoding), array.T[..., None])
    for dtype in ("uint8", "uint16", "int32", "float32", "float64", "int64"):
        array = samples((7, 6), dtype)
        yield Made(f"{dtype}.nrrd", nrrd_bytes(array, {"spacings": [0.5, 2.0]}), array.T[..., None])
    vectors = samples((3, 7, 6, 5), "float32")
    kinds = {"kinds": ["vector", "domain", "domain", "domain"]}
    yield Made("vectors.nrrd", nrrd_bytes(vectors, kinds), np.moveaxis(vectors.T, -1, -1))
    last = samples((7, 6, 5, 2), "float32")
    kinds = {"kinds": ["domain", "domain", "domain", "list"]}
    yield Made("last.nrrd", nrrd_bytes(last, kinds), np.moveaxis(last.T, 0, -1))


def meta_image(array, packed=False, vector=False, direction=None):
    image = SimpleITK.GetImageFromArray(array, isVector=vector)
    axes = image.GetDimension()
    image.SetSpacing([0.5 + k for k in range(axes)])
    image.SetOrigin([3.0 - k for k in range(axes)])
    if direction is not None:
        image.SetDirection(direction)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mha"
        SimpleITK.WriteImage(image, str(path), packed)
        return path.read_bytes()


def meta_image_files():
    for dtype in TYPES:
        array = samples((5, 6, 7), dtype)
        yield Made(f"{dtype}.mha", meta_image(array, packed=dtype == "int16"), array[..., None])
    turned = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    yield Made("turned.mha", meta_image(samples((5, 6, 7)), direction=turned), samples((5, 6, 7))[..., None])
    yield Made("flat.mha", meta_image(samples((6, 7))), samples((6, 7))[..., None])
    yield Made("vectors.mha", meta_image(samples((5, 6, 7, 3)), vector=True), samples((5, 6, 7, 3)))


def vtk_xml(array, form, packed=False, order="LittleEndian", wide=8):
    """``array`` (z, y, x, c)."""
    kind = {"uint8": "UInt8", "int16": "Int16", "float32": "Float32", "float64": "Float64"}[array.dtype.name]
    raw = array.astype(array.dtype.newbyteorder("<" if order == "LittleEndian" else ">")).tobytes()

    def number(*values):
        return b"".join(v.to_bytes(wide, "little" if order == "LittleEndian" else "big") for v in values)

    if packed:
        blocks = [zlib.compress(raw[start : start + 500]) for start in range(0, len(raw), 500)]
        head = number(len(blocks), 500, len(raw) % 500, *map(len, blocks))
        content, text = head + b"".join(blocks), base64.b64encode(head) + base64.b64encode(b"".join(blocks))
    else:
        content = number(len(raw)) + raw
        text = base64.b64encode(content)
    inline, appended, offset = b"", b"", ""
    if form == "ascii":
        inline = " ".join(map(repr, array.reshape(-1).tolist())).encode()
    elif form == "binary":
        inline = text
    elif form == "appended":
        appended = b'<AppendedData encoding="raw">\n_' + content + b"\n</AppendedData>\n"
    else:
        form, appended = "appended", b'<AppendedData encoding="base64">\n_' + text + b"\n</AppendedData>\n"
    if form == "appended":
        offset = ' offset="0"'
    sides = array.shape[2::-1]
    extent = " ".join(f"0 {side - 1}" for side in sides)
    compressor = ' compressor="vtkZLibDataCompressor"' if packed else ""
    header = f' header_type="UInt{8 * wide}"'
    return (
        (
            f'<?xml version="1.0"?>\n<VTKFile type="ImageData" byte_order="{order}"{header}{compressor}>\n'
            f'<ImageData WholeExtent="{extent}" Origin="1 2 3" Spacing="0.5 1 2">\n<Piece Extent="{extent}">\n'
            f'<PointData Scalars="d">\n<DataArray type="{kind}" Name="d" NumberOfComponents="{array.shape[-1]}" '
            f'format="{form}"{offset}>'
        ).encode()
        + inline
        + b"</DataArray>\n</PointData>\n</Piece>\n</ImageData>\n"
        + appended
        + b"</VTKFile>\n"
    )


def vtk_files():
    for form in ("ascii", "binary", "appended", "appended64"):
        for packed in (False, True):
            array = samples((5, 6, 7, 1), "float32")
            yield Made(f"{form}{packed}.vti", vtk_xml(array, form, packed), array)
    array = samples((5, 6, 7, 3), "int16")
    yield Made("big.vti", vtk_xml(array, "binary", True, "BigEndian", 4), array)
    head = b"# vtk DataFile Version 3.0\nmade\n%s\nDATASET STRUCTURED_POINTS\nDIMENSIONS 7 6 5\nSPACING 0.5 1 2\n"
    head += b"ORIGIN 1 2 3\nPOINT_DATA 210\n"
    array = samples((5, 6, 7), "int16")
    binary = head % b"BINARY" + b"SCALARS d short 1\nLOOKUP_TABLE default\n" + array.astype(">i2").tobytes() + b"\n"
    yield Made("binary.vtk", binary, array[..., None])
    text = head % b"ASCII" + b"SCALARS d short\nLOOKUP_TABLE default\n" + " ".join(map(str, array.ravel())).encode()
    yield Made("ascii.vtk", text, array[..., None])
    vectors = samples((5, 6, 7, 3), "float32")
    both = binary + b"VECTORS v float\n" + vectors.astype(">f4").tobytes() + b"\n"
    yield Made("both.vtk", both, vectors, {"array": "v"})


def tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def tiff_files():
    array = samples((5, 6, 7), "uint16")
    yield Made("pages.tif", tiff(array, photometric="minisblack"), array[..., None])
    yield Made("big.tif", tiff(array, photometric="minisblack", byteorder=">", compression="zlib"), array[..., None])
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": "um"}
    yield Made("imagej.tif", tiff(array, imagej=True, metadata=metadata, resolution=(4, 2)), array[..., None])
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 2.0}
    yield Made("ome.tif", tiff(array, ome=True, metadata=metadata), array[..., None])
    both = samples((4, 5, 2, 6, 7), "uint8")
    hyper = tiff(both, imagej=True, metadata={"axes": "TZCYX"})
    yield Made("hyper.tif", hyper, np.moveaxis(both, 2, -1))
    yield Made("float.tif", tiff(samples((5, 6, 7), "float32"), photometric="minisblack"),
               samples((5, 6, 7), "float32")[..., None])  # fmt: skip


def netcdf(dtype="int16", record=False, several=True):
    stream = io.BytesIO()
    file = netcdf_file(stream, "w", version=2)
    file.title = b"made"
    for name, side in (("time", None if record else 4), ("lat", 6), ("lon", 7)):
        file.createDimension(name, side)
    times = file.createVariable("time", "f8", ("time",))
    times[:] = np.arange(4) * 6.0
    times.units = "hours since 2000-01-01"
    data = file.createVariable("t2m", np.dtype(dtype), ("time", "lat", "lon"))
    data[:] = samples((4, 6, 7), dtype)
    data.scale_factor, data.add_offset = np.float64(0.5), np.float64(273.0)
    if several:
        other = file.createVariable("other", "f4", ("time", "lat"))
        other[:] = samples((4, 6), "float32")
    file.flush()
    data = stream.getvalue()
    file.close()
    return data


def netcdf_files():
    for record in (False, True):
        array = samples((4, 6, 7), "int16")
        yield Made(f"record{record}.nc", netcdf(record=record), array[..., None], {"array": "t2m"})


def hdf5_files():
    array = samples((5, 6, 7), ">i2")
    packed = {"chunks": (2, 3, 4), "compression": "gzip", "shuffle": True, "fletcher32": True}
    yield Made(
        "packed.h5", hdf5(lambda file: file.create_dataset("entry/data", data=array, **packed)), array[..., None]
    )
    vectors = samples((5, 6, 7, 3), "complex64")
    yield Made("new.h5", hdf5(lambda file: file.create_dataset("v", data=vectors), libver="latest"), vectors,
               {"axes": "zyxc"})  # fmt: skip
    flags = samples((5, 6, 7), "bool")
    yield Made("flags.h5", hdf5(lambda file: file.create_dataset("flags", data=flags)), flags[..., None])
    times = samples((4, 6, 7), "int16")
    yield Made("times.nc", netcdf4(times, scale_factor=0.5, add_offset=273.0), times[..., None])


def zarr_files():
    image = samples((2, 5, 16, 14), "uint16")
    for version in ("0.4", "0.5"):
        data = zarr_store(lambda path, v=version: ome_zarr(path, image, v, levels=1))
        yield Made(f"ome{version}.zarr.zip", data, np.moveaxis(image, 0, -1))
    array = samples((5, 6, 7), "float32")
    yield Made("two.zarr.zip", zarr_store(lambda path: zarr_array(path, array, 2)), array[..., None])
    shards = {"chunks": (2, 3, 4), "shards": (4, 6, 8)}
    yield Made("shards.zarr.zip", zarr_store(lambda path: zarr_array(path, array, **shards)), array[..., None])
    times = samples((4, 6, 7), "int16")
    yield Made("times.zarr.zip", zarr_store(lambda path: zarr_dataset(path, times)), times[..., None], {"array": "t2m"})


ISOLATED = ("hdf5", "zarr")
"""Formats that are read in a process of their own, which takes a third of a second."""


def all_files():
    """Every made file, by its name with its format."""
    makers = (
        numpy_files, nifti_files, nrrd_files, meta_image_files, vtk_files, tiff_files, netcdf_files, hdf5_files,
        zarr_files,
    )  # fmt: skip
    return {f"{maker.__name__.removesuffix('_files')}-{made.name}": made for maker in makers for made in maker()}
