"""Every architecture with every strategy on every kind of file: fitted, written, read back and decoded, or refused."""

from __future__ import annotations

import made_clips
import numpy as np
import pytest
import soundfile
import trimesh
from conftest import picture
from PIL import Image

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.errors import UsageError
from inrfit.fields import FIELDS
from inrfit.modalities import MODALITIES
from inrfit.modalities.shape import quality
from inrfit.samplers import SAMPLERS, uses_coord_gradients, uses_edges
from inrfit.signal import Grid

STEPS = 10


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A file of every kind, as small as can be."""
    folder = tmp_path_factory.mktemp("sources")
    Image.fromarray(picture(14, 10, 3)).save(folder / "photo.png")
    time = np.arange(220) / 220
    soundfile.write(folder / "sound.wav", 0.5 * np.sin(40 * time) * np.exp(-2 * time), 8000)
    trimesh.creation.box((2.0, 1.0, 1.5)).export(folder / "box.obj")
    np.save(folder / "scan.npy", (100 * np.indices((5, 6, 7)).sum(0)).astype(np.int16))
    coords = np.random.default_rng(0).uniform(0, 9, (150, 2))
    np.savez(folder / "stations.npz", coords=coords, values=np.sin(coords).sum(1))
    (folder / "clip.y4m").write_bytes(made_clips.y4m(frames=3, height=6, width=8))
    names = {
        "image": "photo.png",
        "audio": "sound.wav",
        "shape": "box.obj",
        "volume": "scan.npy",
        "video": "clip.y4m",
        "points": "stations.npz",
    }
    return {name: folder / file for name, file in names.items()}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Shapes are measured on fewer cells and points than the usual millions; fields start as the mean, for one that is
    worse than that after so few steps would be refused."""
    monkeypatch.setattr(quality, "RESOLUTION", 12)
    monkeypatch.setattr(quality, "CHAMFER_POINTS", 100)
    for known in FIELDS.values():
        monkeypatch.setattr(known, "initial", beginning_with_the_mean(known.initial))


def beginning_with_the_mean(initial):
    return lambda self, spec, generator, mean: self.constant(initial(self, spec, generator, mean), mean)


def fitted(source, modality, arch, sampler):
    options = {"points": 1000} if modality == "shape" else {}
    return inrfit.encode(
        source, arch=arch, sampler=sampler, budget=f"{STEPS}it", width=12, depth=2, batch=64, options=options
    )


def decoded(artifact, modality):
    """The samples; of a shape the values of its field, which after so few steps may lack a surface."""
    if modality == "shape":
        return artifact.field().on_grid(Grid((5, 5, 5)), 0, 125).numpy()
    return inrfit.decode(artifact, MODALITIES[modality].whole(artifact.meta))


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("arch", FIELDS)
def test_with_every_strategy(modality, arch, sources):
    for sampler in SAMPLERS:
        traits = FIELDS[arch].TRAITS
        moves, raster_only = uses_coord_gradients(SAMPLERS[sampler]), traits.raster_only
        edgeless = modality == "points" and uses_edges(SAMPLERS[sampler])
        if edgeless or (raster_only and (modality in ("shape", "points") or moves)):
            reason = "regular grids.*choose from siren"
            if edgeless or (moves and raster_only):
                reason = "looks for edges" if edgeless else "cells only; choose a sampler from full"
            with pytest.raises(UsageError, match=reason):
                fitted(sources[modality], modality, arch, sampler)
            continue
        of_other_axes = traits.grid_axes not in (None, {"image": 2, "audio": 1}.get(modality))
        if of_other_axes or (traits.surfaces_only and modality != "shape"):
            with pytest.raises(UsageError, match=r"works only on.*choose from siren"):
                fitted(sources[modality], modality, arch, sampler)
            continue
        made = fitted(sources[modality], modality, arch, sampler)
        taught = traits.closed_form is None
        assert made.provenance.get("sampler", {}).get("name") == (sampler if taught else None)
        assert made.provenance["spent"]["steps"] == (STEPS if taught else 0)
        again = Artifact.from_bytes(made.to_bytes())
        assert again.spec.json() == made.spec.json() | {"options": again.spec.json()["options"]}
        first, second = decoded(made, modality), decoded(again, modality)
        assert first.size
        assert np.isfinite(first).all()
        assert np.array_equal(first, second)
