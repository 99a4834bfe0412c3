import numpy as np
import pytest

from fakedetect.faces.finder import Face
from fakedetect.faces.tracks import Tracker, difference, generalised_iou


def face(x, y=100.0, side=60.0) -> Face:
    half = side / 2
    return Face(np.array([x - half, y - half, x + half, y + half], np.float32), np.zeros((5, 2), np.float32), 1.0)


def follow(tracker, looks, every_s=0.1):
    """Numbers of tracks for each look: a list of faces, or (faces, pixels)."""
    found = []
    for index, look in enumerate(looks):
        faces, pixels = look if isinstance(look, tuple) else (look, None)
        found.append(tracker.update(index, index * every_s, faces, pixels))
    return found


def test_two_people_who_pass_each_other_keep_their_numbers():
    looks = [[face(100 + 30 * n), face(500 - 30 * n, y=130)] for n in range(14)]
    looks = [pair if n % 2 else pair[::-1] for n, pair in enumerate(looks)]  # the order says nothing
    tracker = Tracker()
    found = follow(tracker, looks)
    assert found == [[1, 2] if n % 2 == 0 else [2, 1] for n in range(14)]
    assert [track.seen for track in tracker.tracks] == [14, 14]
    assert (tracker.tracks[0].start_s, tracker.tracks[0].end_s) == (0.0, pytest.approx(1.3))


def test_a_gap_of_a_few_looks_is_bridged_and_a_long_one_is_not():
    def looks(gap):
        return [[face(100 + 10 * n)] for n in range(5)] + [[]] * gap + [[face(150 + 10 * gap)]]

    assert follow(Tracker(), looks(4))[-1] == [1]
    assert follow(Tracker(), looks(7))[-1] == [2]
    assert follow(Tracker(), [[face(100)], [], [face(100)]], every_s=3.0)[-1] == [2]


def test_motion_tells_where_a_fast_face_is_next():
    assert follow(Tracker(), [[face(100 + 90 * n)] for n in range(6)], every_s=0.2)[-1] == [1]
    assert follow(Tracker(), [[face(100)], [face(400)]]) == [[1], [2]]  # nobody is that fast


def test_another_size_is_another_face():
    assert follow(Tracker(), [[face(100, side=60)], [face(100, side=150)]]) == [[1], [2]]


def boxed(*box) -> Face:
    return Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), 1.0)


def test_who_is_hidden_by_another_does_not_take_over_his_track():
    """Boxes of a film of a street: a far face is hidden by a near one, which turns to where the far one would be by now."""
    near = [(982, 695, 1049, 783), (978, 683, 1048, 777), (990, 701, 1058, 794), (1006, 717, 1078, 811)]
    far = [(1098, 641, 1140, 699), (1087, 657, 1129, 715)]
    looks = [[boxed(980, 690, 1047, 780), boxed(*far[0])], [boxed(*near[0]), boxed(*far[1])]]
    looks += [[boxed(*box)] for box in (*near[1:], (989, 691, 1065, 791))]
    assert follow(Tracker(), looks, every_s=0.2) == [[1, 2], [1, 2], [1], [1], [1], [1]]


def test_of_two_tracks_that_would_do_the_one_of_that_size_goes_on():
    start = [[face(100, side=60), face(160, side=90)]] * 3
    assert follow(Tracker(), [*start, [face(122, side=88)]])[-1] == [2]
    assert follow(Tracker(), [*start, [face(122, side=62)]])[-1] == [1]


def test_a_cut_ends_all_tracks_though_the_next_face_is_in_the_same_place():
    random = np.random.default_rng(0)
    bright = random.integers(150, 256, (90, 160, 3), dtype=np.uint8)
    dark = random.integers(0, 90, (90, 160, 3), dtype=np.uint8)
    shots = [bright, np.roll(bright, 30, axis=1), (bright * 0.95).astype(np.uint8), dark, dark]
    tracker = Tracker()
    assert follow(tracker, [([face(100)], pixels) for pixels in shots]) == [[1], [1], [1], [2], [2]]
    assert tracker.cuts == [pytest.approx(0.3)]


def test_an_empty_film_has_no_tracks():
    tracker = Tracker()
    assert follow(tracker, [[], [], []]) == [[], [], []] and tracker.tracks == []


def test_meeting_and_difference_are_what_they_say():
    one = np.array([0.0, 0, 10, 10])
    assert generalised_iou(one, one) == 1
    assert generalised_iou(one, one + np.array([10, 0, 10, 0])) == 0  # side by side
    assert generalised_iou(one, np.array([0.0, 0, 10, 5])) == 0.5
    assert generalised_iou(one, one + 1000) < -0.9
    assert difference(np.array([0.5, 0.5, 0]), np.array([0, 0.5, 0.5])) == 0.5
