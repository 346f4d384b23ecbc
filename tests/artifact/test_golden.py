"""Files of every version of the format, as they were written, decode to equal samples for ever.

``golden/`` holds small artifacts that real encoders of their time wrote: version 1 by its first and its last commit,
version 2 with every architecture, kind of signal and number type. Whoever changes the code may never change, rewrite
or remove them, nor ``expected.npz``, what they decoded to when they were written; a new version adds files. No decoded
value lies near where its rounding would turn, so that other machines' last digits change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import inrfit

HERE = Path(__file__).parent / "golden"
FILES = sorted(HERE.glob("*.safetensors"))
NAMES = [path.stem for path in FILES]
ARCHITECTURES = {"siren", "tiles", "finer", "wire", "gauss", "ffn", "pemlp", "mlp", "grid", "asmr"}


def expected() -> dict[str, np.ndarray]:
    with np.load(HERE / "expected.npz") as found:
        return dict(found)


def header(path: Path) -> dict:
    """The inrfit header, read without inrfit."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["inrfit"])


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def furthest(points: np.ndarray, others: np.ndarray) -> float:
    """From any point to the nearest of the others, at most."""
    return float(np.linalg.norm(points[:, None] - others[None], axis=2).min(1).max())


def test_every_version_architecture_kind_and_number_type_is_there():
    found = [header(path) for path in FILES]
    kinds = {(h["version"], h["field"]["architecture"], h["modality"]) for h in found}
    assert {(1, "siren", kind) for kind in ("image", "audio", "shape")} <= kinds
    assert {(2, name, "image") for name in ARCHITECTURES} <= kinds
    assert {(2, "siren", kind) for kind in ("audio", "shape")} <= kinds
    assert [path.stem[:2] for path in FILES] == [f"v{h['version']}" for h in found]
    assert {inrfit.load(path).store for path in FILES} == {"fp32", "fp16", "bf16"}
    assert {name.partition(".")[0] for name in expected()} == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("-shape")])
def test_pictures_and_sounds_decode_to_the_same_samples(name):
    samples, wanted = inrfit.load(HERE / f"{name}.safetensors").decode(), expected()[name]
    assert samples.dtype == wanted.dtype
    assert samples.shape == wanted.shape
    if wanted.dtype.kind == "f":  # not rounded: to the last digits
        np.testing.assert_allclose(samples, wanted, rtol=0, atol=2e-5)
    else:
        np.testing.assert_array_equal(samples, wanted)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-shape")])
def test_shapes_decode_to_the_same_surface(name):
    """Whatever the order in which the surface's triangles come, which is not ours."""
    made, wanted = inrfit.load(HERE / f"{name}.safetensors").decode(inrfit.Request(resolution=12)), expected()
    vertices, faces = wanted[f"{name}.vertices"], wanted[f"{name}.faces"]
    assert made.vertices.shape == vertices.shape
    assert made.faces.shape == faces.shape
    size = np.ptp(vertices, axis=0).max()
    assert furthest(made.vertices, vertices) < 1e-4 * size
    assert furthest(vertices, made.vertices) < 1e-4 * size
    assert volume(made.vertices, made.faces) == pytest.approx(volume(vertices, faces), rel=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-shape")])
def test_fields_of_shapes_give_the_same_values(name):
    import torch

    axis = ((2.0 * np.arange(6) + 1) / 6 - 1).astype(np.float32)
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    with torch.no_grad():
        values = inrfit.load(HERE / f"{name}.safetensors").field()(torch.from_numpy(cells)).numpy()
    np.testing.assert_allclose(values, expected()[f"{name}.values"], rtol=0, atol=1e-4)
