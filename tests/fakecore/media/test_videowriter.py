import av
import numpy as np
import pytest

from fakecore.errors import UserError
from fakecore.media.video import frames
from fakecore.media.videowriter import video_writer


def test_frames_are_read_back_at_their_times_with_even_sides(tmp_path):
    path, times = tmp_path / "a.mp4", [3.0, 3.1, 3.5, 3.52]
    with video_writer(path, (65, 49), 10, comment="made up") as add:
        for number, time_s in enumerate(times):
            add(np.full((98, 130, 3) if number == 2 else (49, 65, 3), 60 * number, np.uint8), time_s)
        assert not path.exists()  # until it is whole
    found = list(frames(path))
    assert [frame.time_s for frame in found] == pytest.approx([0, 0.1, 0.5, 0.52], abs=0.001)
    assert [round(float(frame.pixels.mean()) / 60) for frame in found] == [0, 1, 2, 3]
    assert all(frame.pixels.shape == (48, 64, 3) for frame in found)
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert container.metadata["comment"] == "made up"


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="midway"), video_writer(tmp_path / "a.mp4", (32, 32), 10) as add:
        add(np.zeros((32, 32, 3), np.uint8), 0.0)
        raise RuntimeError("midway")
    with pytest.raises(UserError, match="too small"), video_writer(tmp_path / "b.mp4", (640, 15), None):
        pass
    assert list(tmp_path.iterdir()) == []
