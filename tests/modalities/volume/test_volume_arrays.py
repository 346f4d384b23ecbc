"""Arrays of NumPy as volumes: masks, spacing, units."""

from __future__ import annotations

import numpy as np
import pytest

from inrfit.errors import UnreadableFile, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities.volume import arrays, meta, volume

SAMPLES = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)


def test_masked_samples_are_left_out():
    data = arrays.from_array(np.ma.masked_array(SAMPLES, SAMPLES > 1), "zyx")
    signal = volume.load(data, "array", meta.Options(axes="zyx"), Limits())
    assert np.array_equal(volume.mask_of(signal.attachments["mask"], SAMPLES.shape), SAMPLES <= 1)


def test_a_mask_that_hides_nothing_is_none():
    masked = np.ma.masked_array((SAMPLES * 9).astype(np.int16), np.zeros(SAMPLES.shape, bool))
    assert arrays.from_array(masked, "zyx") == arrays.from_array(masked.data, "zyx")


def test_masked_integers_are_refused_with_advice():
    with pytest.raises(UsageError, match="give floats"):
        arrays.from_array(np.ma.masked_array(SAMPLES.astype(np.int16), SAMPLES > 1), "zyx")


@pytest.mark.parametrize("given", [{"units": 5}, {"spacing": 2}, {"spacing": "1x1x1"}])
def test_spacing_and_units_have_one_for_each_axis(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        arrays.options_of(SAMPLES, "zyx", **given)


@pytest.mark.parametrize("text", ["0x1x1", "-1x1x1", "nanx1x1"])
def test_distances_of_samples_are_above_zero(text):
    with pytest.raises(ValueError, match="above 0"):
        meta.parsed_spacing(text)


@pytest.mark.parametrize("version", [(1, 15), (9, 0)])
def test_a_version_of_npy_that_could_not_be_written_again_is_not_read(version):
    data = bytearray(arrays.from_array(SAMPLES, "zyx"))
    data[6:8] = version
    with pytest.raises(UnreadableFile, match="version"):
        volume.load(bytes(data), "a.npy", meta.Options(axes="zyx"), Limits())
