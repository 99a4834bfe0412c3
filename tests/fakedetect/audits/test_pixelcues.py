import cv2
import numpy as np
import pytest

from fakedetect.audits.pixelcues import blockiness, traces


def photo(seed: int, side: int = 64) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = cv2.resize(
        random.integers(0, 256, (8, 8, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    return (smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def test_blockiness_finds_the_jpeg_grid_in_pixels():
    clean = [traces(photo(seed))["blockiness"] for seed in range(20)]
    once = [traces(as_jpeg(photo(seed), 50))["blockiness"] for seed in range(20)]
    assert min(once) > max(clean) and abs(np.mean(clean)) < 0.05 and np.mean(once) > 0.2


def test_coarser_compression_is_blockier():
    found = [np.mean([traces(as_jpeg(photo(seed), q))["blockiness"] for seed in range(8)]) for q in (95, 50, 10)]
    assert found == sorted(found)


@pytest.mark.parametrize("axis", [0, 1])
def test_grid_lines_of_both_axes_count(axis):
    grey = np.zeros((64, 64), np.float32)
    grey += (np.arange(64) // 8 % 2 * 10).reshape((64, 1) if axis == 0 else (1, 64))
    assert blockiness(grey) > 0.5


def test_flat_and_tiny_images_have_finite_or_nan_values():
    assert traces(np.full((64, 64, 3), 9, np.uint8))["blockiness"] == 0
    assert np.isnan(traces(np.zeros((8, 8, 3), np.uint8))["blockiness"])


def test_grey_and_colour():
    grey = traces(np.full((32, 32, 3), 90, np.uint8))
    assert (grey["grey"], grey["saturation"], grey["saturation_spread"]) == (1, 0, 0)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert traces(red)["saturation"] == 1 and traces(red)["grey"] == 0
    red[:16] = 90
    assert traces(red)["saturation_spread"] == pytest.approx(0.5)
