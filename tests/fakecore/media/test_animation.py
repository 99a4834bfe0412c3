"""Animations are read as videos: their frames, times and sizes."""

import io

import numpy as np
import pytest
from PIL import Image

from fakecore.media.animation import is_animation
from fakecore.media.video import VideoError, frames, open_video

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


@pytest.fixture
def write(tmp_path):
    def make(image_format, durations=(100, 200, 100, 400), name="moving"):
        pictures = [Image.new("RGB", (32, 24), colour) for colour in COLOURS]
        path = tmp_path / f"{name}.{image_format.lower()}"
        pictures[0].save(
            path, image_format, save_all=True, append_images=pictures[1:], duration=list(durations), loop=0
        )
        return path

    return make


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_frames_come_with_their_times(write, image_format):
    path = write(image_format)
    assert is_animation(path)
    info = open_video(path)
    assert (info.width, info.height, info.frames, info.codec) == (32, 24, 4, image_format.lower())
    assert info.duration_s == pytest.approx(0.8)
    shown = list(frames(path))
    assert [frame.time_s for frame in shown] == pytest.approx([0, 0.1, 0.3, 0.4])
    for frame, colour in zip(shown, COLOURS, strict=True):
        assert frame.pixels.shape == (24, 32, 3) and np.abs(frame.pixels.astype(int) - colour).max() <= 12
    assert [frame.index for frame in frames(path, every=2)] == [0, 2]
    assert [frame.index for frame in frames(path, start_s=0.25)] == [2, 3]


def test_frames_without_a_duration_are_shown_as_browsers_show_them(write):
    assert [frame.time_s for frame in frames(write("GIF", (0, 10, 0, 0)))] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_truncated_animation_gives_its_whole_frames(write):
    path = write("GIF")
    path.write_bytes(path.read_bytes()[:-40])
    shown = frames(path)
    assert 1 <= len(list(shown)) <= 4
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(VideoError):
        frames(path)


@pytest.mark.parametrize(("limit", "value"), [("MOST_FRAMES", 3), ("MOST_PIXELS", 32 * 24 * 3 + 5)])
def test_frames_beyond_the_limits_are_left_out(write, monkeypatch, limit, value):
    monkeypatch.setattr(f"fakecore.media.animation.{limit}", value)
    shown = frames(write("GIF"))
    assert len(list(shown)) == 3 and shown.outcome.truncated


def test_an_animation_without_a_unit_of_time_is_unreadable(write):
    path = write("AVIF")
    data = bytearray(path.read_bytes())
    place = data.index(b"mdhd") + 4
    unit = place + (20 if data[place] else 12)  # units a second: after two times, of eight bytes in version 1
    data[unit : unit + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="truncated or damaged"):
        open_video(path)


def test_single_pictures_and_texts_are_no_animations(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "GIF")
    for name, content in (("one.gif", buffer.getvalue()), ("text.gif", b"GIF89a but a text"), ("empty.gif", b"")):
        (tmp_path / name).write_bytes(content)
        assert not is_animation(tmp_path / name)
    assert not is_animation(tmp_path / "absent.gif")


def test_score_judges_an_animation_as_a_video(write, tmp_path, fakelab, draw_face):
    faces = []
    for place in range(8):
        frame = np.full((240, 320, 3), 120, np.uint8)
        draw_face(frame, 150 + 2 * place, 120, 110)
        faces.append(Image.fromarray(frame))
    path = tmp_path / "talking.webp"
    faces[0].save(path, save_all=True, append_images=faces[1:], duration=200)
    done = fakelab("score", path, "--detector", "faces", "--json")
    assert done.returncode == 0, done.stderr
    assert '"kind": "video"' in done.stdout and '"tracks": [{' in done.stdout
