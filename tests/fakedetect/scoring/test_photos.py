"""Photos judged by their faces, and again after light re-encodings."""

import csv
import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fakedetect.models.detector import Detector, Judgement
from fakedetect.scoring.columns import COLUMNS, format_short
from fakedetect.scoring.files import score_files
from fakedetect.scoring.page import write_score_page
from fakedetect.scoring.results import ResultsFile
from fakedetect.scoring.stability import RE_ENCODINGS, settle

PALE = (232, 226, 214)  # the skin of the faces that `of_faces` calls fake


class PaleIsFake(nn.Module):
    """Logits (B,): high if the middle of the image is pale."""

    precision = "fp32"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = images[:, :, 12:20, 12:20].float().mean(dim=(2, 3))
        return (middle[:, 1] - middle[:, 0] + 20) / 5


@pytest.fixture(scope="module")
def of_faces(detector):
    """A detector of face crops of 32 pixels."""
    shape = {"resolution": 32, "channels": 3, "faces": {"margin": 0.2, "align": False}}
    limits = {**dataclasses.asdict(detector.thresholds), "fake_from": 0.6, "real_below": 0.4}
    facts = {**detector.facts, "preprocessing": {**detector.facts["preprocessing"], **shape}, "thresholds": limits}
    return Detector(PaleIsFake(), {**facts, "temperature": 1.0}, torch.device("cpu"))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, draw_face):
    """A photo of three drawn faces, of which the right one is pale, and one without a face."""
    root = tmp_path_factory.mktemp("crowd")
    photo = np.full((300, 640, 3), (90, 120, 150), np.uint8)
    for x, skin in ((110, (224, 172, 138)), (320, (198, 134, 66)), (530, PALE)):
        draw_face(photo, x, 150, 130, skin=skin)
    cv2.imwrite(str(root / "crowd.png"), photo[..., ::-1])
    cv2.imwrite(str(root / "empty.png"), np.full((300, 640, 3), 90, np.uint8))
    return root


def rows_of(root, detector, **options):
    found = score_files([(str(path), None) for path in sorted(root.iterdir())], detector, **options)
    return [row for batch in found for row in batch]


def test_the_most_suspicious_face_decides_and_each_has_its_box(crowd, of_faces):
    row, empty = rows_of(crowd, of_faces)
    assert row["subject"] == "face" and row["verdict"] == "fake" and "most suspicious of 3 faces" in row["note"]
    by_place = sorted(row["faces"], key=lambda face: face["box"][0])
    assert [face["verdict"] for face in by_place] == ["real", "real", "fake"]
    assert row["p_fake"] == by_place[2]["p_fake"] == max(face["p_fake"] for face in row["faces"])
    left, top, right, bottom = by_place[2]["box"]
    assert left < 530 < right and top < 150 < bottom
    assert empty["status"] == "no_face" and empty["verdict"] is None and "--whole-frame" in empty["error"]


class BrightIsFake(nn.Module):
    """Logits (B,): high if the image is bright."""

    precision = "fp32"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float().mean(dim=(1, 2, 3)) - 170) / 5


def test_a_second_detector_judges_photos_without_a_face_and_can_only_accuse_the_others(of_faces, tmp_path, draw_face):
    for name, shade, skin in (
        ("dark face", 60, (198, 134, 66)),
        ("dark none", 60, None),
        ("light face", 230, (198, 134, 66)),
        ("pale face", 60, PALE),
    ):
        photo = np.full((300, 400, 3), shade, np.uint8)
        if skin:
            draw_face(photo, 200, 150, 130, skin=skin)
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo[..., ::-1])
    named = dataclasses.replace(of_faces, name="faces")
    facts = {**of_faces.facts, "sha256": "of photos"}  # else the same: neither network has weights
    bright = Detector(BrightIsFake(), facts, torch.device("cpu"), name="photos")
    rows = {row["path"].rpartition("/")[2]: row for row in rows_of(tmp_path, named, of_photos=bright)}
    found = {name: (row["judged_by"], row["verdict"], row["subject"]) for name, row in rows.items()}
    assert found == {
        "dark face.png": ("faces", "real", "face"),
        "dark none.png": ("photos", "real", "frame"),
        "light face.png": ("photos", "fake", "frame"),
        "pale face.png": ("faces", "fake", "face"),
    }
    assert len(rows["light face.png"]["faces"]) == 1 and rows["light face.png"]["faces"][0]["verdict"] == "real"
    stable = {row["judged_by"] for row in rows_of(tmp_path, named, of_photos=bright, stability=True) if row["stable"]}
    assert stable == {"faces", "photos"}
    write_score_page(tmp_path / "both.html", list(rows.values()), {}, named, bright)
    page = (tmp_path / "both.html").read_text()
    assert page.count("judged by photos") == page.count("judged by faces") == 2
    assert page.count("decided 2 verdicts") == 2
    of_faces_only = [row for row in rows.values() if row["judged_by"] == "faces"]
    write_score_page(tmp_path / "one.html", of_faces_only, {}, named, bright)
    assert "decided" not in (tmp_path / "one.html").read_text(), "a detector that decided nothing is not described"


def test_whole_photos_are_judged_on_request(crowd, of_faces):
    from fakedetect.faces.options import VideoOptions
    from fakedetect.scoring.video import VideoJudge

    rows = rows_of(crowd, of_faces, videos=VideoJudge(of_faces, VideoOptions(whole_frame=True)))
    assert [(row["status"], row["subject"]) for row in rows] == [("ok", "frame")] * 2 and "faces" not in rows[0]


def test_the_report_shows_the_photo_with_its_boxes(crowd, of_faces, tmp_path):
    write_score_page(tmp_path / "a.html", rows_of(crowd, of_faces), {}, of_faces)
    page = (tmp_path / "a.html").read_text()
    assert "a box around each face" in page and "no_face" in page
    (several,) = [row for row in rows_of(crowd, of_faces, stability=True) if row["status"] == "ok"]
    write_score_page(tmp_path / "b.html", [several], {}, of_faces)
    low, high = map(format_short, several["p_fake_range"])
    assert (
        f"{low} {'to ' + high if low != high else 'also'} after light re-encoding" in (tmp_path / "b.html").read_text()
    )


@pytest.mark.parametrize(
    ("verdicts", "final", "stable"),
    [
        ("fake fake fake", "fake", True),
        ("fake fake real", "unsure", False),
        ("real real unsure", "real", True),
        ("real fake real", "unsure", False),
    ],
)
def test_a_verdict_that_flips_becomes_unsure(verdicts, final, stable):
    first, *others = [Judgement(n / 10, verdict, 0.6, 0.4) for n, verdict in enumerate(verdicts.split())]
    judgement, fields = settle(first, others)
    assert judgement.verdict == final and judgement.p_fake == first.p_fake
    assert fields == {"stable": stable, "p_fake_range": [0.0, 0.2]}


def test_stability_judges_five_re_encodings_of_each_photo(detector, tmp_path, fakelab, trained, pictures):
    class Counting(PaleIsFake):
        seen = 0

        def forward(self, images):
            Counting.seen += len(images)
            return images.float().mean(dim=(1, 2, 3)) * 0  # on the fence, whatever the version

    for number, image in enumerate(pictures(3, "real", 0)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image.transpose(1, 2, 0)[..., ::-1])
    counting = Detector(Counting(), detector.facts, torch.device("cpu"))
    rows = rows_of(tmp_path, counting, stability=True)
    assert Counting.seen == 3 * (1 + len(RE_ENCODINGS)) and all(row["stable"] for row in rows)
    one = fakelab("score", tmp_path / "0.png", "--detector", trained.detector, "--json")
    assert {"stable", "p_fake_range"} <= set(json.loads(one.stdout))  # by default, for a single file
    several = fakelab("score", tmp_path, "--detector", trained.detector, "--json")
    assert "stable" not in json.loads(several.stdout.splitlines()[0])


def test_a_csv_file_has_the_ranges_and_the_faces(crowd, of_faces, tmp_path):
    rows, out = rows_of(crowd, of_faces, stability=True), tmp_path / "out" / "rows.csv"
    ResultsFile(out, of_faces).append(rows)
    lines = list(csv.DictReader(out.open(newline="")))
    for row, line in zip(rows, lines, strict=True):
        if row["status"] != "ok":
            assert line["stable"] == line["p_fake_lowest"] == line["faces"] == ""
        else:
            assert [float(line["p_fake_lowest"]), float(line["p_fake_highest"])] == row["p_fake_range"]
            assert json.loads(line["faces"]) == row["faces"] and line["stable"] == str(row["stable"])
    assert list(ResultsFile(out, of_faces).existing) == [row["path"] for row in rows]
    old = tmp_path / "old.csv"
    with old.open("w", newline="") as file:
        csv.DictWriter(file, COLUMNS, lineterminator="\n").writeheader()
    ResultsFile(old, of_faces).append(rows)
    assert tuple(old.read_text().splitlines()[0].split(",")) == COLUMNS, (
        "a file of an earlier version keeps its columns"
    )
    assert len(ResultsFile(old, of_faces).existing) == len(rows)
