"""Shapes: what is read, what is refused and why, and what comes back."""

from __future__ import annotations

import io
import json
import math
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from inrfit.errors import Diverged, OverLimit, RefusedInput, UnreadableFile, UnsupportedInput, UsageError
from inrfit.fit.point_pool import draw_all_points
from inrfit.io import json_schema
from inrfit.io.limits import Limits
from inrfit.io.options import from_mapping
from inrfit.modalities import Request
from inrfit.modalities.shape import point_sampling, quality, shape
from inrfit.modalities.shape.mesh import Mesh, chamfer, mesh_queries
from inrfit.modalities.shape.mesh_writers import mesh_bytes
from inrfit.signal import Grid, Signal

BOX = trimesh.creation.box((2.0, 1.0, 4.0))
BOX.apply_translation((10.0, -3.0, 0.5))
TORUS = trimesh.creation.torus(2.0, 0.5, major_sections=48, minor_sections=24)


def export(mesh: Any, kind: str) -> bytes:
    data = mesh.export(file_type=kind)
    return data.encode() if isinstance(data, str) else data


def load(data: bytes | str, name: str = "a.obj", limits: Limits | None = None, **options: Any) -> Signal:
    data = data.encode() if isinstance(data, str) else data
    return shape.load(data, name, from_mapping(shape.Options, options), limits or Limits())


def refusal(data: bytes | str, name: str = "a.obj", limits: Limits | None = None) -> RefusedInput:
    with pytest.raises(RefusedInput) as caught:
        load(data, name, limits)
    return caught.value


def obj(mesh: Any, turned: bool = False) -> str:
    """The mesh as plain OBJ text, faces as they are or turned inside out."""
    faces = mesh.faces[:, ::-1] if turned else mesh.faces
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in np.asarray(mesh.vertices).tolist()]
    return "\n".join(lines + [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()])


def drawn(signal: Signal, seed: int = 0) -> Signal:
    return draw_all_points(signal, torch.Generator().manual_seed(seed))


def silent(share: float) -> None:
    assert 0 <= share <= 1


class Perfect:
    """A field that gives exactly the values that the signal asks for, plus ``error``."""

    decode_chunk, point_chunk = 1 << 15, 1 << 16

    def __init__(self, signal: Signal, error: float = 0.0) -> None:
        self.meta, self.queries, self.error = signal.meta, mesh_queries(signal.reference), error

    def on_grid(self, grid: Grid, start: int, stop: int) -> torch.Tensor:
        points = grid.coords(torch.arange(start, stop)).double().numpy()
        if self.meta["target"] == "sdf":
            values = (self.queries.signed_distance(points) / self.meta["band"]).clip(-1, 1)
        else:
            values = (self.queries.winding(points) > 0.5).astype(float)
        return torch.from_numpy(values + self.error).float()[:, None]


class Constant:
    decode_chunk, point_chunk = 1 << 15, 1 << 16

    def __init__(self, value: float) -> None:
        self.value = value

    def on_grid(self, grid: Grid, start: int, stop: int) -> torch.Tensor:
        return torch.full((stop - start, 1), self.value)


def decoded(signal: Signal, resolution: int = 32, field: Any = None) -> Mesh:
    request = Request(resolution=resolution)
    mesh: Mesh = shape.decode(field or Perfect(signal), signal.meta, request, Limits(), silent)
    return mesh


# Reading


@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "stl_ascii", "off", "glb"])
def test_every_format_gives_the_same_mesh_and_is_known_by_its_content(kind: str) -> None:
    data = export(BOX, kind)
    signal = load(data, "no suffix")
    assert shape.sniff(data)
    assert signal.meta["format"] == kind.removesuffix("_ascii").upper()
    assert (signal.meta["vertices"], signal.meta["faces"], signal.meta["open_edges"]) == (8, 12, 0)
    assert signal.meta["centre"] == pytest.approx([10, -3, 0.5])
    assert signal.meta["size"] == pytest.approx([2, 1, 4])
    assert np.abs(signal.reference.vertices).max() == pytest.approx(1 / (1 + shape.PADDING))
    assert signal.n == 0
    assert signal.points is not None
    assert signal.points.shape == (0, 3)


def test_ascii_ply_with_quads_is_cut_into_triangles_with_a_note() -> None:
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    head = "ply\nformat ascii 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 6\nproperty list uchar int vertex_indices\nend_header\n"
    body = "".join("{} {} {}\n".format(*c) for c in corners) + "".join("4 {} {} {} {}\n".format(*q) for q in quads)
    signal = load(head + body, "a.ply")
    assert signal.meta["faces"] == 12
    assert "6 polygons cut into triangles" in signal.notes
    assert refusal(head + body[:-10], "a.ply").reason in ("truncated", "damaged")


def test_content_decides_and_a_wrong_suffix_is_noted() -> None:
    signal = load(export(BOX, "ply"), "box.stl")
    assert signal.meta["format"] == "PLY"
    assert "the content is PLY, not STL" in signal.notes


def test_negative_obj_indices_count_back_from_their_own_line() -> None:
    faces = [[a - 9, b - 9, c - 9] for a, b, c in (BOX.faces + 1).tolist()]
    vertices = "".join(f"v {x} {y} {z}\n" for x, y, z in BOX.vertices.tolist())
    text = vertices + "".join("f {} {} {}\n".format(*face) for face in faces)
    later = "".join(f"v {x + 5} {y} {z}\n" for x, y, z in BOX.vertices.tolist())
    signal = load(text + later + "".join("f {} {} {}\n".format(*face) for face in faces))
    assert signal.meta["size"] == pytest.approx([7, 1, 4])
    assert signal.meta["faces"] == 24


def test_texture_seams_do_not_open_a_surface() -> None:
    seamed = trimesh.Trimesh(BOX.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3), process=False)
    text = obj(seamed).replace("f ", "vt 0 0\nusemtl m\nf ", 1)
    signal = load("mtllib http://nowhere.invalid/a.mtl\n" + text)
    assert signal.meta["open_edges"] == 0
    assert signal.meta["vertices"] == 8
    assert "texture coordinates, materials not kept" in signal.notes


def test_glb_scene_is_flattened_to_world_coordinates_with_a_note() -> None:
    scene = trimesh.Scene()
    for shift in (0.0, 4.0):
        matrix = trimesh.transformations.translation_matrix((shift, 0, 0)) @ np.diag([1.0, -1.0, 1.0, 1.0])
        scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=matrix)
    signal = load(scene.export(file_type="glb"), "a.glb")
    assert "2 objects joined" in signal.notes
    assert not any("inside out" in note for note in signal.notes)
    assert signal.meta["size"] == pytest.approx([5, 1, 1])


def test_an_unreferenced_vertex_does_not_widen_the_box() -> None:
    assert load(obj(BOX) + "\nv 1e9 0 0").meta["size"] == pytest.approx([2, 1, 4])


@pytest.mark.parametrize("size", [1e-38, 1e38, 1e-150, 1e150])
def test_extreme_coordinates_come_back_in_their_own_units(size: float) -> None:
    mesh = trimesh.Trimesh(BOX.vertices * size, BOX.faces, process=False)
    signal = load(obj(mesh))
    assert np.ptp(decoded(signal).bounds, axis=0) / size == pytest.approx([2, 1, 4], abs=0.1)


# Refusals


def test_one_triangle_is_refused() -> None:
    assert refusal("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3").reason == "no-inside"


def test_flat_sheet_is_refused() -> None:
    assert refusal("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4").reason == "no-inside"


def test_a_thin_plate_has_an_inside() -> None:
    assert load(obj(trimesh.creation.box((1, 1, 1e-3)))).meta["open_edges"] == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no-faces"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "index"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "index"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -1 -2 -4\n", "index"),
        ("v 0 0 0\nv 1 nan 0\nv 0 1 0\nf 1 2 3\n", "nonfinite"),
        ("v 0 0 0\nv 1 1e999 0\nv 0 1 0\nf 1 2 3\n", "nonfinite"),
        ("v 2 2 2\nv 2 2 2\nv 2 2 2\nf 1 2 3\n", "extent"),
        ("v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n", "damaged"),
        ("v 0 0 0\nv 1 x 0\nv 0 1 0\nf 1 2 3\n", "damaged"),
        ("", "empty"),
    ],
)
def test_obj_that_is_no_shape_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert refusal(text).reason == reason


@pytest.mark.parametrize("change", [1, -1, 1 << 31])
def test_stl_with_a_wrong_count_is_refused(change: int) -> None:
    data = bytearray(export(BOX, "stl"))
    data[80:84] = struct.pack("<I", 12 + change)
    assert refusal(bytes(data), "a.stl").reason == "truncated"


def test_stl_cut_short_is_refused_in_both_kinds() -> None:
    binary, text = export(BOX, "stl"), export(BOX, "stl_ascii")
    assert refusal(binary[:-1], "a.stl").reason == "truncated"
    assert refusal(binary[:50], "a.stl").reason == "truncated"
    assert refusal(text[: len(text) // 2], "a.stl").reason == "truncated"
    assert refusal(b"not a mesh at all", "a.stl").reason == "truncated"


def test_stl_with_a_nan_triangle_is_refused() -> None:
    data = bytearray(export(BOX, "stl"))
    data[84 + 12 : 84 + 16] = struct.pack("<f", math.nan)
    assert refusal(bytes(data), "a.stl").reason == "nonfinite"


def test_off_with_missing_lines_is_refused() -> None:
    lines = export(BOX, "off").strip().splitlines()
    assert refusal(b"\n".join(lines[:-1]), "a.off").reason == "truncated"
    assert refusal(b" ".join(lines)[:-4], "a.off").reason == "truncated"


@pytest.mark.parametrize("separator", [b" ", b"\n"])
def test_off_needs_no_line_breaks(separator: bytes) -> None:
    words = separator.join(export(BOX, "off").split())
    assert load(words, "a.off").meta["size"] == load(export(BOX, "off"), "a.off").meta["size"]


def test_ply_with_wrong_counts_or_without_faces_is_refused() -> None:
    data = export(BOX, "ply")
    assert refusal(data.replace(b"element vertex 8", b"element vertex 80000000"), "a.ply").reason == "truncated"
    assert refusal(data.replace(b"element face 12", b"element face -2"), "a.ply").reason == "truncated"
    assert refusal(data.replace(b"element face 12", b"element face 0"), "a.ply").reason == "no-faces"
    assert refusal(data[:-7], "a.ply").reason == "truncated"


def glb(change: Any) -> bytes:
    """A good GLB file with its JSON changed."""
    data = export(BOX, "glb")
    length = struct.unpack_from("<I", data, 12)[0]
    header = json.loads(data[20 : 20 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    rest = struct.pack("<I", len(text)) + data[16:20] + text + data[20 + length :]
    return data[:8] + struct.pack("<I", 12 + len(rest)) + rest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h["nodes"][0].setdefault("children", []).append(0), "node-graph"),
        (lambda h: h["buffers"][0].update(uri="/dev/zero"), "external"),
        (lambda h: h["accessors"][0].update(count=10**12), "truncated"),
        (lambda h: h["accessors"][0].update(byteOffset=10**3), "truncated"),
        (lambda h: h["bufferViews"][0].update(byteLength=4), "truncated"),
        (lambda h: h["bufferViews"][0].update(byteOffset=-4), "truncated"),
        (lambda h: h["buffers"][0].update(byteLength=20), "truncated"),
        (lambda h: h["accessors"][0].pop("bufferView"), "accessor"),
        (lambda h: h.update(extensionsRequired=["KHR_draco_mesh_compression"]), "extension"),
        (lambda h: h.update(meshes=[]), "damaged"),
        (lambda h: h.update(nodes="?"), "damaged"),
    ],
)
def test_inconsistent_glb_is_refused(change: Any, reason: str) -> None:
    assert load(glb(lambda header: None), "a.glb").meta["faces"] == 12
    assert refusal(glb(change), "a.glb").reason == reason


def test_deeply_nested_json_is_refused_and_not_a_crash() -> None:
    text = b"[" * 200_000
    data = b"glTF" + struct.pack("<IIII", 2, 20 + len(text), len(text), 0x4E4F534A) + text
    assert refusal(data, "a.glb").reason == "nesting"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"asset": %s}' % (b"9" * 5000), "a whole number of thousands of digits"),
        (b'{"asset": }', "the header is not JSON: Expecting value at 10"),
        (b'{"asset": "\xff"}', "the header is not UTF-8 at byte 11"),
        (b"[]", "the header is not a JSON object"),
        (b'{"asset": {}, "meshes": 5}', "the mesh is damaged: TypeError: "),
    ],
)
def test_the_message_about_a_damaged_header_is_a_sentence(text: bytes, words: str) -> None:
    data = b"glTF" + struct.pack("<IIII", 2, 20 + len(text), len(text), 0x4E4F534A) + text
    assert words in str(refusal(data, "a.glb"))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"PK\x03\x04...", "a.zip"),
        (b"<COLLADA/>", "a.dae"),
        (b"1 2 3\n", "a.xyz"),
    ],
)
def test_other_mesh_formats_are_refused_naming_those_read(data: bytes, name: str) -> None:
    error = refusal(data, name)
    assert isinstance(error, UnsupportedInput)
    assert "ply, obj, stl, off, glb, gltf, 3mf" in str(error)


@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "stl_ascii", "off", "glb"])
def test_too_many_faces_are_refused_naming_the_option(kind: str) -> None:
    error = refusal(export(BOX, kind), "a." + kind, Limits(max_faces=11))
    assert isinstance(error, OverLimit)
    assert "--max-faces" in str(error)


@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "stl_ascii", "off", "glb"])
def test_damaged_bytes_are_read_or_refused_never_anything_else(kind: str) -> None:
    data = np.frombuffer(export(BOX, kind), np.uint8)
    random = np.random.default_rng(1)
    for _ in range(25):
        damaged = data.copy()
        damaged[random.integers(len(data), size=3)] = random.integers(256, size=3)
        try:
            load(damaged[: random.integers(1, len(data) + 1)].tobytes(), "a." + kind.removesuffix("_ascii"))
        except RefusedInput:
            continue


# Open and turned surfaces


def test_open_mesh_counts_its_open_edges() -> None:
    cup = trimesh.Trimesh(BOX.vertices, BOX.faces[:-2], process=False)
    count = len(trimesh.grouping.group_rows(cup.edges_sorted, require_count=1))
    assert count >= 4
    signal = load(obj(cup))
    assert signal.meta["open_edges"] == count
    assert f"surface is open: {count} open edges; inside decided by winding number" in signal.notes


def test_a_mesh_wound_inside_out_is_turned_round_with_a_note() -> None:
    signal = load(obj(BOX, turned=True))
    assert "triangles wound inside out: flipped" in signal.notes
    assert mesh_queries(signal.reference).winding(np.zeros((1, 3)))[0] == pytest.approx(1, abs=0.01)


def test_one_turned_triangle_is_turned_back_with_a_note() -> None:
    faces = BOX.faces.copy()
    faces[3] = faces[3][::-1]
    signal = load(obj(trimesh.Trimesh(BOX.vertices, faces, process=False)))
    assert any("wound against the neighbours" in note for note in signal.notes)
    assert signal.meta["open_edges"] == 0
    assert mesh_queries(signal.reference).winding(np.zeros((1, 3)))[0] == pytest.approx(1, abs=0.01)


# Points


def test_points_depend_on_the_seed_only() -> None:
    signal = load(obj(TORUS), points=2_000)
    first, again, other = drawn(signal, 1), drawn(signal, 1), drawn(signal, 2)
    assert first.points is not None
    assert np.array_equal(first.points, again.points)
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.points, other.points)


def test_points_drawn_again_are_others() -> None:
    generator = torch.Generator().manual_seed(0)
    signal = load(obj(TORUS), points=2_000)
    first, second = (draw_all_points(signal, generator) for _ in range(2))
    assert not np.array_equal(first.points, second.points)
    assert first.n == second.n == 2_000
    assert first.meta == signal.meta


def test_distance_is_negative_inside_and_right() -> None:
    signal = drawn(load(obj(TORUS), points=4_000))
    assert signal.points is not None
    assert np.abs(signal.points).max() <= 1
    points = signal.points * signal.meta["extent"] + signal.meta["centre"]
    ring = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 2.0, points[:, 2]) - 0.5
    true = (ring / signal.meta["extent"] / signal.meta["band"]).clip(-1, 1)
    assert signal.samples.dtype == np.float32
    # The torus is a polyhedron: its facets cut up to 0.01 off the radius.
    assert np.abs(signal.samples[:, 0] - true).max() < 0.02 / signal.meta["extent"] / signal.meta["band"]


def test_occupancy_is_one_inside_and_zero_outside() -> None:
    signal = drawn(load(obj(TORUS), points=4_000, target="occupancy"))
    assert signal.points is not None
    points = signal.points * signal.meta["extent"] + signal.meta["centre"]
    ring = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 2.0, points[:, 2])
    sure = np.abs(ring - 0.5) > 0.02
    assert set(np.unique(signal.samples)) == {0, 1}
    assert np.array_equal(signal.samples[sure, 0] == 1, ring[sure] < 0.5)


@pytest.mark.parametrize("target", ["sdf", "occupancy"])
def test_estimate_is_the_iou_of_inside(target: str) -> None:
    signal = drawn(load(obj(TORUS), points=1_000, target=target))
    values = signal.scale.values(torch.from_numpy(signal.samples))
    assert quality.estimate(values, values, signal) == 1.0
    inside = values < 0 if target == "sdf" else values > 0.5
    half = values.clone()
    wrong = inside.nonzero()[: int(inside.sum()) // 2, 0]
    half[wrong] = 1.0 - half[wrong].clamp(min=0)
    assert quality.estimate(half, values, signal) == pytest.approx(0.5, abs=0.01)


# Decoding


@pytest.mark.parametrize("target", ["sdf", "occupancy"])
def test_decoded_mesh_is_in_the_sources_units_closed_and_faces_outward(target: str) -> None:
    signal = load(obj(BOX), target=target)
    mesh = decoded(signal, 48)
    cell = 2 * signal.meta["extent"] / 48
    assert np.abs(mesh.bounds - BOX.bounds).max() < (0.2 if target == "sdf" else 1.0) * cell
    closed = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert closed.is_watertight
    assert closed.volume == pytest.approx(8.0, rel=0.15)


def test_a_shape_that_touches_the_border_of_the_box_is_closed() -> None:
    signal = load(obj(BOX))
    mesh = decoded(signal, 8, Constant(-1.0))
    closed = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert closed.is_watertight
    assert closed.volume > 0


def test_a_field_without_a_surface_is_diverged() -> None:
    with pytest.raises(Diverged) as caught:
        decoded(load(obj(BOX)), 8, Constant(1.0))
    assert caught.value.reason == "no-surface"


def test_a_field_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UnreadableFile) as caught:
        decoded(load(obj(BOX)), 8, Constant(math.nan))
    assert caught.value.reason == "nonfinite"


def test_a_grid_of_one_cell_is_a_usage_error() -> None:
    signal, request = load(obj(BOX)), Request(resolution=1)
    with pytest.raises(UsageError):
        shape.decode(Constant(-1.0), signal.meta, request, Limits(), silent)  # type: ignore[arg-type]


def test_a_grid_above_the_limit_is_refused_before_the_field_is_asked() -> None:
    signal = load(obj(BOX))
    with pytest.raises(OverLimit):
        shape.decode(None, signal.meta, Request(resolution=2000), Limits(), silent)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl"])
def test_written_mesh_reads_back_the_same(suffix: str) -> None:
    signal = load(obj(TORUS))
    mesh = decoded(signal)
    data = shape.write(mesh, signal.meta, suffix, Request())
    again = trimesh.load_mesh(io.BytesIO(data), file_type=suffix[1:], process=False)
    assert np.allclose(again.triangles, mesh.corners, atol=1e-6)
    assert load(data, "x" + suffix).meta["faces"] > 0


def test_a_shape_far_from_the_origin_keeps_its_detail_in_ply() -> None:
    mesh = Mesh(np.asarray(BOX.vertices) + 1e7 + 0.123, np.asarray(BOX.faces, np.int64))
    again = trimesh.load_mesh(io.BytesIO(mesh_bytes(mesh, ".ply")), file_type="ply", process=False)
    assert np.array_equal(again.vertices, mesh.vertices)


def test_other_suffixes_are_a_usage_error_that_lists_those_written() -> None:
    with pytest.raises(UsageError, match=r"\.ply, \.obj, \.stl, \.off, \.glb"):
        mesh_bytes(Mesh(np.asarray(BOX.vertices), np.asarray(BOX.faces, np.int64)), ".dae")


def test_suffix_is_the_sources_own_where_it_can_be_written() -> None:
    assert shape.suffix({"format": "STL"}) == (".stl", None)
    assert shape.suffix({"format": "3MF"}) == (".ply", "3MF is written as PLY")
    assert shape.suffix({"format": "GLTF"}) == (".glb", "glTF is written as GLB")


# Measuring


def test_a_perfect_field_measures_as_perfect_and_a_swollen_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quality, "RESOLUTION", 56)
    signal = load(obj(TORUS))
    best = quality.measure(Perfect(signal), signal, silent)  # type: ignore[arg-type]
    swollen = quality.measure(Perfect(signal, -0.5), signal, silent)  # type: ignore[arg-type]
    grown = 0.5 * signal.meta["band"] * signal.meta["extent"]
    assert best["iou"] == 1.0
    assert best["bbox_error"] < 0.01
    assert best["chamfer"] < 0.1 * grown
    assert swollen["iou"] < 0.9
    assert swollen["chamfer"] == pytest.approx(grown, rel=0.2)
    assert swollen["bbox_error"] == pytest.approx(grown / 5.0, rel=0.2)


def test_a_field_without_a_surface_measures_as_nothing() -> None:
    signal = load(obj(BOX))
    found = quality.measure(Constant(1.0), signal, silent)  # type: ignore[arg-type]
    assert found["iou"] == 0.0
    assert found["iou_resolution"] == 128
    assert math.isnan(found["chamfer"])


def test_chamfer_of_two_spheres_is_the_difference_of_their_radii() -> None:
    small, large = (trimesh.creation.icosphere(4, r) for r in (1.0, 1.1))
    meshes = [Mesh(np.asarray(s.vertices), np.asarray(s.faces, np.int64)) for s in (small, large)]
    assert chamfer(meshes[0], meshes[1], 2_000) == pytest.approx(0.1, abs=0.002)


# Around it


@pytest.mark.parametrize("target", ["sdf", "occupancy"])
def test_meta_is_strict_json_and_describes_the_shape(target: str) -> None:
    meta = load(obj(BOX), target=target).meta
    again = json.loads(json.dumps(meta))
    json_schema.check(again, shape.META, "meta")
    assert shape.describe_source(again) == "8 vertices, 12 faces, OBJ, extent 2 x 1 x 4"
    with pytest.raises(ValueError):
        json_schema.check(again | {"extent": 0.0}, shape.META, "meta")


def test_loading_a_mesh_imports_no_torch() -> None:
    code = (
        "import sys; from inrfit.modalities.shape import shape; from inrfit.io.limits import Limits;"
        "assert not {'torch', 'trimesh', 'igl', 'skimage', 'scipy'} & set(sys.modules);"
        "shape.load(sys.stdin.buffer.read(), 'a.obj', shape.Options(), Limits());"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], input=obj(BOX).encode(), check=True, timeout=60)


def test_points_of_a_cancelled_drawing_have_the_same_distribution(monkeypatch) -> None:
    monkeypatch.setattr(point_sampling, "QUERY_POINTS", 1000)
    signal = shape.load(
        trimesh.creation.icosphere(2).export(file_type="ply"), "x.ply", shape.Options(points=8000), Limits()
    )
    answers = iter([True, False])
    cut = draw_all_points(signal, torch.Generator().manual_seed(0), lambda: not next(answers))
    whole = draw_all_points(signal, torch.Generator().manual_seed(0))
    assert (cut.n, whole.n) == (2000, 8000)
    assert np.array_equal(cut.samples, whole.samples[:2000])
    near = [float((np.abs(pool.samples) < 0.5).mean()) for pool in (cut, whole)]
    assert near[0] == pytest.approx(near[1], abs=0.05)


@pytest.mark.parametrize("target", ["sdf", "occupancy"])
def test_values_of_coarse_cells_are_exact(target) -> None:
    signal = load(obj(TORUS), points=4_000, target=target)
    pool = draw_all_points(signal, torch.Generator().manual_seed(0), far_share=1.5)
    assert pool.n == 10_000
    search = mesh_queries(signal.reference)
    exact = pool.points.astype(np.float64)
    if target == "sdf":
        expected = (search.signed_distance(exact) / signal.meta["band"]).clip(-1, 1)
    else:
        expected = search.winding(exact) > 0.5
    assert np.abs(pool.samples[:, 0] - expected).max() < 1e-5
    assert (point_sampling.coarse_cell_signs(signal.reference, 0.05) != 0).mean() > 0.3


def test_describe_decoded_counts_vertices_and_faces():
    corners = np.array([[0.0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 4]])
    made = Mesh(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
    assert shape.describe_decoded(made, {}, ".ply", Request()) == (
        "4 vertices, 4 faces, extent 2 x 1 x 4, 1 component, watertight, volume 1.333"
    )


@pytest.mark.parametrize("points", [1, 999])
def test_too_few_points_are_refused(points) -> None:
    with pytest.raises(UsageError, match="points"):
        load(obj(BOX), points=points)


def test_points_of_several_sections_are_distinct(monkeypatch) -> None:
    monkeypatch.setattr(point_sampling, "SECTION_POINTS", 1500)
    monkeypatch.setattr(point_sampling, "QUERY_POINTS", 400)
    signal = drawn(load(obj(TORUS), points=4_000))
    assert signal.n == len(np.unique(signal.points, axis=0)) == 4_000
    near = [float((np.abs(part) < 0.5).mean()) for part in (signal.samples[:1500], signal.samples[1500:])]
    assert near[0] == pytest.approx(near[1], abs=0.07)
    assert drawn(load(obj(TORUS), points=0)).n == 1500
