"""The triangles and vertices of mesh files are counted before they are made."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from test_shape import refusal
from test_shape_kinds import gltf, model, threemf

from inrfit.errors import OverLimit, UnsupportedInput
from inrfit.io.limits import Limits
from inrfit.modalities.shape import polygons
from inrfit.modalities.shape.surface import extract_surface

FEW = Limits(max_faces=1000)
FAN = 40_000
"""Corners of a polygon of more triangles than FEW has."""


def ply(text: bool, faces: int, corners: int, vertices: int = 8, varied: bool = False) -> bytes:
    """A PLY file of ``faces`` polygons of ``corners`` corners, and a last one of three if ``varied``."""
    form = "ascii" if text else "binary_little_endian"
    total = faces + varied
    header = (
        f"ply\nformat {form} 1.0\nelement vertex {vertices}\nproperty float x\nproperty float y\nproperty float z\n"
    )
    header += f"element face {total}\nproperty list int int vertex_indices\nend_header\n"
    sizes = [corners] * faces + [3] * varied
    indices = [np.arange(size) % 8 for size in sizes]
    if text:
        rows = ["0 0 1"] * vertices + [f"{len(row)} " + " ".join(map(str, row)) for row in indices]
        return header.encode() + "\n".join(rows).encode()
    points = np.random.default_rng(0).random((vertices, 3)).astype("<f4").tobytes()
    return header.encode() + points + b"".join(np.array([len(row), *row], "<i4").tobytes() for row in indices)


def off(faces: int, corners: int, vertices: int = 8, lines: bool = True) -> bytes:
    """An OFF file of ``faces`` polygons of ``corners`` corners; all numbers in one line unless ``lines``."""
    face = f"{corners} " + " ".join(str(k % 8) for k in range(corners))
    rows = ["OFF", f"{vertices} {faces} 0", *["0 0 1"] * vertices, *[face] * faces]
    return ("\n" if lines else " ").join(rows).encode()


def obj(faces: int, corners: int, vertices: int = 8) -> bytes:
    """An OBJ file of ``faces`` polygons of ``corners`` corners."""
    face = "f " + " ".join(str(k % 8 + 1) for k in range(corners))
    return "\n".join(["v 0 0 1"] * vertices + [face] * faces).encode()


def stl(faces: int, text: bool) -> bytes:
    """An STL file of ``faces`` triangles."""
    if text:
        facet = "facet normal 0 0 1\nouter loop\n" + "vertex 0 0 1\n" * 3 + "endloop\nendfacet\n"
        return ("solid a\n" + facet * faces + "endsolid a\n").encode()
    return bytes(80) + struct.pack("<I", faces) + bytes(50 * faces)


def glb_of(count: int, mode: int) -> bytes:
    """A glTF file whose only mesh has ``count`` corners, drawn as ``mode`` (4: triangles, 5: a strip)."""

    def change(header: dict[str, Any]) -> None:
        primitive = header["meshes"][0]["primitives"][0]
        primitive.update(mode=mode)
        primitive.pop("indices", None)
        header["accessors"][primitive["attributes"]["POSITION"]]["count"] = count
        header["asset"]["generator"] = "x" * 12 * count  # so that the file is large enough for them

    return gltf(change)


MANY_VERTICES = 4000
TOO_LARGE = {
    "polygon.obj": obj(1, FAN),
    "polygons.obj": obj(400, 5),
    "triangles.obj": obj(1001, 3),
    "vertices.obj": obj(1, 3, MANY_VERTICES),
    "indented.obj": obj(1, 3).replace(b"f 1", b"  f\t1") * 1001,
    "polygon.off": off(1, FAN),
    "polygons.off": off(400, 5),
    "one_line.off": off(1, FAN, lines=False),
    "vertices.off": off(1, 3, MANY_VERTICES),
    "polygon.text.ply": ply(True, 1, FAN),
    "polygons.text.ply": ply(True, 400, 5),
    "vertices.text.ply": ply(True, 1, 3, MANY_VERTICES),
    "polygon.ply": ply(False, 1, FAN),
    "polygons.ply": ply(False, 400, 5),
    "varied.ply": ply(False, 400, 5, varied=True),
    "vertices.ply": ply(False, 1, 3, MANY_VERTICES),
    "faces.stl": stl(1001, False),
    "text.stl": stl(1001, True),
    "strip.gltf": glb_of(1100, 5),
    "vertices.gltf": glb_of(MANY_VERTICES, 4),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_too_many_triangles_or_vertices_are_refused_before_they_are_made(name: str) -> None:
    refusal(TOO_LARGE[name], name, FEW)  # imports what the reader needs
    tracemalloc.start()
    assert refusal(TOO_LARGE[name], name, FEW).reason == "limit.max_faces"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * len(TOO_LARGE[name]) + 1_500_000


def test_the_words_of_a_text_are_not_all_made_at_once() -> None:
    junk = b" 7" * 2_000_000
    for name, text in (("a.off", off(1, 3) + junk), ("a.ply", ply(True, 1, 3) + junk), ("a.obj", obj(1, 3) + junk)):
        tracemalloc.start()
        refusal(text, name, FEW)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * len(junk), name


@pytest.mark.parametrize("varied", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_polygons_of_ply_are_read_alike_in_every_form(text: bool, varied: bool) -> None:
    from inrfit.modalities.shape.ply import read_ply

    raw = read_ply(ply(text, 2, 4, varied=varied), Limits())
    assert raw.faces.shape == (4 + varied, 3)
    assert set(raw.faces.reshape(-1).tolist()) == {0, 1, 2, 3}


def test_many_large_polygons_are_refused_instead_of_cut_for_minutes() -> None:
    counts = np.full(40, 30_000)
    with pytest.raises(OverLimit, match="takes too long"):
        polygons.triangulate(np.zeros(counts.sum(), np.int64), counts, np.zeros((1, 3)), Limits())


def test_polygons_of_many_sizes_take_time_by_their_number() -> None:
    # Each size once took a pass over all polygons: 1,500 passes over 100,000 lists.
    sizes = [*range(4, 1504), *[3] * 100_000]
    counts = np.array(sizes)
    faces, _ = polygons.triangulate(np.zeros(counts.sum(), np.int64), counts, np.zeros((1, 3)), Limits())
    assert len(faces) == (counts - 2).sum()


def test_a_mesh_without_a_node_counts_too() -> None:
    def change(header: dict[str, Any]) -> None:
        header["meshes"] += header["meshes"] * 100

    assert refusal(gltf(change), "a.gltf", FEW).reason == "limit.max_faces"


def test_views_that_overlap_are_refused_before_they_are_copied() -> None:
    def change(header: dict[str, Any]) -> None:
        content = "data:application/octet-stream;base64," + "A" * 400_000
        header["buffers"].append({"byteLength": 300_000, "uri": content})
        header["bufferViews"] += [{"buffer": 1, "byteLength": 300_000}] * 300

    data = gltf(change)
    assert refusal(data, "a.gltf").reason == "overlap"


def test_triangles_of_3mf_are_counted_while_they_are_unpacked() -> None:
    mesh = "<mesh><vertices>" + '<vertex x="0" y="0" z="0"/>' * 3 + "</vertices><triangles>"
    mesh += '<triangle v1="0" v2="1" v3="2"/>' * 200_000 + "</triangles></mesh>"
    data = threemf(model('<item objectid="1"/>', f'<object id="9">{mesh}</object>'))
    tracemalloc.start()
    assert refusal(data, "a.3mf", FEW).reason == "limit.max_faces"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
    points = mesh.replace("<triangle ", "<other ").replace("</vertices>", '<vertex x="0" y="0" z="0"/>' * 4000)
    data = threemf(model('<item objectid="1"/>', f'<object id="9">{points}</vertices></object>'))
    assert refusal(data, "a.3mf", FEW).reason in ("limit.max_faces", "damaged")


def test_a_3mf_of_spaces_is_refused_before_it_is_unpacked() -> None:
    data = threemf(model('<item objectid="1"/>') + " " * 80_000_000)
    assert refusal(data, "a.3mf").reason == "bomb"
    document = model('<item objectid="1"/>').replace("?>", '?><!DOCTYPE model [<!ENTITY a "b">]>', 1)
    assert isinstance(refusal(threemf(document), "a.3mf"), UnsupportedInput)


def test_a_surface_of_noise_is_judged_again_when_its_values_are_known() -> None:
    values = np.random.default_rng(0).random((96, 96, 96), np.float32)
    meta = {"level": 0.5, "target": "occupancy", "needed_resolution": 0}
    with pytest.raises(OverLimit, match=r"a surface in 884,736 cells needs about \d+ MB .*raise it with --max-output"):
        extract_surface(values, meta, Limits(max_output=300_000_000))
    sphere = np.linalg.norm(np.mgrid[-1:1:96j, -1:1:96j, -1:1:96j], axis=0) < 0.7
    assert len(extract_surface(sphere.astype(np.float32), meta, Limits(max_output=1)).faces) > 1000
