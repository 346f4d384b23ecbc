"""The edge map, for every modality and size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import image_meta, image_signal
from test_samplers import learner

from inrfit.modalities.image.sample_types import UINT8_SCALE
from inrfit.samplers import edge_map
from inrfit.signal import IDENTITY, Grid, Scale, Signal


def picture_signal(picture):
    height, width, channels = picture.shape
    samples = picture.reshape(-1, channels)
    return Signal("image", samples, UINT8_SCALE, image_meta(width, height, "L"), Grid((height, width)))


def sound_signal(samples):
    scale = Scale("int16", 1 / 32768, 0.0, -32768, 32767, 1.0)
    return Signal("audio", np.asarray(samples, np.int16)[:, None], scale, {}, Grid((len(samples),)))


def shape_signal(values):
    points = np.linspace(-1, 1, 3 * len(values), dtype=np.float32).reshape(-1, 3)
    values = np.asarray(values, np.float32)[:, None]
    return Signal("shape", values, IDENTITY, {"level": 0.0}, points=points)


def marked(signal):
    of = learner(signal)
    return edge_map.find_edges(of, None).contains(torch.arange(signal.n))


def test_an_upright_line_of_a_wide_picture_is_found_where_it_is():
    picture = np.zeros((8, 30, 1), np.uint8)
    picture[:, 20:] = 255
    found = marked(picture_signal(picture)).view(8, 30)
    assert found.any(1).all()
    assert set(found.nonzero()[:, 1].tolist()) <= {19, 20}


@pytest.mark.parametrize("step", [0, 2, 30])
def test_the_thresholds_are_those_of_the_code_on_upright_edges(step):
    """A step of s makes a Sobel gradient of 4 s: above 40 it is an edge, below 30 it is none."""
    picture = np.full((9, 9, 1), 100, np.uint8)
    picture[:, 5:] += step
    assert bool(marked(picture_signal(picture)).any()) == (4 * step > 40)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (13, 9)])
def test_every_size_and_number_of_channels_has_a_map(channels, size):
    signal = image_signal(*size, channels)
    assert marked(signal).shape == (signal.n,)
    assert edge_map.find_anchors(learner(signal), 0.1).contains(torch.arange(signal.n)).shape == (signal.n,)


def test_a_single_row_has_edges():
    picture = np.zeros((1, 20, 1), np.uint8)
    picture[:, 10:] = 200
    assert marked(picture_signal(picture)).any()


@pytest.mark.parametrize(
    "signal",
    [
        picture_signal(np.full((6, 7, 3), 9, np.uint8)),
        sound_signal([5] * 50),
        sound_signal([5]),
        shape_signal([1.0] * 9),
    ],
    ids=["picture", "sound", "sample", "far points"],
)
def test_what_is_constant_has_no_edges(signal):
    assert not marked(signal).any()
    assert not edge_map.find_anchors(learner(signal), 0.3).mask.any()


def test_alpha_makes_no_edge():
    picture = np.full((10, 10, 4), 90, np.uint8)
    picture[:, 5:, 3] = 0
    assert not marked(picture_signal(picture)).any()


def test_a_sound_has_its_edges_where_it_jumps():
    samples = np.zeros(200)
    samples[120:] = 9000
    found = marked(sound_signal(samples))
    assert found.nonzero().flatten().tolist() == [119, 120]


def test_a_shape_has_its_edges_at_its_surface():
    values = np.linspace(-1, 1, 101)
    near = values[marked(shape_signal(values)).numpy()]
    assert len(near) == 10
    assert np.abs(near).max() == pytest.approx(0.1)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_anchors_cover_the_share_asked_for(share):
    """Before they are widened: squares of rising contrast, the strongest first."""
    picture = np.zeros((84, 84, 1), np.uint8)
    for k in range(196):
        row, column = 6 * (k // 14), 6 * (k % 14)
        picture[row + 1 : row + 4, column + 1 : column + 4] = 50 + k
    found = edge_map.find_anchors(learner(picture_signal(picture)), share).mask.view(84, 84)
    assert share <= float(found.float().mean()) <= 3 * share
    assert found[-6:].any()
    assert not found[:6].any()


def test_a_cell_stands_for_all_its_samples(monkeypatch):
    monkeypatch.setattr(edge_map, "MAX_MAP_CELLS", 100)
    picture = np.zeros((31, 47, 3), np.uint8)
    picture[:, 24:] = 255
    signal = picture_signal(picture)
    of = learner(signal)
    found = edge_map.find_edges(of, None)
    assert found.mask.shape[0] <= 100
    assert found.mask.any()
    everywhere = found.contains(torch.arange(signal.n))
    assert found.count() == int(everywhere.sum())
    blocks = edge_map.grey_image(of, found.grid)
    assert blocks[0, 0] == 0
    assert blocks[-1, -1] == pytest.approx(1.0)
    assert everywhere[found.sample(of, 500)].all()


def test_a_long_sound_has_its_jump_in_a_cell(monkeypatch):
    monkeypatch.setattr(edge_map, "MAX_MAP_CELLS", 50)
    samples = np.zeros(1003)
    samples[700:] = 9000
    found = marked(sound_signal(samples))
    assert found[699]
    assert found[700]
    assert int(found.sum()) <= 2 * 21


@pytest.mark.parametrize("shift", [0, 6, 9, 40])
def test_moved_edges_are_counted_as_they_are_found(shift):
    signal = image_signal(20, 33)
    found = edge_map.find_edges(learner(signal), None)
    assert found.count(shift) == int(found.contains(torch.arange(signal.n), shift).sum())


def test_moved_edges_do_not_come_back_in_the_next_row():
    raster = edge_map.CellGrid(3, 10)
    marks = torch.zeros(30, dtype=torch.bool)
    marks[8] = marks[11] = marks[29] = True
    found = edge_map.EdgeMap(raster, marks).contains(torch.arange(30), 6)
    assert found.nonzero().flatten().tolist() == [17]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_edges_of_a_volume_lie_along_every_axis_and_not_at_the_ends_of_its_rows(axis):
    """A step has them where it is, whichever axis it crosses; a ramp, up to rounding, has the same slope everywhere."""
    places = np.indices((8, 9, 10))
    of = learner(volume_signal(places.sum(0).astype(np.float32)))
    ends = edge_map.find_edges(of, None).mask.reshape(8, 9, 10)[..., [0, -1]]
    assert ends.float().mean() < 0.3
    of = learner(volume_signal((places[axis] >= 4).astype(np.float32)))
    marked = edge_map.find_edges(of, None).contains(torch.arange(of.n)).reshape(8, 9, 10)
    assert marked.any()
    assert set(marked.nonzero()[:, axis].tolist()) <= {3, 4}


def volume_signal(array):
    samples = array.reshape(-1, 1)
    span = float(samples.max() - samples.min())
    scale = Scale("float32", 2 / span, -1.0, float(samples.min()), float(samples.max()), 0.0)
    return Signal("volume", samples, scale, {}, Grid(array.shape))
