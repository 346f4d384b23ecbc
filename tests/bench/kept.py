"""What a volume or a clip loses on its way through a field: whole commands, judged by other readers.

    python tests/bench/kept.py [FILES]

Without FILES, all volumes and clips of ../shared/data, and those that the tests make of every format (10 bits, full
range, uneven times, turned frames; HDF5, netCDF-4 and OME-Zarr too). Each is encoded (``--budget 3s``; the made ones
20 steps) and decoded to its own format. Shape, type, byte order, header, spacing, place, units, rate and times are
compared as nibabel, pynrrd, SimpleITK, tifffile, NumPy, scipy, h5py, zarr, PyAV and Pillow tell them. Each difference
must be named by a note of encode or decode; those that are not are silent, and the command then ends with 1.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import SHARED, table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import made_clips
import made_volumes

from inrfit.__main__ import run
from inrfit.io.file_names import suffix_of

Facts = dict[str, Any]

NAMED_BY = {
    "size": ("written upright",),
    "rotation": ("written upright",),
    "sample_aspect_ratio": ("aspect", "written upright"),
    "container": ("is written as",),
    "codec": ("is written as", "frames have at least", "written with"),
    "streams": ("sound not kept", "subtitles not kept", "data not kept"),
    "pixels": ("are reduced to",),
    "pages": ("written as one",),
}
"""Words in notes that name each kind of difference."""


@dataclass(frozen=True)
class Source:
    """A file, what it is encoded with, and its budget."""

    path: Path
    options: tuple[str, ...] = ()
    budget: str = "3s"


def nifti(path: Path) -> Facts:
    """By nibabel; the header to the byte."""
    import nibabel

    image: Any = nibabel.load(path)  # type: ignore[attr-defined]
    header = image.header
    return {
        "header": bytes(header.binaryblock), "byte order": header.endianness, "shape": image.shape,
        "dtype": header.get_data_dtype(), "affine": image.affine.tolist(), "spacing": header.get_zooms(),
        "units": header.get_xyzt_units(), "slope": header.get_slope_inter(),
        "extensions": [(e.get_code(), e.get_content()) for e in header.extensions],
    }  # fmt: skip


def nrrd(path: Path) -> Facts:
    """By pynrrd."""
    import nrrd as library

    return {name: np.asarray(value).tolist() for name, value in library.read_header(str(path)).items()}


def meta_image(path: Path) -> Facts:
    """By SimpleITK."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    named = ("GetSize", "GetSpacing", "GetOrigin", "GetDirection", "GetPixelIDValue", "GetNumberOfComponents")
    own = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    order = re.search(rb"ByteOrderMSB = (\w+)", path.read_bytes()[:4096])
    return {name: getattr(reader, name)() for name in named} | own | {"byte order": order and order[1].lower()}


STORAGE = ("offset", "RangeMin", "RangeMax", "version", "header_type", "format", "compressor")
"""Attributes of VTK XML that say how samples are stored, which is compressed binary in what is written."""


def vtk_xml(path: Path) -> Facts:
    """The elements of the header and their attributes, without those of STORAGE."""
    head = path.read_bytes().partition(b"<AppendedData")[0]
    head += b"</VTKFile>" if b"</VTKFile>" not in head else b""
    kept = {}
    for number, element in enumerate(ElementTree.fromstring(head).iter()):
        for key, value in element.attrib.items():
            if key not in STORAGE and (key, value) != ("NumberOfComponents", "1"):
                kept[f"{number} {element.tag} {key}"] = value
    return kept


def vtk_legacy(path: Path) -> Facts:
    """The lines of the header."""
    return dict(enumerate(path.read_bytes().partition(b"LOOKUP_TABLE")[0].split(b"\n")[:12]))


def tiff(path: Path) -> Facts:
    """By tifffile."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages[0]
        tags = {name: page.tags[name].value for name in ("XResolution", "YResolution", "ResolutionUnit")
                if name in page.tags}  # fmt: skip
        return {
            "shape": series.shape, "axes": series.axes, "dtype": series.dtype, "byte order": file.byteorder,
            "pages": len(file.pages), "ImageJ": sorted((file.imagej_metadata or {}).items()), "OME": file.ome_metadata,
            **tags,
        }  # fmt: skip


def numpy(path: Path) -> Facts:
    """By NumPy."""
    opened = np.load(path)
    arrays = {"": opened} if isinstance(opened, np.ndarray) else dict(opened)
    return {f"{name} {what}": value for name, array in arrays.items()
            for what, value in (("shape", array.shape), ("dtype", array.dtype.str),
                                ("order", array.flags.f_contiguous and not array.flags.c_contiguous))}  # fmt: skip


def netcdf(path: Path) -> Facts:
    """By scipy."""
    from scipy.io import netcdf_file

    with netcdf_file(path, "r", mmap=False) as file:
        found: Facts = {
            "attributes": file._attributes,
            "dimensions": dict(file.dimensions),
            "version": file.version_byte,
        }
        for name, variable in file.variables.items():
            found[name] = (variable.dimensions, variable.data.dtype.str, variable.shape, variable._attributes)
        return found


def hdf5(path: Path) -> Facts:
    """By h5py."""
    import h5py

    found: Facts = {}

    def visit(name: str, item: Any) -> None:
        kept = {key: str(item.attrs[key]) for key in item.attrs}
        layout = (item.shape, item.dtype.str, item.chunks, item.compression) if isinstance(item, h5py.Dataset) else ()
        found[name] = (layout, kept)

    with h5py.File(path) as file:
        found["/"] = dict(file.attrs)
        file.visititems(visit)
    return found


def zarr(path: Path) -> Facts:
    """By zarr."""
    import zarr as library

    store = library.storage.ZipStore(str(path), mode="r") if path.suffix != ".zarr" else str(path)
    opened: Any = library.open(store, mode="r")

    def facts(array: Any) -> tuple[Any, ...]:
        metadata = array.metadata.to_dict()
        return (
            array.shape,
            array.dtype.str,
            array.chunks,
            {key: metadata[key] for key in metadata if key != "attributes"},
        )

    if isinstance(opened, library.Array):
        return {"array": facts(opened), "attributes": dict(opened.attrs)}
    found = {"attributes": dict(opened.attrs)}
    return found | {name: (facts(a), dict(a.attrs)) for name, a in opened.arrays()}


def clip(path: Path) -> Facts:
    """By PyAV."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context, frames = stream.codec_context, list(container.decode(stream))
        first = frames[0].pts or 0
        aspect = stream.sample_aspect_ratio
        times = [round(float(((frame.pts or 0) - first) * frame.time_base), 3) for frame in frames]
        even = len({round(b - a, 2) for a, b in pairwise(times)}) < 2
        return {
            "container": container.format.name,
            "codec": context.name.removeprefix("lib").removesuffix("-vp9"),
            "rate": stream.average_rate if even else None, "frames": len(frames),
            "size": (frames[0].width, frames[0].height),
            "sample_aspect_ratio": None if aspect in (None, 1) else aspect, "pixels": frames[0].format.name,
            "colours": (frames[0].color_primaries, frames[0].color_trc, frames[0].colorspace),
            "range": int(frames[0].color_range), "rotation": getattr(frames[0], "rotation", 0),
            "times": times,
            "streams": len(container.streams),
        }  # fmt: skip


def animation(path: Path) -> Facts:
    """By Pillow."""
    from PIL import Image

    with Image.open(path) as image:
        times = []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            times.append(image.info.get("duration"))
        return {"container": image.format, "size": image.size, "times": times, "mode": image.convert().mode}


def archive(path: Path) -> Facts:
    """The names and the kinds of the pictures of a .zip file or a folder of frames."""
    import zipfile

    from PIL import Image

    if path.is_dir():
        pictures = [Image.open(name) for name in sorted(path.iterdir())]
    else:
        with zipfile.ZipFile(path) as opened:
            pictures = [Image.open(io.BytesIO(opened.read(name))) for name in sorted(opened.namelist())]
    return {"frames": [(picture.size, picture.mode) for picture in pictures]}


READERS: dict[tuple[str, ...], Callable[[Path], Facts]] = {
    (".nii", ".nii.gz"): nifti, (".nrrd", ".nhdr"): nrrd, (".mha", ".mhd"): meta_image, (".vti",): vtk_xml,
    (".vtk",): vtk_legacy, (".tif", ".tiff"): tiff, (".npy", ".npz"): numpy, (".h5", ".hdf5", ".nc4"): hdf5,
    (".nc",): netcdf, (".zarr", ".zarr.zip", ".ozx"): zarr, (".gif", ".webp", ".png"): animation, (".zip", ""): archive,
    (".mp4", ".mov", ".mkv", ".webm", ".y4m", ".avi"): clip,
}  # fmt: skip


def facts(path: Path) -> Facts:
    """What another reader tells of a file."""
    suffix = suffix_of(path.name)
    if suffix == ".nc" and path.read_bytes()[:3] != b"CDF":
        return hdf5(path)
    return next(reader for suffixes, reader in READERS.items() if suffix in suffixes)(path)


def differences(before: Facts, after: Facts) -> dict[str, tuple[Any, Any]]:
    """The facts that differ, with both values."""
    return {
        name: (before.get(name), after.get(name))
        for name in [*before, *(name for name in after if name not in before)]
        if str(before.get(name)) != str(after.get(name))
    }


def is_named(name: str, gone: bool, told: str) -> bool:
    """Whether a note among what was ``told`` names a difference. ``gone``: what differs is not in the written file."""
    return any(word in told for word in NAMED_BY.get(name, ())) or (gone and "arrays not kept" in told)


def made(folder: Path) -> Iterator[Source]:
    """The files of the tests."""
    for name, file in made_volumes.all_files().items():
        path = folder / name
        path.write_bytes(file.data)
        options = [word for key, value in file.options.items() for word in ("-O", f"{key}={value}")]
        if not name.startswith("numpy-raw"):
            yield Source(path, tuple(options), "20it")
    video, y4m, animation = made_clips.video, made_clips.y4m, made_clips.animation
    clips: dict[str, bytes] = {
        "8.mp4": video(), "10.mp4": video(pixels="yuv420p10le"), "full.mp4": video(full=2),
        "10-full.mkv": video("matroska", pixels="yuv422p10le", full=2),
        "hevc.mp4": video(codec="libx265", pixels="yuv420p10le", height=64, width=96),
        "709.mov": video("mov", colours=(1, 1, 1), pixels="yuv444p"),
        "2020.mkv": video("matroska", colours=(9, 16, 9), pixels="yuv420p10le"),
        "aspect.mp4": video(aspect=made_clips.Fraction(128, 117)),
        "times.mp4": video(times=[0, 40, 100, 110, 300, 333]),
        "times.mkv": video("matroska", times=[0, 40, 100, 110, 300, 333]),
        "turned.mp4": made_clips.turned(video()), "sound.mp4": video(sound=True),
        "vp9.webm": video("webm", "libvpx-vp9"), "ffv1.mkv": video("matroska", "ffv1"),
        "ffv1-12.mkv": video("matroska", "ffv1", "yuv444p12le"),
        "odd.mkv": video("matroska", "ffv1", "yuv420p", height=33, width=47),
        "rgb.mkv": video("matroska", "ffv1", "gbrp10le"), "a.y4m": y4m(),
        "10.y4m": y4m("420p10", 10), "mono.y4m": y4m("mono"), "a.gif": animation("GIF"),
        "uneven.gif": animation("GIF", [100, 20, 300, 50, 70]), "alpha.webp": animation("WEBP", alpha=True),
        "a.png": animation("PNG", 40),
    }  # fmt: skip
    for name, data in clips.items():
        (folder / f"clip-{name}").write_bytes(data)
        yield Source(folder / f"clip-{name}", budget="20it")


def real() -> Iterator[Source]:
    """The volumes and clips beside the checkout."""
    if not (SHARED / "data").exists():
        print("skipped: no", SHARED / "data")
        return
    options = {"headsq_93x64x64_u16.npy": ("-O", "axes=zyx"), "bigbuckbunny.mp4": ("-O", "frames=:4")}
    for path in sorted((SHARED / "data" / "volume").iterdir()):
        if path.suffix != ".raw":
            yield Source(path, options.get(path.name, ()))
    for path in sorted((SHARED / "data" / "video").glob("*.mp4")):
        yield Source(path, options.get(path.name, ()))
    for path in sorted((SHARED / "data" / "video" / "frames").iterdir()):
        yield Source(path, ("--type", "video"))
    yield Source(SHARED / "data" / "images" / "odd" / "anim_carphone.gif")


def row(source: Source, folder: Path) -> dict[str, Any]:
    """One round trip."""
    field, told = folder / "field.safetensors", io.StringIO()
    words = ["--budget", source.budget, "--clock", "fit", "--params", "20k", "--device", "cpu", *source.options]
    with contextlib.redirect_stderr(told):
        code = run(["encode", str(source.path), "-o", str(field), "-f", *words])
        out = folder / "out"
        out.mkdir(exist_ok=True)
        code = code or run(["decode", str(field), "-o", str(out)])
    if code:
        return {
            "file": source.path.name,
            "differs in": told.getvalue().strip().splitlines()[-1],
            "silently": f"exit {code}",
        }
    (written,) = out.iterdir()
    before = facts(source.path)
    if "frames=:4" in source.options:
        before |= {"frames": 4, "times": before["times"][:4]}
    found = differences(before, facts(written))
    written.unlink()
    silent = [name for name, (_, b) in found.items() if not is_named(str(name), b is None, told.getvalue())]
    shown = "; ".join(f"{name}: {str(a)[:60]} -> {str(b)[:60]}" for name, (a, b) in found.items())
    return {"file": source.path.name, "differs in": shown, "silently": ", ".join(map(str, silent))}


def main() -> int:
    """Prints the files that differ, and the number of those that do silently."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "made").mkdir()
        given = [Source(Path(name)) for name in sys.argv[1:]]
        rows = []
        for source in given or [*made(folder / "made"), *real()]:
            rows.append(row(source, folder))
            print(rows[-1], flush=True)
    differing = [found for found in rows if found["differs in"]]
    silent = sum(bool(found["silently"]) for found in rows)
    table(differing)
    print(f"{len(rows) - len(differing)} files come back the same, {len(differing)} differ; silently: {silent}")
    return int(silent > 0)


if __name__ == "__main__":
    sys.exit(main())
