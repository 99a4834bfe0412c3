import numpy as np
import pytest

from fakedetect.faces.finder import Face
from fakedetect.faces.tracks import Tracker, difference, generalised_iou


def face(x, y=100.0, side=60.0) -> Face:
    half = side / 2
    return Face(np.array([x - half, y - half, x + half, y + half], np.float32), np.zeros((5, 2), np.float32), 1.0)


def follow(tracker, frames, every_s=0.1):
    """Return the track numbers for each frame: a list of faces, or (faces, pixels)."""
    found = []
    for index, frame in enumerate(frames):
        faces, pixels = frame if isinstance(frame, tuple) else (frame, None)
        found.append(tracker.update(index, index * every_s, faces, pixels))
    return found


def test_faces_that_cross_keep_their_track_numbers():
    frames = [[face(100 + 30 * n), face(500 - 30 * n, y=130)] for n in range(14)]
    frames = [pair if n % 2 else pair[::-1] for n, pair in enumerate(frames)]  # in varying order
    tracker = Tracker()
    found = follow(tracker, frames)
    assert found == [[1, 2] if n % 2 == 0 else [2, 1] for n in range(14)]
    assert [track.seen for track in tracker.tracks] == [14, 14]
    assert (tracker.tracks[0].start_s, tracker.tracks[0].end_s) == (0.0, pytest.approx(1.3))


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    def frames(gap):
        return [[face(100 + 10 * n)] for n in range(5)] + [[]] * gap + [[face(150 + 10 * gap)]]

    assert follow(Tracker(), frames(4))[-1] == [1]
    assert follow(Tracker(), frames(7))[-1] == [2]
    assert follow(Tracker(), [[face(100)], [], [face(100)]], every_s=3.0)[-1] == [2]


def test_motion_predicts_the_position_of_a_fast_face():
    assert follow(Tracker(), [[face(100 + 90 * n)] for n in range(6)], every_s=0.2)[-1] == [1]
    assert follow(Tracker(), [[face(100)], [face(400)]]) == [[1], [2]]  # no face moves that fast


def test_a_face_of_another_size_is_a_new_track():
    assert follow(Tracker(), [[face(100, side=60)], [face(100, side=150)]]) == [[1], [2]]


def boxed(*box) -> Face:
    return Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), 1.0)


def test_a_hidden_face_does_not_take_over_the_track_of_another():
    """Boxes from a street video: a near face hides a far one and moves to the expected position of the far one."""
    near = [(982, 695, 1049, 783), (978, 683, 1048, 777), (990, 701, 1058, 794), (1006, 717, 1078, 811)]
    far = [(1098, 641, 1140, 699), (1087, 657, 1129, 715)]
    frames = [[boxed(980, 690, 1047, 780), boxed(*far[0])], [boxed(*near[0]), boxed(*far[1])]]
    frames += [[boxed(*box)] for box in (*near[1:], (989, 691, 1065, 791))]
    assert follow(Tracker(), frames, every_s=0.2) == [[1, 2], [1, 2], [1], [1], [1], [1]]


def test_of_two_possible_tracks_the_one_of_similar_size_continues():
    start = [[face(100, side=60), face(160, side=90)]] * 3
    assert follow(Tracker(), [*start, [face(122, side=88)]])[-1] == [2]
    assert follow(Tracker(), [*start, [face(122, side=62)]])[-1] == [1]


def test_a_cut_ends_all_tracks_even_with_a_face_in_the_same_place():
    random = np.random.default_rng(0)
    bright = random.integers(150, 256, (90, 160, 3), dtype=np.uint8)
    dark = random.integers(0, 90, (90, 160, 3), dtype=np.uint8)
    shots = [bright, np.roll(bright, 30, axis=1), (bright * 0.95).astype(np.uint8), dark, dark]
    tracker = Tracker()
    assert follow(tracker, [([face(100)], pixels) for pixels in shots]) == [[1], [1], [1], [2], [2]]
    assert tracker.cuts == [pytest.approx(0.3)]


def test_a_video_without_faces_has_no_tracks():
    tracker = Tracker()
    assert follow(tracker, [[], [], []]) == [[], [], []] and tracker.tracks == []


def test_generalised_iou_and_difference_have_known_values():
    one = np.array([0.0, 0, 10, 10])
    assert generalised_iou(one, one) == 1
    assert generalised_iou(one, one + np.array([10, 0, 10, 0])) == 0  # side by side
    assert generalised_iou(one, np.array([0.0, 0, 10, 5])) == 0.5
    assert generalised_iou(one, one + 1000) < -0.9
    assert difference(np.array([0.5, 0.5, 0]), np.array([0, 0.5, 0.5])) == 0.5
