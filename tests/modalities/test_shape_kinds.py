"""Shapes that are not simple: concave polygons, cavities, turned parts, thin walls, far places, scenes."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from test_shape import BOX, Constant, Perfect, decoded, export, load, obj, refusal, silent

from inrfit.errors import Diverged, OverLimit, UnreadableFile, UnsupportedInput, UsageError
from inrfit.fit.point_pool import draw_all_points
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.shape import detail, orientation, point_sampling, polygons, quality, shape
from inrfit.modalities.shape.mesh import Mesh, mesh_queries
from inrfit.modalities.shape.mesh_writers import WRITERS, mesh_bytes

BALL = trimesh.creation.icosphere(subdivisions=2)


def area(mesh: Mesh) -> float:
    corners = mesh.corners
    return float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    )


def source_area(signal: Any) -> float:
    return area(signal.reference) * signal.meta["extent"] ** 2


def joined(*meshes: Any) -> Any:
    return trimesh.util.concatenate(meshes)


def turned(mesh: Any) -> Any:
    return trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False)


# Polygons

U = [(0, 0), (4, 0), (4, 4), (3, 4), (3, 1), (1, 1), (1, 4), (0, 4)]
U_AREA = 2 * 10 + 2 * (4 + 4 + 1 + 3 + 2 + 3 + 1 + 4)


def prism(outline: list[tuple[float, float]], kind: str, turn: np.ndarray = np.eye(3)) -> str:
    """A prism of height 2 over ``outline`` (counter-clockwise), with polygons as its ends."""
    count = len(outline)
    corners = np.array([(x, y, z) for z in (0, 2) for x, y in outline], float) @ turn
    faces = [list(range(count))[::-1], [count + k for k in range(count)]]
    faces += [[k, (k + 1) % count, count + (k + 1) % count, count + k] for k in range(count)]
    if kind == "obj":
        lines = [f"v {x} {y} {z}" for x, y, z in corners.tolist()]
        return "\n".join(lines + ["f " + " ".join(str(c + 1) for c in face) for face in faces])
    lines = [f"OFF\n{len(corners)} {len(faces)} 0"] + [f"{x} {y} {z}" for x, y, z in corners.tolist()]
    return "\n".join(lines + [f"{len(face)} " + " ".join(map(str, face)) for face in faces])


@pytest.mark.parametrize("kind", ["obj", "off"])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_concave_polygons_gain_no_wall(kind: str, seed: int | None) -> None:
    turn = np.eye(3) if seed is None else np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    turn = turn * np.sign(np.linalg.det(turn))
    signal = load(prism(U, kind, turn), "a." + kind)
    assert source_area(signal) == pytest.approx(U_AREA)
    assert signal.meta["open_edges"] == 0


@pytest.mark.parametrize("seed", range(20))
def test_any_simple_polygon_keeps_its_area_and_direction(seed: int) -> None:
    draws = np.random.default_rng(seed)
    count = int(draws.integers(4, 40))
    angles = np.sort(draws.uniform(0, 2 * np.pi, count))
    star = draws.uniform(0.3, 1, count)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    corners = np.concatenate([star, np.zeros((count, 1))], 1)
    polygon = list(range(count))[:: int(draws.choice([-1, 1]))]
    faces, _ = polygons.triangulate(np.array(polygon), np.array([count]), corners, Limits())
    flat = corners[polygon]
    wanted = np.cross(flat, np.roll(flat, -1, 0)).sum(0)[2] / 2
    a, b, c = (corners[faces[:, k]] for k in range(3))
    signed = np.cross(b - a, c - a)[:, 2] / 2
    assert signed.sum() == pytest.approx(wanted)
    assert np.abs(signed).sum() == pytest.approx(abs(wanted))


def test_convex_polygons_become_fans() -> None:
    faces, notes = polygons.triangulate(
        np.arange(4), np.array([4]), np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]), Limits()
    )
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert notes == ("1 polygons cut into triangles",)


def test_a_face_of_very_many_corners_is_refused_at_once() -> None:
    face = "f " + " ".join(str(k % 8 + 1) for k in range(100_000))
    text = obj(BOX) + "\n" + face
    assert refusal(text).reason == "limit.corners"
    assert isinstance(refusal(obj(BOX) + "\nf " + " ".join(["1 2 3"] * 400), limits=Limits(max_faces=1000)), OverLimit)


# Orientation


@pytest.mark.parametrize("count", [1, 5])
def test_flipped_triangles_change_nothing_of_a_hollow_ball(count: int) -> None:
    hollow = joined(BALL, turned(BALL.copy().apply_scale(0.5)))
    faces = hollow.faces.copy()
    faces[:count] = faces[:count, ::-1]
    signal = load(obj(trimesh.Trimesh(hollow.vertices, faces, process=False)))
    queries = mesh_queries(signal.reference)
    assert queries.winding(np.zeros((1, 3)))[0] == pytest.approx(0, abs=0.01)
    assert queries.winding(np.array([[0.7, 0, 0]]))[0] == pytest.approx(1, abs=0.01)
    assert any(note.startswith(f"{count} triangle") for note in signal.notes)


@pytest.mark.parametrize(
    ("mesh", "note"),
    [
        (joined(turned(BALL), turned(turned(BALL.copy().apply_scale(0.5)))), "triangles wound inside out: flipped"),
        (joined(turned(BALL), turned(BALL.copy().apply_scale(0.5))), "1 parts wound inside out: turned round"),
    ],
)
def test_a_hollow_ball_inside_out_is_turned_round_and_told(mesh: Any, note: str) -> None:
    signal = load(obj(mesh))
    queries = mesh_queries(signal.reference)
    assert queries.winding(np.array([[0, 0, 0], [0.7, 0, 0]])).round(1).tolist() == [0, 1]
    assert note in signal.notes


def test_one_part_inside_out_is_turned_round_and_told() -> None:
    pair = joined(BALL, turned(BALL.copy().apply_translation((3, 0, 0))))
    signal = load(obj(pair))
    centres = np.array([[-1.5, 0, 0], [1.5, 0, 0]]) / signal.meta["extent"]
    assert mesh_queries(signal.reference).winding(centres).round(1).tolist() == [1, 1]
    assert "1 parts wound inside out: turned round" in signal.notes


def test_pieces_have_their_volume_and_closure() -> None:
    mesh = Mesh(np.asarray(BOX.vertices), np.asarray(BOX.faces, np.int64)[:-1])
    (piece,) = orientation.find_pieces(mesh)
    assert not piece.closed
    (whole,) = orientation.find_pieces(Mesh(mesh.vertices, np.asarray(BOX.faces, np.int64)))
    assert whole.closed
    assert whole.volume == pytest.approx(8)


# Detail


def plate(thickness: float) -> Any:
    return trimesh.creation.box((100, 100, thickness))


class ExactField(Perfect):
    """As ``Perfect``, also at any coordinates."""

    device = "cpu"

    def evaluate(self, coords: torch.Tensor) -> torch.Tensor:
        values = (self.queries.signed_distance(coords.double().numpy()) / self.meta["band"]).clip(-1, 1)
        return torch.from_numpy(values + self.error).float()[:, None]


def test_a_thin_plate_is_told_with_the_resolution_that_holds_it() -> None:
    signal = load(obj(plate(0.2)))
    needed = signal.meta["needed_resolution"]
    assert needed * 0.2 / 100 / 1.1 / 2 * 2 >= 1, "at least a cell in the plate"
    assert f"--resolution {needed}" in signal.notes[0]
    assert load(obj(plate(20))).meta["needed_resolution"] is None
    mesh = shape.decode(ExactField(signal), signal.meta, Request(), Limits(), silent)  # type: ignore[arg-type]
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([100, 100, 0.2], rel=0.2)
    with pytest.raises(Diverged, match=f"--resolution {needed}"):
        shape.decode(Constant(1.0), signal.meta, Request(resolution=16), Limits(), silent)  # type: ignore[arg-type]


def test_a_thin_plate_is_measured_on_a_grid_that_holds_it() -> None:
    signal = load(obj(plate(0.2)))
    exact = quality.measure(ExactField(signal), signal, silent)  # type: ignore[arg-type]
    assert exact["iou"] == 1
    assert exact["iou_resolution"] > 128
    half = 0.05 / 50 * (1 / (1 + shape.PADDING)) / signal.meta["band"]
    thinner = quality.measure(ExactField(signal, half), signal, silent)  # type: ignore[arg-type]
    assert thinner["iou"] == pytest.approx(0.5, abs=0.1)


def test_a_small_part_beside_a_far_one_is_measured_near_it() -> None:
    far = trimesh.Trimesh([[500, 0, 0], [500.1, 0, 0], [500, 0.1, 0]], [[0, 1, 2]], process=False)
    signal = load(obj(joined(BALL, far)))
    assert signal.meta["needed_resolution"] > 128
    boxes = detail.find_detail(signal.reference, 128).boxes
    assert len(boxes) == 1
    assert (boxes[0].high - boxes[0].low).max() < 0.03
    exact = quality.measure(ExactField(signal), signal, silent)  # type: ignore[arg-type]
    assert exact["iou"] == 1
    assert exact["chamfer"] < 0.5, "the far triangle is part of the source's surface"
    nothing = quality.measure(ExactField(signal, 3.0), signal, silent)  # type: ignore[arg-type]
    assert nothing["iou"] == 0


def test_a_measure_without_a_sample_inside_is_undefined_and_reaches_no_target() -> None:
    signal = load(obj(BALL))
    outside = torch.ones(100, 1)
    assert quality.estimate(outside, outside, signal) == 0
    _, values = quality.probe(load(obj(plate(0.2))), 1000)
    assert (values < 0).mean() > 0.1


def test_boxes_hold_their_parts_and_stay_within_the_limit() -> None:
    pair = joined(plate(0.2), plate(0.2).apply_translation((0, 0, 50)))
    signal = load(obj(pair))
    boxes = detail.find_detail(signal.reference, 128).boxes
    assert len(boxes) == 2
    assert sum(box.count for box in boxes) <= detail.MAX_CELLS
    inside = mesh_queries(signal.reference).winding(boxes[0].centres(np.arange(0, boxes[0].count, 101))) > 0.5
    assert inside.any()


# Formats


def binary_ply(faces: list[list[int]], order: str = "<") -> bytes:
    kind = "little" if order == "<" else "big"
    header = (
        f"ply\nformat binary_{kind}_endian 1.0\nelement vertex 8\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    corners = [(x, y, z) for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    rows = b"".join(struct.pack(order + "3f", *corner) for corner in corners)
    return header.encode() + rows + b"".join(struct.pack(f"{order}B{len(f)}i", len(f), *f) for f in faces)


CUBE = [[3, 2, 1, 0], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4, 7]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_ply_may_mix_triangles_and_quads(order: str) -> None:
    signal = load(binary_ply(CUBE, order), "a.ply")
    assert source_area(signal) == pytest.approx(6)
    assert refusal(binary_ply(CUBE, order)[:-3], "a.ply").reason == "truncated"


def test_text_ply_may_mix_triangles_and_quads() -> None:
    text = binary_ply(CUBE).partition(b"end_header")[0].replace(b"binary_little_endian", b"ascii").decode()
    corners = [f"{x} {y} {z}" for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    lines = [f"{len(face)} " + " ".join(map(str, face)) for face in CUBE]
    data = text + "end_header\r\n" + "\r\n".join(corners + lines)
    assert source_area(load(data, "a.ply")) == pytest.approx(6)
    assert refusal(data.rpartition(" ")[0], "a.ply").reason == "truncated"
    assert refusal(data.replace("0 0 0", "0 0 x"), "a.ply").reason == "corrupt"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"property float x", b"property quad x", "header"),
        (b"property float x", b"property float w", "header"),
        (b"format binary_little_endian 1.0", b"format morse 1.0", "variant"),
        (b"format binary_little_endian 1.0\n", b"", "header"),
        (b"end_header", b"end", "truncated"),
    ],
)
def test_headers_of_ply_that_make_no_sense_are_refused(old: bytes, new: bytes, reason: str) -> None:
    assert refusal(binary_ply(CUBE).replace(old, new), "a.ply").reason == reason


def test_extra_properties_and_elements_of_ply_are_named() -> None:
    data = binary_ply(CUBE).replace(
        b"property float z\n", b"property float z\nproperty uchar red\nproperty float quality\n"
    )
    head, _, body = data.partition(b"end_header\n")
    rows = b"".join(body[12 * k : 12 * k + 12] + struct.pack("<Bf", 9, 0.5) for k in range(8))
    signal = load(head + b"end_header\n" + rows + body[96:], "a.ply")
    assert "not kept: colours, quality" in signal.notes, "there is red, but no green and blue"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.obj", "a.off"])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(ends: str, name: str) -> None:
    text = prism(U, name[2:]).replace("\n", ends)
    assert source_area(load(b"\xef\xbb\xbf" + text.encode(), name)) == pytest.approx(U_AREA)


def test_vertices_that_no_face_uses_may_be_anything() -> None:
    assert load(obj(BOX) + "\nv nan 0 0\nv 1e9 1e9 1e9").meta["size"] == pytest.approx([2, 1, 4])


def test_what_an_obj_has_besides_triangles_is_named() -> None:
    lines = obj(BOX).splitlines()
    text = "\n".join([lines[0] + " 1 0 0", *lines[1:8], "o first", "g group", "l 1 2", *lines[8:]])
    assert "lines, names of 1 objects, names of 1 groups not kept" in load(text).notes
    assert "colours of some vertices only: not kept" in load(text).notes


def gltf(change: Any = lambda header: None) -> bytes:
    """A box as glTF in JSON, with its buffer embedded."""
    data = export(BOX, "glb")
    length = struct.unpack_from("<I", data, 12)[0]
    header = json.loads(data[20 : 20 + length])
    body = data[28 + length :]
    header["buffers"] = [
        {"byteLength": len(body), "uri": "data:application/octet-stream;base64," + base64.b64encode(body).decode()}
    ]
    change(header)
    return json.dumps(header).encode()


def test_gltf_in_json_is_read_if_it_needs_no_other_file() -> None:
    signal = load(gltf(), "a.gltf")
    assert signal.meta["format"] == "GLTF"
    assert signal.meta["size"] == pytest.approx([2, 1, 4])
    external = gltf(lambda header: header["buffers"][0].update(uri="../secret.bin"))
    assert refusal(external, "a.gltf").reason == "external"


def test_morph_targets_of_gltf_are_named() -> None:
    def change(header: Any) -> None:
        primitive = header["meshes"][0]["primitives"][0]
        primitive["targets"] = [{"POSITION": primitive["attributes"]["POSITION"]}]

    assert "morph targets not applied: the shape is the base shape" in load(gltf(change), "a.gltf").notes


@pytest.mark.parametrize(("alpha", "told"), [(255, False), (128, True)])
@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_transparency_of_ply_is_named_where_there_is_some(alpha: int, told: bool, encoding: str) -> None:
    ball = trimesh.creation.icosphere(1)
    ball.visual.vertex_colors = np.tile(np.array([10, 20, 30, alpha], np.uint8), (len(ball.vertices), 1))
    notes = " ".join(load(ball.export(file_type="ply", encoding=encoding), "a.ply").notes)
    assert ("not kept: transparency" in notes) == told


def test_triangle_fans_of_gltf_are_refused_by_name() -> None:
    fans = gltf(lambda header: header["meshes"][0]["primitives"][0].update(mode=6))
    assert refusal(fans, "a.gltf").reason == "layout"


def test_instances_are_counted_before_they_are_expanded() -> None:
    def change(header: Any) -> None:
        header["nodes"] = [{"mesh": 0}] * 5000
        header["scenes"] = [{"nodes": list(range(5000))}]

    assert refusal(gltf(change), "a.gltf", Limits(max_faces=50_000)).reason == "limit.max_faces"


def threemf(model: str, name: str = "3D/3dmodel.model") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, model)
    return buffer.getvalue()


def model(build: str, more: str = "") -> str:
    vertices = "".join('<vertex x="{}" y="{}" z="{}"/>'.format(*v) for v in BOX.vertices.tolist())
    triangles = "".join('<triangle v1="{}" v2="{}" v3="{}"/>'.format(*f) for f in BOX.faces.tolist())
    mesh = f"<mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh>"
    return (
        '<?xml version="1.0"?><model xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources>'
        f'<object id="1">{mesh}</object>{more}</resources><build>{build}</build></model>'
    )


def test_3mf_is_read_with_components_and_transforms() -> None:
    single = load(threemf(model('<item objectid="1"/>')), "a.3mf")
    assert single.meta["format"] == "3MF"
    assert single.meta["size"] == pytest.approx([2, 1, 4])
    moved = '<component objectid="1" transform="1 0 0 0 1 0 0 0 1 5 0 0"/>'
    pair = f'<object id="2"><components><component objectid="1"/>{moved}</components></object>'
    both = load(threemf(model('<item objectid="2" transform="2 0 0 0 1 0 0 0 1 0 0 0"/>', pair)), "a.3mf")
    assert both.meta["size"] == pytest.approx([2 * 7, 1, 4])
    assert "2 objects joined" in both.notes
    mirrored = load(threemf(model('<item objectid="1" transform="-1 0 0 0 1 0 0 0 1 0 0 0"/>')), "a.3mf")
    assert not any("inside out" in note for note in mirrored.notes)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (threemf("<!DOCTYPE x [<!ENTITY a 'b'>]><model/>"), UnsupportedInput),
        (threemf("<model/>", "other.txt") + b"3D/ .model", UnsupportedInput),
        (threemf(model('<item objectid="9"/>')), UnreadableFile),
        (
            threemf(
                model(
                    '<item objectid="2"/>', '<object id="2"><components><component objectid="2"/></components></object>'
                )
            ),
            UnreadableFile,
        ),
        (threemf(model('<item objectid="1" transform="1 2"/>')), UnreadableFile),
        (threemf(model("")), UnreadableFile),
        (threemf(model('<item objectid="1"/>'))[:-30], UnreadableFile),
        (threemf(model('<item objectid="1"/>')[:-20]), UnreadableFile),
    ],
)
def test_damaged_3mf_is_refused(data: bytes, error: type[Exception]) -> None:
    assert isinstance(refusal(data, "a.3mf"), error)


def test_a_3mf_that_unpacks_to_too_much_is_refused() -> None:
    data = threemf(model('<item objectid="1"/>') + " " * 1_000_000)
    assert refusal(data, "a.3mf", Limits(max_bytes=100_000)).reason == "limit.max_bytes"


# Colours


def coloured(mesh: Any = BALL) -> Mesh:
    """A mesh whose colours are its places."""
    vertices = np.asarray(mesh.vertices, np.float64)
    colours = (vertices - vertices.min(0)) / np.ptp(vertices, axis=0)
    return Mesh(vertices, np.asarray(mesh.faces, np.int64), colours)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_colours_of_vertices_are_read_and_written(suffix: str) -> None:
    mesh = coloured()
    signal = load(mesh_bytes(mesh, suffix), "a" + suffix)
    assert signal.meta["colours"]
    assert signal.channels == 4
    again = signal.reference
    order = np.lexsort(mesh.vertices.round(4).T), np.lexsort((again.vertices * signal.meta["extent"]).round(4).T)
    np.testing.assert_allclose(again.colours[order[1]], mesh.colours[order[0]], atol=0.01)  # type: ignore[index]
    assert (
        trimesh.load(io.BytesIO(mesh_bytes(mesh, suffix)), file_type=suffix[1:], force="mesh").visual.kind == "vertex"
    )


class ColouredField(ExactField):
    """As ``ExactField``, with the colours of the surface."""

    def evaluate(self, coords: torch.Tensor) -> torch.Tensor:
        colours = point_sampling.to_values(self.queries.colours(coords.double().numpy()))
        return torch.cat([super().evaluate(coords), torch.from_numpy(colours)], dim=1)

    def on_grid(self, grid: Any, start: int, stop: int) -> torch.Tensor:
        values = super().on_grid(grid, start, stop)
        return torch.cat([values, torch.zeros(len(values), 3)], dim=1)


def test_colours_are_decoded_and_measured_on_the_surface() -> None:
    signal = load(mesh_bytes(coloured(), ".ply"), "a.ply")
    mesh = decoded(signal, 48, ColouredField(signal))
    places = (mesh.vertices - mesh.vertices.min(0)) / np.ptp(mesh.vertices, axis=0)
    np.testing.assert_allclose(mesh.colours, places, atol=0.05)
    measured = quality.measure(ColouredField(signal), signal, silent)  # type: ignore[arg-type]
    assert measured["iou"] == 1
    assert measured["psnr_colour"] > 60
    assert shape.check_writable(signal.meta, ".stl", Request()) == [
        "STL does not keep the vertex colours; .ply, .obj and .glb do"
    ]


def test_points_have_the_colours_of_the_nearest_surface() -> None:
    signal = draw_all_points(
        load(mesh_bytes(coloured(), ".ply"), "a.ply", points=2000), torch.Generator().manual_seed(0)
    )
    assert signal.points is not None
    wanted = mesh_queries(signal.reference).colours(signal.points.astype(np.float64))
    near = np.abs(signal.samples[:, 0]) < 1
    np.testing.assert_allclose(point_sampling.to_colours(signal.samples[near, 1:]), wanted[near], atol=1e-5)
    place = (signal.points[near] * signal.meta["extent"] / 2 + 0.5).clip(0, 1)
    assert np.abs(wanted[near] - place).max() < 0.1


def test_colours_are_dropped_on_request_and_for_occupancy() -> None:
    data = mesh_bytes(coloured(), ".ply")
    for options in ({"colours": "drop"}, {"target": "occupancy"}):
        signal = load(data, "a.ply", **options)
        assert signal.channels == 1
        assert any(note.startswith("vertex colours not kept") for note in signal.notes)


def test_colours_of_merged_vertices_are_averaged() -> None:
    corners = "\n".join(f"v {x} {y} {z} {c} {c} {c}" for c in (0, 1) for x, y, z in BOX.vertices.tolist())
    faces = "\n".join(
        f"f {a + 8 * (k % 2)} {b + 8 * (k % 2)} {c + 8 * (k % 2)}"
        for k, (a, b, c) in enumerate((BOX.faces + 1).tolist())
    )
    signal = load(corners + "\n" + faces)
    assert signal.meta["vertices"] == 8
    assert (np.abs(signal.reference.colours - 0.5) <= 0.5).all()


# Writing


def far_ball() -> Any:
    return load(obj(BALL.copy().apply_translation((500_000, 5_400_000, 200))))


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".off"])
def test_coordinates_far_from_the_origin_stay_exact(suffix: str) -> None:
    mesh = decoded(far_ball())
    again = trimesh.load(io.BytesIO(mesh_bytes(mesh, suffix)), file_type=suffix[1:], process=False)
    assert np.abs(np.asarray(again.vertices) - mesh.vertices).max() < 1e-7


def test_stl_warns_of_coordinates_far_from_the_origin() -> None:
    meta = far_ball().meta
    (note,) = shape.check_writable(meta, ".stl", Request())
    assert "--centred" in note
    assert shape.check_writable(meta, ".ply", Request()) == []
    assert shape.check_writable(meta, ".stl", Request(centred=True)) == []
    near = shape.decode(Perfect(far_ball()), meta, Request(resolution=24, centred=True), Limits(), silent)  # type: ignore[arg-type]
    assert np.abs(near.bounds).max() < 1.2


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_that_is_written_is_read_as_the_same_mesh(suffix: str) -> None:
    mesh = decoded(load(obj(BALL)))
    again = load(mesh_bytes(mesh, suffix), "a" + suffix)
    assert source_area(again) == pytest.approx(area(mesh), rel=1e-5)
    assert again.meta["open_edges"] == 0


def test_a_surface_is_simplified_to_the_triangles_that_are_asked_for() -> None:
    signal = load(obj(BALL))
    mesh = shape.decode(Perfect(signal), signal.meta, Request(resolution=48, faces=500), Limits(), silent)  # type: ignore[arg-type]
    assert 400 <= len(mesh.faces) <= 500
    assert "1 component, watertight" in shape.describe_decoded(mesh, signal.meta, ".ply", Request())
    with pytest.raises(UsageError, match="--faces"):
        shape.check_writable(signal.meta, ".ply", Request(faces=3))
    assert shape.losses(mesh, signal.meta, ".ply", Request(faces=500)) == []
    assert "only" in shape.losses(mesh, signal.meta, ".ply", Request(faces=5000))[0]


def test_the_summary_of_a_decoded_mesh_says_what_it_consists_of() -> None:
    mesh = decoded(load(obj(joined(BALL, BALL.copy().apply_translation((3, 0, 0))))), 48)
    text = shape.describe_decoded(mesh, {}, ".ply", Request())
    assert "2 components, watertight, volume" in text
    assert float(text.rpartition(" ")[2]) == pytest.approx(2 * BALL.volume, rel=0.05)


def test_fields_of_before_have_no_needed_resolution() -> None:
    meta = dict(load(obj(BALL)).meta)
    del meta["needed_resolution"]
    del meta["boxes"], meta["colours"]
    assert not shape.META_BEFORE_3.upgrade(meta)["colours"]
    assert shape.META_BEFORE_3.upgrade(meta)["boxes"] == []


@pytest.mark.parametrize(
    "box",
    [
        {"low": [0, 0, 0], "high": [1, 0, 1], "shape": [4, 4, 4]},
        {"low": [0, 0, 0], "high": [1, 1, 1], "shape": [1024, 1024, 1024]},
    ],
)
def test_hostile_boxes_are_refused(box: Any) -> None:
    with pytest.raises(ValueError, match="boxes"):
        shape.check_meta({"boxes": [box]})


# Kinds that a review found


def test_repeated_corners_and_spikes_gain_no_wall() -> None:
    repeated = [(0, 0), (3, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
    assert source_area(load(prism(repeated, "obj"))) == pytest.approx(2 * 7 + 2 * 16)


def test_small_parts_beside_a_large_one_are_told() -> None:
    thin = trimesh.creation.cylinder(0.003, 2, sections=16).apply_translation((1.5, 0, 0))
    signal = load(obj(joined(BALL, thin)))
    assert signal.meta["needed_resolution"] > 128
    assert signal.meta["boxes"] == []
    assert signal.notes[0].startswith("parts smaller than a cell")


def test_very_many_thin_parts_share_one_grid() -> None:
    plates = joined(*(trimesh.creation.box((1, 1, 0.002)).apply_translation((2 * k, 0, 0)) for k in range(40)))
    signal = load(obj(plates))
    (box,) = detail.find_detail(signal.reference, 128).boxes
    assert (box.low <= signal.reference.vertices.min(0)).all()
    assert (box.high >= signal.reference.vertices.max(0)).all()


def test_boxes_that_overlap_are_refused() -> None:
    box = {"low": [0, 0, 0], "high": [1, 1, 1], "shape": [4, 4, 4]}
    with pytest.raises(ValueError, match="overlap"):
        shape.check_meta({"boxes": [box, box]})


def test_names_of_solids_may_be_any_words() -> None:
    text = export(BOX, "stl_ascii").decode()
    first = text.splitlines()[0]
    assert load(text.replace(first, "solid facet vertex 1 2 3"), "a.stl").meta["faces"] == 12


def test_instances_of_3mf_are_counted_before_they_are_placed() -> None:
    many = model('<item objectid="1"/>' * 3000)
    assert refusal(threemf(many), "a.3mf", Limits(max_faces=1000)).reason == "limit.max_faces"
    twice = '<component objectid="{0}"/><component objectid="{0}"/>'
    objects = (f'<object id="{k}"><components>{twice.format(k - 1)}</components></object>' for k in range(2, 25))
    levels = "".join(objects)
    assert refusal(threemf(model('<item objectid="24"/>', levels)), "a.3mf").reason == "node-graph"


def test_scenes_of_very_many_parts_are_refused() -> None:
    def change(header: Any) -> None:
        header["meshes"][0]["primitives"] *= 3000

    assert refusal(gltf(change), "a.gltf").reason == "layout"


def test_the_unit_of_3mf_is_named() -> None:
    text = model('<item objectid="1"/>').replace("<model ", '<model unit="inch" ')
    assert any("unit is inch" in note for note in load(threemf(text), "a.3mf").notes)
