import numpy as np
import pytest

from fakecore.media.duplicates import thumbnails
from fakedetect.audits.duplicates import DuplicateFinder, SmallThumbnails

NAMES = ["train/real/0", "test/real/1", "train/real/2", "train/fake/3", "test/fake/4"]
LABELS = np.array([0, 0, 0, 1, 1])
SPLITS = np.array(["train", "test", "train", "train", "test"])


@pytest.fixture
def twinned():
    return DuplicateFinder(NAMES, LABELS, SPLITS)


def test_the_same_image_in_two_splits_is_a_leak_with_its_files(twinned):
    (found,) = twinned.identical(["a", "a", "b", "c", "d"])
    assert (found.files, found.across_splits, found.across_classes) == (NAMES[:2], True, False)
    assert found.leaks and not found.warns and found.labels == ("real",)


def test_the_same_image_as_real_and_fake_is_a_leak(twinned):
    (found,) = twinned.identical(["a", "b", "c", "a", "d"])
    assert found.leaks and found.across_classes and found.labels == ("real", "fake") and found.rows == [0, 3]


def test_a_copy_within_one_split_and_class_is_no_leak(twinned):
    (found,) = twinned.identical(["a", "b", "a", "c", "d"])
    assert not found.leaks and not found.warns


def test_a_group_in_two_splits_is_found(twinned):
    (found,) = twinned.straddling(["Ann", "Ann", None, None, None])
    assert (found.kind, found.group, found.leaks, found.files) == ("group", "Ann", True, NAMES[:2])
    assert twinned.straddling(["Ann", "Bob", "Ann", None, None]) == []


def test_without_splits_nothing_is_across_splits():
    twins = DuplicateFinder(NAMES, LABELS, None)
    assert (
        not twins.identical(["a", "a", "b", "c", "d"])[0].leaks and twins.straddling(["Ann", "Ann", *[None] * 3]) == []
    )


@pytest.fixture
def many(pictures):
    """40 reals and 40 fakes; near-identical: real 1 and real 0, fake 41 and fake 40, fake 42 and real 2."""
    images = np.concatenate([pictures(40, "real", 0, side=32), pictures(40, "real", 9, side=32)]).astype(int)
    for copy, of in ((1, 0), (41, 40), (42, 2)):
        images[copy] = images[of] + np.random.default_rng(copy).integers(-2, 3, images[of].shape)
    images = images.clip(0, 255).astype(np.uint8)
    splits = np.tile(["train", "test"], 40)
    splits[2], splits[42] = "train", "train"
    labels = np.repeat([0, 1], 40)
    names = [f"{number}" for number in range(80)]
    small = SmallThumbnails(80, 3)
    for row, thumbnail in enumerate(thumbnails(images)):
        small.put(row, thumbnail)
    return DuplicateFinder(names, labels, splits), small, [f"{number}" for number in range(80)]


def test_near_copies_are_found_by_kind(many):
    twinned, small, digests = many
    found = {tuple(sorted(one.files)): one for one in twinned.near(small, digests)}
    assert set(found) == {("0", "1"), ("40", "41"), ("2", "42")}
    assert found["0", "1"].leaks and found["0", "1"].across_splits  # two reals: an error in the splits
    for pair in (("40", "41"), ("2", "42")):  # caused by a generator
        assert found[pair].warns and not found[pair].leaks


def test_identical_files_are_not_listed_as_near_identical(many):
    twinned, small, digests = many
    digests[1], digests[42] = digests[0], digests[2]
    assert [sorted(one.files) for one in twinned.near(small, digests)] == [["40", "41"]]


def test_listed_files_include_every_split_and_label():
    names = [f"train/real/{i}" for i in range(50)] + ["test/real/50", "train/fake/51"]
    twins = DuplicateFinder(names, np.array([0] * 51 + [1]), np.array(["train"] * 50 + ["test", "train"]))
    (found,) = twins.identical(["same"] * 52)
    assert found.count == 52 and len(found.files) == 6 and {"test/real/50", "train/fake/51"} <= set(found.files)
