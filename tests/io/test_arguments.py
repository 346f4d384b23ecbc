"""A wrong argument of the Python functions raises ``UsageError``, never an exception from somewhere inside."""

from __future__ import annotations

import math
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.errors import RefusedInput, UsageError

QUICK = {"budget": "1it", "width": 4, "depth": 1}

VALUES = {
    "a Pillow image": Image.fromarray(picture(4, 5)),
    "bytes": b"abc",
    "a tuple": (1, 2, 3),
    "a list": [1.0],
    "a mapping": {"a": 1},
    "a set": set(),
    "an object": object(),
    "a complex number": 1 + 2j,
    "not a number": float("nan"),
    "an array of text": np.array(["a"]),
    "a class": inrfit.Request,
    "true": True,
}


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return inrfit.encode(picture(8, 9), budget="100it", width=16, depth=1)


def calls(artifact: Artifact, png) -> dict:
    """Each public argument, as a function of its value."""
    by_settings = {
        f"Settings {field.name}": lambda value, name=field.name: inrfit.Settings(**{name: value}).parsed_budget()
        for field in fields(inrfit.Settings)
        if field.name not in ("options", "budget")  # some of the values above may be theirs
    }
    by_requests = {
        f"Request {field.name}": lambda value, name=field.name: artifact.decode(inrfit.Request(**{name: value}))
        for field in fields(inrfit.Request)
        if field.name != "centred"
    }
    return {
        "encode": lambda value: inrfit.encode(value, **QUICK),
        **{
            f"encode {name}": lambda value, name=name: inrfit.encode(png, **QUICK, **{name: value})
            for name in ("rate", "on_report", "on_step", "should_stop", "output", "checkpoint", "initial_field")
        },
        "load": inrfit.load,
        "load limits": lambda value: inrfit.load(png, value),
        "from_bytes": Artifact.from_bytes,
        "decode": inrfit.decode,
        "decode request": lambda value: inrfit.decode(artifact, value),
        "decode device": lambda value: inrfit.decode(artifact, device=value),
        "decode limits": lambda value: inrfit.decode(artifact, limits=value),
        "decode on_progress": lambda value: inrfit.decode(artifact, on_progress=value),
        "Artifact.decode": artifact.decode,
        "Artifact.field": artifact.field,
        "Artifact.save": artifact.save,
        "Artifact.measure": artifact.measure,
        "Artifact.measure limits": lambda value: artifact.measure(png, limits=value),
        "compare samplers": lambda value: inrfit.compare(png, samplers=value, **QUICK),
        "compare seeds": lambda value: inrfit.compare(png, samplers="full", seeds=value, **QUICK),
        "compare output": lambda value: inrfit.compare(png, samplers="full", output=value, **QUICK),
        "compare": lambda value: inrfit.compare(value, samplers="full", **QUICK),
        "Limits": lambda value: inrfit.Limits(max_bytes=value),
        "Budget seconds": lambda value: inrfit.Budget(seconds=value),
        "Budget steps": lambda value: inrfit.Budget(steps=value),
        "Budget target": lambda value: inrfit.Budget(target=value),
        **by_requests,
        **by_settings,
    }


ADMITTED = {
    ("encode on_report", "a class"), ("encode on_step", "a class"), ("encode should_stop", "a class"),
    ("decode on_progress", "a class"),
}  # fmt: skip
"""A class is a function, too."""


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_another_type_is_a_usage_error(kind, artifact, png):
    wrong = []
    for name, call in calls(artifact, png).items():
        if (name, kind) in ADMITTED:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                call(VALUES[kind])
            wrong.append(f"{name} takes {kind}")
        except (UsageError, RefusedInput):
            pass
        except Exception as error:
            wrong.append(f"{name} of {kind}: {type(error).__name__}: {error}")
    assert not wrong


def test_a_pillow_image_is_told_how_to_become_an_array(artifact):
    image = Image.fromarray(picture(4, 5))
    for call in (lambda: inrfit.encode(image), lambda: artifact.measure(image)):
        with pytest.raises(UsageError, match=r"PIL\.Image \(pass numpy\.asarray of it\)"):
            call()
    with pytest.raises(UsageError, match=r"a source must be the path of a file, not PIL\.Image$"):
        inrfit.compare(image)


@pytest.mark.parametrize(
    "call",
    [
        lambda artifact: inrfit.encode(picture(4, 5), bogus=1),
        lambda artifact: inrfit.encode(),
        lambda artifact: inrfit.compare("x.png", bogus=1),
        lambda artifact: inrfit.load(bogus=1),
        lambda artifact: inrfit.decode(artifact, bogus=1),
        lambda artifact: artifact.decode(bogus=1),
        lambda artifact: artifact.save("x", bogus=1),
        lambda artifact: artifact.measure(picture(8, 9), bogus=1),
        lambda artifact: inrfit.Request(bogus=1),
        lambda artifact: inrfit.Settings(bogus=1),
        lambda artifact: inrfit.Settings("siren"),
        lambda artifact: inrfit.Limits(bogus=1),
        lambda artifact: inrfit.Budget(bogus=1),
        lambda artifact: Artifact(artifact.spec),
        lambda artifact: replace(artifact, weights=None),
        lambda artifact: replace(artifact, spec="siren"),
        lambda artifact: replace(artifact, weights={}).decode(),
        lambda artifact: replace(artifact, meta={}).decode(),
        lambda artifact: replace(artifact, modality="smell").decode(),
        lambda artifact: replace(artifact, store="zip").to_bytes(),
        lambda artifact: artifact.field("tpu"),
        lambda artifact: artifact.decode(device="cuda:99"),
    ],
)
def test_an_unknown_or_missing_argument_is_a_usage_error(call, artifact):
    with pytest.raises(UsageError):
        call(artifact)


FIRST = np.zeros((16, 2), np.float32)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"first.weight": None}, r"the weights lack 'first\.weight', a float32 array of shape \(16, 2\)"),
        ({"first.weight": 1}, r"'first\.weight' must be a float32 array of shape \(16, 2\), not int"),
        ({"first.weight": FIRST.tolist()}, r"of shape \(16, 2\), not list"),
        ({"first.weight": FIRST.T}, r"'first\.weight' must be .* \(16, 2\), not float32 of shape \(2, 16\)"),
        ({"first.weight": FIRST.astype(np.int64)}, "not int64 of shape"),
        ({"first.weight": FIRST * np.nan}, "'first.weight' has 32 values that are not finite"),
        ({"first.weight": FIRST.astype(float) + 1e300}, "'first.weight' has 32 values that are not finite"),
        ({"other": FIRST}, "the weight 'other' is none of this field"),
        ({5: FIRST}, "the weight '5' is none of this field"),
    ],
)
def test_weights_that_do_not_suit_the_field_are_usage_errors(changed, words, artifact, tmp_path):
    weights = {name: weight for name, weight in {**artifact.weights, **changed}.items() if weight is not None}
    wrong = replace(artifact, weights=weights)
    for use in (
        wrong.to_bytes,
        wrong.field,
        wrong.decode,
        lambda: wrong.stored_bytes,
        lambda: wrong.bits_per_sample,
        lambda: wrong.measure(picture(8, 9)),
        lambda: wrong.save(tmp_path / "field.safetensors"),
    ):
        with pytest.raises(UsageError, match=words):
            use()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changed", [{"store": "zip"}, {"store": "int", "steps": {}}])
def test_another_store_is_a_usage_error(changed, artifact, tmp_path):
    wrong = replace(artifact, **changed)
    for use in (lambda: wrong.stored_bytes, lambda: wrong.measure(picture(8, 9)), lambda: wrong.save(tmp_path / "f")):
        with pytest.raises(UsageError, match="store"):
            use()


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_weights_of_other_floats_become_float32(dtype, artifact):
    wide = replace(artifact, weights={name: weight.astype(dtype) for name, weight in artifact.weights.items()})
    assert {weight.dtype.name for weight in wide.weights.values()} == {"float32"}
    assert bool(wide.quality) == (dtype == np.float64)  # those of float16 are rounded
    assert wide.decode().shape == (8, 9, 3)


@pytest.mark.parametrize("arch", ["siren", "grid", "tiles", "asmr"])
def test_coordinates_that_a_field_cannot_take_are_a_usage_error(arch):
    field = inrfit.encode(picture(8, 9), budget="1it", arch=arch).field()
    coords = torch.zeros(4, 2)
    values = field(coords)
    assert torch.equal(field(coords.double()), values)
    assert torch.equal(field(coords=coords.int()), values)
    for wrong in (
        coords[:, :1],
        coords.T,
        coords[0],
        coords[None],
        coords[:0],
        coords * math.nan,
        coords * 1j,
        coords.to("meta"),
        coords.numpy(),
        coords.tolist(),
        None,
    ):
        with pytest.raises(UsageError, match="coords"):
            field(wrong)
    with pytest.raises(UsageError, match=r"coords must be a tensor \(n, 2\) .* not float32 of the shape \(4, 3\)"):
        field(torch.zeros(4, 3))


def test_the_check_of_coordinates_leaves_gradients_and_transforms(artifact):
    field, coords = artifact.field(), torch.zeros(3, 2, requires_grad=True)
    slope = torch.autograd.grad(field(coords)[:, 0].sum(), coords)[0]
    assert bool(slope.any())
    mapped = torch.func.vmap(lambda point: field(point[None])[0])(coords.detach())
    assert torch.allclose(mapped, field(coords))
    assert torch.func.jacrev(field)(coords.detach()).shape == (3, 3, 3, 2)


def test_numbers_of_numpy_are_numbers(artifact):
    small = artifact.decode(inrfit.Request(size=[np.int64(4), np.int32(3)]))
    assert small.shape == (3, 4, 3)
    assert artifact.decode(inrfit.Request(scale=np.float32(2))).shape == (16, 18, 3)
    assert inrfit.Limits(max_bytes=4e9).max_bytes == 4_000_000_000
    assert inrfit.Budget(steps=np.int64(3)) == inrfit.Budget(steps=3)
