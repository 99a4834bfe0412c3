"""Videos with a swapped face: what changes, what does not, and what the file says of itself."""

import av
import numpy as np
import pytest

from fakecore.media.video import frames

PALE, DARK = (232, 226, 214), (150, 90, 50)


@pytest.fixture(scope="module")
def videos(tmp_path_factory, draw_face):
    """Two videos of one moving drawn face each, pale and dark, and one without a face."""
    from fakecore.media.videowriter import video_writer

    root = tmp_path_factory.mktemp("videos")
    for name, skin in (("pale", PALE), ("dark", DARK), ("empty", None)):
        with video_writer(root / f"{name}.mp4", (320, 240), 10) as write:
            for number in range(12):
                frame = np.full((240, 320, 3), (90, 120, 150), np.uint8)
                if skin:
                    draw_face(frame, 150 + 2 * number, 120, 120, skin=skin)
                write(frame, number / 10)
    return root


def pixels(path):
    return np.stack([frame.pixels for frame in frames(path)]).astype(int)


def test_the_face_is_replaced_and_the_rest_is_kept(videos, fakelab):
    for word, out in (((), "swapped.mp4"), (("--untouched",), "kept.mp4")):
        words = (videos / "pale.mp4", videos / "dark.mp4", "--out", videos / out, "--fps", 10, *word)
        done = fakelab("swap", *words)
        assert done.returncode == 0, done.stderr
    swapped, kept = pixels(videos / "swapped.mp4"), pixels(videos / "kept.mp4")
    assert swapped.shape == kept.shape and len(swapped) == 12
    changed = np.abs(swapped - kept).mean(axis=(0, 3))
    assert changed[100:150, 130:190].mean() > 5 * changed[:30].mean() and changed[:, :40].mean() < 2
    comments = [av.open(str(videos / name)).metadata["comment"] for name in ("swapped.mp4",)]
    assert "SYNTHETIC" in comments[0] and "comment" not in av.open(str(videos / "kept.mp4")).metadata


@pytest.mark.parametrize(
    ("target", "donor", "says"),
    [
        ("empty.mp4", "dark.mp4", "empty.mp4 shows no face"),
        ("pale.mp4", "empty.mp4", "empty.mp4 shows no face"),
        ("pale.mp4", "missing.mp4", "a video cannot be used"),
    ],
)
def test_a_video_without_a_face_is_one_line_and_nothing_is_written(target, donor, says, videos, fakelab):
    done = fakelab("swap", videos / target, videos / donor, "--out", videos / "new.mp4")
    assert done.returncode == 2 and says in done.stderr and done.stderr.strip().count("\n") == 0
    assert not (videos / "new.mp4").exists()
