"""An artifact comes back as it was saved; a file that is anything else is refused, and for its own reason."""

import contextlib
import json
import math
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import image_meta

from inrfit.artifact import artifact as module
from inrfit.artifact import container, contents, header_dictionary, weight_dtypes
from inrfit.artifact.artifact import Artifact
from inrfit.artifact.header import json_quality
from inrfit.artifact.loading import load
from inrfit.errors import InrfitError, OutputExists, OverLimit, UnreadableFile, UnsupportedInput, UsageError
from inrfit.fields import FIELDS, FieldSpec
from inrfit.io.limits import Limits

META = image_meta(7, 5)
SCALE = META["scale"]
META_BEFORE_3 = {
    "format": "PNG",
    "mode": "RGB",
    "width": 7,
    "height": 5,
    "scale": {key: value for key, value in SCALE.items() if key != "knee"},
}
PROVENANCE = {
    "inrfit": "0.1.0",
    "torch": "2.6.0",
    "numpy": "2.0.0",
    "python": "3.12.0",
    "platform": "Linux x86_64",
    "device": "cpu",
    "threads": 2,
    "created": "2030-01-31T12:00:00+00:00",
    "source": {"name": "photo.png", "bytes": 123, "sha256": "0" * 64},
    "samples": 35,
    "sampler": {"name": "nint", "options": {"ratio": 0.2, "schedule": "paper"}},
    "settings": {"batch": 8192, "precision": "fp32", "adam_rate": 5e-4, "seed": 0, "rate": None},
    "budget": {"seconds": 60.0, "steps": None, "target": None},
    "spent": {"fit_seconds": 1.5, "steps": 10, "points": 100, "origin": {"ntk": 3}},
    "ended": "budget",
    "target_reached": None,
    "notes": ["EXIF not kept"],
}


def made(width=4, depth=3, meta=META, modality="image", sizes=(2, 3), seed=0):
    """A small artifact with random weights."""
    options = {"omega": 30.0, "first_omega": 30.0, "axis_factors": "1"}
    spec = FieldSpec("siren", *sizes, width, depth, options)
    draws = np.random.default_rng(seed)
    weights = {
        name: (draws.uniform(-1, 1, shape) * (3 if name == "first.weight" else 1)).astype(np.float32)
        for name, shape in spec.shapes.items()
    }
    return Artifact(spec, weights, modality, meta, PROVENANCE, {"psnr": 31.5, "samples": 35})


VALID = made().to_bytes()


def inflated(content):
    """The JSON in a header tensor, read without inrfit's own code."""
    return json.loads(zlib.decompressobj(-15, zdict=header_dictionary.TEXT).decompress(content))


@dataclass
class Parts:
    """A valid file taken apart, to be spoilt and put together again with a plain header, which is read too."""

    outer: dict
    inner: dict
    data: bytes

    @staticmethod
    def of(valid=VALID):
        length = int.from_bytes(valid[:8], "little")
        outer, data = json.loads(valid[8 : 8 + length]), valid[8 + length :]
        inner = json.loads(outer["__metadata__"].pop("inrfit"))
        if isinstance(inner, int):
            end = outer.pop("inrfit")["data_offsets"][1]
            inner = {"version": inner, **inflated(data[:end])}
            data = data[end:]
            for name in outer.keys() - {"__metadata__"}:
                outer[name]["data_offsets"] = [offset - end for offset in outer[name]["data_offsets"]]
        return Parts(outer, inner, data)

    def bytes(self):
        metadata = self.outer["__metadata__"]
        if isinstance(metadata, dict) and "inrfit" not in metadata:
            self.outer["__metadata__"] = {"inrfit": json.dumps(self.inner)} | metadata
        return serialize(json.dumps(self.outer), self.data)


def serialize(header, data):
    """A container with this header."""
    raw = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(raw)) + raw + data


def refusal(data, limits=module.LIMITS):
    with pytest.raises((UnreadableFile, UnsupportedInput)) as caught:
        Artifact.from_bytes(data, limits)
    assert str(caught.value)
    return type(caught.value).__name__, caught.value.reason


def test_the_valid_file_is_accepted_and_so_is_it_put_together_again():
    for data in (VALID, Parts.of().bytes()):
        assert Artifact.from_bytes(data).spec.width == 4


# --- whole bytes

HEADER_LENGTH = int.from_bytes(VALID[:8], "little")


def with_length(length):
    return struct.pack("<Q", length) + VALID[8:]


def inside(old, new, count=1):
    """The valid file with text of the inrfit header replaced, whatever JSON says to the result."""
    parts = Parts.of()
    inner = json.dumps(parts.inner)
    assert old in inner
    parts.outer["__metadata__"] = {"inrfit": inner.replace(old, new, count)}
    return parts.bytes()


WHOLE = {
    "nothing": (b"", "UnreadableFile", "empty"),
    "one byte": (b"\x10", "UnreadableFile", "truncated"),
    "length only": (VALID[:8], "UnreadableFile", "truncated"),
    "pickle": (b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93.", "UnsupportedInput", "not-safetensors"),
    "zip": (b"PK\x03\x04" + bytes(60), "UnsupportedInput", "not-safetensors"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(60), "UnsupportedInput", "not-safetensors"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt ", "UnsupportedInput", "not-safetensors"),
    "html": (b"\n<!DOCTYPE html><html>not found", "UnsupportedInput", "not-safetensors"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "UnsupportedInput", "not-safetensors"),
    "json": (b'{"weights": [1, 2, 3]}', "UnsupportedInput", "not-safetensors"),
    "gzip": (b"\x1f\x8b\x08" + bytes(60), "UnsupportedInput", "not-safetensors"),
    "zeros": (bytes(100), "UnreadableFile", "header"),
    "noise": (bytes(range(7, 200)), "UnreadableFile", "header"),
    "length 0": (with_length(0), "UnreadableFile", "header"),
    "length past the end": (with_length(len(VALID)), "UnreadableFile", "truncated"),
    "length over the cap": (with_length((1 << 20) + 1), "UnreadableFile", "header"),
    "length 2^63": (with_length(1 << 63), "UnreadableFile", "header"),
    "length one less": (with_length(len(VALID[8:].partition(b"}}}")[0])), "UnreadableFile", "header"),
    "length one more": (with_length(HEADER_LENGTH + 1), "UnreadableFile", "header"),
    "header null": (serialize("null", b""), "UnreadableFile", "not-safetensors"),
    "header list": (serialize("[]", b""), "UnreadableFile", "not-safetensors"),
    "header after a space": (serialize(' {"a": 1}', b""), "UnreadableFile", "not-safetensors"),
    "header not closed": (serialize('{"a": 1', b""), "UnreadableFile", "header"),
    "two headers": (serialize("{}{}", b""), "UnreadableFile", "header"),
    "not UTF-8": (serialize(b'{"\xff": 1}', b""), "UnreadableFile", "header"),
    "half a surrogate": (serialize('{"\\ud800": 1}', b""), "UnreadableFile", "header"),
    "control character": (serialize('{"a\n": 1}', b""), "UnreadableFile", "header"),
    "comment": (serialize('{"a": 1 /* x */}', b""), "UnreadableFile", "header"),
    "NaN": (serialize('{"a": NaN}', b""), "UnreadableFile", "number"),
    "Infinity": (serialize('{"a": -Infinity}', b""), "UnreadableFile", "number"),
    "1e400": (serialize('{"a": 1e400}', b""), "UnreadableFile", "number"),
    "5000 digits": (serialize('{"a": ' + "9" * 5000 + "}", b""), "UnreadableFile", "number"),
    "a million decimals": (serialize('{"a": 0.' + "9" * 1_000_000 + "}", b""), "UnreadableFile", "number"),
    "100,000 brackets": (
        serialize('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", b""),
        "UnreadableFile",
        "nesting",
    ),
    "100,000 braces": (serialize('{"a":' * 100_000 + "1" + "}" * 100_000, b""), "UnreadableFile", "nesting"),
    "a name twice": (serialize('{"a": {}, "a": {}}', b""), "UnreadableFile", "duplicate"),
    "a name twice, escaped": (serialize('{"a": {}, "\\u0061": {}}', b""), "UnreadableFile", "duplicate"),
    "100,000 keys, the last twice": (
        serialize("{" + "".join(f'"{n}":1,' for n in range(100_000)) + '"99999":1}', b""),
        "UnreadableFile",
        "duplicate",
    ),
    "1,001 tensors": (
        serialize(json.dumps({"__metadata__": {}} | {str(n): {} for n in range(1001)}), b""),
        "UnreadableFile",
        "tensors",
    ),
    "another program": (
        serialize('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        "UnsupportedInput",
        "metadata",
    ),
    "another program's metadata": (
        serialize('{"__metadata__":{"format":"pt"}}', b""),
        "UnsupportedInput",
        "metadata",
    ),
    "trailing byte": (VALID + b"\0", "UnreadableFile", "trailing"),
    "another file behind": (VALID + VALID, "UnreadableFile", "trailing"),
    "cut by three bytes": (VALID[:-3], "UnreadableFile", "truncated"),
    "inside not JSON": (inside('{"version"', "{version"), "UnreadableFile", "header"),
    "inside a list": (inside(json.dumps(Parts.of().inner), "[]"), "UnreadableFile", "schema"),
    "inside empty": (inside(json.dumps(Parts.of().inner), ""), "UnreadableFile", "header"),
    "inside a key twice": (inside('"width": 4', '"width": 4, "width": 4'), "UnreadableFile", "duplicate"),
    "inside NaN": (inside('"psnr": 31.5', '"psnr": NaN'), "UnreadableFile", "number"),
    "inside 1e400": (inside('"psnr": 31.5', '"psnr": 1e400'), "UnreadableFile", "number"),
    "inside 5000 digits": (inside('"width": 4', '"width": ' + "4" * 5000), "UnreadableFile", "number"),
    "inside brackets": (inside('"width": 4', '"width": ' + "[" * 100_000), "UnreadableFile", "nesting"),
    "inside half a surrogate": (inside("photo.png", "\\udcff"), "UnreadableFile", "header"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_hostile_bytes_are_refused(case):
    data, kind, reason = WHOLE[case]
    assert refusal(data) == (kind, reason)


# --- one changed field of the header

MISSING = object()


def changed(path, value, root="inner"):
    """The valid file with one value of its JSON set, or taken out."""
    parts = Parts.of()
    *way, last = path.split("/")
    place = getattr(parts, root)
    for key in way:
        place = place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return parts.bytes()


SCHEMA = [
    *[("field/width", value) for value in (10**9, 0, -4, 4.0, True, "4", None, [4], 1e300, 2**63, MISSING)],
    *[("field/depth", value) for value in (10**9, 0, -1, 3.0, False, MISSING)],
    *[("field/inputs", value) for value in (0, 5, "2", 2.0)],
    *[("field/outputs", value) for value in (0, 65_536, True)],
    *[("field/architecture", value) for value in ("relu", "SIREN", "", 1, None, "siren\0", MISSING)],
    *[("field/options", value) for value in (None, [], "omega=30", {"omega": [30.0]}, MISSING)],
    ("field/surplus", 1),
    *[("version", value) for value in (0, -1, 1.0, "1", True, None, MISSING)],
    *[("modality", value) for value in ("smell", "", None, 1, ["image"], MISSING)],
    *[("signal", value) for value in (None, [], {}, MISSING)],
    *[("signal/width", value) for value in (0, -7, 7.0, "7", 10**18, True, MISSING)],
    *[("signal/mode", value) for value in ("RGBX", "RGBA", "CMYK", 3, MISSING)],
    *[("signal/format", value) for value in ("EXE", "../../etc/passwd")],
    *[("signal/output", value) for value in ("../../x", "/etc/passwd", "a\0b", "-rf", "x" * 5000)],
    *[("signal/scale/dtype", value) for value in ("object", "uint64", None)],
    *[("signal/scale/factor", value) for value in (0, "1", None, True)],
    ("signal/scale/surplus", 1),
    ("field", MISSING),
    ("surplus", {}),
    ("provenance", MISSING),
    ("provenance/surplus", 1),
    ("provenance/source/name", "x" * 1001),
    ("provenance/source/path", "/home/me"),
    ("provenance/source/sha256", "g" * 64),
    ("provenance/source/bytes", -1),
    ("provenance/created", "yesterday"),
    ("provenance/samples", 0),
    ("provenance/spent/fit_seconds", -1),
    ("provenance/spent/fit_seconds", {"a": "b"}),
    ("provenance/ended", "exploded"),
    ("provenance/target_reached", 1),
    ("provenance/notes", ["x"] * 101),
    ("provenance/settings", {str(n): n for n in range(65)}),
    ("provenance/sampler", "nint"),
    ("quality", MISSING),
    ("quality/psnr", [31.5]),
    ("quality/psnr", "x" * 1001),
]


@pytest.mark.parametrize(("path", "value"), SCHEMA)
def test_a_header_off_its_schema_is_refused(path, value):
    assert refusal(changed(path, value)) == ("UnreadableFile", "schema")


FIELD = {
    "unknown option": ("field/options/gamma", 1),
    "option as text": ("field/options/omega", "30"),
    "option as truth": ("field/options/omega", True),
    "option out of range": ("field/options/omega", -1),
    "option missing": ("field/options/omega", MISSING),
    "option null": ("field/options/omega", None),
    "inputs of a sound": ("field/inputs", 1),
    "outputs of another mode": ("field/outputs", 4),
    "too many weights": ("field", Parts.of().inner["field"] | {"width": 8192, "depth": 64}),
}


@pytest.mark.parametrize("case", FIELD)
def test_a_field_that_cannot_be_is_refused(case):
    assert refusal(changed(*FIELD[case])) == ("UnreadableFile", "field")


@pytest.mark.parametrize("version", [4, 10, 2**62])
def test_a_future_version_asks_for_a_newer_inrfit(version):
    data = changed("version", version)
    assert refusal(data) == ("UnsupportedInput", "version")
    with pytest.raises(UnsupportedInput, match=r"needs inrfit 0\.1\.0 or newer"):
        Artifact.from_bytes(data)
    with pytest.raises(UnsupportedInput, match="needs a newer inrfit"):
        Artifact.from_bytes(serialize_version_only(version))


def serialize_version_only(version):
    """A file of which this inrfit knows nothing but the version."""
    parts = Parts.of()
    parts.inner = {"version": version}
    return parts.bytes()


@pytest.mark.parametrize(
    ("attachments", "reason"),
    [({"zzz": 3}, "schema"), ({"riff": 3}, "schema"), ({"icc": 0}, "schema"), ({"icc": 3}, "tensors"), ([], "schema")],
)
def test_attachments_that_cannot_be_are_refused(attachments, reason):
    parts = Parts.of()
    parts.inner["attachments"] = attachments
    assert refusal(parts.bytes())[1] == reason


def test_attachments_come_back_as_they_were():
    kept = {"icc": b"profile", "exif": bytes(range(256))}
    data = replace(made(), attachments=kept).to_bytes()
    assert Artifact.from_bytes(data).attachments == kept
    assert Artifact.from_bytes(data).to_bytes() == data
    parts = Parts.of(data)
    parts.outer["attachment.icc"]["dtype"] = "I8"
    assert refusal(parts.bytes()) == ("UnreadableFile", "attachment")


# --- the table of tensors


def tensors(change):
    """The valid file after ``change`` of its parts."""
    parts = Parts.of()
    change(parts)
    return parts.bytes()


def put(name, **entries):
    return lambda parts: parts.outer[name].update(entries)


def shifted(name, by):
    def change(parts):
        parts.outer[name]["data_offsets"] = [place + by for place in parts.outer[name]["data_offsets"]]

    return change


def renamed(old, new):
    def change(parts):
        parts.outer[new] = parts.outer.pop(old)

    return change


def extra(name, shape, start, stop):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}
    return lambda parts: parts.outer.update({name: entry})


def retyped(parts, dtype, but="__metadata__"):
    for name in parts.outer:
        if not name.startswith((but, "__metadata__")):
            parts.outer[name]["dtype"] = dtype


END = len(Parts.of().data)

TABLE = {
    "missing": (lambda parts: parts.outer.pop("last.bias"), "tensors"),
    "no tensors": (
        lambda parts: [parts.outer.pop(n) for n in list(parts.outer) if n != "__metadata__"],
        "tensors",
    ),
    "extra": (extra("more", [1], END, END + 4), "tensors"),
    "extra, empty": (extra("more", [0], END, END), "tensors"),
    "extra, 2^62 x 0": (extra("more", [2**62, 0], 0, 0), "tensors"),
    "renamed": (renamed("last.bias", "../last.bias"), "tensors"),
    "renamed by case": (renamed("last.bias", "Last.bias"), "tensors"),
    **{
        f"dtype {kind}": (put("last.bias", dtype=kind), "dtype")
        for kind in ("F16", "BF16", "F64", "I32", "BOOL", "f32", "I16", "F8_E4M3", "")
    },
    "dtype of the first another": (put("first.weight", dtype="F16"), "dtype"),
    "dtype of all F64": (lambda parts: retyped(parts, "F64"), "dtype"),
    "dtype of all F16": (lambda parts: retyped(parts, "F16"), "dtype"),
    "dtype of the others F16, lengths of F32": (lambda parts: retyped(parts, "F16", "first"), "offsets"),
    "dtype of the others BF16, lengths of F32": (lambda parts: retyped(parts, "BF16", "first"), "offsets"),
    "shape too small": (put("last.bias", shape=[2]), "shape"),
    "shape turned": (put("first.weight", shape=[2, 4]), "shape"),
    "shape with a one": (put("last.bias", shape=[3, 1]), "shape"),
    "shape 2^62 x 0": (put("last.bias", shape=[2**62, 0]), "shape"),
    "shape scalar": (put("last.bias", shape=[]), "shape"),
    "shape negative": (put("last.bias", shape=[-3]), "header"),
    "shape float": (put("last.bias", shape=[3.0]), "header"),
    "shape truth": (put("last.bias", shape=[True]), "header"),
    "shape of nine axes": (put("last.bias", shape=[1] * 9), "header"),
    "shape 2^64": (put("last.bias", shape=[2**64]), "header"),
    "shape null": (put("last.bias", shape=None), "header"),
    "offsets reversed": (put("first.bias", data_offsets=[16, 0]), "offsets"),
    "offsets short": (put("first.bias", data_offsets=[0, 12]), "offsets"),
    "offsets long": (put("first.bias", data_offsets=[0, 20]), "offsets"),
    "offsets one": (put("first.bias", data_offsets=[0]), "header"),
    "offsets negative": (put("first.bias", data_offsets=[-4, 12]), "header"),
    "offsets past the end": (shifted("last.weight", 1000), "offsets"),
    "overlap": (shifted("first.weight", -4), "offsets"),
    "two at one place": (put("first.bias", data_offsets=[16, 32]), "offsets"),
    "hole": (shifted("last.weight", 4), "offsets"),
    "entry null": (lambda parts: parts.outer.update({"last.bias": None}), "header"),
    "entry surplus": (put("last.bias", more=1), "header"),
    "entry without dtype": (lambda parts: parts.outer["last.bias"].pop("dtype"), "header"),
    "metadata null": (lambda parts: parts.outer.update({"__metadata__": 1}), "metadata"),
    "metadata number": (lambda parts: parts.outer.update({"__metadata__": {"inrfit": 1}}), "metadata"),
    "metadata object": (
        lambda parts: parts.outer.update({"__metadata__": {"inrfit": parts.inner}}),
        "metadata",
    ),
    "metadata surplus": (lambda parts: parts.outer["__metadata__"].update({"more": "x"}), "metadata"),
    "deeper than stored": (lambda parts: parts.inner["field"].update({"depth": 4}), "shape"),
    "shallower than stored": (lambda parts: parts.inner["field"].update({"depth": 1}), "tensors"),
    "wider than stored": (lambda parts: parts.inner["field"].update({"width": 5}), "shape"),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_table_of_tensors_that_is_not_the_fields_is_refused(case):
    change, reason = TABLE[case]
    assert refusal(tensors(change)) == ("UnreadableFile", reason)


@pytest.mark.parametrize("store", ["F16", "BF16"])
def test_a_phase_is_never_stored_in_half(store):
    def change(parts):
        parts.outer["first.bias"]["dtype"] = store

    for other in ("fp32", "fp16", "bf16"):
        parts = Parts.of(stored(other))
        change(parts)
        assert refusal(parts.bytes()) == ("UnreadableFile", "dtype")


def test_two_narrow_types_in_one_file_are_refused():
    parts = Parts.of(stored("fp16"))
    parts.outer["last.bias"]["dtype"] = "BF16"
    assert refusal(parts.bytes()) == ("UnreadableFile", "dtype")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["first.weight", "hidden.weight", "last.bias"])
def test_weights_that_are_not_finite_are_refused_by_name(name, value):
    def change(parts):
        start = parts.outer[name]["data_offsets"][0]
        parts.data = parts.data[:start] + struct.pack("<f", value) + parts.data[start + 4 :]

    data = tensors(change)
    assert refusal(data) == ("UnreadableFile", "nonfinite")
    with pytest.raises(UnreadableFile, match=rf"{name}.* 1 value"):
        Artifact.from_bytes(data)


def test_every_prefix_of_a_model_is_refused():
    small = made(width=1, depth=1).to_bytes()
    for length in range(len(small)):
        refusal(small[:length])


def test_a_damaged_header_raises_nothing_but_refusals():
    for position in range(8 + HEADER_LENGTH):
        for mask in (1, 0x80):
            spoilt = VALID[:position] + bytes([VALID[position] ^ mask]) + VALID[position + 1 :]
            with contextlib.suppress(UnreadableFile, UnsupportedInput):
                assert Artifact.from_bytes(spoilt).spec.shapes == made().spec.shapes


def test_a_file_over_the_limit_is_refused_first(tmp_path):
    with pytest.raises(OverLimit, match="--max-bytes"):
        Artifact.from_bytes(VALID, Limits(max_bytes=100))
    (tmp_path / "a").write_bytes(VALID)
    with pytest.raises(OverLimit):
        load(tmp_path / "a", Limits(max_bytes=100))


def test_refusing_and_describing_import_no_torch(tmp_path):
    (tmp_path / "good").write_bytes(VALID)
    (tmp_path / "bad").write_bytes(changed("field/width", 10**9))
    script = """
import sys
from inrfit.artifact.loading import load
from inrfit.errors import RefusedInput
assert load(sys.argv[1]).bits_per_sample > 0
try:
    load(sys.argv[2])
except RefusedInput as error:
    print(error.reason, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "good", tmp_path / "bad"], capture_output=True, check=True
    )
    assert done.stdout.split() == [b"schema", b"False"]


def test_a_huge_claim_takes_no_memory():
    import tracemalloc

    data = changed("field", Parts.of().inner["field"] | {"width": 3000, "depth": 11})
    tracemalloc.start()
    assert refusal(data) == ("UnreadableFile", "shape")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


# --- the round trip


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_an_artifact_comes_back_as_it_was(depth):
    before = made(depth=depth)
    after = Artifact.from_bytes(before.to_bytes())
    assert after.spec == before.spec
    assert (after.modality, after.meta, after.provenance) == ("image", META, PROVENANCE)
    assert after.quality == {"psnr": 31.5, "samples": 35}
    assert list(after.weights) == list(before.spec.shapes)
    for name, weight in before.weights.items():
        assert after.weights[name].dtype == np.float32
        np.testing.assert_array_equal(after.weights[name], weight)


def test_the_same_artifact_gives_the_same_bytes():
    first = made()
    turned = replace(
        first,
        meta=dict(reversed(META.items())),
        weights=dict(reversed(first.weights.items())),
        provenance=dict(reversed(PROVENANCE.items())),
    )
    assert first.to_bytes() == turned.to_bytes() == Artifact.from_bytes(VALID).to_bytes() == VALID


def test_options_left_at_their_default_are_written_out():
    bare = replace(made(), spec=replace(made().spec, options={}))
    assert bare.to_bytes() == VALID


@pytest.mark.parametrize(("store", "dtype"), [("fp32", np.float32), ("fp16", np.float16)])
def test_any_reader_of_safetensors_reads_the_weights(store, dtype):
    from safetensors.numpy import load as plain_load

    data = replace(made(), store=store).to_bytes()
    kinds = {name: np.float32 if name.startswith("first") else dtype for name in made().weights}
    found = plain_load(data)
    assert inflated(found.pop("inrfit").tobytes())["modality"] == "image"
    assert found.keys() == made().weights.keys()
    for name, weight in made().weights.items():
        assert found[name].dtype == kinds[name]
        np.testing.assert_array_equal(found[name], weight.astype(kinds[name]))


# --- the compressed header


def with_header_tensor(content, **table):
    """The valid file with other bytes in the tensor of the header."""
    length = int.from_bytes(VALID[:8], "little")
    outer, data = json.loads(VALID[8 : 8 + length]), VALID[8 + length :]
    end = outer["inrfit"]["data_offsets"][1]
    for name in outer.keys() - {"__metadata__", "inrfit"}:
        outer[name]["data_offsets"] = [offset - end + len(content) for offset in outer[name]["data_offsets"]]
    outer["inrfit"] = {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]} | table
    return serialize(json.dumps(outer), content + data[end:])


def deflated(text):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=header_dictionary.TEXT)
    return deflate.compress(text.encode()) + deflate.flush()


HEADER = json.dumps(made().header())


def test_the_header_put_together_again_is_accepted():
    for content in (deflated(HEADER), deflated(HEADER) + b"\0" * 7):
        assert Artifact.from_bytes(with_header_tensor(content)).spec.width == 4


@pytest.mark.parametrize(
    "data",
    [
        with_header_tensor(b""),
        with_header_tensor(deflated(HEADER)[:-3]),
        with_header_tensor(deflated(HEADER) + b"\0" * 8),
        with_header_tensor(deflated(HEADER) + b"\1"),
        with_header_tensor(deflated(HEADER + " " * (1 << 20))),
        with_header_tensor(deflated("[1, 2]")),
        with_header_tensor(deflated("not JSON")),
        with_header_tensor(deflated(HEADER.replace('{"', '{"version": 3, "', 1))),
        with_header_tensor(deflated(HEADER), dtype="F32"),
        with_header_tensor(deflated(HEADER), shape=[1, len(deflated(HEADER))]),
        with_header_tensor(deflated(HEADER), data_offsets=[1, len(deflated(HEADER))]),
        with_header_tensor(deflated(HEADER)).replace(b'"inrfit": "3"', b'"inrfit": "2"'),
        with_header_tensor(deflated(HEADER)).replace(b'"inrfit": "3"', b'"inrfit": "0"'),
    ],
)
def test_a_damaged_header_tensor_is_refused(data):
    assert refusal(data)[0] == "UnreadableFile"


def test_a_header_that_inflates_to_gigabytes_takes_no_memory():
    import tracemalloc

    bomb = with_header_tensor(deflated(" " * (1 << 28)))
    tracemalloc.start()
    assert refusal(bomb) == ("UnreadableFile", "header")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_newer_version_is_named_even_without_a_header_that_can_be_read():
    for content in (deflated(HEADER), b"anything"):
        data = with_header_tensor(content).replace(b'"inrfit": "3"', b'"inrfit": "4"')
        assert refusal(data) == ("UnsupportedInput", "version")


# --- narrower numbers


def coarse(artifact, store="int", step=0.03125):
    """The artifact in a store; in "int" with one step for all groups."""
    if store != "int":
        return replace(artifact, store=store)
    return replace(artifact, store=store, steps={n: (step,) * len(g) for n, g in artifact.spec.rounding_groups.items()})


def stored(store, weights=None):
    before = made() if weights is None else replace(made(), weights=made().weights | weights)
    return replace(before, store=store).to_bytes()


@pytest.mark.parametrize(("store", "bits"), [("fp16", 11), ("bf16", 8)])
def test_half_precision_halves_the_weights_and_rounds_them_to_the_nearest(store, bits):
    data = stored(store)
    after = Artifact.from_bytes(data)
    assert after.store == store
    exact = sum(made().weights[name].size for name in ("first.weight", "first.bias"))
    assert len(VALID) - len(data) == pytest.approx(2 * (made().spec.parameters - exact), abs=40)
    for name, weight in made().weights.items():
        assert after.weights[name].dtype == np.float32
        if name.startswith("first"):  # phases
            np.testing.assert_array_equal(after.weights[name], weight)
            continue
        mantissa, exponent = np.frexp(weight.astype(np.float64))
        expected = np.ldexp(np.rint(mantissa * 2**bits) / 2**bits, exponent)  # rint: halves to even
        np.testing.assert_array_equal(after.weights[name], expected.astype(np.float32))
        assert (after.weights[name] != weight).any()


@pytest.mark.parametrize("store", ["fp32", "fp16", "bf16"])
def test_what_was_stored_is_stored_again_as_it_is(store):
    data = stored(store)
    assert Artifact.from_bytes(data).to_bytes() == data


def test_bfloat16_is_rounded_as_torch_rounds_it():
    import torch

    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    halves = np.arange(0, 2**32, 2**15, dtype=np.uint64).astype(np.uint32)  # every bfloat16 and every tie
    given = np.concatenate([bits, halves]).view(np.float32)
    expected = torch.from_numpy(given).bfloat16().float().numpy()
    found = weight_dtypes.unpack(weight_dtypes.pack(given, "bf16").tobytes(), given.shape, "bf16")
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(expected).any()
    assert np.isinf(expected).any()


@pytest.mark.parametrize("store", ["fp16", "bf16"])
def test_a_narrow_number_that_is_not_finite_is_refused_by_name(store):
    for value in (np.inf, np.nan, -np.inf):
        weights = made().weights | {"last.bias": np.array([0, value, 1], np.float32)}
        data = container.serialize(
            container.VERSION, contents.tensors_of(replace(made(), weights=weights, store=store))
        )
        assert refusal(data) == ("UnreadableFile", "nonfinite")
        with pytest.raises(UnreadableFile, match=r"last\.bias.* 1 value"):
            Artifact.from_bytes(data)


def test_a_narrow_file_is_refused_at_every_prefix():
    small = replace(made(width=1, depth=1), store="bf16").to_bytes()
    for length in range(len(small)):
        refusal(small[:length])


def test_weights_too_large_for_a_type_get_a_roomier_one():
    large = {"a": np.array([65_519.0], np.float32), "b": np.array([1.0], np.float32)}
    assert weight_dtypes.fitting_store(large, "fp16", set()) == "fp16"
    assert weight_dtypes.fitting_store(large | {"b": np.array([-65_520.0], np.float32)}, "fp16", set()) == "bf16"
    assert weight_dtypes.fitting_store(large | {"b": np.array([3.4e38], np.float32)}, "fp16", set()) == "fp32"
    assert weight_dtypes.fitting_store(large | {"b": np.array([3.4e38], np.float32)}, "fp16", {"b"}) == "fp16"
    assert weight_dtypes.fitting_store({"a": np.array([np.nan], np.float32)}, "fp16", set()) == "fp16"


def test_version_1_is_read_as_ever_and_had_float32_alone():
    parts = Parts.of()
    parts.inner |= {"version": 1, "signal": META_BEFORE_3}
    assert "attachments" not in parts.inner
    assert Artifact.from_bytes(parts.bytes()).to_bytes() == VALID
    parts = Parts.of(stored("fp16"))
    parts.inner |= {"version": 1, "signal": META_BEFORE_3}
    assert "attachments" not in parts.inner
    assert refusal(parts.bytes()) == ("UnreadableFile", "version")


def test_a_sound_and_a_shape_have_their_own_sizes():
    sound = {
        "format": "WAV",
        "subtype": "PCM_16",
        "endian": "FILE",
        "rate": 8000,
        "channels": 2,
        "frames": 100,
        "mask": None,
        "valid_bits": None,
        "tags": {},
        "scale": SCALE | {"dtype": "int16", "factor": 1 / 32768, "offset": 0.0, "low": -32768, "high": 32767},
    }
    mesh = {
        "format": "PLY",
        "target": "sdf",
        "centre": [0.0, 0.0, 0.0],
        "size": [1.0, 1.0, 1.0],
        "extent": 0.5,
        "level": 0.0,
        "band": 0.1,
        "vertices": 8,
        "faces": 12,
        "open_edges": 0,
        "needed_resolution": None,
        "boxes": [],
        "colours": False,
    }
    for modality, meta, sizes in (("audio", sound, (1, 2)), ("shape", mesh, (3, 1))):
        data = made(meta=meta, modality=modality, sizes=sizes).to_bytes()
        assert Artifact.from_bytes(data).meta == meta
        with pytest.raises(InrfitError, match="inputs"):
            made(meta=meta, modality=modality, sizes=(2, 3)).to_bytes()


@pytest.mark.parametrize(
    "broken",
    [
        {"meta": META | {"width": 7.5}},
        {"meta": META | {"width": float("nan")}},
        {"provenance": PROVENANCE | {"threads": "two"}},
        {"provenance": PROVENANCE | {"settings": {"path": Path()}}},
        {"modality": "smell"},
        {"quality": {str(n): n for n in range(65)}},
        {
            "provenance": PROVENANCE | {"notes": ["\N{GRINNING FACE}" * 1000] * 100},
            "quality": {str(n): "\N{GRINNING FACE}" * 1000 for n in range(64)},
        },
    ],
)
def test_an_artifact_that_could_not_be_loaded_is_not_made(broken):
    with pytest.raises(InrfitError) as caught:
        replace(made(), **broken).to_bytes()
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("photo.png", "photo.png"),
        ("/home/me/photo.png", "photo.png"),
        ("a\x1b[31m\n.png", "a\\x1b[31m\\n.png"),
        ("\udcff.png", "\\udcff.png"),
        ("x" * 5000, "x" * 1000),
    ],
)
def test_the_sources_name_is_stored_as_text_and_never_as_a_path(name, stored):
    source = PROVENANCE["source"] | {"name": name}
    data = replace(made(), provenance=PROVENANCE | {"source": source}).to_bytes()
    assert Artifact.from_bytes(data).provenance["source"]["name"] == stored


def test_long_notes_do_not_cost_a_finished_fit():
    data = replace(made(), provenance=PROVENANCE | {"notes": ["\x1b" * 5000] * 200}).to_bytes()
    assert len(Artifact.from_bytes(data).provenance["notes"]) == 100


def test_quality_is_what_json_can_say():
    assert json_quality({"psnr": math.inf, "iou": math.nan, "ssim": np.float32(0.5), "n": np.int64(3)}) == {
        "psnr": None,
        "iou": None,
        "ssim": 0.5,
        "n": 3,
        "infinite": "psnr",
    }
    assert json_quality({"low": -math.inf, "estimate": False}) == {"low": None, "estimate": False}
    again = Artifact.from_bytes(made().with_quality({"psnr": math.inf}).to_bytes())
    assert again.quality == {"psnr": None, "infinite": "psnr"}


def test_size_and_bits_per_sample_are_the_files():
    assert made().stored_bytes == len(VALID)
    assert made().bits_per_sample == 8 * len(VALID) / 35


def test_saving_and_loading(tmp_path):
    path = tmp_path / "photo.png.safetensors"
    made().save(path)
    assert path.read_bytes() == VALID
    assert load(path).spec == made().spec
    with pytest.raises(OutputExists):
        made().save(path)
    made(width=5).save(path, force=True)
    assert load(path).spec.width == 5


def test_weights_that_would_be_refused_are_never_saved(tmp_path):
    spoilt = replace(made(), weights=made().weights | {"last.bias": np.full(3, np.nan, np.float32)})
    with pytest.raises(UsageError, match=r"last\.bias"):
        spoilt.save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_the_field_has_its_own_copy_of_the_weights():
    import torch

    artifact = Artifact.from_bytes(VALID)
    field = artifact.field()
    with torch.no_grad():
        field.weights["last.bias"].zero_()
    np.testing.assert_array_equal(artifact.weights["last.bias"], made().weights["last.bias"])


# --- the decoder on the documentation's page


def listing():
    page = Path(__file__).parents[2] / "docs" / "artifact.md"
    (found,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return found


def reference(artifact):
    """The picture as inrfit's own field and scale give it."""
    from inrfit.signal import Grid, Scale

    grid = Grid((artifact.meta["height"], artifact.meta["width"]))
    values = artifact.field().on_grid(grid, 0, grid.n)
    raw = Scale.from_json(artifact.meta["scale"]).raw(values).numpy()
    return raw.reshape(*grid.shape, -1)


@pytest.mark.parametrize(
    ("mode", "store"), [("L", "fp32"), ("LA", "fp16"), ("RGB", "fp32"), ("RGBA", "bf16"), ("RGB", "int")]
)
def test_the_documented_decoder_decodes_as_inrfit_does(tmp_path, mode, store):
    assert listing().count("\n") <= 220
    (tmp_path / "decode_siren.py").write_text(listing(), encoding="utf-8")
    meta = image_meta(41, 23, mode)
    artifact = coarse(made(width=16, depth=1 + len(mode), meta=meta, sizes=(2, len(mode))), store)
    artifact.save(tmp_path / "a.safetensors")
    artifact = load(tmp_path / "a.safetensors")
    for name in ("a.npy", "a.pam"):
        subprocess.run([sys.executable, "decode_siren.py", "a.safetensors", name], cwd=tmp_path, check=True)
    pixels = np.load(tmp_path / "a.npy")
    expected = reference(artifact)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    difference = np.abs(pixels - expected)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.99
    assert expected.std() > 20
    head, _, body = (tmp_path / "a.pam").read_bytes().partition(b"ENDHDR\n")
    assert head.startswith(b"P7\nWIDTH 41\nHEIGHT 23\n")
    assert body == pixels.tobytes()


def test_the_specification_names_the_exact_tensors_of_every_architecture():
    page = (Path(__file__).parents[2] / "docs" / "artifact.md").read_text()
    table = page.partition("*Exact* tensors")[2].partition("####")[0]
    told = {name: row for row in table.splitlines() for name in re.findall(r"`([a-z]+)`", row.partition(" | ")[0])}
    assert set(told) == set(FIELDS)
    for name, known in FIELDS.items():
        plain = FieldSpec(name, 2, 3, known.TRAITS.width, known.TRAITS.depth, {})
        spec = plain.formula.sized(plain, (24, 32), None)
        words = re.findall(r"`([a-z.]+)`", told[name].partition(" | ")[2])
        assert {
            t for t in spec.shapes if any(t == w or (w[-1] == "." and t.startswith(w)) for w in words)
        } == spec.fp32_tensors


def test_a_weight_that_the_store_cannot_hold_is_refused_when_written():
    artifact = made()
    weights = {name: weight * 1e9 for name, weight in artifact.weights.items()}
    with pytest.raises(InrfitError, match="beyond the range of fp16"):
        replace(artifact, store="fp16", weights=weights).to_bytes()
    with pytest.raises(InrfitError, match="stores its weights as fp32, fp16, bf16"):
        replace(artifact, store="fp8").to_bytes()
