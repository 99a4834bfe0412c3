"""Streamed pixels are those of the files, wherever the shards are, and whatever the server does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fakecore import storage
from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakecore.retrying import Backoff
from fakecore.sets import shards, streaming
from fakecore.sets.places import open_set
from fakecore.sets.shardindex import streamed_pixels
from tests.shards import put, write_shards
from tests.stores import BUCKET, s3_store

COUNT = 24  # images; of row 5, the file is no image


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 255, (COUNT, 3, 16, 16), np.uint8)


@pytest.fixture
def shard_set(tmp_path, pixels):
    """A set in shards of four images."""
    source, lines = tmp_path / "files", []
    counts = {split: {"real": 0, "fake": 0} for split in ("train", "val", "test")}
    for row in range(COUNT):
        label, split = ("real", "fake")[row // 12], ("train", "val", "test")[row % 12 // 4]
        name = f"{split}-{label}-{row}.png"
        source.mkdir(exist_ok=True)
        (source / name).write_bytes(b"no image" if row == 5 else encode_png(pixels[row], label))
        lines.append({"file_name": name, "label": label, "split": split, "index": row})
        counts[split][label] += 1
    (source / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    info = {"version": 1, "resolution": 16, "channels": 3, "counts": counts, "origin": {}}
    (source / "imageset.json").write_text(json.dumps(info))
    return write_shards(source, tmp_path / "set", 4)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "BACKOFF", Backoff(first_s=0.001))


def opened(place, **changes):
    return streamed_pixels(open_set(place, True), **{"resolution": 16, "channels": 3, **changes})


def check(found, pixels):
    usable = [row for row in range(COUNT) if row != 5]
    assert found.rows.tolist() == usable and [line["status"] for line in found.unused] == ["unsupported"]
    chosen = np.array([20, 3, 3, 11])
    for rows in (chosen, slice(2, 9), 7):
        assert np.array_equal(found.images[rows], pixels[usable][rows])


def test_pixels_are_those_of_the_files_on_disk_in_a_bucket_and_on_a_web_server_that_hangs_up(
    shard_set, pixels, web, monkeypatch
):
    monkeypatch.setattr(shards, "_READ", 1000)  # bytes: members cross its borders
    on_disk = opened(shard_set)
    check(on_disk, pixels)
    put(shard_set, web.files, "set")
    web.cuts["/set/train/real-000000.tar"] = 2
    on_web = opened(f"{web.url}/set")
    check(on_web, pixels)
    web.cuts["/set/test/real-000000.tar"] = 1
    assert np.array_equal(on_web.images[np.array([8])], pixels[[9]]) and not +web.cuts
    with s3_store():
        for path, data in web.files.items():
            storage.write_bytes(f"s3://{BUCKET}{path}", data)
        in_bucket = opened(f"s3://{BUCKET}/set/")
        check(in_bucket, pixels)
    assert list(on_disk.sha256) == list(on_web.sha256) == list(in_bucket.sha256)


def test_processes_decode_the_same(shard_set, pixels, monkeypatch):
    monkeypatch.setattr(streaming, "MANY", 10)
    found = opened(shard_set)
    check(found, pixels)
    assert np.array_equal(found.images[:], pixels[np.arange(COUNT) != 5])


def test_the_index_is_made_once_and_again_when_a_shard_changes(shard_set, web):
    put(shard_set, web.files, "set")
    name = "/set/train/real-000000.tar"
    found = opened(f"{web.url}/set")
    before = web.requests[name]
    opened(f"{web.url}/set")
    assert web.requests[name] == before + 1  # its size and ETag
    whole = web.files[name]
    for changed in (web.files["/set/train/fake-000000.tar"], whole.replace(b"IHDR", b"XXXX")):  # other images; none
        web.files[name] = changed
        with pytest.raises(UserError, match=r"train/real-000000.tar has changed since it was indexed"):
            _ = found.images[:2]
    assert len(opened(f"{web.url}/set").unused) == 5


@pytest.mark.parametrize(
    ("size", "says"), [(3000, "truncated or damaged"), (None, "there is no train/fake-000000.tar")]
)
def test_images_of_a_damaged_or_missing_shard_are_listed(shard_set, size, says):
    shard = shard_set / "train" / "fake-000000.tar"
    shard.write_bytes(shard.read_bytes()[:size]) if size else shard.unlink()
    found = opened(shard_set)
    lost = [line for line in found.unused if "train/fake" in line["path"]]
    assert 3 <= len(lost) == 4 - sum(12 <= row < 16 for row in found.rows) and all(says in one["error"] for one in lost)


def test_a_server_that_fails_ends_the_pass_with_one_line_and_a_set_of_files_is_refused(shard_set, web):
    put(shard_set, web.files, "set")
    web.cuts["/set/train/real-000000.tar"] = 1000
    with pytest.raises(UserError, match=r"set/train/real-000000.tar: the connection was cut, 4 times"):
        opened(f"{web.url}/set")
    with pytest.raises(UserError, match="cannot be streamed: its images are single files"):
        opened(shard_set.parent / "files")


@pytest.mark.parametrize(("limit", "streams"), [("1", False), ("0.000001", True)])
def test_a_set_that_exceeds_the_cache_is_streamed_unless_told_otherwise(shard_set, monkeypatch, limit, streams):
    monkeypatch.setenv("FAKELAB_CACHE_GB", limit)
    assert open_set(shard_set).streamed is streams and not open_set(shard_set, False).streamed
