"""Photos and videos in archives: read in memory, within limits, each file a row."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fakecore.media.pixels import encode_png
from fakecore.sets import archives
from fakecore.sets.archives import ArchiveError, is_archive, members
from fakedetect.scoring.files import score_files
from fakedetect.scoring.inputs import expand, walk_inputs
from fakedetect.scoring.page import write_score_page

TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def pack(path: Path, files: list[tuple[str, bytes]]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files:
                archive.writestr(name, data)
        return path
    mode = next(mode for suffix, mode in TARS.items() if path.name.endswith(suffix))
    with tarfile.open(path, mode) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def photos(pictures) -> list[tuple[str, bytes]]:
    """Three noisy photos; the names of two are traps for what unpacks."""
    names = ("in/one.png", "../../two.png", "/three.png")
    return [(name, encode_png(image, "fake")) for name, image in zip(names, pictures(3, "fake", 60), strict=True)]


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_photos_in_an_archive_have_the_rows_of_the_same_files_outside(detector, tmp_path, photos, suffix, write_video):
    video = write_video(tmp_path / "v.mp4", [], count=4)
    hidden = [(".hidden.png", b""), ("__MACOSX/._one.png", b"x"), ("in/metadata.csv", b"x")]
    archive = pack(tmp_path / f"a{suffix}", [*photos, *hidden, ("clips/v.mp4", video.read_bytes()), photos[0]])
    rows = [row for batch in score_files(expand(walk_inputs([str(archive)])), detector) for row in batch]
    names = [*(name for name, _ in photos), "clips/v.mp4", "in/one#2.png"]
    assert [row["path"] for row in rows] == [f"{archive}/{name}" for name in names]
    assert all(row["archive"] == str(archive) for row in rows)
    for place, (_, data) in enumerate([*photos, ("", video.read_bytes()), photos[0]]):
        alone = tmp_path / f"{place}{'.mp4' if place == 3 else '.png'}"
        alone.write_bytes(data)
        (expected,) = next(iter(score_files([(str(alone), None)], detector)))
        for name in set(expected) - {"path", "p_fake"}:
            assert rows[place][name] == expected[name], name
        assert (rows[place]["p_fake"] or 0) == pytest.approx(expected["p_fake"] or 0, abs=2e-6)
    assert len(list(tmp_path.iterdir())) == 7  # nothing was unpacked


def test_what_is_called_an_archive_may_be_a_photo(tmp_path, photos):
    for name, data, expected in (("a.zip", photos[0][1], False), ("b.zip", b"junk", True), ("c.ZIP", b"PK\3\4", True)):
        (tmp_path / name).write_bytes(data)
        assert is_archive(str(tmp_path / name)) == expected
    assert not is_archive(str(tmp_path)) and not is_archive(str(tmp_path / "gone.zip"))


@pytest.mark.parametrize("into_header", [0, 64])
def test_a_tar_that_is_cut_between_two_files_is_truncated(tmp_path, into_header):
    archive = pack(tmp_path / "a.tar", [("0.png", b"x" * 700), ("1.png", b"y")])
    archive.write_bytes(archive.read_bytes()[: 512 + 1024 + into_header])  # the first header and file
    found = []
    with pytest.raises(ArchiveError, match="truncated or damaged after 1 readable file"):
        found.extend(one.name for one in members(archive))
    assert found == ["0.png"]


@pytest.mark.parametrize("suffix", TARS)
def test_a_truncated_tar_keeps_what_is_before_the_cut(tmp_path, suffix):
    noise = np.random.default_rng(0).bytes
    archive = pack(tmp_path / f"a{suffix}", [(f"{n}.png", noise(200_000)) for n in range(10)])
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) * 55 // 100])
    found = []
    with pytest.raises(ArchiveError, match=r"truncated or damaged after \d readable files"):
        found.extend(one.name for one in members(archive))
    assert found == [f"{n}.png" for n in range(4 if "bz2" in suffix else 5)]  # bzip2's blocks have 900,000 bytes


def zip_with(path: Path, **changes) -> Path:
    """A zip of one member whose entry in the list has other values."""
    pack(path, [("a.png", b"x" * 1000)])
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\1\2")
    for name, (place, size, value) in changes.items():
        assert name
        data[entry + place : entry + place + size] = value.to_bytes(size, "little")
    path.write_bytes(data)
    return path


def link(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    return path


@pytest.mark.parametrize(
    ("make", "status", "says"),
    [
        (lambda root: zip_with(root / "a.zip", encrypted=(8, 2, 1)), "unreadable", "encrypted: unpack it"),
        (lambda root: zip_with(root / "a.zip", method=(10, 2, 14)), "unsupported", "method 14"),
        (lambda root: zip_with(root / "a.zip", crc=(16, 4, 7)), "unreadable", "damaged in the archive"),
        (lambda root: zip_with(root / "a.zip", mode=(38, 4, 0o120777 << 16)), "unsupported", "a link"),
        (lambda root: zip_with(root / "a.zip", size=(24, 4, 90 << 20)), "too_large", "times; the limit is 200"),
        (lambda root: pack(root / "a.zip", [("in.tar.gz", b"x")]), "unsupported", "an archive in an archive"),
        (lambda root: pack(root / "a.tar", [("in.zip", b"x")]), "unsupported", "an archive in an archive"),
        (lambda root: link(root / "a.tar"), "unsupported", "a link"),
    ],
)
def test_a_member_that_is_not_read_says_why(tmp_path, make, status, says):
    (one,) = members(make(tmp_path))
    assert one.status == status and says in (one.problem or "") and one.data is None


@pytest.mark.parametrize(
    ("name", "limits", "says"),
    [
        ("a.zip", {"MAX_MEMBERS": 3}, "5 members; the limit is 3"),
        ("a.tar", {"MAX_MEMBERS": 3}, "over 3 members"),
        ("a.zip", {"_FREE_BYTES": 30_000, "MAX_RATIO": 1}, "expands over 1 times"),
        ("a.tar.gz", {"_FREE_BYTES": 0, "MAX_RATIO": 9}, "expands over 9 times"),
        ("a.tar.xz", {"_FREE_BYTES": 0, "MAX_RATIO": 9}, "expands over 9 times"),
        ("a.tar.xz", {"_MAX_DICTIONARY": 1 << 10}, "not an archive, or damaged"),
        ("a.zip", {"MAX_TOTAL_BYTES": 5}, "in all, the limit"),
        ("a.tar", {"_MAX_HEADER": 10}, "a header of"),
    ],
)
def test_an_archive_over_a_limit_is_refused(tmp_path, monkeypatch, name, limits, says):
    files = [(f"{n}-{'long' * 60}.png", bytes(20_000)) for n in range(5)]
    archive = pack(tmp_path / name, files)
    for limit, value in limits.items():
        monkeypatch.setattr(archives, limit, value)
    with pytest.raises(ArchiveError, match=says):
        list(members(archive))


def test_a_damaged_archive_is_one_row_and_its_files_are_resumed_copied_and_shown(
    trained, detector, tmp_path, photos, fakelab
):
    root, out = tmp_path / "in", tmp_path / "out.jsonl"
    root.mkdir()
    pack(root / "a.zip", photos)
    (root / "b.zip").write_bytes((root / "a.zip").read_bytes()[:-30])
    (root / "c.png").write_bytes(photos[0][1])
    words = ("score", root, "--detector", trained.detector, "--out", out, "--copy-to", tmp_path / "sorted")
    assert fakelab(*words).returncode == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "unreadable", "ok"]
    assert (rows[3]["path"], rows[3]["kind"]) == (str(root / "b.zip"), "archive")
    before = out.read_bytes()
    assert "5 of 5 were already in" in fakelab(*words).stderr and out.read_bytes() == before
    copies = {path.name: path.read_bytes() for path in (tmp_path / "sorted").rglob("*.png")}
    assert copies == {
        "one.png": photos[0][1],
        "two.png": photos[1][1],
        "three.png": photos[2][1],
        "c.png": photos[0][1],
    }
    pack(root / "a.zip", [photos[1], ("in/one.png", photos[2][1]), photos[2]])
    assert "1 of them changed" in fakelab(*words).stderr
    write_score_page(tmp_path / "a.html", [row for row in rows if row["status"] == "ok"], {}, detector)
    assert (tmp_path / "a.html").read_text().count("data:image/jpeg") == 4


def test_annotate_refuses_an_archive(tmp_path, trained, photos, fakelab):
    archive = pack(tmp_path / "a.zip", photos)
    done = fakelab("score", archive, "--detector", trained.detector, "--annotate", tmp_path / "a.mp4")
    assert done.returncode == 2 and "exactly one video" in done.stderr and not os.path.lexists(tmp_path / "a.mp4")
