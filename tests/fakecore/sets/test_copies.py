"""The cached answer to which images are one picture."""

import numpy as np
import pytest

from fakecore.sets import copies
from fakecore.sets.copies import cached_groups


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The search, with its calls counted, and a cache of its own that holds every answer."""
    calls = []

    def search(images, hashes, groups):
        calls.append(len(images))
        return np.arange(len(images)) // 2

    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(copies, "same_picture_groups", search)
    monkeypatch.setattr(copies, "_MANY", 10)
    return calls


IMAGES = np.arange(12 * 3 * 4 * 4, dtype=np.uint8).reshape(12, 3, 4, 4)
HASHES, GROUPS = [str(i) for i in range(12)], [None] * 12


def test_the_answer_is_kept_until_something_changes(counted):
    first = cached_groups(IMAGES, HASHES, GROUPS)
    assert np.array_equal(cached_groups(IMAGES, HASHES, GROUPS), first) and counted == [12]
    changed = [(IMAGES ^ 1, HASHES, GROUPS), (IMAGES, ["x", *HASHES[1:]], GROUPS), (IMAGES, HASHES, ["g", *GROUPS[1:]])]
    for number, arguments in enumerate(changed, 2):
        cached_groups(*arguments)
        assert len(counted) == number


def test_few_images_are_searched_each_time_and_a_damaged_answer_again(counted, tmp_path):
    for _ in range(2):
        cached_groups(IMAGES[:9], HASHES[:9], GROUPS[:9])
    assert counted == [9, 9]
    expected = cached_groups(IMAGES, HASHES, GROUPS)
    (kept,) = (tmp_path / "cache/pixels").glob("same-*.npy")
    for damage in (kept.read_bytes()[:100], b""):
        kept.write_bytes(damage)
        assert np.array_equal(cached_groups(IMAGES, HASHES, GROUPS), expected)
    assert counted == [9, 9, 12, 12, 12]
