"""Annotated copies of videos: boxes, colours, length."""

import av
import cv2
import numpy as np
import pytest

from fakecore.errors import UserError
from fakedetect import VideoJudge
from fakedetect.faces.tracks import box_at
from fakedetect.scoring.annotate import annotate
from fakedetect.scoring.trackscores import TrackSeen
from tests.fakedetect.scoring.drawnvideos import drawn, grey, write_video


def test_a_box_is_interpolated_between_sightings_and_ends_with_the_face():
    track = TrackSeen(1)
    for time_s, left in ((1.0, 0.0), (1.2, 10.0), (9.0, 50.0)):
        track.add_frame(time_s, np.array([left, 0, left + 20, 20]))
    assert [box_at(track.times, track.boxes, time)[0] for time in (0.9, 1.0, 1.1, 1.3, 9.1)] == pytest.approx(
        [0, 0, 5, 10, 50]
    )
    assert [box_at(track.times, track.boxes, time) for time in (0.5, 1.6, 5.0, 8.9, 9.5)] == [None] * 5


def test_an_annotated_video_has_the_same_length_and_boxes_in_the_verdicts_colours(
    tmp_path, trained, faces_of, known_faces, fakelab
):
    plan = [("real", "fake")] * 20
    frames = [cv2.copyMakeBorder(one, 0, 45, 0, 1, cv2.BORDER_CONSTANT) for one in drawn(faces_of, plan)]
    video, out = write_video(tmp_path / "two.avi", frames), tmp_path / "seen.mp4"
    words = ("score", video, "--detector", trained.detector, "--device", "cpu", "--annotate", out)
    made = fakelab(*words)
    assert made.returncode == 0 and f"annotated video: {out}" in made.stderr
    with av.open(str(out)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (200, 60)  # odd sides are reduced by a pixel
        seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert len(seen) == 20 and float(container.duration) / 1e6 == pytest.approx(2.0, abs=0.11)
    labels = seen[10][2:10].astype(int)  # beside the faces, in the top of the boxes
    redder = (labels[..., 0] - labels[..., 1]).mean(axis=0)
    assert redder[18:60].mean() < -20 and redder[118:160].mean() > 20  # green for real, red for fake
    assert "already exists" in fakelab(*words).stderr
    out.unlink()
    assert "takes exactly one video" in fakelab(*words, write_video(tmp_path / "other.avi", frames)).stderr
    assert "cannot be combined with a results file" in fakelab(*words, "--out", tmp_path / "rows.csv").stderr


def test_a_video_that_ends_before_its_judged_faces_is_not_annotated(tmp_path, detector, faces_of, known_faces):
    video = write_video(tmp_path / "one.avi", drawn(faces_of, [("real", "fake")] * 20))
    judge = VideoJudge(detector, keep=True)
    judge.judge(str(video))
    short = write_video(tmp_path / "short.avi", drawn(faces_of, [("real", "fake")] * 12))
    with pytest.raises(UserError, match="frames were lost"):
        annotate(short, tmp_path / "seen.mp4", judge.shown[str(video)], judge.options)
    assert {path.name for path in tmp_path.iterdir()} == {"one.avi", "short.avi"}


def test_a_video_without_a_score_is_not_annotated(tmp_path, trained, fakelab):
    out = tmp_path / "seen.mp4"
    video = write_video(tmp_path / "grey.avi", grey())
    made = fakelab("score", video, "--detector", trained.detector, "--device", "cpu", "--annotate", out)
    assert made.returncode == 1 and not out.exists() and "nothing to draw" in made.stderr
