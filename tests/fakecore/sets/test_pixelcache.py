import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakecore.errors import UserError
from fakecore.media.pixels import read_bytes
from fakecore.sets.pixelcache import cache_root, cached_pixels, source_channels
from fakecore.sets.sources import open_source


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FAKELAB_CACHE_GB", raising=False)
    return tmp_path / "cache" / "pixels"


def png(value, width=8, height=8):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), value if isinstance(value, tuple) else (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


class Items:
    def __init__(self, items):
        self.items, self.calls = items, 0

    def __call__(self, index):
        self.calls += 1
        return self.items[index]

    def pixels(self, stamp="v1", resolution=8, channels=3):
        names = [f"n{i}" for i in range(len(self.items))]
        return cached_pixels(names, self, stamp, resolution=resolution, channels=channels)


def test_the_cache_is_in_fakelab_cache(cache):
    assert cache_root() == cache


def test_the_second_call_decodes_nothing():
    items = Items([png(i) for i in range(10)])
    first = items.pixels()
    assert items.calls == 10
    second = items.pixels()
    assert items.calls == 10
    assert np.array_equal(first.images, second.images)
    assert first.sha256 == second.sha256
    assert second.images.shape == (10, 3, 8, 8)
    assert second.images[:, 0, 0, 0].tolist() == list(range(10))
    assert isinstance(second.images, np.memmap)
    assert (second.images[:, 1:] == 0).all()


def test_undecodable_items_are_listed_and_rows_stay_aligned():
    data = [png(i % 256) for i in range(600)]
    data[0], data[5], data[300] = b"", b"a letter", data[300][:45]
    items = Items(data)
    for found in (items.pixels(), items.pixels()):
        assert [(item["path"], item["status"]) for item in found.unused] == [
            ("n0", "unreadable"),
            ("n5", "unsupported"),
            ("n300", "unreadable"),
        ]
        assert all(item["error"] for item in found.unused)
        assert found.rows.tolist() == [i for i in range(600) if i not in (0, 5, 300)]
        assert len(found.images) == len(found.sha256) == 597
        assert (found.images[:, 0, 4, 4] == found.rows % 256).all()
    assert items.calls == 600


@pytest.fixture
def files(tmp_path, monkeypatch):
    """150 files, three of them damaged, one with a name that is no text; processes decode 20 at a time."""
    monkeypatch.setattr("fakecore.sets.pixelcache.MANY", 100)
    monkeypatch.setattr("fakecore.sets.decoding._PART", 20)
    data = [png((i, 200 - i, i % 7), 12, 9) for i in range(150)]
    data[0], data[77], data[149] = b"", b"a letter", data[149][:45]
    paths = [os.fsencode(tmp_path / f"{i:03}") + (b"\xff.png" if i == 5 else b".png") for i in range(150)]
    for path, content in zip(paths, data, strict=True):
        Path(os.fsdecode(path)).write_bytes(content)
    return [os.fsdecode(path) for path in paths]


def test_processes_decode_to_the_same_pixels_as_threads(files):
    def read(index):
        return read_bytes(Path(files[index]))

    shape = {"resolution": 8, "channels": 3}
    threads = cached_pixels(files, read, "threads", **shape)
    processes = cached_pixels(files, lambda i: pytest.fail("read here"), "processes", **shape, files=files)
    assert np.array_equal(threads.images, processes.images) and len(threads.images) == 147
    assert threads.rows.tolist() == processes.rows.tolist() and threads.sha256 == processes.sha256
    assert threads.unused == processes.unused and threads.smallest == processes.smallest == 9


def test_a_process_that_ends_early_is_one_line(files, monkeypatch, cache):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match=r"a process that decodes images ended early \(got exit status 1\)"):
        cached_pixels(files, None, "x", resolution=8, channels=3, files=files)
    assert not list(cache.iterdir())


def test_no_decodable_item_does_not_crash():
    found = Items([b"", b"x"]).pixels()
    assert len(found.images) == len(found.rows) == 0
    assert len(found.unused) == 2


def test_hashes_are_those_of_the_bytes():
    import hashlib

    found = Items([png(1), np.full((8, 8), 7, dtype=np.uint8)]).pixels()
    assert found.sha256 == [hashlib.sha256(png(1)).hexdigest(), hashlib.sha256(bytes([7] * 64)).hexdigest()]


def test_arrays_are_used_unchanged():
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    found = Items([red, np.full((8, 8), 9, dtype=np.uint8)]).pixels()
    assert found.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert (found.images[1] == 9).all()


def test_the_smallest_side_is_cached_too():
    items = Items([png(1, 30, 20), png(2, 9, 40)])
    assert items.pixels().smallest == 9
    assert items.pixels().smallest == 9


@pytest.mark.parametrize("change", [{"stamp": "v2"}, {"resolution": 4}, {"channels": 1}])
def test_another_stamp_resolution_or_colour_is_decoded_again(change):
    items = Items([png((200, 0, 0)), png((0, 200, 0))])
    items.pixels()
    items.items = [png((100, 0, 0)), png((0, 100, 0))]
    found = items.pixels(**change)
    assert items.calls == 4
    assert found.images.shape == (
        2,
        change.get("channels", 3),
        change.get("resolution", 8),
        change.get("resolution", 8),
    )
    assert found.images.max() <= 100


@pytest.mark.parametrize("keep", [0, 5, 60, 200, -1])
def test_a_truncated_array_is_rebuilt(cache, keep):
    items = Items([png(i) for i in range(6)])
    items.pixels()
    path = next(cache.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:keep])
    assert items.pixels().images[:, 0, 0, 0].tolist() == list(range(6))
    assert items.calls == 12


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        "[]",
        "null",
        '{"rows": ["a"], "sha256": [], "unused": [], "smallest": 8}',
        '{"rows": [0, 1], "sha256": [], "unused": [], "smallest": 8}',
    ],
)
def test_damaged_facts_are_rebuilt(cache, content):
    items = Items([png(i) for i in range(3)])
    items.pixels()
    next(cache.glob("*.json")).write_text(content)
    assert items.pixels().rows.tolist() == [0, 1, 2]
    assert items.calls == 6


def test_no_files_remain_after_a_failed_read(cache):
    def read(index):
        raise RuntimeError("cable pulled")

    with pytest.raises(RuntimeError):
        cached_pixels(["a"], read, "v1", resolution=8, channels=3)
    assert list(cache.iterdir()) == []


def test_pruning_deletes_the_least_recently_used_down_to_the_limit(cache, monkeypatch):
    items = Items([png(i, 32, 32) for i in range(10)])
    one = 10 * 3 * 32 * 32
    monkeypatch.setenv("FAKELAB_CACHE_GB", str(2.5 * one / 1e9))
    for age, stamp in enumerate(["oldest", "old"]):
        before = set(cache.glob("*.json"))
        items.pixels(stamp, resolution=32)
        for path in set(cache.glob("*.json")) - before:
            os.utime(path, (1000 + age, 1000 + age))
    items.pixels("oldest", resolution=32)
    items.pixels("new", resolution=32)
    assert sum(path.stat().st_size for path in cache.glob("*.npy")) <= 2.5 * one
    assert len(list(cache.glob("*.npy"))) == len(list(cache.glob("*.json"))) == 2
    calls = items.calls
    items.pixels("oldest", resolution=32)
    items.pixels("new", resolution=32)
    assert items.calls == calls
    items.pixels("old", resolution=32)
    assert items.calls == calls + 10


def test_an_array_larger_than_the_limit_is_still_used_once(cache, monkeypatch):
    monkeypatch.setenv("FAKELAB_CACHE_GB", "0.0000001")
    assert len(Items([png(i) for i in range(4)]).pixels().images) == 4
    assert len(list(cache.glob("*.npy"))) == 1


def test_a_limit_that_is_not_a_number_is_a_user_error(monkeypatch):
    monkeypatch.setenv("FAKELAB_CACHE_GB", "lots")
    with pytest.raises(UserError, match="FAKELAB_CACHE_GB"):
        Items([png(1)]).pixels()


def test_facts_are_json_beside_the_array(cache):
    Items([png(1)]).pixels()
    facts = json.loads(next(cache.glob("*.json")).read_text())
    assert facts["rows"] == [0]


@pytest.mark.parametrize(("left", "right"), [("digits:1", "digits:5"), ("digits:4", "digits:6")])
def test_two_classes_of_equal_size_never_share_pixels(left, right):
    for spec in (left, right):
        source = open_source(spec)
        found = cached_pixels(source.names, source.read, source.stamp, resolution=8, channels=1)
        assert np.array_equal(found.images[:, 0], np.stack([source.read(i) for i in range(len(source))]))


def names(items):
    return [str(i) for i in range(len(items))]


def test_grey_images_have_one_channel_and_one_coloured_one_makes_three():
    grey = [png((i, i, i)) for i in range(20)] + [np.zeros((4, 4), dtype=np.uint8)]
    assert source_channels(names(grey), Items(grey)) == 1
    coloured = [*grey, png((5, 5, 6))]
    assert source_channels(names(coloured), Items(coloured)) == 3


def test_the_colour_sample_is_small_and_ignores_damaged_items():
    items = Items([png((i % 256,) * 3) for i in range(300)])
    items.items[0] = items.items[-1] = b"broken"
    assert source_channels(names(items.items), items) == 1
    assert items.calls <= 64


def test_a_final_step_is_applied_to_every_image_and_cached_by_its_stamp():
    items = Items([png(10), png(20)])
    names = ["a", "b"]
    plain = cached_pixels(names, items, "v1", resolution=8, channels=3)
    turned = cached_pixels(names, items, "v1 inverted", resolution=8, channels=3, finish=lambda image: 255 - image)
    assert (turned.images == 255 - plain.images).all() and turned.sha256 == plain.sha256
