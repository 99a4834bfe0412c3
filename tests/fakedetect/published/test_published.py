"""Published benchmarks: miniature trees of the right form, and the numbers that their papers report."""

import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fakecore.errors import UserError
from fakedetect.models.detector import Detector
from fakedetect.published import measure
from fakedetect.published.layouts import LAYOUTS, open_benchmark

DARK, LIGHT = 40, 220  # fakes are light


def image(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((24, 24, 3), grey, np.uint8))


def video(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (48, 48))
    for _ in range(4):
        writer.write(np.full((48, 48, 3), grey, np.uint8))
    writer.release()


def faceforensics(root):
    (root / "splits").mkdir()
    (root / "splits/test.json").write_text(json.dumps([["000", "003"]]))
    for name in ("000", "003", "777"):  # 777 is not in the test split
        video(root / f"original_sequences/youtube/c23/videos/{name}.mp4", DARK)
    for manipulation, grey in (("Deepfakes", LIGHT), ("FaceSwap", DARK)):
        for name in ("000_003", "003_000", "777_778"):
            video(root / f"manipulated_sequences/{manipulation}/c23/videos/{name}.mp4", grey)


def celeb_df(root):
    names = {"Celeb-real/id0_0000.mp4": DARK, "YouTube-real/00170.mp4": DARK, "Celeb-synthesis/id0_id1_0000.mp4": LIGHT}
    for name, grey in names.items():
        video(root / name, grey)
    video(root / "Celeb-real/id9_0009.mp4", LIGHT)  # not in the list
    lines = [f"{int(grey == DARK)} {name}" for name, grey in names.items()]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines))


def dfdc(root):
    video(root / "part/a.mp4", DARK)
    video(root / "part/b.mp4", LIGHT)
    (root / "part/metadata.json").write_text(json.dumps({"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE"}}))


def cnn_detection(root):
    for generator, grey in (("progan/cat", LIGHT), ("stylegan", DARK)):
        for number in range(2):
            image(root / generator / f"0_real/{number}.png", DARK)
            image(root / generator / f"1_fake/{number}.png", grey)


def genimage(root):
    for part, grey in (("val", LIGHT), ("train", DARK)):
        image(root / f"Midjourney/imagenet_midjourney/{part}/nature/1.jpeg", DARK)
        image(root / f"Midjourney/imagenet_midjourney/{part}/ai/1.png", grey)


def deepfakebench(root):
    lists = {}
    for group, grey in (("FF-real", DARK), ("FF-DF", LIGHT)):
        frames = [f"ff\\{group}\\000\\{number}.png" for number in range(3)]
        for name in frames:
            image(root / name.replace("\\", "/"), grey)
        lists[group] = {"test": {"c23": {"000": {"label": group, "frames": frames}}}, "train": {}}
    (root / "FaceForensics++.json").write_text(json.dumps({"FaceForensics++": lists}))


TREES = {"ff++": faceforensics, "celeb-df": celeb_df, "dfdc": dfdc, "cnndetection": cnn_detection}
TREES |= {"genimage": genimage, "deepfakebench": deepfakebench}


class LightIsFake(nn.Module):
    precision = "fp32"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(1, 2, 3)) - 128


@pytest.fixture
def light(detector, monkeypatch):
    known = Detector(LightIsFake(), {**detector.facts, "temperature": 20.0}, torch.device("cpu"))
    monkeypatch.setattr(measure.Detector, "load", staticmethod(lambda path, device: known))


@pytest.mark.parametrize(
    ("name", "counts", "frame", "video"),
    [
        ("ff++", {"Deepfakes": (2, 2), "FaceSwap": (2, 2)}, [1.0, 0.5, 0.75], [1.0, 0.5, 0.75]),
        ("celeb-df", {"Celeb-synthesis": (2, 1)}, [1.0], [1.0]),
        ("dfdc", {"dfdc": (1, 1)}, [1.0], [1.0]),
        ("cnndetection", {"progan": (2, 2), "stylegan": (2, 2)}, [1.0, 0.5, 0.75], [None, None, None]),
        ("genimage", {"Midjourney": (1, 1)}, [1.0], [None]),
        ("deepfakebench", {"FaceForensics++: FF-DF": (1, 1)}, [1.0], [1.0]),
    ],
)
def test_each_layout_is_tested_by_its_protocol(name, counts, frame, video, light, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    TREES[name](root)
    made = measure.evaluate_published("det", name, root, out=tmp_path / "out", device="cpu")
    rows = [row for row in made.rows if row["group"] != "mean"]
    assert {row["group"]: (row["n_real"], row["n_fake"]) for row in rows} == counts and not made.unused
    assert [row["frame_auroc"] for row in made.rows] == frame and [row["video_auroc"] for row in made.rows] == video
    assert rows[0]["ap"] == 1.0 and rows[0]["accuracy"] == 1.0
    assert json.loads((tmp_path / "out/published.json").read_text())["rows"] == made.rows
    assert len((tmp_path / "out/scores.csv").read_text().splitlines()) == 1 + len(open_benchmark(name, root)[1])


def test_every_layout_is_tested():
    assert set(TREES) == set(LAYOUTS)


def test_a_damaged_video_costs_one_row(light, tmp_path):
    celeb_df(tmp_path)
    (tmp_path / "Celeb-real/id0_0000.mp4").write_bytes(b"\0" * 500)
    made = measure.evaluate_published("det", "celeb-df", tmp_path, out=tmp_path / "out", device="cpu")
    assert [line["status"] for line in made.unused] == ["unsupported"] and made.rows[0]["n_real"] == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("celebdf", "no published benchmark 'celebdf'.*Did you mean 'celeb-df'"),
        ("ff++:c99", "no variant 'c99' of ff.*c23, c40, raw"),
        ("celeb-df", "List_of_testing_videos.txt is missing.*--root"),
        ("genimage", "does not have the layout of GenImage .got 0 real and 0 fake"),
    ],
)
def test_a_wrong_name_or_folder_is_one_clear_line(name, says, tmp_path):
    with pytest.raises(UserError, match=says):
        open_benchmark(name, tmp_path)


def test_the_command_needs_a_root_and_prints_a_table(fakelab, trained, tmp_path):
    done = fakelab("evaluate", trained.detector, "--on", "genimage")
    assert done.returncode == 2 and "--root is missing" in done.stderr
    genimage(tmp_path)
    done = fakelab("evaluate", trained.detector, "--on", "genimage", "--root", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Midjourney" in done.stdout and "frame AUROC" in done.stdout
