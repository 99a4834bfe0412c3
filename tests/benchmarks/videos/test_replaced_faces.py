import json
import sys

import av
import cv2
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.videos import replaced_faces, track_truth
from benchmarks.videos.pasted_photos import paste_photos
from benchmarks.videos.replaced_faces import TrueTrack, follow_faces, load_faces, paste, read_truth, replace_faces
from benchmarks.videos.track_truth import MatchedTrack, format_tracks, judge_videos, match_tracks, track_auroc
from fakecore.errors import UserError
from fakecore.labels import LABEL_NUMBERS
from fakecore.media.pixels import encode_png, read_image
from fakecore.media.video import frames
from fakedetect import Detector, VideoOptions
from fakedetect.faces.finder import FaceFinder
from fakedetect.scoring.trackscores import TrackSeen


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video):
    """A video of three faces that move slowly: 12 frames, 1.2 s."""
    people = [lambda n, x=x: (x + n, 120, 84) for x in (50, 155, 260)]
    return write_video(tmp_path_factory.mktemp("video") / "three.mp4", people, count=12)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory, draw_face):
    """A folder of two "generated" faces: drawn faces under a grid, like the artefacts of a poor generator."""
    folder = tmp_path_factory.mktemp("fakes")
    grid = 40 * (np.indices((64, 64)).sum(axis=0) // 4 % 2)[..., None]
    for number, skin in enumerate([(210, 160, 130), (190, 140, 110)]):
        image = np.full((64, 64, 3), (110, 120, 130), np.uint8)
        draw_face(image, 32, 30, 56, skin)
        gridded = (image.astype(int) + grid).clip(0, 255).astype(np.uint8)
        (folder / f"{number}.png").write_bytes(encode_png(gridded.transpose(2, 0, 1), "fake"))
    return folder


@pytest.fixture(scope="module")
def finder():
    return FaceFinder(40, "cpu")


@pytest.fixture(scope="module")
def made(video, fakes, finder, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "faked.mp4"
    return out, replace_faces(video, str(fakes), out, finder=finder, which=[1, 3])


class SeesGrids(nn.Module):
    """Logits that grow with the roughness of the image's centre, times `sign`: 0 knows nothing, -1 is inverted."""

    def __init__(self, sign: int):
        super().__init__()
        self.sign = sign

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = images[:, :, 20:44, 20:44].float()
        return self.sign * (middle.diff(dim=2).diff(dim=3).abs().mean(dim=(1, 2, 3)) - 1)


def save_detector(monkeypatch, sign: int) -> None:
    shape = {"resolution": 64, "channels": 3}
    limits = {"fake_from": 0.5, "real_below": 0.5, "name": "t", "max_fpr": 0.05, "max_fnr": 0.05, "chosen_on": "none"}
    facts = {"preprocessing": shape, "temperature": 1.0, "thresholds": limits, "label_convention": LABEL_NUMBERS}
    known = Detector(SeesGrids(sign), {**facts, "sha256": "0" * 64}, torch.device("cpu"))
    monkeypatch.setattr(track_truth.Detector, "load", staticmethod(lambda path, device: known))


@pytest.mark.parametrize(("sign", "auroc"), [(1, 1.0), (0, 0.5), (-1, 0.0)])
def test_track_auroc_of_a_detector_that_sees_the_fakes_is_1_and_of_others_not(
    made, tmp_path, monkeypatch, capsys, sign, auroc
):
    save_detector(monkeypatch, sign)
    matched = judge_videos(tmp_path, [made[0]], VideoOptions(min_face=40), "cpu")
    assert sorted((one.true_track, one.replaced) for one in matched) == [(1, True), (2, False), (3, True)]
    assert not [one for one in matched if one.iou <= 0.6 or not one.lasts]
    assert track_auroc(matched) == auroc
    words = ["track_truth", str(made[0]), "--detector", str(tmp_path), "--min-face", "40", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    track_truth.main()
    assert "did not follow" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*words, "--min-face", "200"])  # all are smaller
    with pytest.raises(SystemExit):
        track_truth.main()
    assert "cannot be judged (got no_face" in capsys.readouterr().err
    text = format_tracks({"det": matched})
    assert f"AUROC over tracks {auroc:.3f}, 2 replaced, 1 not" in text and text.count("replaced") == 3


def test_truth_gives_each_box_and_the_video_changes_only_there(made, video):
    out, truth = made
    assert json.loads(out.with_suffix(".json").read_text()) == truth
    tracks = read_truth(out.with_suffix(".json"))
    assert [track.replaced for track in tracks] == [True, False, True]
    assert [track.face is None for track in tracks] == [False, True, False]
    assert all(track.frames == list(range(12)) for track in tracks)
    for before, after in zip(frames(video), frames(out), strict=True):
        change = np.abs(before.pixels.astype(int) - after.pixels).mean(axis=2)
        inside = np.zeros(change.shape, bool)
        for track in tracks:
            left, top, right, bottom = (round(float(v)) for v in track.boxes[after.index])
            part = change[top:bottom, left:right]
            assert (part.mean() > 6) == track.replaced
            inside[top:bottom, left:right] |= track.replaced
        assert change[~inside].mean() < 2  # the codec's


def test_metadata_mark_the_video_as_synthetic(made):
    with av.open(str(made[0])) as container:
        assert "compositeWithTrainedAlgorithmicMedia" in container.metadata["comment"]
        assert container.streams.video[0].codec_context.name == "h264"


def test_pasted_face_matches_the_original_colours_and_has_a_soft_border():
    random = np.random.default_rng(0)
    frame = (np.array([180, 120, 90]) + random.integers(-20, 21, (100, 140, 1))).astype(np.uint8)
    grey = np.repeat(random.integers(0, 256, (32, 32, 1), dtype=np.uint8), 3, axis=2)
    before, box = frame.copy(), np.array([40.0, 20, 90, 80])
    paste(frame, box, grey)
    changed = np.abs(frame.astype(int) - before).max(axis=2)
    assert changed[:20].max() == changed[81:].max() == changed[:, :40].max() == changed[:, 91:].max() == 0
    assert changed[20:24].mean() < 0.2 * changed[40:60, 55:75].mean()
    assert changed[22, 42] == changed[78, 88] == 0  # corners of the box are outside the ellipse
    middle = frame[35:65, 50:80].reshape(-1, 3).mean(axis=0)
    assert middle == pytest.approx(before[35:65, 50:80].reshape(-1, 3).mean(axis=0), abs=12)


@pytest.mark.parametrize("box", [(-30, -30, 20, 20), (120, 80, 170, 130), (300, 300, 350, 350), (50, 50, 50, 50)])
def test_faces_at_and_outside_the_border_of_a_frame_are_cut_off(box):
    frame, face = np.full((100, 140, 3), 90, np.uint8), np.full((8, 8, 3), 200, np.uint8)
    paste(frame, np.array(box, np.float32), face, margin=0.2)
    assert frame.shape == (100, 140, 3) and abs(int(frame.mean()) - 90) <= 2


def seen(number: int, boxes: list, start_s: float = 0.0, logit: float = 0.0) -> TrackSeen:
    track = TrackSeen(number)
    for place, box in enumerate(boxes):
        track.add_frame(start_s + place / 5, np.array(box, np.float32))
        track.add_score(start_s + place / 5, logit)
    return track


def test_scored_tracks_match_the_true_tracks_that_they_overlap():
    times = [place / 25 for place in range(50)]
    left = [np.array([10 + 50 * t, 10, 60 + 50 * t, 60], np.float32) for t in times]
    right = [box + np.float32([300, 0, 300, 0]) for box in left]
    truth = [TrueTrack(1, list(range(50)), times, left), TrueTrack(2, list(range(50)), times, right, replaced=True)]
    moving = [[312 + 10 * k, 10, 362 + 10 * k, 60] for k in range(5)]
    early, late = (
        seen(1, moving, logit=3),
        seen(2, [[b + 50 if i % 2 == 0 else b for i, b in enumerate(box)] for box in moving], 1.0),
    )
    nobody = seen(3, [[900, 10, 950, 60]] * 5)
    glimpse = seen(4, [[10, 10, 60, 60]] * 2, logit=9)
    matched = match_tracks("f", [(track, 0.5, "unsure") for track in (early, late, nobody, glimpse)], truth)
    assert [(one.track, one.true_track, one.replaced, one.lasts) for one in matched] == [
        (1, 2, True, True),
        (2, 2, True, True),
        (4, 1, False, False),
    ]
    assert matched[0].iou == pytest.approx(48 / 52, abs=0.01) and matched[0].logit == 3
    assert track_auroc(matched) is None  # all long tracks are replaced


def test_track_auroc_uses_long_tracks_and_takes_replaced_as_fake():
    def one(replaced, logit, lasts=True):
        return MatchedTrack("f", 1, 1, replaced, 1.0, logit, 0.5, "unsure", lasts)

    assert track_auroc([one(True, 2), one(False, -1), one(False, 5, lasts=False)]) == 1.0
    assert track_auroc([one(True, 2), one(True, 0), one(False, 1), one(False, 3)]) == 0.25


def test_unusable_arguments_give_a_one_line_error_and_no_files(
    made, video, fakes, finder, tmp_path, monkeypatch, capsys
):
    def refuse(words, **options):
        with pytest.raises(UserError, match=words):
            replace_faces(video, str(fakes), options.pop("out", tmp_path / "x.mp4"), finder=finder, **options)

    monkeypatch.setattr(replaced_faces, "follow_faces", lambda video, finder: read_truth(made[0].with_suffix(".json")))
    refuse("already exists", out=made[0])
    refuse("suffix", out=tmp_path / "x.avi")
    refuse("no track 7 .*1, 2, 3", which=[1, 7])
    refuse("--tracks cannot be used .*got 4", count=4)
    refuse("too few faces", count=3)
    with pytest.raises(UserError, match="is not the truth of a video"):
        (tmp_path / "other.json").write_text("{}")
        read_truth(tmp_path / "other.json")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "no" / "images").mkdir(parents=True)
    (tmp_path / "no" / "images" / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.png cannot be pasted"):
        load_faces(str(tmp_path / "no"), 1, 0)
    monkeypatch.undo()
    capsys.readouterr()
    words = [
        "replaced_faces",
        str(tmp_path / "text.mp4"),
        str(fakes),
        "--out",
        str(tmp_path / "x.mp4"),
        "--device",
        "cpu",
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        replaced_faces.main()
    message = capsys.readouterr().err
    assert ended.value.code == 2 and message.count("\n") == 1 and "text.mp4: not a video" in message
    assert not (tmp_path / "x.mp4").exists()


def test_same_seed_chooses_the_same_tracks_and_faces(made, video, fakes, finder, tmp_path, monkeypatch):
    monkeypatch.setattr(replaced_faces, "follow_faces", lambda video, finder: read_truth(made[0].with_suffix(".json")))
    replaced = []
    for number, seed in enumerate((0, 0, 1, 2, 3)):
        truth = replace_faces(video, str(fakes), tmp_path / f"{number}.mp4", finder=finder, count=1, seed=seed)
        replaced.append([(track["track"], track["face"]) for track in truth["tracks"] if track["replaced"]])
    assert replaced[0] == replaced[1] and len({str(one) for one in replaced}) > 1
    for one, again in zip(frames(tmp_path / "0.mp4"), frames(tmp_path / "1.mp4"), strict=True):
        assert np.abs(one.pixels.astype(int) - again.pixels).mean() < 1  # encoder threads cause small differences


def test_frames_with_a_missed_face_get_an_interpolated_box(video):
    class Blinks:
        def __init__(self):
            self.frame = -1

        def find(self, batch):
            found = []
            for _ in batch:
                self.frame += 1
                n = self.frame
                box = np.array([20 + 4 * n, 50, 80 + 4 * n, 110], np.float32)
                face = face_at(box)
                found.append([] if n in (4, 5) or n > 9 else [face])
            return found

    (track,) = follow_faces(video, Blinks())
    assert track.frames == list(range(10)) and track.duration_s == pytest.approx(0.9)
    assert [float(box[0]) for box in track.boxes[3:7]] == pytest.approx([32, 36, 40, 44], abs=1)


def face_at(box):
    from fakedetect.faces.finder import Face

    return Face(box, np.zeros((5, 2), np.float32), 0.99)


def test_load_faces_draws_new_fakes_from_a_runs_last_checkpoint(tmp_path):
    import fakegen
    from fakegen.sampling.sampling import load_generator

    small = {"epochs": 1, "resolution": 16, "g_width": 8, "d_width": 8, "measure_every": 0}
    fakegen.train("digits-32", real="digits:3", out=tmp_path / "run", changes=small, device="cpu", count=3)
    (name, face), (_, other) = load_faces(str(tmp_path / "run"), 2, seed=5)
    assert name == "run, epoch 1, seed 5, image 0" and face.shape == (16, 16, 3) and not np.array_equal(face, other)
    expected = load_generator(tmp_path / "run" / "checkpoints" / "epoch-0001", "cpu").batch(5, range(1))[0, 0]
    assert np.array_equal(face[..., 0], expected) and cv2.absdiff(face[..., 0], face[..., 2]).max() == 0


def test_half_of_the_photos_become_fakes_and_each_photo_is_written_once(fakes, tmp_path, draw_face):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        image = np.full((64, 64, 3), (20, 40, 60 + 40 * number), np.uint8)
        draw_face(image, 32, 30, 56, (200, 150, 120))
        (photos / f"{number}.png").write_bytes(encode_png(image.transpose(2, 0, 1), "real"))
    assert paste_photos(str(photos), str(fakes), tmp_path / "one", size=32) == (2, 2)
    paste_photos(str(photos), str(fakes), tmp_path / "two", size=32)
    written = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert [path.parent.name for path in written] == ["fake"] * 2 + ["real"] * 2
    assert {path.stem for path in written} == {f"{n:06d}" for n in range(4)}
    for path in written:
        image = read_image(tmp_path / "one" / path)
        assert image.shape == (32, 32, 3) and np.array_equal(image, read_image(tmp_path / "two" / path))
    with pytest.raises(UserError, match="not empty"):
        paste_photos(str(photos), str(fakes), tmp_path / "one")
    with pytest.raises(UserError, match="too few faces"):
        paste_photos("digits", str(fakes), tmp_path / "three")
