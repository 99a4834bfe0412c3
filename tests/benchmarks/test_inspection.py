"""What `benchmarks.inspection` prints: the photos are changed as the tables say."""

import re

import numpy as np
from PIL import Image

from benchmarks import inspection


def photos(count=2):
    random = np.random.default_rng(0)
    coarse = [Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(count)]
    return [one.resize((500, 400), Image.Resampling.BICUBIC) for one in coarse]


def rows(printed):
    return {re.split(r"\s{2,}", line.strip())[0]: line.split() for line in printed.splitlines()}


def test_thumbnails_of_the_same_photo_agree_and_others_do_not(capsys):
    inspection.thumbnails(photos())
    found = rows(capsys.readouterr().out)
    assert found["same: as it is"][-3:] == ["0.0", "0.0", "0.0"]
    assert found["other: another photo"][-3:] == ["100.0", "100.0", "100.0"]


def test_the_first_quality_below_the_last_is_found(capsys):
    inspection.compression(photos())
    found = rows(capsys.readouterr().out)
    assert len(found["50"]) == 1 + len(inspection._QUALITIES)
    assert found["50"][-1] == "100" and found["95"][-1] == "0"  # 50 then 95, 95 then 95


def test_speed_counts_files(capsys, tmp_path):
    photos(1)[0].save(tmp_path / "a.jpg")
    inspection.speed([str(tmp_path / "a.jpg")], [])
    assert rows(capsys.readouterr().out)["photos, headers"][2] == "1"
