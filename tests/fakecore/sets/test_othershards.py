"""WebDataset shards without a manifest: which images are in them, and where they are read."""

from __future__ import annotations

import numpy as np
import pytest

from fakecore import storage
from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakecore.retrying import Backoff
from fakecore.sets import othershards
from fakecore.sets.othershards import open_shards, shards_of
from fakecore.sets.shardindex import streamed_pixels
from fakecore.sets.shards import tar_end, tar_member
from tests.shards import put
from tests.stores import BUCKET, s3_store

PIXELS = np.random.default_rng(0).integers(0, 255, (16, 3, 20, 20), np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "BACKOFF", Backoff(first_s=0.001))


def write_shard(path, rows) -> None:
    """Write a shard as img2dataset does, with texts beside the images, and a mask in a second file of each sample."""
    members = b""
    for row in rows:
        members += tar_member(f"{row:05d}.json", b"{}") + tar_member(
            f"{row:05d}.mask.png", encode_png(PIXELS[0], "real")
        )
        members += tar_member(f"{row:05d}.PNG", encode_png(PIXELS[row], "real")) + tar_member(
            f"{row:05d}.txt", b"a dog"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(members + tar_end(len(members)))


@pytest.fixture
def folders(tmp_path):
    """Two reals' shards, one of which is in a sub-folder, and two of fakes; four images each."""
    for start, name in ((0, "reals/00.tar"), (4, "reals/more/01.tar"), (8, "fakes/07.tar"), (12, "fakes/08.tar")):
        write_shard(tmp_path / name, range(start, start + 4))
    (tmp_path / "reals" / "00_stats.json").write_text("{}")
    (tmp_path / "fakes" / "06.tar").write_bytes(tar_member("a.txt", b"a") + tar_end(1024))  # no image
    return tmp_path


def pixels_of(found):
    assert (found.info["resolution"], found.info["channels"]) == (20, 3) and found.streamed
    indexed = streamed_pixels(found, resolution=20, channels=3)
    assert indexed.unused == []
    return indexed.images[:]


@pytest.mark.parametrize("place", ["folder", "files", "web", "bucket"])
def test_images_are_found_wherever_the_shards_are(folders, web, place):
    real, fake, start = str(folders / "reals"), str(folders / "fakes"), f"{folders}/fakes"
    if place == "files":
        fake = f"{folders}/fakes/{{07..08}}.tar"
    if place == "web":
        put(folders / "fakes", web.files, "fakes")
        web.cuts["/fakes/08.tar"] = 1
        start = f"{web.url}/fakes"
        fake = f"http://user:pw@{web.place}/fakes/{{07..08}}.tar?signature=x"
    if place == "bucket":
        with s3_store():
            for name in ("07.tar", "08.tar"):
                storage.write_bytes(f"s3://{BUCKET}/fakes/{name}", (folders / "fakes" / name).read_bytes())
            found = open_shards(real, f"s3://{BUCKET}/fakes")
            assert np.array_equal(pixels_of(found), PIXELS)
        return
    found = open_shards(real, fake)
    names = [record.file_name for record in found.records]
    assert names[:5:4] == [f"{real}/00.tar/00000.PNG", f"{real}/more/01.tar/00004.PNG"]
    assert names[8::4] == [f"{start}/07.tar/00008.PNG", f"{start}/08.tar/00012.PNG"]  # without a password
    assert found.labels().tolist() == [0] * 8 + [1] * 8
    assert found.splits()[:8].tolist() == found.splits()[8:].tolist() == ["train"] * 5 + ["val"] + ["train"] * 2
    assert np.array_equal(pixels_of(found), PIXELS)


def test_shards_are_listed_again_only_after_a_change(folders, monkeypatch):
    listed, real = [], othershards.member_places
    monkeypatch.setattr(othershards, "member_places", lambda path: listed.append(path.name) or real(path))
    for _ in range(2):
        found = open_shards(str(folders / "reals"), str(folders / "fakes"))
    assert sorted(listed) == ["00.tar", "01.tar", "06.tar", "07.tar", "08.tar"] and len(found.records) == 16
    write_shard(folders / "fakes" / "08.tar", range(12, 15))
    assert len(open_shards(str(folders / "reals"), str(folders / "fakes")).records) == 15


def test_of_a_damaged_shard_the_first_images_are_used_and_a_set_gives_those_of_the_label(folders, capsys):
    shard = folders / "fakes" / "08.tar"
    shard.write_bytes(shard.read_bytes()[:9000])
    found = open_shards(str(folders / "reals"), str(folders / "fakes"))
    assert len(found.records) == 13
    assert f"note: {shard} is truncated or damaged; its first image is used" in capsys.readouterr().err
    (folders / "imageset.json").touch()
    (folders / "reals").rename(folders / "train")
    for old, new in (("00.tar", "real-00.tar"), ("more/01.tar", "fake-00.tar")):
        (folders / "train" / old).rename(folders / "train" / new)
    assert shards_of(str(folders), "fake") == [f"{folders}/train/fake-00.tar"]


@pytest.mark.parametrize(
    ("real", "fake", "says"),
    [
        ("reals", "none", "--fake: there is no folder 'none'"),
        ("reals", "empty", "--fake: there are no shards in empty"),
        ("reals", "reals/{00..02}.tar", "--real and --fake overlap"),
        ("fakes", "reals/{00..01}.tar", "there is no shard reals/01.tar"),
        ("texts", "fakes", "there are no images in the shards of --real (got 1 shard, the first texts/00.tar"),
        ("reals", "http://127.0.0.1:9/fakes", "a folder on a web server cannot be listed"),
    ],
)
def test_what_has_no_images_is_one_line(folders, monkeypatch, real, fake, says):
    monkeypatch.chdir(folders)
    (folders / "empty").mkdir()
    (folders / "texts").mkdir()
    (folders / "texts" / "00.tar").write_bytes(tar_member("a.txt", b"a") + tar_end(1024))
    with pytest.raises(UserError) as caught:
        open_shards(real, fake)
    assert says in str(caught.value) and "\n" not in str(caught.value)
