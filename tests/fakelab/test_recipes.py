"""Detectors from real photographs alone."""

import json

import pytest

from fakelab.recipes import photos


@pytest.fixture
def quick(monkeypatch):
    """The recipe with two GANs of three steps each."""
    monkeypatch.setattr(photos, "GANS", {"one": ("dcgan-64", 3), "two": ("modern-32", 3)})


@pytest.fixture
def reals(tmp_path):
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(150):
        photo = cv2.GaussianBlur(random.integers(0, 256, (40, 40, 3), np.uint8), (0, 0), 3)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.jpg"), photo)
    return tmp_path / "photos"


def test_photos_trains_gans_and_a_detector_that_states_its_expectation(quick, reals, tmp_path, fakelab):
    words = ("detect-train", "--recipe", "photos", "--real", reals, "--out", tmp_path / "det", "--json")
    done = fakelab(*words)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "det" / "detector.json").read_text())
    assert facts["model"] == "lite" and set(facts["left_out"]["sources"]) == {"one", "two"}
    made_when = {path: path.stat().st_mtime_ns for path in tmp_path.glob("det-sources/*/set/imageset.json")}
    assert len(made_when) == 2
    assert facts["preprocessing"]["resolution"] == 32
    (tmp_path / "det" / "detector.json").rename(tmp_path / "before.json")
    runs = photos.make_sources(str(reals), tmp_path / "det-sources", device="cpu")  # both are finished
    assert [run.name for run in runs] == ["one", "two"]
    assert {path: path.stat().st_mtime_ns for path in made_when} == made_when


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--recipe", "fotos", "--real", "x"), "no recipe 'fotos'.*one of photos.*Did you mean 'photos'"),
        (("--recipe", "photos"), "makes the fakes itself .expected --real"),
        (("--recipe", "photos", "--real", "x", "--fake", "y"), "makes the fakes itself"),
    ],
)
def test_a_wrong_request_is_one_line(words, says, fakelab):
    import re

    done = fakelab("detect-train", *words)
    assert done.returncode == 2 and re.search(says, done.stderr) and done.stderr.count("\n") == 1
