"""A wrong argument of the Python functions raises ``UsageError``, never an exception from somewhere inside."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
from conftest import picture
from PIL import Image

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.errors import InrfitError, RefusedInput, UsageError

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


@pytest.mark.parametrize("weights", [{}, {"first.weight": 1}, {"first.weight": [1.0]}])
def test_weights_that_are_no_arrays_are_not_stored(weights, artifact):
    with pytest.raises(InrfitError, match="weight"):
        replace(artifact, weights={**artifact.weights, **weights} if weights else {}).to_bytes()


def test_numbers_of_numpy_are_numbers(artifact):
    small = artifact.decode(inrfit.Request(size=[np.int64(4), np.int32(3)]))
    assert small.shape == (3, 4, 3)
    assert artifact.decode(inrfit.Request(scale=np.float32(2))).shape == (16, 18, 3)
    assert inrfit.Limits(max_bytes=4e9).max_bytes == 4_000_000_000
    assert inrfit.Budget(steps=np.int64(3)) == inrfit.Budget(steps=3)
