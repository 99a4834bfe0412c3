import numpy as np
import pytest

from fakecore.errors import UserError
from fakecore.sets.splits import DEFAULT_SPLIT, parse_split, split_groups, split_of_index

SHARES = [(80, 10, 10), (60, 20, 20), (98, 1, 1), (1, 1, 98), (34, 33, 33)]


def counts(splits):
    return [int((splits == name).sum()) for name in ("train", "val", "test")]


@pytest.mark.parametrize("shares", SHARES)
def test_shares_are_exact_for_images_without_groups(shares):
    assert counts(split_groups(np.arange(1000), shares, seed=0)) == [10 * share for share in shares]


@pytest.mark.parametrize("seed", range(30))
def test_a_straddling_group_is_impossible(seed):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(rng.geometric(0.02, size=rng.integers(30, 400)) + rng.integers(0, 10**6))
    splits = split_groups(groups, SHARES[seed % len(SHARES)], seed)
    for group in np.unique(groups):
        assert len(set(splits[groups == group])) == 1
    assert min(counts(splits)) > 0


@pytest.mark.parametrize("seed", range(10))
def test_shares_are_approximate_with_small_groups(seed):
    groups = np.random.default_rng(seed).integers(0, 300, 1000)
    assert np.abs(np.array(counts(split_groups(groups, DEFAULT_SPLIT, seed))) - [800, 100, 100]).max() <= 3


@pytest.mark.parametrize("sizes", [(1, 1, 1), (50, 1, 1), (1, 50, 1), (9, 9, 9), (100, 1, 1, 1)])
@pytest.mark.parametrize("shares", SHARES)
def test_no_split_is_empty_when_there_are_three_groups(sizes, shares):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(5):
        assert min(counts(split_groups(groups, shares, seed))) > 0


def test_fewer_than_three_groups_is_a_user_error():
    with pytest.raises(UserError, match="2 groups"):
        split_groups(np.repeat([4, 7], 100), DEFAULT_SPLIT, seed=0)


def test_shares_hold_for_each_label_and_copies_across_labels_stay_together():
    labels = np.repeat([0, 1], [300, 60])
    groups = np.concatenate([np.arange(300), np.arange(290, 350)])  # ten images are in both
    splits = split_groups(groups, (80, 10, 10), 4, labels)
    for label, total in ((0, 300), (1, 60)):
        for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            assert abs((splits[labels == label] == split).sum() - share * total) <= 1
    assert (splits[290:300] == splits[300:310]).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_label_with_three_groups_is_in_every_split(seed):
    labels = np.repeat([0, 1], [3, 200])
    splits = split_groups(np.arange(203), (80, 10, 10), seed, labels)
    assert set(splits[:3]) == set(splits[3:]) == {"train", "val", "test"}


def test_the_seed_alone_decides():
    groups = np.arange(200)
    assert np.array_equal(split_groups(groups, DEFAULT_SPLIT, 1), split_groups(groups, DEFAULT_SPLIT, 1))
    assert not np.array_equal(split_groups(groups, DEFAULT_SPLIT, 1), split_groups(groups, DEFAULT_SPLIT, 2))


@pytest.mark.parametrize("text", ["80,10,10", "60, 20, 20", "98,1,1"])
def test_a_good_split_is_read(text):
    assert parse_split(text) == tuple(int(part) for part in text.split(","))


@pytest.mark.parametrize(
    "text", ["", "80,20", "80,10,5", "100,0,0", "110,-20,10", "80;10;10", "a,b,c", "70,10,10,10", "33.4,33.3,33.3"]
)
def test_a_bad_split_is_refused(text):
    with pytest.raises(UserError, match="three whole percentages"):
        parse_split(text)


@pytest.mark.parametrize("shares", SHARES)
def test_fakes_are_split_exactly_in_every_hundred(shares):
    for start in (0, 100, 12_300):
        assert counts(np.array([split_of_index(start + i, shares) for i in range(100)])) == list(shares)


def test_ten_fakes_already_reach_every_split():
    assert min(counts(np.array([split_of_index(i, DEFAULT_SPLIT) for i in range(20)]))) > 0


def test_the_split_of_a_fake_is_pinned():
    """Changing these moves images between the splits of sets that exist already."""
    assert [split_of_index(i, DEFAULT_SPLIT) for i in range(9)] == [
        *["train"] * 5,
        "val",
        "train",
        "train",
        "test",
    ]
