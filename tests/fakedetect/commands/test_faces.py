import json
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from fakecore.media.pixels import read_image
from fakecore.sets.imageset import read_imageset
from fakedetect.data.loading import load_labelled
from fakedetect.faces.dataset import Crops


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video, draw_face):
    """Videos with two faces, one face, no face and no readable frame, a photo, and other files."""
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a.mp4", [lambda n: (90 + 4 * n, 120, 110), lambda n: (250, 120, 90) if n < 10 else None])
    write_video(root / "b.mp4", [lambda n: (160, 120, 120, (150, 100, 70))], background=(60, 80, 60))
    write_video(root / "nobody.mp4", [])
    (root / "text.mp4").write_text("no video")
    os.mkfifo(root / "pipe.mp4")
    photo = np.full((240, 320, 3), 180, dtype=np.uint8)
    draw_face(photo, 160, 120, 130, (240, 200, 180))
    cv2.imwrite(str(root / "photo.png"), photo[..., ::-1])
    return root


@pytest.fixture(scope="module")
def made(videos, fakelab, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "set"
    words = ("--fps", 5, "--size", 64, "--label", "fake", "--json", "--device", "cpu")
    return out, fakelab("faces", videos, "--out", out, *words)


def test_each_input_has_a_row_with_its_status(made):
    _, done = made
    assert done.returncode == 1, done.stderr
    facts = json.loads(done.stdout)
    rows = {row["path"].rpartition("/")[2]: row for row in facts["inputs"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.mp4": "ok",
        "b.mp4": "ok",
        "nobody.mp4": "no_face",
        "photo.png": "ok",
        "pipe.mp4": "unreadable",
        "text.mp4": "unsupported",
    }
    assert [rows["a.mp4"][name] for name in ("frames", "faces", "tracks", "kind")] == [10, 15, 2, "video"]
    assert rows["pipe.mp4"]["kind"] == rows["text.mp4"]["kind"] == "video"
    assert rows["photo.png"]["faces"] == 1 and rows["photo.png"]["kind"] == "image"
    assert facts["faces"] == 26 and "10 frames" in rows["nobody.mp4"]["error"]


def test_the_set_records_the_position_of_each_face(made, videos):
    out, _ = made
    found = read_imageset(out)
    assert found.info["resolution"] == 64 and found.info["origin"]["faces"]["min_face"] == 60
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert len(lines) == 26 and {line["label"] for line in lines} == {"fake"}
    first = lines[0]
    assert first["video"] == first["group"] == str(videos / "a.mp4") and first["frame"] == first["time_s"] == 0
    assert {line["track"] for line in lines if line.get("video") == str(videos / "a.mp4")} == {1, 2}
    assert len(first["box"]) == 4 and np.shape(first["landmarks"]) == (5, 2)
    assert first["sharpness"] > 0 and 0.7 <= first["confidence"] <= 1
    photo = next(line for line in lines if "photo" in line)
    assert photo["group"] == str(videos / "photo.png") and "track" not in photo and "time_s" not in photo
    assert read_image(out / first["file_name"]).shape == (64, 64, 3)
    splits = {}
    for line in lines:
        splits.setdefault(line["group"], set()).add(line["split"])
    assert all(len(own) == 1 for own in splits.values()) and len(set.union(*splits.values())) == 3


def test_a_detector_trains_on_two_sets_of_faces_and_no_video_is_in_two_splits(tmp_path, write_video, fakelab):
    for label, skin in (("real", (224, 172, 138)), ("fake", (170, 120, 90))):
        folder = tmp_path / label
        folder.mkdir()
        for number in range(4):
            shade = 40 + 45 * number
            person = lambda n, skin=skin, number=number: (110 + 8 * n, 100 + 10 * number, 110, skin)  # noqa: E731
            write_video(folder / f"{number}.mp4", [person], count=5, background=(shade, 90, 200 - shade))
        words = ("--out", tmp_path / f"{label}-set", "--every", 1, "--size", 32, "--label", label, "--device", "cpu")
        words += ("--margin", 0.3) if label == "real" else ()
        assert fakelab("faces", folder, *words).returncode == 0
    data = load_labelled(real=str(tmp_path / "real-set"), fake=str(tmp_path / "fake-set"))
    assert data.resolution == 32 and len(data.groups) >= 36 and len(set(data.groups)) == 8
    for group in set(data.groups):
        own = np.array([name == group for name in data.groups])
        assert len(set(data.splits[own])) == 1 and len(set(data.labels[own])) == 1
    settings = [word for pair in ("epochs=1", "blocks=1", "batch=8") for word in ("--set", pair)]
    sets = ("--real", tmp_path / "real-set", "--fake", tmp_path / "fake-set")
    done = fakelab("detect-train", *sets, "--out", tmp_path / "det", *settings, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "cropped differently (margin 0.3, align False and margin 0.2, align False)" in done.stderr
    facts = json.loads((tmp_path / "det" / "detector.json").read_text())
    assert facts["preprocessing"]["faces"] == {"margin": 0.3, "align": False}  # so that `score` crops in the same way


def test_tracks_can_be_groups_and_too_few_groups_are_all_train(videos, fakelab, tmp_path):
    words = ("--out", tmp_path / "set", "--group", "track", "--frames", 3, "--end", 0.9, "--align", "--device", "cpu")
    done = fakelab("faces", videos / "a.mp4", *words)
    assert done.returncode == 0 and "labelled real" in done.stderr and "all faces are in the train split" in done.stderr
    records = read_imageset(tmp_path / "set").records
    assert len(records) == 6
    assert {record.group.rpartition("/")[2] for record in records} == {"a.mp4#1", "a.mp4#2"}
    assert {record.split for record in records} == {"train"}


def test_without_faces_nothing_is_written(videos, fakelab, tmp_path):
    done = fakelab("faces", videos / "nobody.mp4", "--out", tmp_path / "set", "--device", "cpu")
    assert done.returncode == 1 and "no_face" in done.stdout and not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--label", "genuine"), "'real' or 'fake'"),
        (("--fps", 2, "--every", 3), "only one way"),
        (("--min-face", 4), "--min-face is too small"),
        (("--group", "person"), "video or track"),
        (("--size", 5), "--size"),
        (("--start", 2, "--end", 1), "end time is not after"),
        (("--split", "1,2"), "--split"),
    ],
)
def test_an_invalid_request_is_one_line(videos, fakelab, tmp_path, words, expected):
    done = fakelab("faces", videos / "a.mp4", "--out", tmp_path / "set", *words)
    assert done.returncode == 2 and expected in done.stderr and done.stderr.count("\n") <= 2
    assert not (tmp_path / "set").exists()


def test_nothing_is_overwritten(made, videos, fakelab):
    out, _ = made
    done = fakelab("faces", videos / "b.mp4", "--out", out)
    assert done.returncode == 2 and "never overwritten" in done.stderr


def test_several_threads_can_read_lines(tmp_path):
    with Crops(tmp_path, 16) as crops, ThreadPoolExecutor(8) as pool:
        for number in range(3000):
            crops.add(np.zeros((16, 16, 3), np.uint8), {"input": "a", "person": "b", "frame": number})
        assert [line["frame"] for line in pool.map(crops._facts, range(3000))] == list(range(3000))
