import csv
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fakecore.errors import UserError
from fakecore.media.pixels import encode_jpeg, encode_png
from fakedetect.scoring.columns import COLUMNS
from fakedetect.scoring.files import batches, score_files
from fakedetect.scoring.inputs import Input, list_inputs, walk_inputs
from fakedetect.scoring.photos import OUTSIDE_NOTE
from fakedetect.scoring.results import ResultsFile, digest_of

ODD_NAMES = (
    "with space.png",
    "line\nbreak.png",
    "carriage\rreturn.png",
    "Ünïcode-漢字-🙂.png",
    "a.b.c.png",
    "no_extension",
    'comma, "quote".png',
    "=formula.png",
    "-dash.png",
    os.fsdecode(b"not-utf8-\xff.png"),
)


def rows_of(paths, detector) -> list[dict]:
    return [row for rows in score_files(list_inputs([str(path) for path in paths]), detector) for row in rows]


def read_back(path: Path) -> list[dict]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def mixed(tmp_path, pictures):
    """Bad files of every kind and good ones: {path: status}."""
    root = tmp_path / "mixed"
    (root / "sub" / "deep").mkdir(parents=True)
    good = pictures(3, "fake", 40)
    (root / "b-good.png").write_bytes(encode_png(good[0], "fake"))
    (root / "d-good.jpg").write_bytes(encode_jpeg(good[1], "fake"))
    (root / "sub" / "deep" / "good.png").write_bytes(encode_png(good[2], "fake"))
    (root / "a-empty.png").write_bytes(b"")
    (root / "c-text.png").write_text("not an image at all")
    (root / "e-cut.jpg").write_bytes(encode_jpeg(pictures(1, "real", 1, side=64)[0], "real")[:-900])
    Image.new("I", (16, 16), 1 << 20).save(root / "f-deep.tiff")
    (root / "g-cut.png").write_bytes(encode_png(pictures(1, "real", 2)[0], "real")[:-200])
    status = {"a-empty.png": "unreadable", "b-good.png": "ok", "c-text.png": "unsupported", "d-good.jpg": "ok"}
    status |= {"e-cut.jpg": "unreadable", "f-deep.tiff": "unsupported", "g-cut.png": "unreadable"}
    status |= {"sub/deep/good.png": "ok", "missing.png": "unreadable"}
    return {str(root / name): what for name, what in status.items()}


def test_files_are_listed_as_given_and_folders_in_order_without_repeats(tmp_path, write_folder):
    write_folder(tmp_path / "d" / "b", 2, "real")
    write_folder(tmp_path / "d" / "a" / "deep", 2, "real")
    (tmp_path / "d" / ".hidden.png").write_bytes(b"")
    last, folder = str(tmp_path / "z.png"), str(tmp_path / "d")
    names = [name for name, _ in list_inputs([last, folder, f"{folder}/b/0001.png", last])]
    inside = ["a/deep/0000.png", "a/deep/0001.png", "b/0000.png", "b/0001.png"]
    assert names == [last, *(f"{folder}/{name}" for name in inside)]


def test_a_bad_file_is_one_row_and_the_others_are_scored(mixed, detector):
    rows = rows_of(mixed, detector)
    assert {row["path"]: row["status"] for row in rows} == mixed
    assert [row["path"] for row in rows] == list(mixed)
    for row in rows:
        assert (
            {*COLUMNS, "subject", "judged_by"} >= set(row) >= set(COLUMNS)
            and row["detector"] == detector.id
            and row["kind"] == "image"
        )
        if row["status"] == "ok":
            (alone,) = detector.score([row["path"]])
            assert row["p_fake"] == pytest.approx(alone.p_fake, abs=2e-6)
            assert (row["verdict"], row["error"]) == (alone.verdict, None)
            assert row["threshold"] == pytest.approx(detector.thresholds.fake_from, abs=1e-6)
            assert row["real_below"] == pytest.approx(detector.thresholds.real_below, abs=1e-6)
        else:
            assert row["p_fake"] is row["verdict"] is row["threshold"] is row["real_below"] is None
            assert row["error"] and "\n" not in row["error"]


def test_many_photos_have_the_rows_of_few(mixed, detector, monkeypatch, tmp_path, write_video):
    """Processes decode many, in threads a few; both list videos, listing problems and odd names."""
    wide = tmp_path / os.fsdecode(b"wide-\xff.png")
    wide.write_bytes(encode_png(np.full((3, 9, 40), 128, np.uint8), "real"))
    (tmp_path / "tiny.png").write_bytes(encode_png(np.zeros((3, 5, 5), np.uint8), "real"))
    video = write_video(tmp_path / "empty.mp4", [], count=4)
    inputs = [*((path, None) for path in mixed), (str(wide), None), (str(tmp_path / "tiny.png"), None)]
    inputs += [(str(video), None), ("refused", "a folder that cannot be read"), ("refused.mp4", "the same")]
    few = [row for rows in score_files(inputs, detector) for row in rows]
    monkeypatch.setattr("fakedetect.scoring.files.MANY", 2)
    monkeypatch.setattr("fakecore.sets.decoding._PART", 3)
    monkeypatch.setattr("fakedetect.scoring.many._WINDOW", 7)
    many = [row for rows in score_files(inputs, detector) for row in rows]
    assert [list(row) for row in many] == [list(row) for row in few]
    for one, other in zip(many, few, strict=True):
        assert (one.pop("p_fake") or 0) == pytest.approx(other.pop("p_fake") or 0, abs=2e-6) and one == other


def test_a_few_large_photos_are_shared_among_the_threads(tmp_path):
    for name, size in (("a", 9), ("b", 3_000_000), ("c", 9), ("d", 9), ("e", 9)):
        (tmp_path / name).write_bytes(bytes(size))
    inputs = [*walk_inputs([str(tmp_path)]), Input("gone"), Input("a.zip/f", data=bytes(3_000_000)), Input("g")]
    found = [[one.path[-1] for one in batch] for batch in batches(iter(inputs), 3)]
    assert found == [["a", "b"], ["c", "d", "e"], ["e", "f"], ["g"]]


def test_the_first_batches_are_small():
    inputs = [Input(f"{n}") for n in range(60)]
    sizes = [len(batch) for batch in batches(iter(inputs), 16, threads=2)]
    assert sizes == [2, 2, 4, 4, 8, 8, 16, 16]


def test_a_row_has_the_hash_of_the_scored_file(mixed, detector):
    for row in rows_of(mixed, detector):
        path = Path(row["path"])
        assert row["sha256"] == (hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None)


def test_videos_have_their_own_kind_and_a_photo_named_mp4_is_scored(tmp_path, detector, pictures):
    image = pictures(1, "fake", 44)[0]
    (tmp_path / "photo.mp4").write_bytes(encode_png(image, "fake"))
    for name, code in (("a.mp4", "mp4v"), ("b.avi", "MJPG"), ("c.mkv", "mp4v"), ("d.mov", "mp4v")):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter_fourcc(*code), 5, (16, 16))
        for _ in range(4):
            writer.write(np.ascontiguousarray(image.transpose(1, 2, 0)))
        writer.release()
        (tmp_path / f"{name[0]}-without-suffix").write_bytes((tmp_path / name).read_bytes())
    (tmp_path / "damaged.webm").write_bytes(b"no video, but called so")
    rows = {Path(row["path"]).name: row for row in rows_of([tmp_path], detector)}
    assert len(rows) == 10
    photo = rows.pop("photo.mp4")
    assert (photo["status"], photo["kind"]) == ("ok", "image")
    damaged = rows.pop("damaged.webm")
    assert (damaged["status"], damaged["kind"]) == ("unsupported", "video")
    for name, row in rows.items():
        assert (row["status"], row["kind"], row["p_fake"]) == ("no_face", "video", None), name
        assert set(row) > set(COLUMNS) and row["sha256"]


def test_unreadable_videos_are_recognised_by_their_names(tmp_path, detector, pictures):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mov").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.MP4").write_bytes(b"")
    (tmp_path / "cut-photo.mp4").write_bytes(encode_png(pictures(1, "real", 2)[0], "real")[:-200])
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4" / "good.png").write_bytes(encode_png(pictures(1, "real", 2)[0], "real"))
    rows = rows_of([tmp_path, tmp_path / "gone.mkv", tmp_path / "gone.jpg", tmp_path / "pipe.mp4"], detector)
    found = {Path(row["path"]).name: (row["status"], row["kind"], row["error"]) for row in rows}
    assert found == {
        "pipe.mp4": ("unreadable", "video", "not a regular file"),
        "link.mov": ("unreadable", "video", "a broken symbolic link"),
        "empty.MP4": ("unreadable", "video", "the file is empty"),
        "gone.mkv": ("unreadable", "video", "no such file"),
        "gone.jpg": ("unreadable", "image", "no such file"),
        "cut-photo.mp4": ("unreadable", "image", "truncated or damaged"),
        "good.png": ("ok", "image", None),
    }
    videos = [row for row in rows if row["kind"] == "video"]
    assert all(row["tracks"] == row["timeline"] == [] and row["frames"] == 0 for row in videos)
    assert all((digest_of(row["path"]) or b"").hex() == (row["sha256"] or "") for row in videos)


def test_an_animation_is_judged_as_a_video_and_of_several_pages_the_first(detector, tmp_path):
    colours = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    colours[0].save(tmp_path / "scan.tiff", save_all=True, append_images=colours[1:])
    colours[0].save(tmp_path / "moving.gif", save_all=True, append_images=colours[1:])
    scan, moving = rows_of([tmp_path / "scan.tiff", tmp_path / "moving.gif"], detector)
    assert scan["status"] == "ok" and "the first of 3 pages" in scan["note"]
    assert (moving["kind"], moving["status"]) == ("video", "no_face")


def test_small_and_long_images_are_refused_or_noted(tmp_path, detector):
    for name, size in (("one", (1, 1)), ("small", (12, 9)), ("long", (200, 20)), ("plain", (16, 16))):
        Image.new("RGB", size, (200, 90, 30)).save(tmp_path / f"{name}.png")
    long, one, plain, small = rows_of([tmp_path], detector)
    assert (one["status"], one["p_fake"], one["verdict"]) == ("unsupported", None, None)
    assert one["error"] == "1x1 pixels: too small to judge; at least 8x8 are needed"
    assert [row["status"] for row in (long, plain, small)] == ["ok"] * 3
    assert "only its middle 10%" in long["note"] and "enlarged" in small["note"]
    assert plain["note"] in (None, OUTSIDE_NOTE)  # a single colour is out of domain


def test_an_empty_path_is_refused():
    with pytest.raises(UserError, match="a path is empty"):
        list_inputs(["a.png", ""])


def test_bad_files_do_not_shift_the_scores_of_others(tmp_path, detector, pictures):
    """More than one batch, every third file bad: each row must have the score of its own image."""
    (tmp_path / "in").mkdir()
    images = pictures(150, "fake", 41)
    images[::2] = pictures(75, "real", 41)
    for number, image in enumerate(images):
        data = b"bad" if number % 3 == 0 else encode_png(image, "real")
        (tmp_path / "in" / f"{number:03d}.png").write_bytes(data)
    rows = rows_of([tmp_path / "in"], detector)
    expected = [one.p_fake for one in detector.score(list(images.transpose(0, 2, 3, 1)))]
    assert len(rows) == 150
    for number, row in enumerate(rows):
        assert row["path"].endswith(f"{number:03d}.png")
        if number % 3:
            assert row["p_fake"] == pytest.approx(expected[number], abs=2e-6)
        else:
            assert row["status"] == "unsupported"


def test_the_verdict_agrees_with_the_rows_numbers_next_to_the_threshold(detector, write_folder, tmp_path):
    """The threshold is just above the highest accepted validation real: that image must not be called fake."""
    rows = rows_of([write_folder(tmp_path / "in", 20, "real", 42)], detector)
    full = [one.p_fake for one in detector.score([row["path"] for row in rows])]
    for p_fake in full:
        limits = {**detector.facts["thresholds"], "fake_from": float(np.nextafter(p_fake, 2)), "real_below": p_fake}
        strict = dataclasses.replace(detector, facts={**detector.facts, "thresholds": limits})
        for row in rows_of([tmp_path / "in"], strict):
            assert (row["verdict"] == "fake") == (row["p_fake"] >= row["threshold"]), row


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_odd_names_survive_scoring_and_the_results_file(tmp_path, detector, pictures, suffix):
    (tmp_path / "in").mkdir()
    data = encode_png(pictures(1, "fake", 43)[0], "fake")
    for name in ODD_NAMES:
        (tmp_path / "in" / name).write_bytes(data)
    out = tmp_path / f"out{suffix}"
    rows = rows_of([tmp_path / "in"], detector)
    assert [row["status"] for row in rows] == ["ok"] * len(ODD_NAMES)
    expected = {str(tmp_path / "in" / name) for name in ODD_NAMES}
    ResultsFile(out, detector).append(rows)
    assert set(ResultsFile(out, detector).existing) == expected
    assert {row["path"] for row in read_back(out)} == expected


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_results_file_returns_its_rows(tmp_path, detector, mixed, suffix):
    out = tmp_path / "new" / f"out{suffix}"
    rows = rows_of(mixed, detector)
    first = ResultsFile(out, detector)
    assert set(first.existing) == set()
    first.append(rows[:4])
    again = ResultsFile(out, detector)
    assert set(again.existing) == {row["path"] for row in rows[:4]}
    again.append(rows[4:])
    found = read_back(out)
    assert [row["path"] for row in found] == list(mixed)
    assert [row["status"] for row in found] == list(mixed.values())
    assert [float(row["p_fake"]) for row in found if row["p_fake"]] == [r["p_fake"] for r in rows if r["p_fake"]]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_incomplete_last_line_is_removed_wherever_it_is_cut(tmp_path, detector, mixed, suffix):
    """Cut at every byte of the last two rows, one with a line break in its name: the remaining rows are complete."""
    rows = rows_of(mixed, detector)
    rows[-2]["path"] = "line\nbreak, in a name.png"
    whole = tmp_path / f"whole{suffix}"
    ResultsFile(whole, detector).append(rows)
    data = whole.read_bytes()
    ResultsFile(tmp_path / f"start{suffix}", detector).append(rows[:-2])
    first = len((tmp_path / f"start{suffix}").read_bytes())
    out = tmp_path / f"out{suffix}"
    for end in range(first, len(data)):
        out.write_bytes(data[:end])
        results = ResultsFile(out, detector)
        names = [row["path"] for row in rows]
        assert set(results.existing) in (set(names[:-2]), set(names[:-1])), data[first:end]
        results.append([row for row in rows if row["path"] not in results.existing])
        assert out.read_bytes() == data, data[first:end]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_results_of_another_detector_are_refused_and_unchanged(tmp_path, detector, mixed, suffix):
    out = tmp_path / f"out{suffix}"
    ResultsFile(out, detector).append(rows_of(mixed, detector))
    before = out.read_bytes()
    other = dataclasses.replace(detector, facts={**detector.facts, "sha256": "0" * 64})
    with pytest.raises(UserError, match=f"another detector.*{detector.id}.*{other.id}"):
        ResultsFile(out, other)
    assert out.read_bytes() == before


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("killed", [False, True])
def test_replaced_rows_are_removed_and_the_others_are_unchanged(tmp_path, detector, mixed, suffix, killed):
    out, expected = tmp_path / f"out{suffix}", tmp_path / f"expected{suffix}"
    rows = rows_of(mixed, detector)
    rows[2]["path"] = 'line\nbreak "in" a name.png'
    ResultsFile(out, detector).append(rows)
    newer = [rows[2] | {"note": "newer"}]
    ResultsFile(expected, detector).append([*rows[:2], *rows[3:], *newer])
    results = ResultsFile(out, detector)
    results.replace(rows[0]["path"])  # its file is gone: the row stays
    results.replace(rows[2]["path"])
    results.append(newer)
    if killed:
        assert out.read_bytes() != expected.read_bytes()
        results = ResultsFile(out, detector)
    results.close()
    assert out.read_bytes() == expected.read_bytes()
    assert set(ResultsFile(out, detector).existing) == {row["path"] for row in rows}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_of_changed_new_or_deleted_files_are_found(tmp_path, detector, mixed, suffix, pictures):
    out = tmp_path / f"out{suffix}"
    ResultsFile(out, detector).append(rows_of(mixed, detector))

    def changed():
        rows = ResultsFile(out, detector).existing
        return {path for path, row in rows.items() if digest_of(path) != row.sha256}

    assert changed() == set()
    good, vanished, appeared = (
        next(p for p in mixed if p.endswith(n)) for n in ("b-good.png", "d-good.jpg", "missing.png")
    )
    times = Path(good).stat()
    Path(good).write_bytes(Path(good).read_bytes()[:-1] + b"x")  # same size,
    os.utime(good, ns=(times.st_atime_ns, times.st_mtime_ns))  # and same time
    Path(vanished).unlink()
    Path(appeared).write_bytes(encode_png(pictures(1, "fake", 45)[0], "fake"))
    assert changed() == {good, vanished, appeared}


@pytest.mark.parametrize("name", ["out.txt", "out", "out.csv.gz", "out.xlsx"])
def test_an_unknown_suffix_is_refused(tmp_path, detector, name):
    with pytest.raises(UserError, match=r"\.csv.*\.jsonl"):
        ResultsFile(tmp_path / name, detector)
    assert not (tmp_path / name).exists()


def test_a_folder_as_results_file_is_refused(tmp_path, detector):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(UserError, match="folder"):
        ResultsFile(tmp_path / "out.csv", detector)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.csv", "name,age\nAda,36\n"),
        ("own.csv", "name,age"),
        ("own.jsonl", '{"name": "Ada"}\n{"name": "Alan"}'),
        ("own.jsonl", json.dumps(dict.fromkeys(COLUMNS) | {"path": ["a"]}) + "\n"),
        ("own.csv", ",".join(COLUMNS) + "\n" + "a," * (len(COLUMNS) - 1) + "a\n"),
        ("own.jsonl", "[1, 2, 3]\n[4, 5, 6]\n"),
        ("own.jsonl", '{\n  "notes": "years of work"\n}\n'),
    ],
)
def test_a_file_without_results_is_refused_and_unchanged(tmp_path, detector, name, text):
    out = tmp_path / name
    out.write_text(text)
    with pytest.raises(UserError):
        ResultsFile(out, detector)
    assert out.read_text() == text


def test_an_empty_results_file_is_used(tmp_path, detector, mixed):
    for suffix in (".csv", ".jsonl"):
        out = tmp_path / f"out{suffix}"
        out.write_bytes(b"")
        ResultsFile(out, detector).append(rows_of(mixed, detector))
        assert len(read_back(out)) == len(mixed)
