"""Measures against something slow and obvious."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import picture
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from inrfit.modalities import metrics


def noisy(source, seed=1):
    noise = np.random.default_rng(seed).integers(-9, 10, source.shape)
    return np.clip(source.astype(int) + noise, 0, 255).astype(np.uint8)


def test_psnr_is_that_of_scikit_image():
    source = picture()
    decoded = noisy(source)
    assert metrics.psnr(decoded, source, 255) == pytest.approx(peak_signal_noise_ratio(source, decoded, data_range=255))


def test_psnr_of_a_perfect_copy_is_infinite():
    assert metrics.psnr(picture(), picture(), 255) == math.inf


def test_ssim_in_blocks_equals_ssim_of_the_whole(monkeypatch):
    source = picture(90, 60)
    decoded = noisy(source)
    whole = structural_similarity(
        source,
        decoded,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    monkeypatch.setattr(metrics, "SSIM_ROWS", 17)
    assert metrics.ssim(decoded, source) == pytest.approx(whole, abs=1e-9)


def test_ssim_of_a_tiny_picture_is_undefined():
    assert math.isnan(metrics.ssim(picture(10, 40), picture(10, 40)))


def test_snr_of_halved_amplitude_is_six_decibels():
    tone = np.sin(np.arange(1000.0))[:, None]
    assert metrics.snr(tone / 2, tone) == pytest.approx(20 * math.log10(2))


def test_si_snr_is_independent_of_the_scale():
    tone = np.sin(np.arange(1000.0))[:, None]
    other = tone + 0.01 * np.cos(np.arange(1000.0) * 1.7)[:, None]
    assert metrics.si_snr(3 * other, tone) == pytest.approx(metrics.si_snr(other, tone))
    assert metrics.si_snr(other, tone) == pytest.approx(40, abs=1)


def test_silence_has_no_snr():
    silence = np.zeros((50, 1))
    assert math.isnan(metrics.snr(silence, silence))
    assert math.isnan(metrics.si_snr(silence, silence))


def test_iou_counts_cells():
    a = np.array([True, True, False, False])
    b = np.array([True, False, True, False])
    assert metrics.iou(a, b) == pytest.approx(1 / 3)
    assert metrics.iou(a & ~a, a & ~a) == 1.0
