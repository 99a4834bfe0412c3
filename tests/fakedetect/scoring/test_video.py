import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from fakecore.errors import UserError
from fakedetect import VideoJudge, VideoOptions, list_inputs, score_files
from fakedetect.faces.finder import Face
from fakedetect.faces.options import EACH_S, FIRST, LATER_S
from fakedetect.scoring import pipeline as watching
from fakedetect.scoring import video as videoscore
from fakedetect.scoring.columns import CSV_COLUMNS
from fakedetect.scoring.results import ResultsFile
from fakedetect.scoring.trackscores import THUMBNAILS, TrackSeen
from tests.fakedetect.scoring.drawnvideos import SIZE, KnownFaces, drawn, grey, write_video


def rows_of(path, detector, **options):
    judge = VideoJudge(detector, VideoOptions(**options))
    return [row for rows in score_files(list_inputs([str(path)]), detector, judge) for row in rows]


def test_a_video_without_faces_has_a_reason_and_no_p_fake(tmp_path, detector):
    (row,) = rows_of(write_video(tmp_path / "grey.avi", grey()), detector)
    assert (row["status"], row["kind"], row["p_fake"], row["verdict"]) == ("no_face", "video", None, None)
    assert (row["frames"], row["tracks"], row["timeline"]) == (10, [], [])
    assert row["duration_s"] == pytest.approx(2.0)
    assert row["error"] == "no face of at least 60 pixels in 10 frames; --whole-frame scores whole frames"


@pytest.mark.parametrize("label", ["real", "fake"])
def test_whole_frames_are_scored_like_photos_without_faces(tmp_path, detector, faces_of, label):
    video = write_video(tmp_path / "video.avi", [faces_of[label]] * 10)
    (row,) = rows_of(video, detector, whole_frame=True)
    (alone,) = detector.score([faces_of[label]])
    assert row["status"] == "ok" and row["verdict"] == alone.verdict == label
    assert row["p_fake"] == pytest.approx(alone.p_fake, abs=0.1)  # a video has subsampled colours
    (track,) = row["tracks"]
    assert (track["track"], track["frames"], track["start_s"], track["end_s"]) == (1, 5, 0.0, 0.8)
    assert [time for time, _ in row["timeline"]] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert row["note"] == "options: --whole-frame"


def test_a_video_has_the_verdict_of_its_worst_track(tmp_path, detector, faces_of, known_faces):
    plan = [("real", None)] * 10 + [("real", "fake")] * 10
    (row,) = rows_of(write_video(tmp_path / "two.avi", drawn(faces_of, plan)), detector)
    real, fake = row["tracks"]
    assert (real["verdict"], real["start_s"], real["end_s"], real["frames"]) == ("real", 0.0, 1.8, 10)
    assert (fake["verdict"], fake["start_s"], fake["end_s"], fake["frames"]) == ("fake", 1.0, 1.8, 5)
    assert (row["verdict"], row["p_fake"]) == ("fake", fake["p_fake"])
    assert (real["judged"], fake["judged"]) == (4, 3)
    before, after = ([p for t, p in row["timeline"] if (t >= 1) == late] for late in (False, True))
    assert len(before) == 3 and max(before) < row["threshold"] < min(after)


def test_a_short_track_decides_only_if_there_is_no_other(tmp_path, detector, faces_of, known_faces):
    plan = [("real", "fake" if 8 <= number < 11 else None) for number in range(20)]
    (row,) = rows_of(write_video(tmp_path / "glimpse.avi", drawn(faces_of, plan)), detector)
    assert row["verdict"] == "real" and row["note"] is None
    assert {track["verdict"] for track in row["tracks"]} == {"real", "fake"}
    assert max(p for _, p in row["timeline"]) < row["threshold"]
    (alone,) = rows_of(
        write_video(tmp_path / "alone.avi", drawn(faces_of, [(None, pair[1]) for pair in plan])), detector
    )
    assert alone["verdict"] == "fake" and alone["note"] == "no face is visible for 0.5 s"


def test_a_few_bad_faces_do_not_change_the_verdict_of_a_track(tmp_path, detector, faces_of, known_faces):
    plan = [("fake" if number in (4, 5, 10, 11) else "real", None) for number in range(20)]
    (row,) = rows_of(write_video(tmp_path / "few.avi", drawn(faces_of, plan)), detector, every_face=True)
    (track,) = row["tracks"]
    assert row["verdict"] == "real" and track["frames"] == track["judged"] == 10
    assert row["note"] == "options: --every-face"
    assert sum(p >= row["threshold"] for _, p in row["timeline"]) == 2
    faces = [p for _, p in row["timeline"]]
    assert track["p_fake"] < track["p_fake_high"] < max(faces) and track["spread"] > 0.3


def test_a_track_is_judged_by_thresholds_of_its_own(tmp_path, detector, faces_of, known_faces):
    video = write_video(tmp_path / "one.avi", drawn(faces_of, [("real", None)] * 20))
    strict = {**vars(detector.thresholds), "fake_from": 1e-9, "real_below": 0.0}
    other = replace(detector, facts={**detector.facts, "track_thresholds": strict})
    (row,) = rows_of(video, other)
    assert row["verdict"] == "fake" and row["threshold"] == 1e-9
    (photo,) = other.judge(np.zeros(1) - 9)
    assert photo.threshold == detector.thresholds.fake_from


def test_the_sharpest_face_of_each_period_is_scored_and_periods_get_longer(tmp_path, detector, faces_of, known_faces):
    blurred = {"soft": cv2.GaussianBlur(faces_of["real"], (0, 0), 2), **faces_of}
    # The sharp face of each period is the fake one.
    plan = [("fake" if number % 4 == 2 else "soft", None) for number in range(60)]
    video = write_video(tmp_path / "video.avi", drawn(blurred, plan))
    (row,) = rows_of(video, detector)
    (track,) = row["tracks"]
    starts = [*np.arange(FIRST) * EACH_S, *np.arange(FIRST * EACH_S, 6, LATER_S)]
    assert (track["frames"], track["judged"]) == (30, len(starts)) and row["verdict"] == "fake"
    for (time_s, p_fake), start in zip(row["timeline"], starts, strict=True):
        assert start <= time_s < start + LATER_S and round(10 * time_s) % 4 == 2 and p_fake > row["threshold"]
    (every,) = rows_of(video, detector, every_face=True)
    assert every["tracks"][0]["judged"] == 30 and len(every["timeline"]) == 30


def test_scores_do_not_depend_on_the_number_of_threads(tmp_path, detector, faces_of, known_faces, monkeypatch):
    plan = [("real", "fake")] * 5 + [("real", None)] * 30 + [("fake", "real")] * 20
    video, rows = write_video(tmp_path / "video.avi", drawn(faces_of, plan)), []
    for processors in (1, 3):
        monkeypatch.setenv("FAKELAB_CPUS", str(processors))
        rows += rows_of(video, detector)
    assert rows[0] == rows[1] and len(rows[0]["tracks"]) == 3


def test_an_out_of_domain_track_is_unsure_and_ranks_above_real(tmp_path, detector, faces_of, known_faces):
    class Far:
        def outside(self, features):
            with torch.inference_mode():  # the fake face, the right one
                return detector.network.head(torch.from_numpy(features)).squeeze(1).numpy() > 0

    plan = [("real", "fake")] * 20
    strange = type(detector)(detector.network, detector.facts, detector.device, Far())
    (row,) = rows_of(write_video(tmp_path / "two.avi", drawn(faces_of, plan)), strange)
    assert [track["outside_domain"] for track in row["tracks"]] == [False, True]
    assert [track["verdict"] for track in row["tracks"]] == ["real", "unsure"]
    assert (row["verdict"], row["outside_domain"]) == ("unsure", True)
    assert "out of domain: unlike the training images" in row["note"]
    seldom = [("real", "fake" if 4 <= number < 12 else None) for number in range(20)]
    (row,) = rows_of(write_video(tmp_path / "seldom.avi", drawn(faces_of, seldom)), strange)
    assert any(track["outside_domain"] for track in row["tracks"]) and row["verdict"] == "real"


def test_a_bad_video_is_one_row_and_the_others_are_scored(tmp_path, detector, write_folder, faces_of):
    folder = write_folder(tmp_path / "in", 2, "fake")
    whole = write_video(tmp_path / "whole.avi", [faces_of["fake"]] * 40)
    (folder / "0000-cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "0000-empty.mp4").write_bytes(b"")
    (folder / "0000-text.mp4").write_text("text")
    (folder / "0000-head.avi").write_bytes(whole.read_bytes()[:300])
    write_video(folder / "tiny.avi", grey(3, (2, 2)))
    rows = {row["path"].rpartition("/")[2]: row for row in rows_of(folder, detector, whole_frame=True)}
    assert list(rows) == sorted(rows) and len(rows) == 7
    status = {name: row["status"] for name, row in rows.items()}
    assert status.pop("0000-cut.avi") == status.pop("0000.png") == status.pop("0001.png") == "ok"
    assert status == {
        "0000-empty.mp4": "unreadable",
        "0000-head.avi": "unreadable",
        "0000-text.mp4": "unsupported",
        "tiny.avi": "unsupported",
    }
    cut = rows["0000-cut.avi"]
    assert "truncated" in cut["note"] and cut["verdict"] == "fake" and 0 < cut["duration_s"] < 4
    for row in rows.values():
        assert (row["p_fake"] is None) == (row["status"] != "ok") == (row["error"] is not None)


def test_at_high_frame_rates_every_second_frame_is_searched_and_boxes_are_interpolated(
    tmp_path, detector, faces_of, known_faces
):
    frames = []
    for number in range(26):  # 25 per second; a face moves 2 pixels per frame and is absent from frame 18 on
        frame = np.zeros((40, 200, 3), np.uint8)
        if number < 18:
            frame[:SIZE, 2 * number : 2 * number + SIZE] = faces_of["fake"]
        frames.append(frame)
    searched = []

    class Finder(KnownFaces):
        def _of(self, frame):
            (columns,) = np.nonzero(frame[SIZE // 2, :].max(axis=1) > 8)
            searched.append(len(columns))
            if not len(columns):
                return []
            left = 2 * round(columns[0] / 2)
            points = np.full((5, 2), left, np.float32)
            return [Face(np.array([left, 0, left + SIZE, SIZE], np.float32), points, 0.99)]

    judge = VideoJudge(detector, VideoOptions(fps=25), keep=True)
    judge.finder = Finder()
    video = write_video(tmp_path / "moving.avi", frames, fps=25)
    row, judgement = judge.judge(str(video))
    assert row["frames"] == 26 and len(searched) == 14  # at 0, 2, 4 ... 24, and in the last
    ((track, _, p_fakes),) = judge.shown[str(video)].tracks
    assert track.times == pytest.approx(
        [number / 25 for number in range(17)]
    )  # not after the last search that found it
    assert [box[0] for box in track.boxes] == pytest.approx([2 * number for number in range(17)])
    assert judgement.verdict == "fake" and min(p_fakes) > judgement.threshold  # the crops are on the face


def test_the_last_frame_of_a_video_is_searched(tmp_path, detector, faces_of, known_faces):
    video = write_video(tmp_path / "short.avi", drawn(faces_of, [("real", None)] * 13), fps=25)
    (row,) = rows_of(video, detector, fps=25)
    assert row["tracks"][0]["frames"] == 13 and row["tracks"][0]["end_s"] == pytest.approx(12 / 25, abs=0.001)


def test_faces_are_cropped_as_in_training_unless_an_option_differs(tmp_path, detector, faces_of, monkeypatch):
    monkeypatch.setattr(videoscore, "FaceFinder", KnownFaces)
    video, cuts = write_video(tmp_path / "a.avi", drawn(faces_of, [("real", None)] * 5)), []
    bare = watching.crop

    def crop(frame, face, **cut):
        cuts.append((cut["margin"], cut["align"]))
        return bare(frame, face, **{**cut, "align": False})

    monkeypatch.setattr(watching, "crop", crop)
    preprocessing = {**detector.facts["preprocessing"], "faces": {"margin": 0.45, "align": True}}
    trained = type(detector)(detector.network, {**detector.facts, "preprocessing": preprocessing}, detector.device)
    rows = [
        rows_of(video, one, **options)[0]
        for one, options in ((detector, {}), (trained, {}), (trained, {"margin": 0.1}))
    ]
    assert list(dict.fromkeys(cuts)) == [(0.2, False), (0.45, True), (0.1, True)]
    assert "--margin 0.1" in rows[2]["note"] and "--margin" not in (rows[1]["note"] or "")


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({"count": 4}, [0.2, 0.7, 1.2, 1.7]),
        ({"fps": 2}, [0, 0.5, 1.0, 1.5]),
        ({"start_s": 0.5, "end_s": 1.0}, [0.5, 0.7, 0.9]),
    ],
)
def test_options_select_frames(tmp_path, detector, options, times):
    (row,) = rows_of(write_video(tmp_path / "a.avi", grey()), detector, whole_frame=True, **options)
    assert [time for time, _ in row["timeline"]] == pytest.approx(times, abs=0.11)
    assert row["frames"] == len(times)


def test_a_start_after_the_end_and_invalid_options_are_errors(tmp_path, detector):
    (row,) = rows_of(write_video(tmp_path / "a.avi", grey()), detector, start_s=60)
    assert (row["status"], row["error"]) == ("unsupported", "it has no frames after 60 s: it is shorter")
    for wrong in (
        {"fps": 0},
        {"count": 0},
        {"fps": 1, "count": 1},
        {"start_s": 2, "end_s": 1},
        {"min_face": 3},
        {"margin": 3},
    ):
        with pytest.raises(UserError):
            VideoOptions(**wrong)


def test_thumbnails_of_a_long_track_are_few_and_spread_evenly():
    track = TrackSeen(1)
    for number in range(1000):
        track.add_score(number / 5, 0.0, image_jpeg=b"jpeg")
    places = [place for place, _ in track.thumbnails]
    assert THUMBNAILS <= len(places) < 2 * THUMBNAILS
    assert len(set(np.diff(places))) == 1 and places[-1] > 900


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_videos_in_a_results_file_are_scored_again_if_the_options_differ(
    tmp_path, trained, detector, faces_of, fakelab, suffix
):
    video, out = write_video(tmp_path / "video.avi", [faces_of["fake"]] * 10), tmp_path / f"results{suffix}"
    words = ("score", video, "--detector", trained.detector, "--device", "cpu", "--out", out, "--whole-frame")
    assert fakelab(*words).returncode == 0
    if suffix == ".csv":
        (line,) = csv.DictReader(out.open())
        assert tuple(line) == CSV_COLUMNS
    else:
        assert json.loads(out.read_text())["tracks"][0]["frames"] == 5
    assert "1 of 1 were already in" in fakelab(*words).stderr
    again = fakelab(*words, "--frames", 2)
    assert "1 video in it scored with other options" in again.stderr
    (row,) = ResultsFile(out, detector).existing.values()
    assert row.note == "options: --frames 2 --whole-frame"


@pytest.mark.parametrize("start", ["options: ", "looked at with "])  # the second: from earlier versions
def test_notes_of_results_contain_the_options_of_a_video(start):
    chosen = VideoOptions(count=2, whole_frame=True)
    for before in ("", "out of domain: unlike the training images; "):
        assert chosen.matches(f"{before}{start}--frames 2 --whole-frame")
        assert not chosen.matches(f"{before}{start}--frames 3 --whole-frame")
        assert not VideoOptions().matches(f"{before}{start}--frames 2 --whole-frame")
    for plain in (None, "", "truncated: 2 of 5 frames"):
        assert VideoOptions().matches(plain) and not chosen.matches(plain)


def test_the_command_prints_tracks_and_videos_without_faces(tmp_path, trained, faces_of, fakelab):
    video = write_video(tmp_path / "video.avi", [faces_of["fake"]] * 10)
    words = ("score", video, "--detector", trained.detector, "--device", "cpu")
    good = fakelab(*words, "--whole-frame")
    assert good.returncode == 0 and "video.avi: one track, 0.0 to 0.8 s" in good.stdout
    none = fakelab(*words, "--json")
    assert none.returncode == 1 and json.loads(none.stdout)["status"] == "no_face"
    wrong = fakelab(*words, "--fps", 3, "--frames", 2)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: only one way to choose frames can be given")


def test_a_report_shows_videos_tracks_photos_and_unscored_files(
    tmp_path, trained, faces_of, known_faces, write_folder, fakelab
):
    folder = write_folder(tmp_path / "in <b>", 2, "real")
    plan = [("real", "fake")] * 10 + [("real", None)] * 10
    write_video(folder / "two.avi", drawn(faces_of, plan))
    (folder / "empty.png").write_bytes(b"")
    out = tmp_path / "new" / "page.html"
    words = ("score", folder, "--detector", trained.detector, "--device", "cpu", "--out", out)
    made = fakelab(*words)
    assert made.returncode == 1 and f"report: {out}" in made.stderr and len(made.stdout.splitlines()) == 4
    page = out.read_text()
    assert page.index("<b>Track 2</b>") < page.index("<b>Track 1</b>")  # the deciding track is first
    assert page.count("data:image/jpeg") == 3 + 4 + 2 and page.count("data:image/png") == 1
    assert "the file is empty" in page and "in &lt;b&gt;" in page and "http://" not in page and "https://" not in page
    again = fakelab(*words)
    assert again.returncode == 2 and "already exists" in again.stderr
