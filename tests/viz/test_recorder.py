"""A recorder counts the trained points and draws the counts."""

from __future__ import annotations

import importlib.util
import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import image_signal, picture
from PIL import Image

import inrfit
from inrfit.cli.sampling_outputs import sampling_outputs_of
from inrfit.errors import UsageError
from inrfit.fit import evaluation
from inrfit.fit.events import StepEvent
from inrfit.modalities import MODALITIES
from inrfit.modalities.image import IMAGE
from inrfit.signal import IDENTITY, Grid, Signal
from inrfit.viz import recorder, slice_view, video_file
from inrfit.viz.drawing import axis_step, heat_colours
from inrfit.viz.heatmap import smooth, smoothing_width
from inrfit.viz.recorder import Recorder
from inrfit.viz.views import view_of

QUICK = {"budget": "12it", "width": 16, "depth": 2, "device": "cpu", "batch": 100}


def moments(signal, *batches):
    """A fit of ``signal`` without a field: one step a batch."""
    weights = {"w": torch.zeros(3)}
    for step, batch in enumerate(batches):
        progress = (step + 1) / len(batches)
        yield StepEvent(step + 1, 0.5 * step, progress, torch.as_tensor(batch), lambda: dict(weights), signal)


def recorded(signal, *batches, **more):
    seen = Recorder(**more)
    for moment in moments(signal, *batches):
        seen(moment)
    return seen


def opened(data):
    return Image.open(io.BytesIO(data))


def sound(n=3000):
    return (8000 * np.sin(np.arange(n) / 5)).astype(np.int16)


@pytest.fixture
def ball(tmp_path):
    """A small mesh on disk."""
    import trimesh

    trimesh.creation.icosphere(2).export(tmp_path / "ball.ply")
    return tmp_path / "ball.ply"


def test_the_counts_are_exactly_the_trained_points():
    taught = []
    seen = Recorder()

    def watch(moment):
        taught.append(moment.indices.clone())
        seen(moment)

    made = inrfit.encode(picture(), on_step=watch, **QUICK)
    assert torch.equal(seen.counts.long(), torch.bincount(torch.cat(taught), minlength=24 * 32))
    assert int(seen.counts.sum()) == made.provenance["spent"]["points"]
    assert seen.steps == 12


def test_watching_changes_nothing():
    plain, watched = inrfit.encode(picture(), **QUICK), inrfit.encode(picture(), on_step=Recorder(40), **QUICK)
    assert all(np.array_equal(plain.weights[name], watched.weights[name]) for name in plain.weights)


def test_a_point_trained_twice_in_one_step_counts_twice():
    assert recorded(image_signal(), [5, 5, 7]).counts[[5, 6, 7]].tolist() == [2, 0, 1]


def test_the_map_is_as_large_as_the_image_and_brighter_where_more_was_trained():
    left = [row * 32 + column for row in range(24) for column in range(16)]
    seen = recorded(image_signal(), *[left] * 30, list(range(24 * 32)))
    found = np.asarray(opened(seen.map()).convert("L")).astype(float)
    assert found.shape == (24, 32)
    assert found[:, :14].min() > found[:, 18:].max()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_of_image_is_drawn(channels):
    data = recorded(image_signal(channels=channels), range(50)).map()
    assert opened(data).size == (32, 24)


def test_a_large_map_has_its_key_in_the_corner():
    signal = image_signal(300, 400)
    found = np.asarray(opened(recorded(signal, *[torch.arange(300 * 400)] * 60).map())).astype(int)
    assert np.ptp(found[-12:, :140].max(-1)) > 200  # text and ramp
    assert np.ptp(found[:12, -140:].sum(-1)) < 100


def test_long_signals_are_counted_in_a_bounded_number_of_bins():
    signal = image_signal(24, 32)
    seen = recorded(signal, range(24 * 32), [0, 33], max_bins=50)
    assert len(seen.counts) == 48  # of 4 x 4 pixels
    assert seen.counts.tolist() == [18] + [16] * 47
    assert seen.view.visits(seen.counts).ravel()[:2].tolist() == [18 / 16, 1.0]
    assert opened(seen.map()).size == (8, 6)


def test_bins_at_the_edge_are_counted_by_their_own_size():
    signal = image_signal(5, 7)
    seen = recorded(signal, range(35), max_bins=6)
    assert len(seen.counts) <= 6
    assert torch.equal(seen.view.visits(seen.counts), torch.ones(2, 3))


def test_a_long_sound_is_counted_in_stretches():
    signal = Signal("audio", np.zeros((10, 1), np.float32), IDENTITY, {"rate": 5}, Grid((10,)))
    seen = recorded(signal, range(10), [9], max_bins=4)
    assert seen.counts.tolist() == [3, 3, 3, 2]
    assert seen.view.visits(seen.counts).tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize("shape", [(6, 4, 5), (20, 4, 5), (2, 3, 4, 5), (4, 5), (7,)])
def test_volumes_are_counted_and_drawn_by_slices(shape):
    samples = np.arange(np.prod(shape), dtype=np.float32)[:, None]
    signal = Signal("volume", samples, IDENTITY, {}, Grid(shape))
    seen = recorded(signal, range(len(samples)), range(len(samples)))
    view = seen.view
    visits = view.visits(seen.counts)
    shown = visits[visits > 0]
    assert shown.numel() == view.shown * np.prod(view.grid[-2:])
    assert shown.mean() == pytest.approx(2)

    class Coordinates:
        """A field that returns its coordinates."""

        device, point_chunk = torch.device("cpu"), 7

        def evaluate(self, coords):
            return coords

    whole = Grid(view.picture.size)
    found = slice_view._Picture(view, Coordinates()).on_grid(whole, 0, whole.n).reshape(*view.picture.size, -1)
    truth = Grid(shape).coords(torch.arange(len(samples))).reshape(view.slices, *view.grid[-2:], -1)
    height, width = view.grid[-2:]
    for number in range(view.shown):
        top, left = number // view.columns * height, number % view.columns * width
        part = found[top : top + height, left : left + width]
        torch.testing.assert_close(part, truth[view.middle(number)], atol=1e-6, rtol=0)


def test_a_volume_with_holes_is_not_drawn():
    signal = Signal("volume", np.zeros((3, 1), np.float32), IDENTITY, {}, points=np.zeros((3, 3), np.float32))
    with pytest.raises(UsageError, match="no value"):
        view_of(signal)


def test_of_many_points_the_first_ones_stand_for_all():
    points = np.zeros((10, 3), np.float32)
    signal = Signal("shape", np.zeros((10, 1), np.float32), IDENTITY, {}, points=points)
    assert recorded(signal, [0, 3, 4, 9], max_bins=4).counts.tolist() == [1, 0, 0, 1]


def test_the_video_shows_field_and_selections_side_by_side():
    seen = Recorder(frames=4)
    made = inrfit.encode(picture(), on_step=seen, **QUICK)
    shares = []
    found = opened(seen.video(made, ".gif", shares.append))
    assert found.n_frames == len(seen.frames) + 1 == 5
    assert found.size == (2 * 240 + 8, 28 + 7 * 24)  # 32 x 24 pixels, 7 times as large
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    found.seek(4)
    last = np.asarray(found.convert("RGB")).astype(int)[28:, 8:232].reshape(24, 7, 32, 7, 3).mean((1, 3))
    assert np.abs(last - made.decode()).mean() < 6  # the palette has 256 colours


def test_frames_are_spread_evenly_over_the_progress():
    seen = recorded(image_signal(), *[[0]] * 100, frames=10)
    assert [frame.step for frame in seen.frames] == [1, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert [frame.visits.sum() for frame in seen.frames][-1] == 90


def test_of_a_large_field_fewer_frames_are_kept(monkeypatch):
    monkeypatch.setattr(recorder, "MAX_FRAME_BYTES", 3 * 12)
    assert len(recorded(image_signal(), *[[0]] * 100, frames=10).frames) == 3


def test_a_progress_callback_that_raises_ends_the_drawing():
    seen = Recorder(frames=4)
    made = inrfit.encode(picture(), on_step=seen, **QUICK)

    def enough(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seen.video(made, ".gif", enough)


def test_a_sound_is_drawn_over_time():
    seen = Recorder(frames=3)
    made = inrfit.encode(sound(), rate=1000, on_step=seen, **QUICK)
    assert opened(seen.map()).size == (960, 520)
    video = opened(seen.video(made, ".gif"))
    assert video.n_frames == 4
    assert video.size == (2 * 384 + 8, 28 + 280)


def test_the_more_often_trained_half_of_a_sound_has_the_higher_bars():
    signal = Signal("audio", sound()[:, None], IDENTITY, {"rate": 1000}, Grid((3000,)))
    seen = recorded(signal, *[range(1500)] * 9, range(3000))
    coloured = np.asarray(opened(seen.map())).astype(int)[281:470, 66:938].max(-1) > 60
    assert coloured[:, :420].mean() > 5 * coloured[:, 450:].mean()


@pytest.mark.parametrize("target", ["sdf", "occupancy"])
def test_a_shape_is_drawn_from_three_sides(ball, target, monkeypatch):
    monkeypatch.setattr(evaluation, "measure", lambda *told: {"iou": 0.5, "samples": 1, "estimate": True})
    seen = Recorder(frames=2)
    options = {"points": 2000, "target": target}
    made = inrfit.encode(ball, on_step=seen, options=options, **(QUICK | {"budget": "200it", "batch": 1000}))
    assert len(seen.counts) == 2000
    assert opened(seen.map()).size == (3 * 360 + 4 * 12, 360 + 56)
    video = opened(seen.video(made, ".gif"))
    assert video.n_frames == 3
    assert video.size == (2 * 240 + 8, 28 + 3 * 196)


def test_the_sides_of_a_shape_are_not_mirrored():
    """One point far out on every axis lies where the sides' names say."""
    points = np.array([[0.9, 0.7, 0.5]] * 2000, np.float32)
    signal = Signal("shape", np.zeros((2000, 1), np.float32), IDENTITY, {}, points=points)
    front, side, top = view_of(signal)._projected_sums(np.ones(2000), 20)
    assert [tuple(np.argwhere(view)[0]) for view in (front, side, top)] == [(3, 19), (3, 5), (15, 19)]


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not installed")
def test_an_mp4_shows_every_frame():
    import av

    frames = [Image.new("RGB", (65, 48), (40 * number, 90, 0)) for number in range(5)]
    with av.open(io.BytesIO(video_file.encode_video(frames, ".mp4"))) as found:
        shown = [frame.to_ndarray(format="rgb24") for frame in found.decode(video=0)]
    assert len(shown) == 4 + video_file.LAST_FRAME_REPEATS
    assert shown[0].shape == (48, 64, 3)
    assert abs(int(shown[3][20, 20, 0]) - 120) < 12


def test_an_mp4_without_its_library_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'inrfit\[video\]'"):
        video_file.check_suffix(".mp4")


def test_a_fit_without_a_step_has_nothing_to_draw():
    seen = Recorder()
    inrfit.encode(np.full((4, 4, 3), 7, np.uint8), on_step=seen, **QUICK)
    with pytest.raises(UsageError, match="has made no step"):
        seen.map()


def test_a_kind_that_is_not_shown_is_refused(monkeypatch):
    monkeypatch.setitem(MODALITIES, "scent", replace(IMAGE, name="scent", layout="cloud"))
    with pytest.raises(UsageError, match="modality scent"):
        view_of(Signal("scent", np.zeros((1, 1)), IDENTITY, {}, Grid((1,))))


def test_the_sampling_outputs_of_several_sources_are_named_after_them(tmp_path):
    sources = ["in/a.png", "in/b.wav"]
    found = sampling_outputs_of(sources, ["a", "b"], str(tmp_path), str(tmp_path))
    assert [pictures.map for pictures in found] == [str(tmp_path / "a.png.map.png"), str(tmp_path / "b.wav.map.png")]
    assert found[1].video == str(tmp_path / "b.wav.teaching.gif")


def test_colours_rise_in_lightness():
    light = heat_colours(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()


@pytest.mark.parametrize(("span", "most", "step"), [(6.8, 14, 0.5), (1.0, 10, 0.1), (3600, 5, 1000), (0.02, 4, 0.005)])
def test_axis_steps_are_round(span, most, step):
    assert axis_step(span, most) == pytest.approx(step)


def test_smoothing_keeps_a_constant_and_stops_where_counts_suffice():
    assert smoothing_width(30, 500) == 1
    assert smoothing_width(0.5, 500) == 7
    assert np.allclose(smooth(np.full((9, 11), 3.0), 5), 3.0)
