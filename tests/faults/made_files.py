"""Small valid files of every format that is read, made by the modalities' own writers and by other libraries."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

RATE = 8000


def pixels(height: int = 10, width: int = 12, channels: int = 3) -> np.ndarray:
    """A smooth picture with an edge."""
    y, x = np.mgrid[0:height, 0:width] / width
    planes = [120 + 70 * np.sin(5 * x + k) * np.cos(4 * y) + 40 * (x > 0.5) for k in range(channels)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def samples(count: int = 400) -> np.ndarray:
    """A sweep in two channels."""
    moment = np.arange(count) / count
    sweep = 0.5 * np.sin(40 * moment * (1 + moment))
    return np.stack([sweep, 0.5 * sweep], 1)


@cache
def picture(suffix: str) -> bytes:
    """The picture, as inrfit writes it: in colour, or else as far as the format can hold it."""
    from inrfit.errors import UsageError

    for raster in (pixels(), pixels()[..., 0], pixels()[..., 0] > 120):
        with suppress(UsageError):
            return _written("image", "p.png", _saved(raster, "PNG"), suffix)
    return _written("image", "p.pfm", _floats(), suffix)


@cache
def sound(suffix: str) -> bytes:
    """The sweep, as inrfit writes it."""
    return _written("audio", "s.wav", _recorded(samples(), "WAV", "PCM_16"), suffix)


@cache
def volume(suffix: str) -> bytes:
    """A ramp on three axes, as inrfit writes it, or another library where a format is written only from itself."""
    ramp = (np.indices((7, 9, 11)).sum(0) * 20).astype(np.int16)
    made = io.BytesIO()
    if suffix in (".h5", ".hdf5", ".nxs", ".nc4"):
        return _hdf5(ramp, suffix == ".nc4")
    if suffix in (".zarr.zip", ".ozx"):
        return _zarr(ramp, suffix == ".ozx")
    if suffix == ".nc":
        from scipy.io import netcdf_file

        file = netcdf_file(made, "w")
        for name, side in zip("zyx", ramp.shape, strict=True):
            file.createDimension(name, side)
        file.createVariable("density", np.dtype("i2"), tuple("zyx"))[:] = ramp
        file.flush()
        return made.getvalue()
    np.save(made, ramp)
    return _written("volume", "v.npy", made.getvalue(), suffix)


def _hdf5(ramp: np.ndarray, named: bool) -> bytes:
    """An HDF5 file with the ramp, with coordinates if its axes are ``named``."""
    import h5py

    made = io.BytesIO()
    with h5py.File(made, "w", libver="v108" if named else None) as file:
        data = file.create_dataset("entry/data", data=ramp, chunks=(4, 9, 11) if named else None,
                                   compression="gzip" if named else None)  # fmt: skip
        file.attrs["title"] = "a ramp"
        data.attrs["_FillValue"] = np.int16(-1)
        for axis, name in enumerate("zyx" if named else ""):
            file[name] = np.arange(ramp.shape[axis]) * 0.5
            file[name].make_scale(name)
            data.dims[axis].attach_scale(file[name])
    return made.getvalue()


def _zarr(ramp: np.ndarray, image: bool) -> bytes:
    """A Zarr store with the ramp in one chunk: an ``image`` of OME-Zarr 0.5, or an array of version 2. The package zarr
    starts threads, with which the loops cannot fork."""
    described: dict[str, Any] = {"zarr_format": 2, "shape": ramp.shape, "chunks": ramp.shape, "dtype": "<i2",
                                 "compressor": {"id": "zlib", "level": 1}, "filters": None, "fill_value": 0,
                                 "order": "C"}  # fmt: skip
    files: dict[str, Any] = {".zarray": described, "0.0.0": zlib.compress(ramp.tobytes())}
    if image:
        scale = {"type": "scale", "scale": [1.0, 0.5, 0.5]}
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}]
        attributes = {"ome": {"version": "0.5", "multiscales": scales}}
        grid = {"name": "regular", "configuration": {"chunk_shape": ramp.shape}}
        keys = {"name": "default", "configuration": {"separator": "/"}}
        codecs = [{"name": "bytes", "configuration": {"endian": "little"}},
                  {"name": "gzip", "configuration": {"level": 1}}]  # fmt: skip
        described = {"zarr_format": 3, "node_type": "array", "shape": ramp.shape, "data_type": "int16",
                     "chunk_grid": grid, "chunk_key_encoding": keys, "fill_value": 0, "codecs": codecs}  # fmt: skip
        files = {
            "zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes},
            "0/zarr.json": described,
            "0/c/0/0/0": gzip.compress(ramp.tobytes(), mtime=0),
        }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as store:
        for name, content in files.items():
            text = content if isinstance(content, bytes) else json.dumps(content)
            store.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()


@cache
def clip(suffix: str) -> bytes:
    """Four frames of a ramp that grows brighter, as inrfit writes them."""
    frames = b"".join(
        b"FRAME\n" + (np.arange(12 * 16) // 2 + 20 * number + 40).astype(np.uint8).tobytes() + bytes([120]) * 96
        for number in range(4)
    )
    return _written("video", "c.y4m", b"YUV4MPEG2 W16 H12 F25:1 Ip A1:1 C420\n" + frames, suffix)


@cache
def mesh(suffix: str) -> bytes:
    """A ball of 20 triangles."""
    import trimesh

    made = trimesh.creation.icosphere(0).export(file_type=suffix[1:])
    return made if isinstance(made, bytes) else made.encode()


def samples_at_points(suffix: str) -> bytes:
    """Forty samples on a plane, as .npz."""
    coords = np.random.default_rng(0).uniform(0, 9, (40, 2))
    made = io.BytesIO()
    np.savez(made, coords=coords, values=np.sin(coords).sum(axis=1).astype(np.float32))
    return made.getvalue()


def _written(modality: str, name: str, data: bytes, suffix: str) -> bytes:
    from inrfit.io.limits import Limits
    from inrfit.modalities import MODALITIES, Request

    facts = MODALITIES[modality]
    signal = facts.load(data, name, facts.options(), Limits())
    decoded = signal.samples.reshape(*signal.grid.shape, -1)
    return facts.write(decoded, signal.meta, suffix, Request(), {})


def _saved(raster: np.ndarray, kind: str, **options: Any) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(raster).save(made, kind, **options)
    return made.getvalue()


def _recorded(values: np.ndarray, kind: str, subtype: str) -> bytes:
    import soundfile

    made = io.BytesIO()
    soundfile.write(made, values, RATE, subtype, format=kind)
    return made.getvalue()


def _floats() -> bytes:
    """The picture as a portable float map."""
    return b"PF\n12 10\n-1\n" + (pixels()[::-1].astype("<f4") / 255).tobytes()


def _other_pictures() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """What the readers see besides the files of inrfit's own writers."""
    from PIL import Image

    raster, alpha = pixels(), pixels(channels=4)
    deep = raster.astype(np.uint16) * 257
    yield "rgba.png", lambda: _saved(alpha, "PNG")
    yield "palette.png", lambda: _palette().getvalue()
    yield "chunks.png", lambda: _with_chunks(_saved(raster, "PNG"))
    yield "deep.png", lambda: _saved(deep[..., 0], "PNG")
    yield "bilevel.png", lambda: _saved(raster[..., 0] > 120, "PNG")
    yield "progressive.jpg", lambda: _saved(raster, "JPEG", progressive=True, exif=_exif(), icc_profile=_profile())
    yield "cmyk.jpg", lambda: _image(Image.fromarray(raster).convert("CMYK"), "JPEG")
    yield "frames.gif", lambda: _frames("GIF")
    yield "frames.webp", lambda: _frames("WEBP")
    yield "frames.png", lambda: _frames("PNG")
    yield "icon.ico", lambda: _saved(raster, "ICO", sizes=[(8, 8)])
    for name, options in _TIFFS.items():
        yield f"{name}.tif", lambda options=options: _tiff(**options)
    yield "pages.tif", lambda: _tiff(pages=3)


_TIFFS: dict[str, dict[str, Any]] = {
    "lzw": {"compression": "lzw"},
    "deflate": {"compression": "zlib", "predictor": True},
    "tiled": {"tile": (16, 16)},
    "planar": {"planarconfig": "separate"},
    "big": {"bigtiff": True},
    "motorola": {"byteorder": ">"},
}


def _tiff(pages: int = 1, byteorder: str | None = None, bigtiff: bool = False, **options: Any) -> bytes:
    import tifffile

    made = io.BytesIO()
    with tifffile.TiffWriter(made, byteorder=byteorder, bigtiff=bigtiff) as file:
        for _ in range(pages):
            file.write(pixels(16, 16), photometric="rgb", **options)
    return made.getvalue()


def _image(image: Any, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def _palette() -> io.BytesIO:
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(pixels()).quantize(8).save(made, "PNG", transparency=3)
    return made


def _frames(kind: str) -> bytes:
    from PIL import Image

    frames = [Image.fromarray(np.roll(pixels(), k, 1)) for k in range(3)]
    return _image(frames[0], kind, save_all=True, append_images=frames[1:])


def _exif() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return exif.tobytes()


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length and its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with_chunks(data: bytes) -> bytes:
    """A PNG with gamma, density, text, a profile and EXIF."""
    profile = b"srgb\0\0" + zlib.compress(_profile())
    more = {
        b"gAMA": struct.pack(">I", 45455),
        b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
        b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
        b"iCCP": profile,
        b"tEXt": b"Title\0a title",
        b"zTXt": b"Comment\0\0" + zlib.compress(b"a comment"),
        b"eXIf": _exif().removeprefix(b"Exif\0\0"),
        b"sBIT": b"\x08\x08\x08",
    }
    chunks = b"".join(png_chunk(kind, content) for kind, content in more.items())
    return data[:33] + chunks + data[33:]


def _other_sounds() -> Iterator[tuple[str, Callable[[], bytes]]]:
    kinds = [
        ("u8.wav", "WAV", "PCM_U8"), ("24.wav", "WAV", "PCM_24"), ("float.wav", "WAV", "FLOAT"),
        ("adpcm.wav", "WAV", "MS_ADPCM"), ("ulaw.wav", "WAV", "ULAW"), ("extensible.wav", "WAVEX", "PCM_16"),
        ("rf64.wav", "RF64", "PCM_16"), ("w64.w64", "W64", "PCM_16"), ("24.aiff", "AIFF", "PCM_24"),
        ("float.au", "AU", "FLOAT"), ("alac.caf", "CAF", "ALAC_16"), ("24.flac", "FLAC", "PCM_24"),
        ("vorbis.ogg", "OGG", "VORBIS"), ("opus.opus", "OGG", "OPUS"), ("mpeg.mp3", "MP3", "MPEG_LAYER_III"),
    ]  # fmt: skip
    for name, kind, subtype in kinds:
        yield name, lambda kind=kind, subtype=subtype: _recorded(samples(), kind, subtype)
    yield "listed.wav", lambda: _listed(_recorded(samples(), "WAV", "PCM_16"))
    yield "aac.m4a", _aac


def _listed(data: bytes) -> bytes:
    """A WAV with tags and a cue point behind its samples."""
    tags = b"INFOINAM" + struct.pack("<I", 8) + b"a title\0"
    cue = struct.pack("<II4sIIII", 1, 1, b"data", 0, 0, 10, 0)[:28]
    more = b"LIST" + struct.pack("<I", len(tags)) + tags + b"cue " + struct.pack("<I", len(cue)) + cue
    whole = data + more
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def _aac() -> bytes:
    import av

    made = io.BytesIO()
    with av.open(made, "w", format="ipod") as file:
        stream = file.add_stream("aac", rate=RATE)
        frame = av.AudioFrame.from_ndarray(samples(2048).T.astype(np.float32).copy(), "fltp", "stereo")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return made.getvalue()


def _other_meshes() -> Iterator[tuple[str, Callable[[], bytes]]]:
    import trimesh

    ball = trimesh.creation.icosphere(0)
    yield "text.stl", lambda: trimesh.exchange.stl.export_stl_ascii(ball).encode()
    yield "text.ply", lambda: trimesh.exchange.ply.export_ply(ball, encoding="ascii")
    scene = trimesh.Scene([ball, ball.copy().apply_translation([3, 0, 0])])
    yield "scene.glb", lambda: bytes(scene.export(file_type="glb"))
    yield "inline.gltf", lambda: _gltf(ball)
    yield "ball.3mf", lambda: _threemf(ball)
    yield "groups.obj", lambda: b"# quads\no box\n" + _BOX


_BOX = b"".join(b"v %d %d %d\n" % (x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)) + b"".join(
    b"f %s\n" % face for face in (b"1 2 4 3", b"5 7 8 6", b"1 5 6 2", b"3 4 8 7", b"1 3 7 5", b"2 6 8 4")
)


def _gltf(ball: Any) -> bytes:
    """glTF with its buffer as a data URI."""
    import base64

    parts = ball.export(file_type="gltf")
    tree = json.loads(parts.pop("model.gltf"))
    for buffer in tree["buffers"]:
        content = base64.b64encode(parts[buffer["uri"]]).decode()
        buffer["uri"] = f"data:application/octet-stream;base64,{content}"
    return json.dumps(tree).encode()


def _threemf(ball: Any) -> bytes:
    """The package of one object, written by hand."""
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in ball.vertices)
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in ball.faces)
    model = (
        '<?xml version="1.0"?><model unit="millimeter" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02">'
        f'<resources><object id="1" type="model"><mesh><vertices>{vertices}</vertices><triangles>{faces}</triangles>'
        '</mesh></object></resources><build><item objectid="1"/></build></model>'
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("3D/3dmodel.model", model)
    return made.getvalue()


@cache
def sources() -> dict[str, bytes]:
    """All files by name; the suffix of a name is that of its format."""
    from inrfit.modalities import MODALITIES

    makers: dict[str, Callable[[], bytes]] = {}
    writers = {"image": picture, "audio": sound, "shape": mesh, "volume": volume, "video": clip}
    for name, writer in writers.items():
        for suffix in MODALITIES[name].output_suffixes:
            if suffix not in MODALITIES[name].input_suffixes:  # raw samples need options
                continue
            makers[f"own{suffix}"] = lambda writer=writer, suffix=suffix: writer(suffix)
    makers["points.npz"] = lambda: samples_at_points(".npz")
    for others in (_other_pictures, _other_sounds, _other_meshes):
        makers.update(others())
    return {name: make() for name, make in makers.items()}


@cache
def distinct_sources() -> dict[str, bytes]:
    """``sources`` without those of equal content."""
    return dict(reversed({data: (name, data) for name, data in reversed(sources().items())}.values()))
