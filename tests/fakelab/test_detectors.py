"""The measurement behind the detectors of the package."""

from pathlib import Path

import numpy as np
import pytest

from fakecore.errors import UserError
from fakelab import detectors


class Paler:
    """A judge for which pale faces are fake; a face counts as pale from a mean of 170 in the middle of the frame."""

    def __init__(self, *_):
        pass

    def judge(self, path):
        from fakecore.media.video import frames
        from fakedetect import Judgement

        pale = float(np.mean([frame.pixels[105:150, 130:190].mean() for frame in frames(Path(path))]))
        return {}, Judgement(min(pale / 255, 1.0), "fake" if pale > 170 else "real", 0.5, 0.5)


def test_swaps_of_other_people_are_measured_against_untouched_videos(tmp_path, write_video, monkeypatch):
    skins = {"a": (150, 100, 60), "b": (160, 110, 70), "c": (140, 90, 50)}
    videos = []
    for name, skin in skins.items():
        videos.append(write_video(tmp_path / f"{name}.mp4", [lambda n, skin=skin: (160 + n, 120, 110, skin)], count=5))
    monkeypatch.setattr(detectors, "VideoJudge", Paler)
    monkeypatch.setattr(detectors.Detector, "load", lambda *_: None)
    monkeypatch.setattr(detectors, "_MOST_SWAPS", 3)
    found = detectors.measure_on_swaps(tmp_path, videos, tmp_path / "swaps")
    made = sorted(path.name for path in (tmp_path / "swaps").iterdir())
    assert made == [
        "a-b-0.mp4",
        "a-untouched-0.mp4",
        "b-c-1.mp4",
        "b-untouched-1.mp4",
        "c-a-2.mp4",
        "c-untouched-2.mp4",
    ]
    (rates,) = found["sources"].values()
    assert (rates["n_fake"], rates["n_real"]) == (3, 3) and found["fpr"] == 0.0 and 0 <= found["auroc"] <= 1
    with pytest.raises(UserError, match=r"too few videos are held out .got 2"):
        detectors.measure_on_swaps(tmp_path, videos[:2], tmp_path / "swaps")
