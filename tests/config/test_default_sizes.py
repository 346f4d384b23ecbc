"""The size of a field for which none was asked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inrfit.config import plan
from inrfit.config.settings import Settings
from inrfit.fields import FIELDS
from inrfit.fields.sizing import MAX_DEFAULT_PARAMETERS, default_parameters
from inrfit.modalities.image import image as image_module


def parameters(pixels: int, **settings) -> int:
    """The number of weights planned for a picture of so many pixels."""
    side = math.isqrt(pixels)
    image = np.zeros((side, pixels // side, 3), np.uint8)
    image[:4] = np.random.default_rng(0).integers(0, 256, image[:4].shape)
    return plan.plan(image_module.from_array(image), "image", Settings(**settings)).spec.parameters


def test_the_rule_is_the_square_root_of_the_samples_around_a_plateau():
    assert [default_parameters(n) for n in (1, 1 << 14, 1 << 18, 1 << 19, 1 << 20)] == [1000, 66_000, *[264_000] * 3]
    assert [default_parameters(n) for n in (1 << 22, 1 << 24, 1 << 40)] == [528_000, *[MAX_DEFAULT_PARAMETERS] * 2]


@pytest.mark.parametrize("arch", [name for name, known in FIELDS.items() if known.TRAITS.coefficients in ("", "bands")])
def test_small_signals_get_small_fields(arch):
    small, usual = parameters(4096, arch=arch), parameters(1 << 18, arch=arch)
    assert small <= 33_000 < usual


def test_sizes_asked_for_and_the_papers_are_kept():
    assert parameters(4096, arch="siren", width=256) == parameters(4096, arch="siren", regime="paper") == 264_707
    assert parameters(1 << 18, arch="siren") == 264_707
    assert 0.9 * 100_000 < parameters(4096, arch="siren", params="100k") <= 100_000


def test_a_grid_on_many_samples_grows():
    assert parameters(1 << 22, arch="grid") > 2 * 0.8 * 264_000
    assert parameters(1 << 22, arch="siren") == 264_707
