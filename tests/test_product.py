"""Every architecture with every strategy on every kind of file: fitted, written, read back and decoded, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import trimesh
from conftest import picture
from PIL import Image

import inrfit
from inrfit.artifact import Artifact
from inrfit.errors import UsageError
from inrfit.fields import FIELDS
from inrfit.modalities import MODALITIES, Request, shape
from inrfit.samplers import SAMPLERS

STEPS = 60
"""As many as it takes to be better than a constant, and to have a surface."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A file of every kind, as small as can be."""
    folder = tmp_path_factory.mktemp("sources")
    Image.fromarray(picture(14, 10, 3)).save(folder / "photo.png")
    time = np.arange(220) / 220
    soundfile.write(folder / "sound.wav", 0.5 * np.sin(40 * time) * np.exp(-2 * time), 8000)
    trimesh.creation.box((2.0, 1.0, 1.5)).export(folder / "box.obj")
    return {"image": folder / "photo.png", "audio": folder / "sound.wav", "shape": folder / "box.obj"}


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch):
    """Shapes are measured on fewer cells and points than the usual millions."""
    monkeypatch.setattr(shape, "RESOLUTION", 12)
    monkeypatch.setattr(shape, "CHAMFER_POINTS", 100)


def fitted(source, modality, arch, sampler):
    options = {"pool": 1000} if modality == "shape" else {}
    return inrfit.encode(
        source, arch=arch, sampler=sampler, budget=f"{STEPS}it", width=12, depth=2, batch=64, options=options
    )


def decoded(artifact, modality):
    found = inrfit.decode(artifact, Request(resolution=8) if modality == "shape" else Request())
    return found.vertices if modality == "shape" else found


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("arch", FIELDS)
def test_with_every_strategy(modality, arch, sources):
    if FIELDS[arch].RASTER and modality == "shape":
        for sampler in SAMPLERS:
            with pytest.raises(UsageError, match=r"raster.*choose from siren"):
                fitted(sources[modality], modality, arch, sampler)
        return
    for sampler in SAMPLERS:
        made = fitted(sources[modality], modality, arch, sampler)
        assert made.provenance["sampler"]["name"] == sampler
        assert made.provenance["spent"]["steps"] == STEPS
        again = Artifact.from_bytes(made.to_bytes())
        assert again.spec.json() == made.spec.json() | {"options": again.spec.json()["options"]}
        first, second = decoded(made, modality), decoded(again, modality)
        assert np.array_equal(first, second)
        assert np.isfinite(first).all()
