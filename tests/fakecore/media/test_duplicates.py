import warnings

import cv2
import numpy as np
import pytest

from fakecore.media.duplicates import (
    MAX_RMS,
    MAX_SHARE,
    MIN_SHARE,
    _principal_axes,
    _survey,
    near_pairs,
    same_picture_groups,
    thumbnails,
)


def photos(count, side=64, seed=0):
    """Smooth random images with a little noise, uint8 (N, 3, H, W)."""
    rng = np.random.default_rng(seed)
    out = np.empty((count, 3, side, side), dtype=np.uint8)
    for image in out:
        coarse = cv2.resize(
            rng.uniform(20, 235, (6, 6, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
        )
        image[:] = np.clip(coarse + rng.normal(0, 3, coarse.shape), 0, 255).astype(np.uint8).transpose(2, 0, 1)
    return out


def resaved(image, quality):
    data = cv2.imencode(".jpg", image[::-1].transpose(1, 2, 0), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR).transpose(2, 0, 1)[::-1]


def groups_of(images, hashes=None, groups=None):
    count = len(images)
    return same_picture_groups(images, hashes or [str(i) for i in range(count)], groups or [None] * count)


def test_different_images_are_separate_groups():
    assert len(set(groups_of(photos(40)))) == 40


def test_identical_bytes_are_joined_whatever_the_pixels():
    found = groups_of(photos(4), hashes=["a", "b", "a", "c"])
    assert found[0] == found[2]
    assert len(set(found)) == 3


def test_a_jpeg_copy_is_joined_to_its_original():
    images = photos(30)
    copies = np.stack([resaved(image, 75) for image in images])
    assert not np.array_equal(copies, images)
    found = groups_of(np.concatenate([images, copies]))
    assert np.array_equal(found[:30], found[30:])
    assert len(set(found)) == 30


def test_flat_images_of_different_brightness_are_separate_groups():
    flat = np.stack([np.full((3, 32, 32), value, dtype=np.uint8) for value in (100, 101, 102, 200)])
    assert len(set(groups_of(flat))) == 4


def test_flat_images_of_equal_brightness_are_joined_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(set(groups_of(np.full((4, 1, 8, 8), 9, dtype=np.uint8)))) == 1


def test_one_person_is_one_group_and_no_person_is_none():
    found = groups_of(photos(6), groups=["ann", None, "ann", None, "bob", "ann"])
    assert found[0] == found[2] == found[5]
    assert len(set(found)) == 4


def test_joining_is_transitive_across_reasons():
    images = photos(4)
    images[1] = images[0]
    found = groups_of(images, hashes=["a", "b", "b", "c"], groups=[None, None, "x", "x"])
    assert len(set(found)) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_images_work(count):
    assert len(set(groups_of(photos(count)))) == count


def test_thumbnails_average_areas():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, None]
    small = thumbnails(board)
    assert small.shape == (1, 256)
    assert np.allclose(small, 127.5)


@pytest.mark.parametrize("seed", range(3))
def test_near_pairs_agrees_with_comparing_all_pairs(seed):
    rng = np.random.default_rng(seed)
    small = thumbnails(photos(120, side=32, seed=seed))
    planted = rng.choice(120, 60, replace=False)
    offsets = rng.uniform(0, 2 * MAX_RMS, (60, 1))
    small = np.concatenate([small, small[planted] + offsets * rng.choice([-1, 1], (60, small.shape[1]))]).astype(
        np.float32
    )
    _, contrast, share = _survey(small, _principal_axes(small, 24))
    assert MIN_SHARE <= share <= MAX_SHARE
    expected = set()
    for i in range(len(small)):
        for j in range(i + 1, len(small)):
            limit = min(MAX_RMS, share * min(contrast[i], contrast[j]))
            if np.sqrt(((small[i] - small[j]) ** 2).mean()) <= limit:
                expected.add((i, j))
    found = [tuple(sorted(pair)) for pair in near_pairs(small).tolist()]
    assert 5 < len(expected) < 60
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_a_cropped_and_darkened_copy_is_found_among_other_images():
    images = photos(200, side=64)
    copy = cv2.resize(np.ascontiguousarray(images[7].transpose(1, 2, 0)[1:-1, 1:-1]), (64, 64)) * 0.96
    images = np.concatenate([images, copy.astype(np.uint8).transpose(2, 0, 1)[None]])
    assert near_pairs(thumbnails(images)).tolist() == [[7, 200]]


def test_similar_images_are_not_reported_as_copies():
    rng = np.random.default_rng(0)
    strokes = np.zeros((300, 1, 32, 32), dtype=np.uint8)  # upright strokes, as handwritten ones are
    for image in strokes:
        top, bottom = rng.uniform(10, 22, 2)
        for y in range(4, 28):
            x = top + (bottom - top) * y / 32
            image[0, y] = np.clip(255 - 70 * np.abs(np.arange(32) - x) + rng.normal(0, 20, 32), 0, 255).astype(np.uint8)
    groups = same_picture_groups(strokes, [str(i) for i in range(300)], [None] * 300)
    assert np.bincount(groups).max() < 15
