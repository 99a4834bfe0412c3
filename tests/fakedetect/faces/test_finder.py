from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fakecore.errors import UserError
from fakecore.media.pixels import read_image
from fakedetect.faces.finder import Face, FaceFinder, crop, sharpness
from fakedetect.faces.mtcnn import _AT_ONCE, Cascade

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(60, "cpu")


def scene(draw_face, *places, size_wh=(640, 360)) -> np.ndarray:
    frame = np.full((size_wh[1], size_wh[0], 3), (120, 140, 150), dtype=np.uint8)
    for place in places:
        draw_face(frame, *place)
    return frame


def test_boxes_and_landmarks_lie_where_the_faces_are(finder, draw_face):
    (faces,) = finder.find([scene(draw_face, (160, 180, 140), (460, 160, 100))])
    left, right = sorted(faces, key=lambda face: face.box[0])
    assert left.box[0] < 160 < left.box[2] < right.box[0] < 460 < right.box[2]
    assert all(face.confidence > 0.9 and face.box.shape == (4,) for face in faces)
    eyes, nose, mouth = left.landmarks[:2], left.landmarks[2], left.landmarks[3:]
    assert eyes == pytest.approx(np.array([[160 - 27, 173], [160 + 27, 173]]), abs=8)
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min() and mouth[0, 0] < 160 < mouth[1, 0]


def test_frames_without_faces_and_frames_of_other_sizes_stand_among_others(finder, draw_face):
    with_face = scene(draw_face, (300, 180, 150))
    tall = scene(draw_face, (150, 200, 150), size_wh=(300, 400))
    nothing, tiny = np.zeros((360, 640, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    found = finder.find([nothing, with_face, tiny, tall, nothing, with_face])
    assert [len(faces) for faces in found] == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(found[1][0].box, found[5][0].box)
    assert finder.find([]) == []


def test_a_batch_gives_what_its_frames_give_alone(finder, draw_face):
    frames = [scene(draw_face, (100 + 40 * n, 180, 90 + 6 * n)) for n in range(11)]
    for together, frame in zip(finder.find(frames), frames, strict=True):
        (alone,) = finder.find([frame])
        assert len(together) == len(alone) == 1
        assert together[0].box == pytest.approx(alone[0].box, abs=1)


def test_faces_below_the_wanted_size_are_left_out(draw_face):
    frame = scene(draw_face, (150, 180, 160), (460, 180, 60))
    assert len(FaceFinder(30, "cpu").find([frame])[0]) == 2
    (face,) = FaceFinder(110, "cpu").find([frame])[0]
    assert face.box[0] < 150 < face.box[2]
    with pytest.raises(UserError, match="--min-face"):
        FaceFinder(5, "cpu")


def test_boxes_end_at_the_border(finder, draw_face):
    frame = scene(draw_face, (30, 180, 150), (610, 330, 150))
    (faces,) = finder.find([frame])
    for face in faces:
        assert (face.box >= 0).all() and face.box[2] <= 640 and face.box[3] <= 360
        assert crop(frame, face, size=64).shape == (64, 64, 3)


def face_at(left, top, right, bottom, landmarks=None) -> Face:
    points = np.zeros((5, 2)) if landmarks is None else landmarks
    return Face(np.array([left, top, right, bottom], np.float32), np.asarray(points, np.float32), 1.0)


def test_a_crop_is_the_very_pixels_with_the_margin_asked_for():
    frame = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    face = face_at(100, 80, 140, 120)
    assert np.array_equal(crop(frame, face, margin=0, size=40), frame[80:120, 100:140])
    assert np.array_equal(crop(frame, face, margin=0.5, size=80), frame[60:140, 80:160])
    corner = face_at(0, 0, 40, 40)
    assert np.array_equal(crop(frame, corner, margin=0.5, size=80), frame[:80, :80])  # moved in, nothing made up


def test_a_crop_larger_than_the_frame_repeats_its_border():
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    found = crop(frame, face_at(10, 0, 50, 40), margin=0.25, size=60)
    assert np.array_equal(found[10:50], frame) and np.array_equal(found[0], frame[0])


def test_alignment_turns_a_tilted_face_upright(finder, draw_face):
    frame = scene(draw_face, (320, 180, 160))
    turn = cv2.getRotationMatrix2D((320, 180), 20, 1)
    tilted = cv2.warpAffine(frame, turn, (640, 360), borderMode=cv2.BORDER_REPLICATE)
    (face,) = finder.find([tilted])[0]
    eyes = face.landmarks[1] - face.landmarks[0]
    assert abs(np.degrees(np.arctan2(eyes[1], eyes[0]))) > 12
    (again,) = finder.find([crop(tilted, face, margin=0.5, size=240, align=True)])[0]
    eyes = again.landmarks[1] - again.landmarks[0]
    assert abs(np.degrees(np.arctan2(eyes[1], eyes[0]))) < 5
    assert again.landmarks.mean(axis=0) == pytest.approx([120, 132], abs=18)


def test_a_blurred_face_is_less_sharp_whatever_its_size(draw_face):
    frame = scene(draw_face, (320, 180, 160))
    face = face_at(250, 90, 390, 270)
    blurred = cv2.GaussianBlur(frame, (0, 0), 4)
    assert sharpness(frame, face) > 5 * sharpness(blurred, face)
    double = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert sharpness(double, face_at(500, 180, 780, 540)) == pytest.approx(sharpness(frame, face), rel=0.3)


@pytest.mark.skipif(not (SHARED / "multiface.jpg").is_file(), reason="real photos are not here")
def test_real_faces_are_found(finder):
    (faces,) = finder.find([read_image(SHARED / "multiface.jpg")])
    assert 5 <= len(faces) <= 7


def test_networks_get_one_batch_size_for_any_number_of_candidates(draw_face):
    cascade, sizes = Cascade(torch.device("cpu")), set()

    def spied(name, network):
        def through(images):
            sizes.add((name, *images.shape[:1]))
            return network(images)

        return through

    cascade._p, cascade._r, cascade._o = (spied(name, getattr(cascade, f"_{name}")) for name in "pro")
    frames = [scene(draw_face, (320, 180, 160)), scene(draw_face, (200, 150, 90)), scene(draw_face, (320, 180, 60))]
    found = cascade.find(frames, 40)
    assert sizes == {("p", 1), ("r", _AT_ONCE), ("o", _AT_ONCE)}
    alone = [cascade.find([frame], 40)[0] for frame in frames]
    for (boxes, points), (own_boxes, own_points) in zip(found, alone, strict=True):
        assert (
            len(boxes) and boxes == pytest.approx(own_boxes, abs=1e-3) and points == pytest.approx(own_points, abs=1e-2)
        )
