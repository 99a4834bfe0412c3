import argparse
import json
import sys

import cv2
import numpy as np
import pytest
import torch

from benchmarks.speed import video as speed_video

BOX = [100.0, 100.0, 180.0, 190.0, 0.95]


@pytest.mark.parametrize(
    ("offered", "least", "found"),
    [
        ([[BOX]], 0.0, (1, 1)),
        ([[[105.0, 100, 185, 190, 0.8]]], 0.0, (1, 1)),
        ([[[150.0, 100, 230, 190, 0.8]]], 0.0, (0, 1)),  # IoU below a half
        ([[]], 0.0, (0, 1)),
        ([[BOX]], 0.99, (0, 0)),  # plain's own confidence is lower
    ],
)
def test_faces_count_as_found_when_they_overlap_by_more_than_half(offered, least, found):
    small = [0.0, 0.0, 30.0, 30.0, 1.0]
    assert speed_video._found([[BOX, small]], offered, 60, least) == found


@pytest.mark.parametrize("side", ["plain", "ours"])
def test_each_side_returns_boxes_for_each_chosen_frame(tmp_path, monkeypatch, capsys, side):
    path = tmp_path / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (96, 64))
    for _ in range(11):
        writer.write(np.full((64, 96, 3), 90, np.uint8))
    writer.release()
    monkeypatch.setattr(sys, "argv", ["speed_video", str(path), "--every", "2", "--side", side])
    speed_video.main()
    report = json.loads(capsys.readouterr().out)
    assert report["boxes"] == [[]] * 6 and report["wall_s"] > 0 and report["peak_mb"] > 0


class Mean(torch.nn.Module):
    """A network without weights: the mean of its input."""

    def forward(self, images):
        return images.float().mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize(("side", "judged"), [("plain", 6), ("ours", 3)])
def test_with_a_classifier_each_side_judges_the_faces_of_the_chosen_frames(
    tmp_path, monkeypatch, capsys, write_video, side, judged
):
    import timm

    from fakedetect.models import registry

    shown = []

    class Seen(Mean):
        def forward(self, images):
            shown.append(tuple(images.shape))
            made = super().forward(images)
            return made if side == "plain" else made[:, 0]

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Seen())
    monkeypatch.setattr(registry, "build_network", lambda *_: Seen())
    video = write_video(tmp_path / "video.mp4", [lambda n: (100 + n, 120, 110)], count=14)
    words = ["speed_video", str(video), "--every", "2", "--end", "1.2", "--classifier", "--side", side]
    monkeypatch.setattr(sys, "argv", words)
    speed_video.main()
    report = json.loads(capsys.readouterr().out)
    assert [len(boxes) for boxes in report["boxes"]] == [1] * 6 and report["judged"] == judged
    assert sum(shape[0] for shape in shown if shape[0]) >= judged and {shape[1:] for shape in shown} == {(3, 224, 224)}
    assert report["boxes"][0][0][0] < 100 < report["boxes"][0][0][2]


def test_sheet_shows_the_boxes_that_only_one_side_has(tmp_path, write_video):
    video = write_video(tmp_path / "video.mp4", [lambda n: (100, 120, 110)], count=2)
    sheet, other, small = tmp_path / "sheet.png", [10.0, 10.0, 80.0, 80.0, 0.8], [0.0, 0.0, 30.0, 30.0, 1.0]
    options = argparse.Namespace(video=video, every=1, end=None, min_face=60, sheet=sheet)
    speed_video._draw_disputed(options, [[BOX, small], [BOX]], [[BOX], [other, other]])
    drawn = cv2.imread(str(sheet))
    tile, across = speed_video._TILE, speed_video._ACROSS
    assert drawn.shape == (tile, tile * across, 3)
    blank = [(drawn[:, tile * place : tile * (place + 1)] == 255).all() for place in range(across)]
    assert blank == [False] * 3 + [True] * (across - 3)  # plain's BOX of the second frame, and ours twice
