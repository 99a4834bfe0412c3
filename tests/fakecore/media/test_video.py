import os
import struct
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fakecore.errors import UserError
from fakecore.media import videostream
from fakecore.media.framepixels import pixels_of
from fakecore.media.video import frames, open_video
from fakecore.media.videostream import VideoError, open_stream


def write_test_video(path, count=30, size_wh=(64, 48), fps=10, codec="mp4v"):
    """Frame n is n * 8 bright on the left, and black on the right."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size_wh)
    assert writer.isOpened()
    for number in range(count):
        image = np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)
        image[:, : size_wh[0] // 2] = number * 8
        writer.write(image)
    writer.release()
    return path


def encode(path, times_ms, *, rotation=None, faststart=False, gop=12, size_wh=(64, 48), codec="mpeg4"):
    """A video whose frame n is shown at times_ms[n]: as bright as above on the left, with noise on the right."""
    random = np.random.default_rng(0)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height = size_wh
        stream.bit_rate = 4_000_000
        stream.pix_fmt, stream.gop_size = "yuvj420p" if codec == "mjpeg" else "yuv420p", gop
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, time_ms in enumerate(times_ms):
            image = np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)
            image[:, size_wh[0] // 2 :] = random.integers(
                0, 256, (size_wh[1], size_wh[0] - size_wh[0] // 2, 3), np.uint8
            )
            image[:, : size_wh[0] // 2] = number % 32 * 8
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_test_video(tmp_path_factory.mktemp("video") / "a.mp4")


def numbers(found) -> list[int]:
    """Which frames these are, by their brightness."""
    return [round(float(frame.pixels[:, : frame.pixels.shape[1] // 4].mean()) / 8) for frame in found]


def test_video_info(video):
    info = open_video(video)
    assert (info.width, info.height, info.fps, info.frames, info.rotation) == (64, 48, 10.0, 30, 0)
    assert info.duration_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("choice", "indices"),
    [
        ({}, range(30)),
        ({"every": 7}, [0, 7, 14, 21, 28]),
        ({"fps": 2}, [0, 5, 10, 15, 20, 25]),
        ({"fps": 100}, range(30)),
        ({"count": 3}, [5, 15, 25]),
        ({"count": 99}, range(30)),
        ({"every": 2, "start_s": 1.0, "end_s": 1.5}, [10, 12, 14]),
        ({"count": 2, "start_s": 2.0}, [22, 27]),
        ({"start_s": 9.0}, []),
    ],
)
def test_each_selection_yields_frames_with_their_indices_and_times(video, choice, indices):
    chosen = frames(video, **choice)
    found = list(chosen)
    assert [frame.index for frame in found] == numbers(found) == list(indices)
    assert [frame.time_s for frame in found] == pytest.approx([index / 10 for index in indices])
    assert chosen.expected == chosen.outcome.frames == len(found) and not chosen.outcome.truncated
    assert all(frame.pixels.dtype == np.uint8 and frame.pixels.shape == (48, 64, 3) for frame in found)


def test_frames_are_rgb(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "red.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (32, 32))
    writer.write(np.full((32, 32, 3), (0, 0, 255), dtype=np.uint8))  # OpenCV's order: blue, green, red
    writer.release()
    red, green, blue = next(iter(frames(tmp_path / "red.mp4"))).pixels.mean(axis=(0, 1))
    assert red > 200 and green < 60 and blue < 60


def test_a_variable_rate_gives_the_times_of_a_player(tmp_path):
    times = [0, 40, 80, 1000, 1040, 3000, 3500, 3540]
    path = encode(tmp_path / "vfr.mp4", times)
    assert [frame.time_s for frame in frames(path)] == pytest.approx([time / 1000 for time in times], abs=0.002)
    assert [frame.index for frame in frames(path, start_s=1.02, end_s=3.5)] == [4, 5]
    assert [frame.index for frame in frames(path, fps=1)] == [0, 3, 5]


def test_seeking_gives_the_same_frames_as_decoding_in_order(tmp_path):
    path = encode(tmp_path / "long.mp4", range(0, 20_000, 40), gop=25)
    everything = list(frames(path))
    for choice in ({"count": 7}, {"every": 83}, {"fps": 0.3, "start_s": 3.3}):
        for frame in frames(path, **choice):
            assert frame.time_s == everything[frame.index].time_s
            assert np.array_equal(frame.pixels, everything[frame.index].pixels)


def no_seek(container, *_, **__):
    raise av.error.PermissionError(1, "Operation not permitted")


def late_stream(container, stream):
    """As PyAV reads a broadcast in which another stream begins midway."""
    yield from container.demux(stream)
    raise IndexError("list index out of range")


@pytest.mark.parametrize(("name", "method"), [("seek", no_seek), ("demux", late_stream)])
def test_what_fails_in_a_damaged_file_costs_no_frame(tmp_path, monkeypatch, name, method):
    path = encode(tmp_path / "long.mp4", range(0, 4000, 40), gop=10)
    wanted = [frame.pixels for frame in frames(path, every=40)]

    class Damaged:
        def __init__(self, container):
            self._container = container

        def __getattr__(self, attribute):
            return partial(method, self._container) if attribute == name else getattr(self._container, attribute)

    @contextmanager
    def open_damaged(path):
        with open_stream(path) as (container, stream):
            yield Damaged(container), stream

    monkeypatch.setattr("fakecore.media.video.open_stream", open_damaged)
    chosen = frames(path, every=40)
    assert all(np.array_equal(frame.pixels, one) for frame, one in zip(chosen, wanted, strict=True))
    assert not chosen.outcome.truncated


def test_frames_that_cannot_be_converted_are_left_out(video, monkeypatch):
    calls = iter(range(99))

    def fail(frame, turned):
        if next(calls) == 3:
            raise av.error.OSError(95, "Operation not supported")
        return pixels_of(frame, turned)

    monkeypatch.setattr("fakecore.media.video.pixels_of", fail)
    chosen = frames(video, count=30)
    found = list(chosen)
    assert chosen.outcome.damaged == 1 and "1 damaged frame left out" in chosen.outcome.note and len(found) == 29


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied_once_as_opencv_does(tmp_path, degrees):
    path = encode(tmp_path / "phone.mp4", range(0, 400, 40), rotation=degrees)
    info, pixels = open_video(path), list(frames(path))[5].pixels
    reader = cv2.VideoCapture(str(path))
    shown = [reader.read()[1] for _ in range(6)][5][..., ::-1]
    assert pixels.shape == shown.shape == (info.height, info.width, 3)
    assert np.abs(pixels.astype(int) - shown).mean() < 2
    assert info.rotation in (90, 180, 270)


@pytest.mark.parametrize("size_wh", [(2, 2), (33, 47), (640, 2)])
def test_odd_sizes_and_a_single_frame(tmp_path, size_wh):
    path = encode(tmp_path / "odd.avi", [0], size_wh=size_wh, codec="mjpeg" if size_wh == (33, 47) else "mpeg4")
    (frame,) = frames(path, count=5)
    assert frame.pixels.shape == (size_wh[1], size_wh[0], 3) and frame.time_s == 0


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_a_truncated_video_yields_its_good_frames_and_is_reported(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    encode(path, range(0, 4000, 40), faststart=suffix == "mp4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    chosen = frames(path)
    found = list(chosen)
    assert 10 < len(found) < 90 and numbers(found) == [number % 32 for number in range(len(found))]
    assert chosen.outcome.truncated and "truncated" in chosen.outcome.note
    assert chosen.outcome.duration_s == pytest.approx(len(found) / 25, abs=0.05)


def test_a_wrong_count_in_the_header_is_not_a_truncation(tmp_path):
    path = write_test_video(tmp_path / "b.avi", codec="MJPG")
    data = path.read_bytes()
    place = data.index(b"strh") + 8 + 32  # dwLength of the stream's header
    assert struct.unpack_from("<I", data, place)[0] == 30
    path.write_bytes(data[:place] + struct.pack("<I", 3000) + data[place + 4 :])
    chosen = frames(path)
    assert len(list(chosen)) == 30 and not chosen.outcome.truncated and chosen.outcome.note is None


def test_overwritten_bytes_lose_only_their_own_frames(tmp_path):
    path = encode(tmp_path / "hole.mp4", range(0, 4000, 40), gop=5, codec="libx264")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(data)
    chosen = frames(path)
    assert 60 < len(list(chosen)) <= 100 and not chosen.outcome.truncated


@pytest.mark.parametrize(("rate", "step_s"), [(b"\0\0\0\0", 0.1), (b"\xff\xff\xff\xff", 0.04)])
def test_an_impossible_rate_in_the_header_is_ignored(tmp_path, rate, step_s):
    path = write_test_video(tmp_path / "b.avi", count=5, codec="MJPG")
    data = bytearray(path.read_bytes())
    place = data.index(b"strh") + 8 + 24  # dwRate
    data[place : place + 4] = rate
    path.write_bytes(data)
    info = open_video(path)
    assert info.fps is None or 0.01 <= info.fps <= 1000
    found = list(frames(path))
    assert len(found) == 5 and found[1].time_s == pytest.approx(step_s)  # 25 a second where none is known


def test_impossible_times_are_replaced(tmp_path, video):
    data = video.read_bytes()
    place = data.index(b"mdhd") + 16  # units a second
    (tmp_path / "odd.mp4").write_bytes(data[:place] + struct.pack(">I", 0x7FFFFFFF) + data[place + 4 :])
    chosen = frames(tmp_path / "odd.mp4", fps=5)
    assert [frame.index for frame in chosen] == [0, 5, 10, 15, 20, 25]
    assert numbers(chosen) == [0, 5, 10, 15, 20, 25] and not chosen.outcome.truncated


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("empty.mp4", b"", "unreadable"),
        ("text.mp4", b"this is no video at all, whatever it is called" * 40, "unsupported"),
        ("header.mp4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "unreadable"),
        (
            "head.mp4",
            b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41\0\0\0\x08free\0\0\1\0mdat" + b"\7" * 20,
            "unreadable",
        ),
        ("list.mp4", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\n/etc/passwd\n", "unsupported"),
        ("photo.mp4", cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes(), "unsupported"),
    ],
)
def test_other_files_are_refused_without_output(tmp_path, capfd, name, data, status):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(VideoError) as caught:
        open_video(tmp_path / name)
    assert caught.value.status == status and str(caught.value) and caught.value.kind == "video"
    assert capfd.readouterr() == ("", "")


def test_folders_pipes_and_missing_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, words in ((".", "a folder"), ("pipe.mp4", "not a regular file"), ("none.mp4", "no such file")):
        with pytest.raises(VideoError, match=words):
            open_video(tmp_path / name)


def test_a_video_without_its_index_is_unreadable(tmp_path, video):
    data = video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"moov")])
    with pytest.raises(VideoError) as caught:
        open_video(tmp_path / "cut.mp4")
    assert caught.value.status == "unreadable"


def test_an_unknown_codec_is_unsupported(tmp_path, video):
    (tmp_path / "odd.mp4").write_bytes(
        video.read_bytes().replace(b"mp4v", b"zq9x").replace(b"\x04\x80\x80\x80", b"\x05\x80\x80\x80")
    )
    with pytest.raises(VideoError) as caught:
        open_video(tmp_path / "odd.mp4")
    assert caught.value.status == "unsupported"


def test_sound_alone_is_unsupported(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="sound"):
        open_video(tmp_path / "sound.mp4")


def test_8k_is_too_large(tmp_path):
    path = encode(tmp_path / "8k.avi", [0], size_wh=(7680, 4320))
    with pytest.raises(VideoError) as caught:
        open_video(path)
    assert caught.value.status == "too_large" and "7680x4320" in str(caught.value)


@pytest.mark.parametrize(
    "choice",
    [{"every": 0}, {"count": 0}, {"fps": 0}, {"fps": 1, "every": 2}, {"start_s": -1}, {"start_s": 2, "end_s": 1}],
)
def test_invalid_selections_are_refused(video, choice):
    with pytest.raises(UserError):
        frames(video, **choice)


def test_an_iteration_stopped_early_still_has_an_outcome(video):
    chosen = frames(video)
    iteration = iter(chosen)
    next(iteration)
    iteration.close()
    assert chosen.outcome.frames == 1 and len(list(chosen)) == 30 and chosen.outcome.frames == 30


def test_want_of_memory_is_not_taken_for_damage(tmp_path, monkeypatch):
    def without_memory(container, stream):
        class Packet:
            is_corrupt, pts = False, 0

            def decode(self):
                raise av.error.MemoryError(12, "Cannot allocate memory")

        yield Packet()

    write_test_video(tmp_path / "a.mp4")
    found = frames(tmp_path / "a.mp4")
    monkeypatch.setattr(videostream, "packets", without_memory)
    with pytest.raises(VideoError, match="memory") as caught:
        list(found)
    assert caught.value.status == "too_large"
