from dataclasses import replace

import numpy as np
import pytest

from fakedetect.data.augment import augment, plan_augmentation
from fakedetect.data.degrade import KINDS
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.batches import TrainingBatches, training_rows

OPERATIONS = ("flip", "blur", "resize", "jpeg")
FIELDS = ("flip", "sigma", "factor", "quality")


def only(*names: str) -> DetectorSettings:
    return DetectorSettings(**{name: 1.0 if name in names else 0.0 for name in OPERATIONS})


def same(left, right) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in FIELDS)


def test_equal_seeds_make_equal_plans_and_others_do_not():
    settings = DetectorSettings()
    assert same(plan_augmentation(200, settings, 5), plan_augmentation(200, settings, 5))
    assert not same(plan_augmentation(200, settings, 5), plan_augmentation(200, settings, 6))


def test_probabilities_and_ranges_are_those_of_the_settings():
    plan = plan_augmentation(20_000, DetectorSettings(flip=0.5, blur=0.2, resize=0.4, jpeg=0.3), 1)
    happened = {name: (getattr(plan, name) > 0).mean() for name in FIELDS}
    assert happened == pytest.approx({"flip": 0.5, "sigma": 0.2, "factor": 0.4, "quality": 0.3}, abs=0.02)
    assert plan.sigma.max() <= 2 and plan.factor.max() <= 1 and plan.factor[plan.factor > 0].min() >= 0.5
    quality = plan.quality[plan.quality > 0]
    assert quality.min() == 30 and quality.max() == 100


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_alone_changes_pixels_and_keeps_dtype_and_shape(operation, channels, pictures):
    plan = plan_augmentation(20, only(operation), 3)
    for place, image in enumerate(pictures(20, "fake", 1, channels=channels)):
        before = image.copy()
        after = augment(image, plan, place)
        assert after.shape == image.shape and after.dtype == np.uint8
        assert np.array_equal(image, before), "the image handed in was written to"
        # A blur of next to nothing and a resize from 16 to 16 pixels leave all as it was.
        if not 0 < plan.sigma[place] < 0.4 and round(16 * plan.factor[place]) < 16:
            assert not np.array_equal(after, image)


@pytest.mark.parametrize("channels", [1, 3])
def test_probability_0_leaves_pixels_alone(channels, pictures):
    plan = plan_augmentation(20, only(), 3)
    for place, image in enumerate(pictures(20, "real", 1, channels=channels)):
        assert np.array_equal(augment(image, plan, place), image)


def test_shift_moves_whole_pixels_and_mirrors_the_border():
    image = np.arange(3 * 10 * 10, dtype=np.uint8).reshape(3, 10, 10)
    plan = plan_augmentation(300, DetectorSettings(**dict.fromkeys(OPERATIONS, 0.0), shift=0.2), 0)
    assert np.abs(plan.move).max() <= 0.2 and np.abs(plan.move.mean(axis=0)).max() < 0.02
    moves = {(round(10 * down), round(10 * right)) for down, right in plan.move.tolist()}
    assert moves == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    for place, (down, right) in enumerate(np.round(10 * plan.move).astype(int).tolist()):
        kept = augment(image, plan, place)[:, max(down, 0) : 10 + min(down, 0), max(right, 0) : 10 + min(right, 0)]
        assert np.array_equal(kept, image[:, max(-down, 0) : 10 - max(down, 0), max(-right, 0) : 10 - max(right, 0)])


def test_flip_turns_left_to_right_and_not_upside_down():
    image = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8)
    assert np.array_equal(augment(image, plan_augmentation(1, only("flip"), 0), 0), image[:, :, ::-1])


@pytest.mark.parametrize("names", [("jpeg",), OPERATIONS])
def test_red_stays_red(names):
    red = np.empty((3, 16, 16), dtype=np.uint8)
    red[0], red[1], red[2] = 220, 60, 10
    plan = plan_augmentation(30, only(*names), 2)
    for place in range(30):
        means = augment(red, plan, place).mean(axis=(1, 2))
        assert means == pytest.approx([220, 60, 10], abs=12)


def test_what_befalls_reals_and_fakes_is_drawn_alike(small_data):
    """With one and the same picture in every place, all that could differ between the labels is their augmentation."""
    from dataclasses import replace

    picture = small_data.images[0]
    data = replace(small_data, images=np.stack([picture] * len(small_data.labels)))
    settings = DetectorSettings(batch=60, flip=0.5, blur=0.3, resize=0.3, jpeg=0.3)
    rows = training_rows(data, None, 0)
    change: dict[int, list[float]] = {0: [], 1: []}
    drawn = TrainingBatches(data, rows, settings, 4)
    for images, labels in (batch for epoch in range(30) for window in drawn.epoch(epoch) for batch in window):
        difference = np.abs(images.numpy().astype(int) - picture.astype(int)).mean(axis=(1, 2, 3))
        for label in change:
            change[label] += difference[labels.numpy() == label].tolist()
    reals, fakes = np.array(change[0]), np.array(change[1])
    assert len(reals) == len(fakes) == 1800
    assert (reals == 0).mean() == pytest.approx((fakes == 0).mean(), abs=0.05)
    assert reals.mean() == pytest.approx(fakes.mean(), rel=0.1)


def test_chains_of_degradations_have_one_to_three_different_ones_of_the_stated_strength(pictures):
    plan = plan_augmentation(500, replace(only(), degrade=0.5), 4)
    lengths = np.array([len(chain) for chain in plan.chains])
    assert (lengths > 0).mean() == pytest.approx(0.5, abs=0.07) and set(lengths) == {0, 1, 2, 3}
    for chain in plan.chains:
        assert len({degradation.kind for degradation in chain}) == len(chain)
        for degradation in chain:
            assert KINDS[degradation.kind].low <= degradation.amount <= KINDS[degradation.kind].high
    for place, image in enumerate(pictures(40, "fake", 1, channels=1)):
        after = augment(image, plan, place)
        assert after.shape == image.shape and after.dtype == np.uint8
        assert np.array_equal(after, image) or plan.chains[place]
