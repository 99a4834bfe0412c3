import io

import numpy as np
import pytest
from PIL import Image

from fakecore.errors import UserError
from fakegen.quality.nearcopies import MAX_THRESHOLD, TrainingImages, copy_threshold, near_copies
from fakegen.runs.reals import load_reals


@pytest.fixture(scope="module")
def reals():
    return load_reals("digits", resolution=32, shares=(60, 20, 20), seed=0)


@pytest.fixture(scope="module")
def training(reals):
    return TrainingImages(reals.images, reals.train_rows())


@pytest.fixture(scope="module")
def held_out(reals):
    return np.array(reals.images[reals.splits != "train"])


def share_of_copies(training, held_out, images):
    threshold = copy_threshold(training.neighbours(held_out))
    return len(near_copies(training.neighbours(images), threshold)) / len(images)


def changed(images, random):
    noisy = images + random.normal(0, 12, images.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def test_repeated_training_images_are_found_even_with_noise(reals, training, held_out):
    copies = np.array(reals.images[reals.train_rows()[:100]])
    assert share_of_copies(training, held_out, copies) == 1
    assert share_of_copies(training, held_out, changed(copies, np.random.default_rng(0))) > 0.95


def test_recompressed_and_resized_training_images_are_found(reals, training, held_out):
    def again(image, quality, side):
        stored = io.BytesIO()
        Image.fromarray(image[0]).resize((side, side), Image.Resampling.BICUBIC).save(stored, "JPEG", quality=quality)
        return np.asarray(Image.open(stored).resize((32, 32), Image.Resampling.BICUBIC))[None]

    images = reals.images[reals.train_rows()[:100]]
    for quality, side in ((75, 32), (30, 32), (75, 24), (75, 80)):
        copies = np.stack([again(image, quality, side) for image in images])
        assert share_of_copies(training, held_out, copies) > 0.95, (quality, side)


def test_new_images_are_not_near_copies(training, held_out):
    assert share_of_copies(training, held_out, held_out) <= 0.012


def test_noise_blobs_and_mean_images_are_not_near_copies(training, held_out):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (50, 1, 32, 32), dtype=np.uint8)
    grey = np.full((50, 1, 32, 32), 128, np.uint8) + random.integers(0, 5, (50, 1, 32, 32), dtype=np.uint8)
    mean = np.repeat(held_out.mean(axis=0, keepdims=True).astype(np.uint8), 5, axis=0)
    for images in (noise, grey, mean):
        assert share_of_copies(training, held_out, images) == 0


def test_a_grey_blob_is_not_a_copy_of_a_low_contrast_training_image():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (200, 3, 16, 16), dtype=np.uint8)
    images[7] = 128 + random.integers(-6, 7, (3, 16, 16))  # far nearer to any grey cloud than all the others
    training = TrainingImages(images, np.arange(200))
    clouds = np.full((10, 3, 16, 16), 128, np.uint8) + random.integers(0, 3, (10, 3, 16, 16), dtype=np.uint8)
    found = training.neighbours(clouds)
    assert (found.rows == 7).all() and (found.ratios > MAX_THRESHOLD).all()


def test_neighbours_have_the_row_of_the_nearest_training_image(reals, training):
    rows = reals.train_rows()[[3, 50, 7]]
    found = training.neighbours(np.array(reals.images[rows]))
    assert found.rows.tolist() == rows.tolist() and np.allclose(found.ratios, 0, atol=1e-3)


def test_copies_come_nearest_first(reals, training, held_out):
    copy = np.array(reals.images[reals.train_rows()[:1]])
    images = np.concatenate([held_out[:5], changed(copy, np.random.default_rng(0)), held_out[5:10], copy])
    assert near_copies(training.neighbours(images), 0.2).tolist() == [11, 5]


def test_chunks_do_not_change_the_neighbours(training, held_out, monkeypatch):
    whole = training.neighbours(held_out[:40])
    monkeypatch.setattr("fakegen.quality.nearcopies._CHUNK", 37)
    parts = training.neighbours(held_out[:40])
    assert (parts.rows == whole.rows).all() and np.allclose(parts.ratios, whole.ratios, atol=1e-4)


def test_the_threshold_is_at_most_one_half():
    random = np.random.default_rng(0)
    training = TrainingImages(random.integers(0, 256, (300, 1, 16, 16), dtype=np.uint8), np.arange(300))
    unrelated = training.neighbours(random.integers(0, 256, (100, 1, 16, 16), dtype=np.uint8))
    assert unrelated.ratios.min() > 0.7 and copy_threshold(unrelated) == MAX_THRESHOLD


def test_a_set_of_one_training_image_is_refused():
    images = np.zeros((3, 1, 16, 16), np.uint8)
    with pytest.raises(UserError, match="too few training images"):
        TrainingImages(images, np.array([0])).neighbours(images)
