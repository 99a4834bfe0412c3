import numpy as np
import pytest
import torch
from scipy.fft import dctn

from fakedetect.models.frequency import DCTFeatures, SpectrumFeatures


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 3, 24, 24), dtype=np.uint8)


def test_dct_features_are_the_logarithm_of_scipys_dct(images):
    expected = np.log(np.abs(dctn(images.astype(float), axes=(2, 3), norm="ortho")) + 0.1).reshape(4, -1)
    found = DCTFeatures(24, 3)(torch.from_numpy(images)).numpy()
    assert found.shape == (4, 3 * 24 * 24)
    assert np.abs(found - expected).max() < 1e-2


def test_spectrum_features_are_the_mean_power_at_each_radius(images):
    power = np.abs(np.fft.fft2(images.astype(float).mean(axis=1))) ** 2 / 24**2
    frequencies = np.fft.fftfreq(24) * 24
    radii = np.round(np.hypot(frequencies, frequencies[:, None])).astype(int)
    expected = [[np.log(one[radii == radius].mean() + 0.01) for radius in range(radii.max() + 1)] for one in power]
    found = SpectrumFeatures(24, 3)(torch.from_numpy(images)).numpy()
    assert np.abs(found - expected).max() < 1e-3


def test_noise_of_one_grey_level_has_power_one_at_every_radius():
    noise = np.random.default_rng(0).normal(128, 10, (500, 1, 32, 32)).round().clip(0, 255).astype(np.uint8)
    means = SpectrumFeatures(32, 1)(torch.from_numpy(noise)).exp().mean(dim=0).numpy()
    assert np.allclose(means[1:], 100, rtol=0.1)


def test_a_checkerboard_shows_at_the_highest_frequency_alone():
    plain = np.full((1, 1, 16, 16), 128, np.uint8)
    board = plain + (np.indices((16, 16)).sum(axis=0) % 2 * 20).astype(np.uint8)
    before, after = (SpectrumFeatures(16, 1)(torch.from_numpy(x))[0].numpy() for x in (plain, board))
    changed = np.flatnonzero(np.abs(after - before)[1:] > 1) + 1  # beside the mean, which rises
    assert changed.tolist() == [len(before) - 1]


@pytest.mark.parametrize("kind", [DCTFeatures, SpectrumFeatures])
def test_a_plain_image_has_finite_features(kind):
    assert torch.isfinite(kind(16, 1)(torch.zeros(2, 1, 16, 16, dtype=torch.uint8))).all()
