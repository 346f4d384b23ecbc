"""Whatever header is accepted can be shown, decoded and measured: no mutation of it makes a command fail as a bug.

Each key and value of the headers of several kinds of fields is replaced, removed, or joined by another. A mutant that
is read goes through the commands, which end with the codes of refusals and with single lines."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import made_clips
import made_volumes
import numpy as np
import pytest
import soundfile
import tifffile
from conftest import picture
from PIL import Image
from test_artifact import PROVENANCE, Parts

from inrfit.__main__ import run
from inrfit.artifact.artifact import Artifact
from inrfit.errors import RefusedInput
from inrfit.fields import FIELDS, FieldSpec
from inrfit.io.limits import Limits
from inrfit.modalities.recognition import identify, load_signal

CODES = {0, 2, 3, 4, 5, 6, 8}
"""Exit codes of a field that can be used or is refused; 1 is a bug."""

MISSING = object()

VALUES = (
    MISSING, None, True, 0, 1, -1, 3, 0.5, -0.0, 1e-320, 1e300, -1e300, 2**31, 2**63 - 1, 2**63, 10**39, "", "NaN",
    "\x1b[31m\n", "x" * 1000, [], [0], [1, 2, 3], ["a"], {}, {"a": 1}, {"a": "b"}, {"a": {"b": 1}}, {"value": 1e300},
    [{"value": 1e300}, 0, 0], [2, 1, 0],
)  # fmt: skip
"""What each value is replaced with, beside the words of WORDS."""

WORDS = {
    "dtype": ("uint8", "int16", "uint32", "float16", "float64"),
    "format": ("WAV", "FLAC", "OGG", "MP3", "CAF", "PNG", "JPEG", "GIF", "RADIANCE HDR", "OPENEXR", "STL", "3MF"),
    "subtype": ("PCM_U8", "VORBIS", "ULAW", "DOUBLE", "ALAC_16"),
    "mode": ("L", "LA", "RGBA", "CMYK", "bands"),
    "endian": ("BIG",),
    "target": ("occupancy",),
    "chroma": ("rgb", "grey", "411"),
}

ADDED = (
    "extra", "a\nb", "psnr", "ssim", "snr", "iou", "samples", "infinite", "estimate", "plain_codec_bytes", "origin",
    "bbox_error", "startup_seconds", "resumed_at_step", "palette", "density", "colour", "boxes", "mask", "title",
)  # fmt: skip
"""Keys that each object is given."""

ADDED_VALUES = (None, True, 1.5, -1, 10**39, "x", [1, 2], {"a": 1}, {"gamma": 1e-5, "srgb": None}, "AAAA")


def sources() -> dict[str, bytes]:
    """Small files of each modality, with most of what a header can tell."""

    def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **how)
        return file.getvalue()

    def sound(samples: np.ndarray, kind: str, subtype: str) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, samples, 8000, subtype, format=kind)
        return file.getvalue()

    def tiff(array: np.ndarray, how: str) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, array, photometric=how, planarconfig="contig" if array.ndim == 3 else None)
        return file.getvalue()

    def saved_array(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    holes = np.where(np.arange(60.0).reshape(3, 4, 5) > 50, np.nan, np.arange(60.0).reshape(3, 4, 5))
    volumes = made_volumes.all_files()
    kinds = {"nii": "nifti-colours.nii", "nrrd": "nrrd-gzip.nrrd", "mha": "meta_image-turned.mha",
             "vti": "vtk-binaryTrue.vti", "vtk": "vtk-binary.vtk", "tif": "tiff-imagej.tif"}  # fmt: skip
    tone = np.sin(np.arange(200) / 5)[:, None] * [0.5, 0.4]
    wide = np.dstack([picture(6, 7)[..., 0].astype(np.uint16) * k for k in (1, 200)])
    return {
        "rgba.png": saved(Image.fromarray(picture(6, 7, 4)), "PNG", dpi=(72, 72)),
        "palette.gif": saved(Image.fromarray(picture(6, 7)).quantize(16), "GIF"),
        "curve.tif": tiff((picture(6, 7) / np.float32(255)) ** 8 * 50, "rgb"),
        "bands.tif": tiff(wide, "minisblack"),
        "pcm.wav": sound(tone, "WAV", "PCM_16"),
        "double.wav": sound(tone, "WAV", "DOUBLE"),
        "lossy.ogg": sound(np.tile(tone, (10, 1)), "OGG", "VORBIS"),
        "plate.obj": _box(1, 1, 0.01),
        "holes.npy": saved_array(holes),
        "clip.gif": made_clips.animation("GIF", [100, 20, 300], 3),
        "clip.y4m": made_clips.y4m("420p10", 10, 2, 6, 8),
        "scan.nc": made_volumes.netcdf(record=True, several=False),
        **{f"scan.{suffix}": volumes[name].data for suffix, name in kinds.items()},
    }


def _box(*sides: float) -> bytes:
    """A box with these sides, as OBJ with colours."""
    corners = [(x, y, z) for x in (0, sides[0]) for y in (0, sides[1]) for z in (0, sides[2])]
    faces = ("1 2 4", "1 4 3", "5 7 8", "5 8 6", "1 5 6", "1 6 2", "3 4 8", "3 8 7", "1 3 7", "1 7 5", "2 6 8", "2 8 4")
    lines = [f"v {x} {y} {z} 0.5 0.{k} 1" for k, (x, y, z) in enumerate(corners)]
    return "\n".join([*lines, *(f"f {face}" for face in faces)]).encode()


SOURCES = sources()


def field_of(name: str, arch: str = "siren", store: str = "fp32") -> Artifact:
    """A field with random weights for a source. Nothing is fitted."""
    data, limits = SOURCES[name], Limits()
    modality = identify(data, name)
    signal = load_signal(modality, data, name, modality.options(), limits)
    sizes = modality.field_size(signal.meta)
    options = {"tiles": "2"} if arch == "tiles" else {}
    spec = FieldSpec(arch, *sizes, 4, 2, asdict(FIELDS[arch](**options)))
    draws = np.random.default_rng(0)
    weights = {key: draws.uniform(-1, 1, shape).astype(np.float32) for key, shape in spec.shapes.items()}
    quality = {modality.main_measure: 31.5, "samples": signal.n or 1000, "plain_codec": "JPEG", "plain_codec_bytes": 99}
    steps = {name: (0.03125,) * len(sizes) for name, sizes in spec.rounding_groups.items()} if store == "int" else {}
    if store == "int":
        weights = {k: np.round(w * 32) / np.float32(32) if k in steps else w for k, w in weights.items()}
    kept = signal.attachments
    return Artifact(spec, weights, modality.name, signal.meta, PROVENANCE, quality, store, kept, steps)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON value; of a list, of the first two items."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def mutations(header: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Where each mutation of a header is, and the value that it puts there."""
    for path in paths(header):
        value: Any = header
        for key in path:
            value = value[key]
        if path:
            for new in (*VALUES, *WORDS.get(path[-1], ())):
                yield path, new
        if isinstance(value, dict):
            for key in ADDED:
                if key not in value:
                    for new in ADDED_VALUES:
                        yield (*path, key), new


def changed(header: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """``header`` with one value set, or taken out."""
    header = copy.deepcopy(header)
    *way, last = path
    place: Any = header
    for key in way:
        place = place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return header


CASES = [
    *((name, "siren", "fp32") for name in SOURCES),
    ("rgba.png", "siren", "int"),
    ("rgba.png", "wire", "fp16"),
    ("rgba.png", "grid", "fp32"),
    ("pcm.wav", "tiles", "bf16"),
    *(("golden", f"v{version}-siren-{kind}", "") for version in (1, 2) for kind in ("image", "sound", "shape")),
]


@pytest.mark.parametrize("every", [30, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "arch", "store"), CASES)
def test_every_header_that_is_accepted_can_be_used(name, arch, store, every, tmp_path, capsys):
    field, source = tmp_path / "field.safetensors", tmp_path / name
    if name == "golden":
        parts = Parts.of((Path(__file__).parent / "golden" / f"{arch}.safetensors").read_bytes())
    else:
        parts = Parts.of(field_of(name, arch, store).to_bytes())
        source.write_bytes(SOURCES[name])
    modality, table, accepted = parts.inner["modality"], parts.outer, 0
    every *= 3 if name.startswith("scan.") else 1  # many formats with the same keys
    for path, value in islice(mutations(parts.inner), 0, None, every):
        mutant = changed(parts.inner, path, value)
        data = Parts(copy.deepcopy(table), mutant, parts.data).bytes()
        try:
            Artifact.from_bytes(data)
        except RefusedInput:
            continue
        accepted += 1
        field.write_bytes(data)
        for words in commands(field, source, path, modality):
            code = run(words)
            out, err = capsys.readouterr()
            what = f"{words[0]}: {path} in {mutant}: {code}, {err}"
            assert code in CODES, what
            assert sum(line.startswith("inrfit: error: ") for line in err.splitlines()) == (code != 0), what
            assert "\x1b" not in out + err, what
            if "--json" in words:
                assert [json.loads(line)["ok"] for line in out.splitlines()] == [code == 0], what
    assert accepted > 150 // every


def commands(field: Path, source: Path, path: tuple[Any, ...], modality: str) -> list[list[str]]:
    """The commands that use what was changed."""
    shown = [["info", str(field)], ["info", "--json", str(field)]]
    files = [str(field), *([str(source)] if source.exists() else [])]
    measure = [] if modality == "shape" else [["measure", *files, "--max-output", "2000000", "--json"]]  # takes long
    if path[0] == "quality":
        return [*shown, *measure]
    if path[0] not in ("signal", "field", "modality", "version"):
        return shown
    request = ["--resolution", "8"] if modality == "shape" else []
    output = str(field.with_name("out")) + "/"
    decode = ["decode", str(field), "-f", "--json", "--max-output", "2000000", *request, "-o", output]
    return [*shown, decode, *measure]
